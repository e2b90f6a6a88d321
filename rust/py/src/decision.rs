//! Decisions as Python sees them: the structs of `chio_fast.decision`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use chio_receipts::GuardVerdict;
use chio_rulings::{Run, Snapshot};

/// The `Decision`. Building it may run Python code, during which no lock of ours may be held.
pub fn build<'py>(py: Python<'py>, told: &Snapshot) -> PyResult<Bound<'py, PyAny>> {
    let errors = told.errors.iter().map(|(rule, code)| class(py, "RuleError")?.call1((rule, code)));
    let runs = told.runs.iter().map(|run| class(py, "GuardRun")?.call1((&run.name, run.verdict.as_str(), &run.reason)));
    let arguments = [
        PyString::new(py, &told.identity).into_any(),
        PyString::new(py, &told.scope).into_any(),
        PyString::new(py, told.kind).into_any(),
        PyString::new(py, told.verdict).into_any(),
        PyString::new(py, &told.rule).into_any(),
        PyString::new(py, &told.reason).into_any(),
        PyTuple::new(py, errors.collect::<PyResult<Vec<_>>>()?)?.into_any(),
        PyTuple::new(py, &told.guards)?.into_any(),
        PyString::new(py, &told.generation.version).into_any(),
        told.timestamp.into_pyobject(py)?.into_any(),
        told.valid_until.into_pyobject(py)?.into_any(),
        told.receipt_id.as_ref().into_pyobject(py)?.into_any(),
        PyTuple::new(py, runs.collect::<PyResult<Vec<_>>>()?)?.into_any(),
    ];
    class(py, "Decision")?.call1(PyTuple::new(py, arguments)?)
}

/// Reads a `GuardRun`.
pub fn read_run(given: &Bound<'_, PyAny>) -> PyResult<Run> {
    let verdict: String = given.getattr("verdict")?.extract()?;
    Ok(Run {
        name: given.getattr("name")?.extract()?,
        // A word that is none of the list is an answer that is none, and denies.
        verdict: GuardVerdict::from_word(&verdict).unwrap_or(GuardVerdict::Error),
        // A guard may quote the event, of which JSON gives Python strings that are not Unicode.
        reason: given.getattr("reason")?.cast::<PyString>()?.to_string_lossy().into_owned(),
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
