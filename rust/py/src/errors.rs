//! The one place where failures of the crates become the exceptions of `chio_fast.errors`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use chio_policy::PolicyError;
use chio_receipts::PushError;
use chio_store::LogError;

mod python {
    #![allow(missing_docs, reason = "the exceptions are documented where they are defined, in Python")]
    pyo3::import_exception!(chio_fast.errors, ChioError);
    pyo3::import_exception!(chio_fast.errors, PolicyError);
    pyo3::import_exception!(chio_fast.errors, SigningKeyError);
    pyo3::import_exception!(chio_fast.errors, LogError);
}

/// A policy document that does not compile.
pub fn policy(error: &PolicyError) -> PyErr {
    PyErr::new::<python::PolicyError, _>((error.to_string(), error.source.clone(), error.line, error.rule.clone()))
}

/// A key or trust file that cannot be used.
pub fn signing_key(message: &str) -> PyErr {
    PyErr::new::<python::SigningKeyError, _>(message.to_owned())
}

/// A failure of the receipt log, by its code; those of keys are errors of keys.
pub fn log(py: Python<'_>, error: &LogError) -> PyErr {
    let message = error.to_string();
    if error.code() == "key" {
        return signing_key(&message);
    }
    match log_errors(py).and_then(|kinds| kinds.get_item(error.code())) {
        Ok(Some(kind)) => match kind.cast_into::<PyType>() {
            Ok(kind) => PyErr::from_type(kind, (message, error.code())),
            Err(error) => error.into(),
        },
        Ok(None) => PyErr::new::<python::LogError, _>((message, error.code())),
        Err(error) => error,
    }
}

/// A draft that cannot become a receipt.
pub fn push(error: &PushError) -> PyErr {
    PyErr::new::<python::ChioError, _>(format!("no receipt can be issued: {error}"))
}

fn log_errors(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    static KINDS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    KINDS
        .get_or_try_init(py, || {
            Ok(py.import("chio_fast.errors")?.getattr("LOG_ERRORS")?.cast_into::<PyDict>()?.unbind())
        })
        .map(|kinds| kinds.bind(py))
}
