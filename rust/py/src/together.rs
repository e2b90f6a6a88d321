//! Lists of events, taken apart where the partition changes.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::event::Event;

/// Topic and number of a partition, and events that follow each other and are of one assignment of it.
type Together<'py> = (Py<PyString>, i32, Bound<'py, PyList>);

/// Takes a list apart.
#[pyfunction]
pub fn by_partition<'py>(events: &Bound<'py, PyList>) -> PyResult<Vec<Together<'py>>> {
    let part = |first: &Bound<'py, Event>, start, end| {
        let place = &first.get().place;
        (place.topic_object.clone_ref(first.py()), place.number, events.get_slice(start, end))
    };
    let mut parts = Vec::new();
    let mut open: Option<(usize, Bound<'py, Event>)> = None;
    for (index, event) in events.iter().enumerate() {
        let event = event.cast_into::<Event>()?;
        if open.as_ref().is_some_and(|(_, first)| Arc::ptr_eq(&first.get().place, &event.get().place)) {
            continue;
        }
        if let Some((start, first)) = open.replace((index, event)) {
            parts.push(part(&first, start, index));
        }
    }
    if let Some((start, first)) = open {
        parts.push(part(&first, start, events.len()));
    }
    Ok(parts)
}
