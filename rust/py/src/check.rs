//! One request of any boundary with its decision, for everything that is not a consumed batch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use chio_conditions::Kind;
use chio_policy::{Decision, Request, Scratch, Verdict};
use chio_receipts::{PushError, ReceiptId, TargetTemplate};
use chio_rulings::{Generation, Question, Ruling};

use crate::decision::{self, read_run};
use crate::matter::Matter;
use crate::outlet::{Before, Output};

/// Checks that were freed and whose memory is used again.
const SPARE: usize = 1024;

/// What is asked.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are outputs, and nobody moves them")]
pub enum Asked {
    /// A request of any boundary, spelled out.
    Matter(Box<Matter>),
    /// An event for an outlet.
    Output(Output),
}

/// One request with its decision.
#[pyclass(frozen, freelist = SPARE, module = "chio_fast._native")]
pub struct Check {
    /// What was asked.
    pub asked: Asked,
    ruling: Mutex<Ruling>,
}

impl Check {
    /// A request that was just decided.
    pub fn new(asked: Asked, ruling: Ruling) -> Self {
        Self { asked, ruling: Mutex::new(ruling) }
    }

    /// Guards that run for every decision.
    pub fn always(&self) -> &[String] {
        match &self.asked {
            Asked::Matter(matter) => &matter.always,
            Asked::Output(output) => output.always(),
        }
    }

    /// The ruling; no Python code may run while it is held.
    pub fn ruling(&self) -> MutexGuard<'_, Ruling> {
        self.ruling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked of the policy.
    pub fn question(&self) -> Question<'_> {
        match &self.asked {
            Asked::Matter(matter) => matter.question(),
            Asked::Output(output) => output.question(),
        }
    }

    /// The target of its receipts.
    pub fn target(&self) -> Arc<TargetTemplate> {
        match &self.asked {
            Asked::Matter(matter) => Arc::new(matter.target()),
            Asked::Output(output) => output.target(),
        }
    }

    /// Decides by a policy; may call Python.
    pub fn decide(
        &self,
        py: Python<'_>,
        generation: &Arc<Generation>,
        now: i64,
        scratch: &mut Scratch,
    ) -> PyResult<Decision> {
        scratch.reset();
        match &self.asked {
            Asked::Matter(matter) => {
                let policy = &generation.policy;
                Ok(matter.with_request(&matter.scope, now, |request| policy.decide(request, scratch)))
            }
            Asked::Output(output) => output.decide(py, generation, now, scratch),
        }
    }

    /// Hands its receipt to the log; needs no Python.
    pub fn push(
        &self,
        issue: &mut chio_store::Issue<'_>,
        ruling: &Ruling,
        id: ReceiptId,
        before: &mut Before,
    ) -> Result<u64, PushError> {
        match &self.asked {
            Asked::Matter(matter) => matter.push(issue, ruling, id),
            Asked::Output(output) => output.push(issue, ruling, id, before),
        }
    }

    /// What can be sent: an output, and its receipt.
    pub fn outgoing(&self) -> PyResult<(&Output, ReceiptId)> {
        let issued = self.ruling().issued;
        match (&self.asked, issued) {
            (Asked::Output(output), Some(issued)) => Ok((output, issued.id)),
            _ => Err(PyValueError::new_err("only an output that has its receipt can be sent")),
        }
    }

    /// Its correlation text.
    pub fn correlation(&self) -> Option<&str> {
        match &self.asked {
            Asked::Matter(matter) => &matter.origin,
            Asked::Output(output) => output.origin(),
        }
        .correlation
        .as_deref()
    }

    fn matter(&self) -> Option<&Matter> {
        match &self.asked {
            Asked::Matter(matter) => Some(matter),
            Asked::Output(_) => None,
        }
    }
}

/// The boundary of a word.
pub fn kind(word: &str) -> PyResult<Kind> {
    let wrong = || PyValueError::new_err(format!("`{word}` is no boundary: write `consume`, `invoke` or `produce`"));
    Kind::from_word(word).ok_or_else(wrong)
}

#[pymethods]
impl Check {
    #[getter]
    fn is_allowed(&self) -> bool {
        self.ruling().verdict() == Verdict::Allow
    }

    #[getter]
    fn guards_due<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let due: Vec<String> = self.ruling().due(self.always()).map(str::to_owned).collect();
        PyTuple::new(py, due)
    }

    #[getter]
    fn decision<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = self.ruling().snapshot(&self.question(), self.always());
        decision::build(py, &snapshot)
    }

    #[getter]
    fn receipt_id(&self) -> Option<String> {
        self.ruling().issued.map(|issued| issued.id.to_string())
    }

    #[getter]
    fn ordinal(&self) -> Option<u64> {
        self.ruling().issued.and_then(|issued| issued.ordinal)
    }

    #[getter]
    fn identity(&self) -> &str {
        self.question().identity
    }

    #[getter]
    fn scope(&self) -> &str {
        self.question().scope
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.question().kind.as_str()
    }

    #[getter]
    fn event(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &self.asked {
            Asked::Matter(matter) => matter.shown.0.as_ref().map(|event| event.clone_ref(py)),
            Asked::Output(output) => output.event(py),
        }
    }

    #[getter]
    fn output(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match &self.asked {
            Asked::Matter(matter) => Ok(matter.shown.1.as_ref().map(|output| output.clone_ref(py))),
            Asked::Output(output) => output.shown(py).map(Some),
        }
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let Asked::Output(output) = &self.asked else { return Ok(None) };
        let issued = self.ruling().issued;
        output.sent_headers(py, issued.map(|issued| issued.id)).map(Some)
    }

    fn send<'py>(&self, produce: &Bound<'py, PyAny>, on_delivery: &Bound<'py, PyAny>) -> PyResult<()> {
        let (output, receipt) = self.outgoing()?;
        output.send(produce, on_delivery, receipt)
    }

    #[getter]
    fn tool(&self) -> Option<&str> {
        self.matter()?.tool.as_deref()
    }

    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.matter()?.arguments.as_deref().map(|json| PyBytes::new(py, json))
    }

    fn guards_ran(&self, runs: &Bound<'_, PyAny>) -> PyResult<()> {
        let runs = runs.try_iter()?.map(|run| read_run(&run?)).collect::<PyResult<Vec<_>>>()?;
        self.ruling().record(runs, self.always());
        Ok(())
    }

    fn has_scope(&self, py: Python<'_>, scope: &str) -> PyResult<bool> {
        let (generation, now) = {
            let ruling = self.ruling();
            (Arc::clone(&ruling.generation), ruling.now)
        };
        let mut scratch = Scratch::new();
        let mut has = |request: &Request<'_>| generation.policy.has_scope(request, &mut scratch);
        match &self.asked {
            Asked::Matter(matter) => Ok(matter.with_request(scope, now, has)),
            Asked::Output(output) => output.with_request(py, (scope, true), now, &mut has),
        }
    }

    fn __repr__(&self) -> String {
        let question = self.question();
        let verdict = self.ruling().verdict();
        format!("Check({}, {}, {}, {})", question.identity, question.scope, question.kind.as_str(), verdict.as_str())
    }
}
