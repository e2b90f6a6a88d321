//! `ctx`: what a handler may do for the event that it handles, and is held to.
//!
//! The common way is here; what is not common is left to Python's `Boundaries`, before anything was done.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::event::Event;
use crate::exits::Exits;
use crate::outlet::Given;
use crate::work::Work;

/// Contexts that were freed and whose memory is used again: handlers have one at a time.
const SPARE: usize = 64;
/// Tool calls of one event that its outputs name as parents at most, the latest ones; with the event itself these are as many
/// parents as a receipt holds.
const MAX_CALLS: usize = 15;

/// What a handler gets beside its event.
#[pyclass(frozen, freelist = SPARE, module = "chio_fast._native")]
pub struct HandlerContext {
    work: Py<Work>,
    exits: Py<Exits>,
    /// The attempt that it belongs to, from 0.
    attempt: u32,
    calls: Mutex<Vec<Py<PyString>>>,
    /// The tool calls that were made; they do not hold on to this, which Python's garbage collector does not look at.
    made: Mutex<Option<Py<PyAny>>>,
}

impl HandlerContext {
    /// The context of the attempt that begins now.
    pub fn new(work: Py<Work>, exits: Py<Exits>) -> Self {
        let attempt = work.get().attempts();
        Self { work, exits, attempt, calls: Mutex::default(), made: Mutex::default() }
    }

    fn boundaries<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.exits.get().boundaries.bind(py)
    }

    fn made<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref().map(|made| made.bind(py).clone())
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Py<PyString>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receipts that outputs name as parents beside the event, if there are any.
    fn parents<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let mut parents: Vec<Bound<'py, PyAny>> =
            self.calls().iter().map(|call| call.bind(py).clone().into_any()).collect();
        if let Some(made) = self.made(py) {
            for receipt in made.getattr(intern!(py, "receipts"))?.try_iter()? {
                parents.push(receipt?);
            }
        }
        if parents.is_empty() { Ok(None) } else { PyTuple::new(py, parents).map(Some) }
    }
}

#[pymethods]
impl HandlerContext {
    #[new]
    fn make(work: Py<Work>, exits: Py<Exits>) -> Self {
        Self::new(work, exits)
    }

    #[getter]
    fn event(&self, py: Python<'_>) -> Py<Event> {
        self.work.get().event.clone_ref(py)
    }

    #[getter]
    fn work(&self, py: Python<'_>) -> Py<Work> {
        self.work.clone_ref(py)
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.attempt
    }

    #[getter]
    fn get_made<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.made(py)
    }

    #[setter]
    fn set_made(&self, made: Py<PyAny>) {
        let former = self.made.lock().unwrap_or_else(PoisonError::into_inner).replace(made);
        drop(former);
    }

    #[getter]
    #[pyo3(name = "calls")]
    fn get_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let calls: Vec<_> = self.calls().iter().map(|call| call.clone_ref(py)).collect();
        PyTuple::new(py, calls)
    }

    fn note_call(&self, receipt_id: Py<PyString>) {
        let mut calls = self.calls();
        let oldest = (calls.len() >= MAX_CALLS).then(|| calls.remove(0));
        calls.push(receipt_id);
        drop(calls);
        drop(oldest);
    }

    #[getter]
    fn chio<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.get().boundaries(slf.py()).call_method1(intern!(slf.py(), "tools_for"), (slf,))
    }

    #[getter]
    fn receipt(&self) -> String {
        self.work.get().event.get().ruling().issued.map(|issued| issued.id.to_string()).unwrap_or_default()
    }

    #[getter]
    fn trace<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.work.get().event.get().trace(py)
    }

    #[pyo3(signature = (topic, value = None, key = None, *, headers = None, partition = -1, timestamp = 0),
           text_signature = "($self, topic, value=None, key=None, *, headers=None, partition=-1, timestamp=0)")]
    fn produce<'py>(
        slf: &Bound<'py, Self>,
        topic: &Bound<'py, PyAny>,
        value: Option<Bound<'py, PyAny>>,
        key: Option<Bound<'py, PyAny>>,
        headers: Option<Bound<'py, PyAny>>,
        partition: i32,
        timestamp: i64,
    ) -> PyResult<Py<PyAny>> {
        let (py, inner) = (slf.py(), slf.get());
        let (work, exits) = (inner.work.get(), inner.exits.get());
        let parents = inner.parents(py)?;
        if let Ok(name) = topic.cast::<PyString>() {
            let given = Given {
                key: key.clone(),
                value: value.clone(),
                headers: headers.as_ref(),
                partition,
                timestamp,
                event: Some(work.event.bind(py).clone()),
                parents: parents.as_ref().map(|parents| parents.as_any()),
                correlation: None,
            };
            // Nothing comes between the look at the attempt and the keeping, see decision 17.
            if let Some(output) = exits.output(name.to_str()?, given)?
                && work.keep_of(inner.attempt, output.unbind())
            {
                return Ok(exits.done.clone_ref(py));
            }
        }
        let parents = parents.unwrap_or_else(|| PyTuple::empty(py));
        let slow = (slf, topic, value, key, headers, partition, timestamp, parents);
        inner.boundaries(py).call_method1(intern!(py, "produce"), slow).map(Bound::unbind)
    }

    /// Compares the tool calls with those of earlier attempts, now that the handler has returned.
    pub fn end(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, inner) = (slf.py(), slf.get());
        let (work, boundaries) = (inner.work.get(), inner.boundaries(py));
        if let Some(made) = inner.made(py) {
            made.call_method0(intern!(py, "ended"))?;
            return Ok(());
        }
        let begun = work.run.get().begun(py, || {
            boundaries.getattr(intern!(py, "tools"))?.call_method1(intern!(py, "begun"), (&work.event,))
        })?;
        if begun.len()? > 0 && begun.contains(work.event.get().offset)? {
            boundaries.call_method1(intern!(py, "ended"), (slf,))?;
        }
        Ok(())
    }
}
