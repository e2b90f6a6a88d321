//! The headers that an output takes along: the caller's, and the trace of the event that is handled.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use chio_rulings::headers::{TRACE, correlation_text, is_stated_by_receipt};

use crate::event::Event;
use crate::outlet::ROLE;
use crate::record;

/// The caller's headers as immutable pairs, without those that say what receipts say; and the correlation text among them,
/// that of the header which comes first in `names`.
pub fn carried<'py>(
    given: &Bound<'py, PyAny>,
    names: &[String],
) -> PyResult<(Option<Bound<'py, PyTuple>>, Option<String>)> {
    let pairs = pairs_of(given)?;
    let (mut own, mut text, mut rank) = (0, None, names.len());
    for pair in pairs.iter_borrowed() {
        let (name, value) = parts(&pair)?;
        let name = name.to_str()?;
        let Some(bytes) = record::bytes_of(&value)? else {
            return Err(record::content_type_error(&value, ROLE, "headers"));
        };
        let is_cut_off =
            name.contains('\0') || value.cast::<PyString>().is_ok() && bytes.is_some_and(|it| it.contains(&0));
        if is_cut_off {
            // The policy and the receipt would know another header than the topic.
            return Err(PyValueError::new_err(format!(
                "header {name:?} of `{ROLE}` holds a NUL, where the client cuts names and strings off: leave it out, or \
                 give the value as bytes"
            )));
        }
        own += usize::from(is_stated_by_receipt(name));
        if let Some(found) = names.iter().take(rank).position(|known| known == name)
            && let Some(bytes) = bytes
        {
            (rank, text) = (found, Some(correlation_text(bytes).into_owned()));
        }
    }
    if own == pairs.len() {
        return Ok((None, text));
    }
    if own == 0 {
        return Ok((Some(pairs), text));
    }
    let mut kept = Vec::with_capacity(pairs.len() - own);
    for pair in pairs.iter_borrowed() {
        if !is_stated_by_receipt(parts(&pair)?.0.to_str()?) {
            kept.push(pair.to_owned());
        }
    }
    Ok((Some(PyTuple::new(given.py(), kept)?), text))
}

/// The headers and the trace of an event, unless they hold one.
pub fn with_trace<'py>(
    given: Option<Bound<'py, PyTuple>>,
    event: &Bound<'py, Event>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = event.py();
    let Some(trace) = event.get().trace(py) else { return Ok(given) };
    let mut pairs = Vec::with_capacity(1);
    for pair in given.iter().flatten() {
        if parts(&pair)?.0.to_str()? == TRACE {
            return Ok(given);
        }
        pairs.push(pair);
    }
    pairs.push((intern!(py, TRACE), trace).into_pyobject(py)?.into_any());
    PyTuple::new(py, pairs).map(Some)
}

/// Headers as a tuple of tuples.
fn pairs_of<'py>(given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let wrong = || record::headers_error(ROLE);
    let pairs = match given.cast::<PyDict>() {
        Ok(members) => members.items().to_tuple(),
        Err(_) => match given.cast::<PyList>() {
            Ok(pairs) => pairs.to_tuple(),
            Err(_) => {
                let pairs = given.try_iter().map_err(|_| wrong())?.collect::<PyResult<Vec<_>>>()?;
                PyTuple::new(given.py(), pairs)?
            }
        },
    };
    if pairs.iter_borrowed().all(|pair| pair.is_exact_instance_of::<PyTuple>()) {
        return Ok(pairs);
    }
    let pair = |pair: Bound<'py, PyAny>| pair.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>().map_err(|_| wrong());
    PyTuple::new(given.py(), pairs.iter().map(pair).collect::<PyResult<Vec<_>>>()?)
}

/// Name and value of a header.
pub fn parts<'py>(pair: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, Bound<'py, PyAny>)> {
    let wrong = || record::headers_error(ROLE);
    let pair = pair.cast::<PyTuple>().map_err(|_| wrong())?;
    if pair.len() != 2 {
        return Err(wrong());
    }
    let name = pair.get_item(0)?.cast_into::<PyString>().map_err(|_| wrong())?;
    Ok((name, pair.get_item(1)?))
}
