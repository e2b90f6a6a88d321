//! Signing keys; the secret part stays in Rust.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use chio_store::keys;

use crate::errors;

/// A signing key.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Signer {
    /// Shared with the logs that sign with it.
    pub inner: Arc<chio_receipts::Signer>,
}

#[pymethods]
impl Signer {
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::wrap(py, keys::load(&path))
    }

    #[staticmethod]
    #[pyo3(signature = (name = "CHIO_SIGNING_KEY"))]
    fn from_env(py: Python<'_>, name: &str) -> PyResult<Self> {
        Self::wrap(py, keys::from_env(name))
    }

    #[staticmethod]
    fn generate(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::wrap(py, keys::create(&path))
    }

    #[staticmethod]
    fn replace(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::wrap(py, keys::replace(&path))
    }

    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.public_key())
    }

    #[getter]
    fn key_id(&self) -> String {
        chio_receipts::hex::encode(&self.inner.key_id())
    }

    fn __repr__(&self) -> String {
        format!("Signer({})", self.key_id())
    }
}

impl Signer {
    fn wrap(py: Python<'_>, loaded: Result<chio_receipts::Signer, chio_store::LogError>) -> PyResult<Self> {
        loaded.map(|signer| Self { inner: Arc::new(signer) }).map_err(|error| errors::log(py, &error))
    }
}
