//! A consumer's messages, taken from the client's library without its Python objects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use chio_client::{Handle, HandleKind, Headers, Message};

use crate::client;
use crate::original::Taken;

/// Where the partitions of one consumer lead; for one thread at a time.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Inlet {
    /// The client's consumer, which has to live as long as the queue.
    consumer: Py<PyAny>,
    handle: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: Option<Arc<chio_client::Inlet>>,
    /// Taken, and not admitted yet.
    taken: Vec<Arrival>,
}

/// A message that was taken.
pub struct Arrival {
    /// The message.
    pub message: Message,
    /// What an event does not hold itself.
    pub rest: Taken,
}

impl Inlet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was taken, oldest first; it is not given again.
    pub fn taken(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.state().taken)
    }

    /// The queue, unless the client or this was closed.
    fn queue(&self, py: Python<'_>) -> PyResult<Arc<chio_client::Inlet>> {
        if !client::is_open(self.consumer.bind(py), self.handle) {
            return Err(PyRuntimeError::new_err("the Consumer was closed"));
        }
        self.state().queue.clone().ok_or_else(|| PyRuntimeError::new_err("the inlet was closed"))
    }
}

#[pymethods]
impl Inlet {
    #[new]
    fn new(consumer: Bound<'_, PyAny>) -> PyResult<Self> {
        let handle = client::handle(&consumer, HandleKind::Consumer)?;
        let library = client::library(consumer.py())?;
        let queue = chio_client::Inlet::new(library, handle)
            .ok_or_else(|| PyRuntimeError::new_err("the Consumer belongs to no group"))?;
        let state = Mutex::new(State { queue: Some(Arc::new(queue)), taken: Vec::new() });
        Ok(Self { consumer: consumer.unbind(), handle, state })
    }

    /// The consumer calls back, so what it is part of may hold it and this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.consumer)
    }

    fn lead_in(&self, py: Python<'_>, topic: &str, partition: i32) -> PyResult<()> {
        let is_led_in = self.queue(py)?.lead_in(topic, partition);
        client::require(is_led_in, || format!("{topic}[{partition}] is no partition"))
    }

    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.queue(py)?.wake();
        Ok(())
    }

    #[getter]
    fn has_news(&self, py: Python<'_>) -> bool {
        self.queue(py).is_ok_and(|queue| queue.has_news())
    }

    /// Gives how many messages were taken and the bytes of their values.
    fn take(&self, py: Python<'_>, most: usize) -> PyResult<(usize, usize)> {
        let queue = self.queue(py)?;
        let taken: Vec<Arrival> = py.detach(|| {
            let messages = queue.take(most);
            let mut room = Vec::new();
            let places: Vec<_> = messages.iter().map(|message| message.headers(&mut room)).collect();
            let room = room.into();
            let arrive = |(message, place): (Message, Option<_>)| Arrival {
                rest: Taken::of(&message, place.map(|place| Headers::at(&room, place))),
                message,
            };
            messages.into_iter().zip(places).map(arrive).collect()
        });
        let size = |arrival: &Arrival| arrival.message.value().map_or(0, <[u8]>::len);
        let found = (taken.len(), taken.iter().map(size).sum());
        // What is still there was given up: an exception came before its admission, and it is fetched again.
        self.state().taken = taken;
        Ok(found)
    }

    fn close(&self, py: Python<'_>) {
        let is_open = client::is_open(self.consumer.bind(py), self.handle);
        let State { queue, taken } = std::mem::take(&mut *self.state());
        if is_open {
            drop((taken, queue));
        } else {
            // What they refer to went with the client, which somebody else has closed first.
            std::mem::forget((taken, queue));
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}
