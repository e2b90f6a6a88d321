//! What is read of a consumed message, as conditions see it.

use pyo3::prelude::*;

use chio_conditions::EventView;

use crate::place::Place;
use crate::record::{self, Header};

/// What is read of a message at admission.
pub struct Read<'py> {
    /// Key.
    pub key: Option<Bound<'py, PyAny>>,
    /// Value.
    pub value: Option<Bound<'py, PyAny>>,
    /// Offset.
    pub offset: i64,
    /// Timestamp, Unix ms.
    pub timestamp: Option<i64>,
}

impl Read<'_> {
    /// Calls `f` with the event as conditions see it.
    pub fn with_view<R>(&self, place: &Place, headers: &[Header], f: impl FnOnce(&EventView<'_>) -> R) -> PyResult<R> {
        view(self.key.as_ref(), self.value.as_ref(), (place, self.offset, self.timestamp), headers, f)
    }
}

/// Calls `f` with an event, given as its key, value and position.
pub fn view<R>(
    key: Option<&Bound<'_, PyAny>>,
    value: Option<&Bound<'_, PyAny>>,
    (place, offset, timestamp): (&Place, i64, Option<i64>),
    headers: &[Header],
    f: impl FnOnce(&EventView<'_>) -> R,
) -> PyResult<R> {
    let key = key.map(record::bytes_of).transpose()?.flatten().flatten();
    let value = value.map(record::bytes_of).transpose()?.flatten().flatten();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    let (partition, offset) = (Some(place.number), Some(offset));
    Ok(f(&EventView { topic: &place.topic, partition, offset, key, timestamp, headers: &headers, value }))
}
