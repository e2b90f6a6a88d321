//! The headers that an output takes along: the caller's, and the trace of the event that is handled.

use std::borrow::Cow;
use std::ffi::{CStr, CString};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use chio_rulings::headers::{TRACE, TRACE_TERMINATED, correlation_text, is_stated_by_receipt};

use crate::held::{self, Held};
use crate::outlet::ROLE;
use crate::record;

/// A header as the client takes it.
#[derive(Debug)]
pub struct OutboundHeader {
    /// Its name, which is UTF-8.
    pub name: Cow<'static, CStr>,
    /// Its value, if it has one.
    pub value: Option<Held>,
}

impl OutboundHeader {
    /// The header of a trace.
    pub fn trace(value: Bound<'_, PyBytes>) -> Self {
        Self { name: TRACE_TERMINATED.into(), value: Some(Held::Bytes(value.into())) }
    }

    /// The name as text.
    pub fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    /// Name and value, as the policy and the receipt know them.
    pub fn view(&self) -> (&str, Option<&[u8]>) {
        (self.name(), self.value.as_deref())
    }

    /// Name and value, as Python knows them.
    pub fn pair<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        (self.name(), held::object(py, self.value.as_ref())?).into_pyobject(py)
    }
}

/// The caller's headers, without those that say what receipts say; and the correlation text among them, that of the header
/// which comes first in `names`.
pub fn carried(given: &Bound<'_, PyAny>, names: &[String]) -> PyResult<(Vec<OutboundHeader>, Option<String>)> {
    let wrong = || record::headers_error(ROLE);
    let pairs = match given.cast::<PyDict>() {
        Ok(members) => members.items().into_any(),
        Err(_) => given.clone(),
    };
    let (mut kept, mut text, mut rank) = (Vec::new(), None, names.len());
    for pair in pairs.try_iter().map_err(|_| wrong())? {
        let (name, value) = parts(&pair?)?;
        let name = name.to_str()?;
        let is_text = value.is_instance_of::<PyString>();
        let Some(value) = Held::take(value.clone())? else {
            return Err(record::content_type_error(&value, ROLE, "headers"));
        };
        if is_text && value.as_ref().is_some_and(|text| text.contains(&0)) {
            return Err(cut_off(name));
        }
        let terminated = CString::new(name).map_err(|_| cut_off(name))?;
        if let Some(found) = names.iter().take(rank).position(|known| known == name)
            && let Some(bytes) = &value
        {
            (rank, text) = (found, Some(correlation_text(bytes).into_owned()));
        }
        if !is_stated_by_receipt(name) {
            kept.push(OutboundHeader { name: terminated.into(), value });
        }
    }
    Ok((kept, text))
}

/// Whether the caller's headers say of what trace the output is part.
pub fn hold_trace(headers: &[OutboundHeader]) -> bool {
    headers.iter().any(|header| header.name() == TRACE)
}

/// The policy and the receipt would know another header than the topic.
fn cut_off(name: &str) -> PyErr {
    PyValueError::new_err(format!(
        "header {name:?} of `{ROLE}` holds a NUL, where the client cuts names and strings off: leave it out, or give the \
         value as bytes"
    ))
}

/// Name and value of a header.
fn parts<'py>(pair: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, Bound<'py, PyAny>)> {
    let wrong = || record::headers_error(ROLE);
    let pair = pair.cast::<PyTuple>().map_err(|_| wrong())?;
    if pair.len() != 2 {
        return Err(wrong());
    }
    let name = pair.get_item(0)?.cast_into::<PyString>().map_err(|_| wrong())?;
    Ok((name, pair.get_item(1)?))
}
