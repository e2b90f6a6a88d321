//! Reading the headers of a client's message.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::message::Reader;
use crate::record::{self, Header};

/// Calls `each` with name and value of every header, in the order of the record.
///
/// # Errors
/// Whatever the accessor raises where it has to be asked: a name that is not UTF-8 makes the client fail.
pub fn each(message: &Bound<'_, PyAny>, mut each: impl FnMut(&[u8], Option<&[u8]>)) -> PyResult<()> {
    if Reader::new(message.py(), Some(message))?.headers(message, &mut each) {
        return Ok(());
    }
    by_accessor(message, each)
}

/// The same by way of the client's accessor.
pub fn by_accessor(message: &Bound<'_, PyAny>, mut each: impl FnMut(&[u8], Option<&[u8]>)) -> PyResult<()> {
    let given = message.call_method0(intern!(message.py(), "headers"))?;
    let Ok(pairs) = given.cast::<PyList>() else {
        for (name, value) in &listed(&given)? {
            each(name.as_bytes(), value.as_deref());
        }
        return Ok(());
    };
    for pair in pairs.iter() {
        let pair = pair.cast::<PyTuple>()?;
        let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
        let value =
            record::bytes_of(&value)?.ok_or_else(|| record::content_type_error(&value, "message", "headers"))?;
        each(name.cast::<PyString>()?.to_str()?.as_bytes(), value);
    }
    Ok(())
}

/// All headers; `None` if they are unreadable.
pub fn all(message: &Bound<'_, PyAny>) -> Option<Vec<Header>> {
    let mut headers = Vec::new();
    each(message, |name, value| headers.push(owned(name, value))).is_ok().then_some(headers)
}

/// A header as conditions see it: with U+FFFD in its name for what is not UTF-8.
pub fn owned(name: &[u8], value: Option<&[u8]>) -> Header {
    (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec))
}

/// The headers as Python is given them: by the client, unless a name is not UTF-8, which stands there as conditions see it,
/// with U+FFFD for what is none.
///
/// The client would put nothing in the place of such a name, and the next code that looks at it would end the process.
///
/// # Errors
/// There is such a name, and the client is the only one that can tell, or was asked before.
#[pyfunction(name = "headers_of")]
pub fn given<'py>(message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = message.py();
    let mut is_text = true;
    let is_read =
        Reader::new(py, Some(message))?.headers(message, &mut |name, _| is_text &= str::from_utf8(name).is_ok());
    if is_read && !is_text {
        return Ok(listing(py, &all(message).unwrap_or_default())?.into_any());
    }
    let given = message.call_method0(intern!(py, "headers"))?;
    for pair in given.cast::<PyList>().into_iter().flatten() {
        if pair.cast::<PyTuple>().is_ok_and(|pair| pair.len() == 2 && pair.get_item(0).is_err()) {
            return Err(PyValueError::new_err("a header has a name that is not UTF-8: read the event without headers"));
        }
    }
    Ok(given)
}

/// Headers as the client would give them.
pub fn listing<'py>(py: Python<'py>, headers: &[Header]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, headers.iter().map(|(name, value)| (name, value.as_deref().map(|value| PyBytes::new(py, value)))))
}

/// What a stand-in for a message gives: nothing, a dictionary, or pairs in another container.
fn listed(given: &Bound<'_, PyAny>) -> PyResult<Vec<Header>> {
    if given.is_none() { Ok(Vec::new()) } else { record::headers(given, "message") }
}
