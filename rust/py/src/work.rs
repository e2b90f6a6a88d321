//! One event that is being handled.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::check::Check;
use crate::event::Event;
use crate::run::Run;

/// Works that were freed and whose memory is used again.
const SPARE: usize = 1024;

/// Its handler has not begun.
pub const WAITING: u8 = 0;
/// Its handler runs.
pub const RUNNING: u8 = 1;
/// Its handler is done with it.
pub const FINISHED: u8 = 2;

/// Events of one lane are handled in order. Keys whose hashes are the same share one, which costs nothing but time.
pub type Lane = Option<u64>;

/// One event that is being handled.
///
/// Python's garbage collector does not look at those that runs make: a run lets go of its works when it ends.
#[pyclass(frozen, freelist = SPARE, module = "chio_fast._native")]
pub struct Work {
    /// The event.
    pub event: Py<Event>,
    /// The run that it is part of.
    pub run: Py<Run>,
    /// What it is in order with.
    pub lane: Lane,
    state: AtomicU8,
    denied: AtomicBool,
    is_suspect: AtomicBool,
    attempts: AtomicU32,
    tried: AtomicU32,
    form: AtomicU8,
    kept: Mutex<Kept>,
}

/// What a handler, and the works beside it, have left with a work.
#[derive(Default)]
pub struct Kept {
    outputs: Outputs,
    follower: Option<Py<Work>>,
    failure: Option<Py<PyAny>>,
}

/// Outputs in order; most handlers have one, for which nothing is allocated.
#[derive(Default)]
struct Outputs {
    first: Option<Py<Check>>,
    others: Vec<Py<Check>>,
}

impl Outputs {
    fn iter(&self) -> impl Iterator<Item = &Py<Check>> {
        self.first.iter().chain(&self.others)
    }

    fn push(&mut self, output: Py<Check>) {
        if self.first.is_none() {
            self.first = Some(output);
        } else {
            self.others.push(output);
        }
    }
}

impl Kept {
    /// What the handler produced, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &Check> {
        self.outputs.iter().map(Py::get)
    }
}

impl Work {
    /// A work whose handler has not begun.
    pub fn new(event: Py<Event>, run: Py<Run>, lane: Lane) -> Self {
        Self {
            event,
            run,
            lane,
            state: AtomicU8::new(WAITING),
            denied: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            attempts: AtomicU32::new(0),
            tried: AtomicU32::new(0),
            form: AtomicU8::new(0),
            kept: Mutex::default(),
        }
    }

    /// See the constants.
    pub fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// Changes it.
    pub fn turn(&self, state: u8) {
        self.state.store(state, Ordering::Release);
    }

    /// Whether the event was denied.
    pub fn is_denied(&self) -> bool {
        self.denied.load(Ordering::Acquire)
    }

    /// How often its handler has failed.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Acquire)
    }

    /// Whether its record goes to the DLQ or to the error topic.
    pub fn is_letter(&self) -> bool {
        self.is_denied() || self.kept().failure.is_some()
    }

    /// Has another work of the lane come after it.
    pub fn precede(&self, follower: Py<Self>) {
        self.kept().follower = Some(follower);
    }

    /// The next work of the lane, which is told once.
    pub fn take_follower(&self) -> Option<Py<Self>> {
        self.kept().follower.take()
    }

    /// Keeps an output of attempt number `attempt`, unless that is over.
    pub fn keep_of(&self, attempt: u32, output: Py<Check>) -> bool {
        let runs = self.is_running(attempt);
        if runs {
            self.kept().outputs.push(output);
        }
        runs
    }

    /// No Python code may run while it is held, and nobody may wait for Python's lock.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane of a key; events without one share a lane.
pub fn lane_of(key: Option<&[u8]>) -> Lane {
    key.map(|key| FixedState::default().hash_one(key))
}

#[pymethods]
impl Work {
    #[new]
    #[pyo3(signature = (event, run, key = None))]
    fn make(event: Py<Event>, run: Py<Run>, key: Option<&[u8]>) -> Self {
        Self::new(event, run, lane_of(key))
    }

    #[getter]
    fn event(&self, py: Python<'_>) -> Py<Event> {
        self.event.clone_ref(py)
    }

    #[getter]
    fn run(&self, py: Python<'_>) -> Py<Run> {
        self.run.clone_ref(py)
    }

    #[getter]
    fn lane(&self) -> Lane {
        self.lane
    }

    #[getter]
    fn get_state(&self) -> u8 {
        self.state()
    }

    #[setter]
    fn set_state(&self, state: u8) {
        self.turn(state);
    }

    #[getter]
    fn get_denied(&self) -> bool {
        self.is_denied()
    }

    #[setter]
    fn set_denied(&self, denied: bool) {
        self.denied.store(denied, Ordering::Release);
    }

    #[getter]
    fn get_is_suspect(&self) -> bool {
        self.is_suspect.load(Ordering::Acquire)
    }

    #[setter]
    fn set_is_suspect(&self, is_suspect: bool) {
        self.is_suspect.store(is_suspect, Ordering::Release);
    }

    #[getter]
    fn get_attempts(&self) -> u32 {
        self.attempts()
    }

    #[setter]
    fn set_attempts(&self, attempts: u32) {
        self.attempts.store(attempts, Ordering::Release);
    }

    #[getter]
    fn get_tried(&self) -> u32 {
        self.tried.load(Ordering::Acquire)
    }

    #[setter]
    fn set_tried(&self, tried: u32) {
        self.tried.store(tried, Ordering::Release);
    }

    #[getter]
    fn get_form(&self) -> u8 {
        self.form.load(Ordering::Acquire)
    }

    #[setter]
    fn set_form(&self, form: u8) {
        self.form.store(form, Ordering::Release);
    }

    #[getter]
    fn get_failure(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.kept().failure.as_ref().map(|failure| failure.clone_ref(py))
    }

    #[setter]
    fn set_failure(&self, failure: Option<Py<PyAny>>) {
        let former = std::mem::replace(&mut self.kept().failure, failure);
        drop(former);
    }

    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let outputs: Vec<Py<Check>> = self.kept().outputs.iter().map(|output| output.clone_ref(py)).collect();
        PyTuple::new(py, outputs)
    }

    /// Whether its handler may begin without another look.
    #[getter]
    pub fn is_plain(&self) -> bool {
        !self.is_suspect.load(Ordering::Acquire) && self.attempts() == 0 && self.run.get().is_alive()
    }

    /// Whether attempt number `attempt` is not over.
    pub fn is_running(&self, attempt: u32) -> bool {
        self.state() == RUNNING && self.attempts() == attempt
    }

    fn keep(&self, output: Py<Check>) {
        self.kept().outputs.push(output);
    }

    fn drop_outputs(&self) {
        let former = std::mem::take(&mut self.kept().outputs);
        drop(former);
    }

    #[getter]
    fn place(&self) -> (&str, i32, i64) {
        let event = self.event.get();
        (&event.place.topic, event.place.number, event.offset)
    }

    /// What a run does when a handler is done with an event.
    fn finish(slf: &Bound<'_, Self>) -> Option<Py<Self>> {
        Run::finish(slf)
    }
}
