//! What the handlers of a processor share: where they may produce to, and the decision about what they do produce.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use chio_policy::Verdict;

use crate::check::Check;
use crate::gate::Gate;
use crate::outlet::{Given, Outlet};

/// Outlets by topic, each with the size that an output may have.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Exits {
    gate: Py<Gate>,
    /// The `Boundaries` that have made this: the long way.
    pub boundaries: Py<PyAny>,
    /// What `produce` gives: to await it is possible and not necessary.
    pub done: Py<PyAny>,
    by_topic: HashMap<String, Exit, RandomState>,
}

#[derive(Debug)]
struct Exit {
    outlet: Py<Outlet>,
    /// Bytes of key and value together, if anything limits them.
    largest: Option<i64>,
}

#[pymethods]
impl Exits {
    #[new]
    fn new(gate: Py<Gate>, outlets: Vec<(Py<Outlet>, Option<i64>)>, boundaries: Py<PyAny>, done: Py<PyAny>) -> Self {
        let exit = |(outlet, largest): (Py<Outlet>, _)| (outlet.get().topic().to_owned(), Exit { outlet, largest });
        Self { gate, boundaries, done, by_topic: outlets.into_iter().map(exit).collect() }
    }

    /// The boundaries hold this, too.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.boundaries)?;
        visit.call(&self.gate)
    }
}

impl Exits {
    /// An output of the handler of `event`, if it may be sent as it is. What is given is not used up otherwise.
    pub fn output<'py>(&self, topic: &str, given: Given<'_, 'py>) -> PyResult<Option<Bound<'py, Check>>> {
        let Some(exit) = self.by_topic.get(topic) else { return Ok(None) };
        let fits = |(value, key): (usize, usize)| {
            exit.largest.is_none_or(|largest| i64::try_from(value + key).is_ok_and(|size| size <= largest))
        };
        let sizes = size_of_value(given.value.as_ref()).zip(size_of_key(given.key.as_ref()));
        let Some(event) = given.event.as_ref() else { return Ok(None) };
        if !sizes.is_some_and(fits) || !event.get().is_current() {
            return Ok(None);
        }
        // Headers that can be read once only would be gone for whoever decides after this.
        if given.headers.is_some_and(|headers| !is_lasting(headers)) {
            return Ok(None);
        }
        let outlet = exit.outlet.bind(event.py());
        let check = self.gate.get().decide_output(outlet, given)?;
        let is_clear = {
            let ruling = check.get().ruling();
            ruling.verdict() == Verdict::Allow && !ruling.is_due(check.get().always())
        };
        Ok(is_clear.then_some(check))
    }
}

/// Bytes of a value that is written as it is.
fn size_of_value(value: Option<&Bound<'_, PyAny>>) -> Option<usize> {
    value.map_or(Some(0), |value| Some(value.cast::<PyBytes>().ok()?.as_bytes().len()))
}

/// Bytes of a key.
fn size_of_key(key: Option<&Bound<'_, PyAny>>) -> Option<usize> {
    let Some(key) = key else { return Some(0) };
    match key.cast::<PyString>() {
        Ok(text) => Some(text.to_str().ok()?.len()),
        Err(_) => size_of_value(Some(key)),
    }
}

/// Whether headers can be read again.
fn is_lasting(headers: &Bound<'_, PyAny>) -> bool {
    headers.is_instance_of::<PyList>() || headers.is_instance_of::<PyTuple>() || headers.is_instance_of::<PyDict>()
}
