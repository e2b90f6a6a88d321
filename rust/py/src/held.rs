//! Bytes that Python owns and Rust reads without Python's lock.

use std::ops::Deref;

use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyString};

/// A key, a value or a header's value as it was given: an immutable object and the place of its bytes.
#[derive(Debug)]
pub enum Held {
    /// `bytes`
    Bytes(PyBackedBytes),
    /// `str`, which stands for its UTF-8.
    Text(PyBackedStr),
}

impl Held {
    /// Keeps an object; `None` if it is none of bytes, str and None, an inner `None` for None.
    ///
    /// # Errors
    /// A text has no UTF-8.
    pub fn take(given: Bound<'_, PyAny>) -> PyResult<Option<Option<Self>>> {
        if given.is_none() {
            return Ok(Some(None));
        }
        let given = match given.cast_into::<PyBytes>() {
            Ok(bytes) => return Ok(Some(Some(Self::Bytes(bytes.into())))),
            Err(other) => other.into_inner(),
        };
        match given.cast_into::<PyString>() {
            Ok(text) => Ok(Some(Some(Self::Text(text.try_into()?)))),
            Err(_) => Ok(None),
        }
    }

    /// The object.
    pub fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Bytes(bytes) => bytes.into_pyobject(py)?.into_any(),
            Self::Text(text) => text.as_py_str().bind(py).clone().into_any(),
        })
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

/// The object of what may be absent.
pub fn object<'py>(py: Python<'py>, held: Option<&Held>) -> PyResult<Option<Bound<'py, PyAny>>> {
    held.map(|held| held.object(py)).transpose()
}
