//! Decisions as Python sees them: the structs of `chio_fast.decision`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use crate::ruling::Generation;

/// What a guard said, as recorded by `guards_ran`.
#[derive(Clone, Debug)]
pub struct Run {
    /// The guard's name.
    pub name: String,
    /// `allow`, or why not: `deny`, `error`, `timeout`.
    pub verdict: chio_receipts::GuardVerdict,
    /// Its reason; empty if it allowed.
    pub reason: String,
}

/// The members of `chio_fast.decision.Decision`, in its order. Owned, because building the Python object may run Python
/// code, during which no lock of ours may be held.
#[derive(Debug)]
pub struct Snapshot {
    /// Who asked.
    pub identity: String,
    /// The permission asked for.
    pub scope: String,
    /// The boundary.
    pub kind: &'static str,
    /// The word.
    pub verdict: &'static str,
    /// The rule that decided, or empty.
    pub rule: String,
    /// A sentence.
    pub reason: String,
    /// Rules that erred: (rule, code).
    pub errors: Vec<(String, &'static str)>,
    /// Guards that are due or ran.
    pub guards: Vec<String>,
    /// The policy that decided.
    pub generation: Arc<Generation>,
    /// When it was decided, Unix ms.
    pub timestamp: i64,
    /// When it has to be made again, Unix ms.
    pub valid_until: i64,
    /// The receipt, if one was issued.
    pub receipt_id: Option<String>,
    /// What guards said.
    pub runs: Vec<Run>,
}

impl Snapshot {
    /// The Python object.
    pub fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let errors = self.errors.iter().map(|(rule, code)| class(py, "RuleError")?.call1((rule, code)));
        let runs =
            self.runs.iter().map(|run| class(py, "GuardRun")?.call1((&run.name, run.verdict.as_str(), &run.reason)));
        let arguments = [
            PyString::new(py, &self.identity).into_any(),
            PyString::new(py, &self.scope).into_any(),
            PyString::new(py, self.kind).into_any(),
            PyString::new(py, self.verdict).into_any(),
            PyString::new(py, &self.rule).into_any(),
            PyString::new(py, &self.reason).into_any(),
            PyTuple::new(py, errors.collect::<PyResult<Vec<_>>>()?)?.into_any(),
            PyTuple::new(py, &self.guards)?.into_any(),
            PyString::new(py, &self.generation.version).into_any(),
            self.timestamp.into_pyobject(py)?.into_any(),
            self.valid_until.into_pyobject(py)?.into_any(),
            self.receipt_id.as_ref().into_pyobject(py)?.into_any(),
            PyTuple::new(py, runs.collect::<PyResult<Vec<_>>>()?)?.into_any(),
        ];
        class(py, "Decision")?.call1(PyTuple::new(py, arguments)?)
    }
}

/// Reads a `GuardRun`.
pub fn read_run(given: &Bound<'_, PyAny>) -> PyResult<Run> {
    let verdict: String = given.getattr("verdict")?.extract()?;
    Ok(Run {
        name: given.getattr("name")?.extract()?,
        // A word that is none of the list is an answer that is none, and denies.
        verdict: chio_receipts::GuardVerdict::from_word(&verdict).unwrap_or(chio_receipts::GuardVerdict::Error),
        reason: given.getattr("reason")?.extract()?,
    })
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<&'py Bound<'py, PyType>> {
    static DECISION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static RULE_ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static GUARD_RUN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let cell = match name {
        "Decision" => &DECISION,
        "RuleError" => &RULE_ERROR,
        _ => &GUARD_RUN,
    };
    cell.import(py, "chio_fast.decision", name)
}
