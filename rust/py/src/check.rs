//! One request of any boundary with its decision, for everything that is not a consumed batch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use chio_conditions::Kind;
use chio_policy::{Request, Scratch};
use chio_receipts::{EventTarget, ReceiptId, TargetTemplate};

use crate::decision::read_run;
use crate::record::Record;
use crate::ruling::{Question, Ruling};

/// The header that names the receipt of the event that led to this one.
pub const PARENT_HEADER: &str = "X-Chio-Receipt";

/// What is asked, in Rust's own memory.
#[derive(Debug)]
pub struct Matter {
    /// Who asks.
    pub identity: String,
    /// The permission.
    pub scope: String,
    /// The boundary.
    pub kind: Kind,
    /// The inbound event.
    pub event: Option<Record>,
    /// The tool.
    pub tool: Option<String>,
    /// JSON text of its arguments.
    pub arguments: Option<Vec<u8>>,
    /// The event to be produced.
    pub output: Option<Record>,
    /// Receipts that led to this.
    pub parents: Vec<ReceiptId>,
    /// How many asserted parents were no receipt ids.
    pub parents_rejected: u32,
    /// Correlation text.
    pub correlation: Option<String>,
}

impl Matter {
    /// What is asked of the policy.
    pub fn question(&self) -> Question<'_> {
        Question { identity: &self.identity, scope: &self.scope, kind: self.kind }
    }

    /// Calls `f` with the request, asked for `scope`.
    pub fn with_request<R>(&self, scope: &str, now: i64, f: impl FnOnce(&Request<'_>) -> R) -> R {
        let base = Request {
            scope,
            tool: self.tool.as_deref(),
            arguments: self.arguments.as_deref(),
            ..self.question().request(now)
        };
        let with_output = |base: Request<'_>| match &self.output {
            Some(output) => output.with_view(|output| f(&Request { output: Some(output), ..base })),
            None => f(&base),
        };
        match &self.event {
            Some(event) => event.with_view(|event| with_output(Request { event: Some(event), ..base })),
            None => with_output(base),
        }
    }

    /// The target of its receipt.
    pub fn target(&self) -> TargetTemplate {
        let record = match self.kind {
            Kind::Invoke => return TargetTemplate::tool(self.tool.as_deref().unwrap_or(&self.scope)),
            Kind::Consume => &self.event,
            Kind::Produce => &self.output,
        };
        record.as_ref().map_or_else(TargetTemplate::none, |record| {
            TargetTemplate::event(&EventTarget {
                cluster: "",
                group: "",
                identity: &self.identity,
                topic: &record.topic,
                topic_id: "",
                partition: record.partition.filter(|_| self.kind == Kind::Consume),
            })
        })
    }

    /// The event of which the receipt holds a digest: the inbound one at consume, the outbound one at produce.
    pub fn subject(&self) -> Option<&Record> {
        match self.kind {
            Kind::Consume => self.event.as_ref(),
            Kind::Produce => self.output.as_ref(),
            Kind::Invoke => None,
        }
    }

    /// Adds parents by their spelling; what is none is counted.
    pub fn add_parents<'a>(&mut self, spelled: impl IntoIterator<Item = &'a [u8]>) {
        for text in spelled {
            match ReceiptId::parse(text) {
                Ok(id) if self.parents.contains(&id) => {}
                Ok(id) => self.parents.push(id),
                Err(_) => self.parents_rejected += 1,
            }
        }
    }
}

/// One request with its decision.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Check {
    /// What was asked.
    pub matter: Matter,
    /// Guards that run for every decision.
    pub always: Arc<[String]>,
    event: Option<Py<PyAny>>,
    output: Option<Py<PyAny>>,
    ruling: Mutex<Ruling>,
}

impl Check {
    /// A request that was just decided; `event` and `output` are the caller's own objects, which guards are shown.
    pub fn new(
        matter: Matter,
        event: Option<Py<PyAny>>,
        output: Option<Py<PyAny>>,
        always: &Arc<[String]>,
        ruling: Ruling,
    ) -> Self {
        Self { matter, always: Arc::clone(always), event, output, ruling: Mutex::new(ruling) }
    }

    /// The ruling; no Python code may run while it is held.
    pub fn ruling(&self) -> MutexGuard<'_, Ruling> {
        self.ruling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The boundary of a word.
pub fn kind(word: &str) -> PyResult<Kind> {
    match word {
        "consume" => Ok(Kind::Consume),
        "invoke" => Ok(Kind::Invoke),
        "produce" => Ok(Kind::Produce),
        _ => Err(PyValueError::new_err(format!("`{word}` is no boundary: write `consume`, `invoke` or `produce`"))),
    }
}

#[pymethods]
impl Check {
    #[getter]
    fn guards_due<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let due: Vec<String> = self.ruling().due(&self.always).map(str::to_owned).collect();
        PyTuple::new(py, due)
    }

    #[getter]
    fn decision<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = self.ruling().snapshot(&self.matter.question(), &self.always);
        snapshot.build(py)
    }

    #[getter]
    fn receipt_id(&self) -> Option<String> {
        self.ruling().issued.map(|issued| issued.id.to_string())
    }

    #[getter]
    fn ordinal(&self) -> Option<u64> {
        self.ruling().issued.map(|issued| issued.ordinal)
    }

    #[getter]
    fn identity(&self) -> &str {
        &self.matter.identity
    }

    #[getter]
    fn scope(&self) -> &str {
        &self.matter.scope
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.matter.kind.as_str()
    }

    #[getter]
    fn event(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.event.as_ref().map(|event| event.clone_ref(py))
    }

    #[getter]
    fn output(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.output.as_ref().map(|output| output.clone_ref(py))
    }

    #[getter]
    fn tool(&self) -> Option<&str> {
        self.matter.tool.as_deref()
    }

    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.matter.arguments.as_deref().map(|json| PyBytes::new(py, json))
    }

    fn guards_ran(&self, runs: &Bound<'_, PyAny>) -> PyResult<()> {
        let runs = runs.try_iter()?.map(|run| read_run(&run?)).collect::<PyResult<Vec<_>>>()?;
        self.ruling().record(runs, &self.always);
        Ok(())
    }

    fn has_scope(&self, scope: &str) -> bool {
        let (generation, now) = {
            let ruling = self.ruling();
            (Arc::clone(&ruling.generation), ruling.now)
        };
        let mut scratch = Scratch::new();
        self.matter.with_request(scope, now, |request| generation.policy.has_scope(request, &mut scratch))
    }

    fn __repr__(&self) -> String {
        let matter = &self.matter;
        let verdict = self.ruling().verdict();
        format!("Check({}, {}, {}, {})", matter.identity, matter.scope, matter.kind.as_str(), verdict.as_str())
    }
}
