//! The common way of a hand-out: the next event that is ready, with its receipt, in one call.
//!
//! What is not common (the client is to be entered, something is to be raised, the event is void, not allowed, has guards due
//! or is to be decided again, the log is full or has failed) is left to the long way, before anything was done.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::clock;
use crate::event::Event;
use crate::gate::Gate;
use crate::issue;

/// Hands out one event at a time.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Hatch {
    gate: Py<Gate>,
    trouble: Py<PyAny>,
    ready: Py<PyAny>,
    is_shut: AtomicBool,
    /// When `until` was looked at, Unix ms: it is looked at once per millisecond.
    seen: AtomicI64,
    /// Until when it is open, ns after `start`.
    until: AtomicU64,
    start: Instant,
    handed_out: AtomicU64,
}

impl Hatch {
    fn is_over(&self) -> bool {
        nanoseconds(self.start.elapsed()) >= self.until.load(Ordering::Acquire)
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[pymethods]
impl Hatch {
    #[new]
    fn new(gate: Py<Gate>, trouble: Py<PyAny>, ready: Py<PyAny>) -> Self {
        Self {
            gate,
            trouble,
            ready,
            is_shut: AtomicBool::new(false),
            seen: AtomicI64::new(0),
            until: AtomicU64::new(0),
            start: Instant::now(),
            handed_out: AtomicU64::new(0),
        }
    }

    fn open_for(&self, seconds: f64) -> PyResult<()> {
        let span = Duration::try_from_secs_f64(seconds)
            .map_err(|error| PyValueError::new_err(format!("a hatch is not open for {seconds} s: {error}")))?;
        self.until.store(nanoseconds(self.start.elapsed().saturating_add(span)), Ordering::Release);
        Ok(())
    }

    #[getter(is_over)]
    fn get_is_over(&self) -> bool {
        self.is_over()
    }

    #[getter]
    fn get_is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Acquire)
    }

    #[setter]
    fn set_is_shut(&self, is_shut: bool) {
        self.is_shut.store(is_shut, Ordering::Release);
    }

    #[getter]
    fn handed_out(&self) -> u64 {
        self.handed_out.load(Ordering::Relaxed)
    }

    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Event>>> {
        let now = clock::now();
        let is_same = self.seen.load(Ordering::Relaxed) == now;
        if self.is_shut.load(Ordering::Acquire) || !is_same && self.is_over() {
            return Ok(None);
        }
        self.seen.store(now, Ordering::Relaxed);
        let ready = self.ready.bind(py);
        if ready.len()? == 0 || self.trouble.bind(py).getattr(intern!(py, "waiting"))?.is_truthy()? {
            return Ok(None);
        }
        let event = ready.call_method0(intern!(py, "popleft"))?.cast_into::<Event>()?;
        if matches!(issue::hand_out(self.gate.get(), py, event.get(), now), Ok(true)) {
            self.handed_out.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(event));
        }
        // What was wrong is found again, and raised, by the long way.
        ready.call_method1(intern!(py, "appendleft"), (event,))?;
        Ok(None)
    }
}
