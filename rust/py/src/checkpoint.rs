//! A signed checkpoint as it is shown outside the log.

use pyo3::prelude::*;

use chio_receipts::hex;

/// The signed header of a batch.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct SignedCheckpoint {
    /// The store's own.
    pub inner: chio_store::SignedCheckpoint,
}

#[pymethods]
impl SignedCheckpoint {
    #[getter]
    fn hash(&self) -> String {
        hex::encode(&self.inner.hash)
    }

    #[getter]
    fn text(&self) -> &str {
        &self.inner.text
    }

    #[getter]
    fn signature(&self) -> String {
        hex::encode(&self.inner.signature)
    }

    #[getter]
    fn batch(&self) -> u64 {
        self.inner.batch
    }

    fn __repr__(&self) -> String {
        format!("SignedCheckpoint({}, batch={})", self.hash(), self.inner.batch)
    }
}
