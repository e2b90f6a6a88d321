//! Looking at the roads to a client's message, for `chio-fast doctor` and for the test that they agree.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::headers;
use crate::layout::{Fields, Layout};
use crate::message::Reader;

/// Says why messages of the imported client are read by its accessors instead of where their fields lie; None if they are
/// not.
#[pyfunction]
pub fn slow_road_reason(py: Python<'_>) -> Option<String> {
    Layout::find(py).err().map(|error| error.value(py).to_string())
}

/// Reads a message by the fast road, None if it is closed, and by the accessors.
///
/// Each reading is (is error, topic, partition, offset, key, value, timestamp, headers).
#[pyfunction]
pub fn read_by_both_roads<'py>(
    message: &Bound<'py, PyAny>,
) -> PyResult<(Option<Bound<'py, PyAny>>, Bound<'py, PyAny>)> {
    let py = message.py();
    let reader = Reader::new(py, Some(message))?;
    let fast = if reader.has_layout() {
        let mut pairs = Vec::new();
        let are_read = reader.headers(message, &mut |name, value| pairs.push(pair(name, value)));
        if !are_read {
            pairs.clear();
            headers::by_accessor(message, |name, value| pairs.push(pair(name, value)))?;
        }
        Some(reading(reader, message, pairs)?)
    } else {
        None
    };
    let mut pairs = Vec::new();
    headers::by_accessor(message, |name, value| pairs.push(pair(name, value)))?;
    Ok((fast, reading(reader.by_accessors(), message, pairs)?))
}

type Pair = (Vec<u8>, Option<Vec<u8>>);

fn pair(name: &[u8], value: Option<&[u8]>) -> Pair {
    (name.to_vec(), value.map(<[u8]>::to_vec))
}

fn reading<'py>(reader: Reader, message: &Bound<'py, PyAny>, pairs: Vec<Pair>) -> PyResult<Bound<'py, PyAny>> {
    let py = message.py();
    let fields = reader.fields(message)?;
    let bytes = |(name, value): Pair| (PyBytes::new(py, &name), value.map(|value| PyBytes::new(py, &value)));
    let headers = PyList::new(py, pairs.into_iter().map(bytes))?;
    let Fields { is_error, topic, partition, offset, key, value, timestamp } = fields;
    Ok((is_error, topic, partition, offset, key, value, timestamp, headers).into_pyobject(py)?.into_any())
}
