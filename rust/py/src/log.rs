//! The issuing side of a receipt log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use chio_receipts::Durability;
use chio_store::{LogLocation, LogOptions};
use zeroize::Zeroizing;

use crate::checkpoint::SignedCheckpoint;
use crate::errors;
use crate::signer::Signer;

/// A wait without the GIL lasts at most so long before Python's signal handlers get a turn.
pub const SLICE: Duration = Duration::from_millis(100);

/// This process's claim, epoch and sealer thread on a log.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Log {
    /// Shared with the gates that issue into it.
    pub inner: Arc<chio_store::Log>,
}

#[pymethods]
impl Log {
    #[staticmethod]
    #[pyo3(signature = (location, *, issuer = None, identity = None, signer = None, durability = "full", digest_key = None,
                        linger_ms = None, max_batch = None, max_unsealed_bytes = None))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn open(
        py: Python<'_>,
        location: PathBuf,
        issuer: Option<String>,
        identity: Option<String>,
        signer: Option<&Bound<'_, Signer>>,
        durability: &str,
        digest_key: Option<&[u8]>,
        linger_ms: Option<u64>,
        max_batch: Option<usize>,
        max_unsealed_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let defaults = LogOptions::default();
        let options = LogOptions {
            identity: identity.unwrap_or(defaults.identity),
            issuer,
            signer: signer.map(|signer| Arc::clone(&signer.get().inner)),
            durability: Durability::from_word(durability).ok_or_else(|| {
                PyValueError::new_err(format!("`durability` is `{durability}`: write `full` or `relaxed`"))
            })?,
            digest_key: digest_key.map(key).transpose()?,
            linger: linger_ms.map_or(defaults.linger, Duration::from_millis),
            max_batch: max_batch.unwrap_or(defaults.max_batch),
            max_unsealed_bytes: max_unsealed_bytes.unwrap_or(defaults.max_unsealed_bytes),
            ..defaults
        };
        let location = locate(py, &location)?;
        let opened = py.detach(|| chio_store::Log::open(&location, &options));
        opened.map(|inner| Self { inner }).map_err(|error| errors::log(py, &error))
    }

    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.inner.location().path().map(ToOwned::to_owned)
    }

    #[getter]
    fn location(&self) -> String {
        self.inner.location().to_string()
    }

    #[getter]
    fn issuer(&self) -> &str {
        self.inner.issuer()
    }

    #[getter]
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.public_key())
    }

    #[getter]
    fn created_key(&self) -> Option<PathBuf> {
        self.inner.created_key().map(ToOwned::to_owned)
    }

    #[getter]
    fn issued(&self) -> u64 {
        self.inner.issued()
    }

    #[getter]
    fn durable(&self) -> u64 {
        self.inner.durable()
    }

    fn seal(&self) -> u64 {
        self.inner.seal()
    }

    #[pyo3(signature = (ordinal, timeout = None))]
    fn wait_durable(&self, py: Python<'_>, ordinal: u64, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if self.inner.durable() >= ordinal {
            // There is nothing to wait for; to get Python's lock back could take long.
            return self.inner.wait_durable(ordinal, Some(Duration::ZERO)).map_err(|error| errors::log(py, &error));
        }
        loop {
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()).min(SLICE));
            let waited = py.detach(|| self.inner.wait_durable(ordinal, Some(left)));
            if waited.map_err(|error| errors::log(py, &error))? {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }

    fn attempts(&self, ordinals: Vec<u64>) -> Vec<Option<u32>> {
        let attempt = |ordinal: u64| {
            let sealed = self.inner.sealed(ordinal..ordinal + 1).into_iter().next().flatten()?;
            Some(sealed.attempt).filter(|attempt| *attempt > 0)
        };
        ordinals.into_iter().map(attempt).collect()
    }

    fn checkpoint(&self, py: Python<'_>, ordinal: u64) -> PyResult<SignedCheckpoint> {
        let inner = self.inner.checkpoint(ordinal).map_err(|error| errors::log(py, &error))?;
        Ok(SignedCheckpoint { inner })
    }

    fn head(&self, py: Python<'_>) -> PyResult<Option<SignedCheckpoint>> {
        let head = self.inner.head().map_err(|error| errors::log(py, &error))?;
        Ok(head.map(|inner| SignedCheckpoint { inner }))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.close()).map_err(|error| errors::log(py, &error))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let stats = self.inner.stats();
        let json = serde_json::json!({
            "issued": stats.issued,
            "durable": stats.durable,
            "batches": stats.batches,
            "appends": stats.appends,
            "bytes": stats.bytes,
            "waits": stats.waits,
            "unsealed_bytes": stats.unsealed_bytes,
        });
        Ok(PyBytes::new(py, json.to_string().as_bytes()))
    }

    fn __repr__(&self) -> String {
        format!("Log({}, issuer={}, epoch={})", self.inner.location(), self.inner.issuer(), self.inner.epoch())
    }
}

/// The location that Python gave as a path or a URL.
pub fn locate(py: Python<'_>, given: &Path) -> PyResult<LogLocation> {
    LogLocation::parse(given.as_os_str()).map_err(|error| errors::log(py, &error))
}

fn key(bytes: &[u8]) -> PyResult<Zeroizing<[u8; 32]>> {
    bytes.try_into().map(Zeroizing::new).map_err(|_| {
        PyValueError::new_err(format!(
            "`digest_key` has {} bytes: give 32, for example `secrets.token_bytes(32)`",
            bytes.len()
        ))
    })
}
