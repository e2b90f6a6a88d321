//! Sync handlers, one event of a lane after the other.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::exits::Exits;
use crate::handler_context::HandlerContext;
use crate::run::Run;
use crate::untracked::untracked;
use crate::work::{RUNNING, Work};

/// Runs the handlers of a lane for whoever calls, from one work on, until the lane ends or has to wait.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Lanes {
    exits: Py<Exits>,
    /// Sets what is handled; its argument is a tuple.
    turn_to: Py<PyAny>,
    /// Decides where the common way ends.
    dispatcher: Py<PyAny>,
    handled: AtomicU64,
}

impl Lanes {
    /// Runs one handler; gives the next work of the lane.
    fn handle<'py>(&self, work: &Bound<'py, Work>) -> PyResult<Option<Py<Work>>> {
        let (py, inner, dispatcher) = (work.py(), work.get(), self.dispatcher.bind(work.py()));
        if !inner.is_plain() {
            let may_run = dispatcher.call_method1(intern!(py, "may_run"), (work,))?.extract::<Option<bool>>()?;
            match may_run {
                None => return Ok(Run::finish(work)),
                Some(false) => return Ok(None),
                Some(true) => {}
            }
        }
        inner.turn(RUNNING);
        let ctx = untracked(py, HandlerContext::new(work.clone().unbind(), self.exits.clone_ref(py)))?;
        self.turn_to.bind(py).call1(((&ctx,),))?;
        let handler = inner.run.get().handler.bind(py);
        let done = handler.call1((&inner.event, &ctx)).and_then(|answer| {
            if !answer.is_none() {
                dispatcher.call_method1(intern!(py, "refuse"), (answer,))?;
            }
            HandlerContext::end(&ctx)
        });
        if let Err(error) = done {
            if !error.is_instance_of::<PyException>(py) {
                return Err(error);
            }
            let is_over = dispatcher.call_method1(intern!(py, "failed"), (work, error.into_value(py)))?;
            if !is_over.is_truthy()? {
                return Ok(None);
            }
        }
        Ok(Run::finish(work))
    }
}

#[pymethods]
impl Lanes {
    #[new]
    fn new(exits: Py<Exits>, turn_to: Py<PyAny>, dispatcher: Py<PyAny>) -> Self {
        Self { exits, turn_to, dispatcher, handled: AtomicU64::new(0) }
    }

    /// The dispatcher's threads hold this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.dispatcher)?;
        visit.call(&self.exits)
    }

    #[getter]
    fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    fn run(&self, py: Python<'_>, work: Bound<'_, Work>) -> PyResult<u64> {
        let (mut next, mut count) = (Some(work), 0);
        while let Some(work) = next {
            next = self.handle(&work)?.map(|work| work.into_bound(py));
            self.handled.fetch_add(1, Ordering::Relaxed);
            count += 1;
        }
        Ok(count)
    }
}
