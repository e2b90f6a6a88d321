//! What was taken of one partition since it was assigned or last sought, and is not committed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use foldhash::fast::RandomState;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::event::Event;
use crate::runs::Track;
use crate::untracked::untracked;
use crate::work::{self, FINISHED, Lane, WAITING, Work};

/// Topic and number of a partition.
pub type Key = (String, i32);

/// The run of one partition.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Run {
    /// Topic and number of the partition.
    pub key: Key,
    /// What handles its events.
    pub handler: Py<PyAny>,
    key_object: Py<PyTuple>,
    held: Py<PyAny>,
    is_async: bool,
    generation: i64,
    unproven: AtomicI64,
    alive: AtomicBool,
    /// Offsets of events for which tool calls may be recorded, as the `ToolCaller` keeps them.
    begun: OnceLock<Py<PyAny>>,
    track: OnceLock<Weak<Track>>,
    line: Mutex<Line>,
}

/// The works of a run.
#[derive(Default)]
pub struct Line {
    /// In the order of their offsets, without those that were picked.
    pub works: VecDeque<Py<Work>>,
    /// How many works before them are part of the running transaction or of the one after it.
    pub picked: usize,
    /// Offset up to which everything is picked or committed, `NOTHING` before the first event.
    pub next: i64,
    /// Whether the track knows that something of it can be picked.
    pub is_open: bool,
    /// The last work of each lane that has unfinished ones.
    pub lanes: HashMap<Lane, Py<Work>, RandomState>,
}

impl Line {
    /// The first work that is not picked, if it is finished.
    pub fn is_finished_at_frontier(&self) -> bool {
        self.works.front().is_some_and(|work| work.get().state() == FINISHED)
    }
}

impl Run {
    /// Whether it may still be committed.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Nothing of it may be committed any more.
    pub fn end(&self) {
        self.alive.store(false, Ordering::Release);
    }

    /// No Python code may run while it is held. Whoever holds the track's, too, has taken that first.
    pub fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it be one of a track's.
    pub fn join(&self, track: &Arc<Track>) {
        // A run begins once.
        let _ = self.track.set(Arc::downgrade(track));
    }

    /// Notes where the group has committed it.
    pub fn committed_up_to(&self, py: Python<'_>, next: i64) -> PyResult<()> {
        self.held.bind(py).getattr(intern!(py, "frontier"))?.setattr(intern!(py, "committed"), next)
    }

    /// The offsets of events for which tool calls may be recorded; `ask` is called once.
    pub fn begun<'py>(
        &self,
        py: Python<'py>,
        ask: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<&Bound<'py, PyAny>> {
        let begun = match self.begun.get() {
            Some(begun) => begun,
            None => {
                let found = ask()?.unbind();
                self.begun.get_or_init(|| found)
            }
        };
        Ok(begun.bind(py))
    }

    /// Notes that a handler is done with its event; gives the work that comes next in the lane.
    pub fn finish(work: &Bound<'_, Work>) -> Option<Py<Work>> {
        let (py, inner) = (work.py(), work.get());
        let run = inner.run.bind(py);
        let track = run.get().track()?;
        let mut state = track.state();
        let mut line = run.get().line();
        inner.turn(FINISHED);
        if !run.get().is_alive() {
            return None;
        }
        let follower = inner.take_follower();
        let last = if follower.is_none() { line.lanes.remove(&inner.lane) } else { None };
        state.unfinished = state.unfinished.saturating_sub(1);
        if line.works.front().is_some_and(|first| first.is(work)) {
            state.open(run, &mut line, &track);
        }
        state.tell_if_due(&track);
        drop((line, state));
        drop(last);
        follower
    }

    fn track(&self) -> Option<Arc<Track>> {
        self.track.get()?.upgrade()
    }
}

#[pymethods]
impl Run {
    #[new]
    #[pyo3(signature = (held, handler, next_offset, *, is_async, unproven, generation))]
    fn new(
        held: Bound<'_, PyAny>,
        handler: Py<PyAny>,
        next_offset: i64,
        is_async: bool,
        unproven: i64,
        generation: i64,
    ) -> PyResult<Self> {
        let key = held.getattr(intern!(held.py(), "key"))?.cast_into::<PyTuple>()?;
        Ok(Self {
            key: key.extract()?,
            handler,
            key_object: key.unbind(),
            held: held.unbind(),
            is_async,
            generation,
            unproven: AtomicI64::new(unproven),
            alive: AtomicBool::new(true),
            begun: OnceLock::new(),
            track: OnceLock::new(),
            line: Mutex::new(Line { next: next_offset, ..Line::default() }),
        })
    }

    /// Handlers may hold on to the processor that holds this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.handler)?;
        visit.call(&self.held)
    }

    #[getter]
    fn key(&self, py: Python<'_>) -> Py<PyTuple> {
        self.key_object.clone_ref(py)
    }

    #[getter]
    fn held(&self, py: Python<'_>) -> Py<PyAny> {
        self.held.clone_ref(py)
    }

    #[getter]
    fn handler(&self, py: Python<'_>) -> Py<PyAny> {
        self.handler.clone_ref(py)
    }

    #[getter]
    fn is_async(&self) -> bool {
        self.is_async
    }

    #[getter]
    fn generation(&self) -> i64 {
        self.generation
    }

    #[getter]
    fn get_unproven(&self) -> i64 {
        self.unproven.load(Ordering::Acquire)
    }

    #[setter]
    fn set_unproven(&self, unproven: i64) {
        self.unproven.store(unproven, Ordering::Release);
    }

    #[getter]
    fn alive(&self) -> bool {
        self.is_alive()
    }

    #[getter]
    fn works<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let works: Vec<Py<Work>> = self.line().works.iter().map(|work| work.clone_ref(py)).collect();
        PyList::new(py, works)
    }

    fn __len__(&self) -> usize {
        let line = self.line();
        line.works.len() + line.picked
    }

    /// Works for events that were taken, with nothing known of them yet.
    fn works_for<'py>(slf: &Bound<'py, Self>, events: Vec<Py<Event>>, by_key: bool) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let mut works = Vec::with_capacity(events.len());
        for event in events {
            let lane = if by_key { work::lane_of(event.get().key.as_deref()) } else { None };
            works.push(untracked(py, Work::new(event, slf.clone().unbind(), lane))?);
        }
        PyList::new(py, works)
    }

    /// Appends works in order; gives those that no other work of their lane comes before.
    fn add<'py>(slf: &Bound<'py, Self>, works: Vec<Bound<'py, Work>>) -> Vec<Bound<'py, Work>> {
        let Some(track) = slf.get().track() else { return Vec::new() };
        let mut ready = Vec::new();
        let mut state = track.state();
        let mut line = slf.get().line();
        state.taken += works.len();
        for work in works {
            let inner = work.get();
            line.works.push_back(work.clone().unbind());
            if inner.state() == FINISHED {
                if line.works.len() == 1 {
                    state.open(slf, &mut line, &track);
                }
                continue;
            }
            state.unfinished += 1;
            match line.lanes.insert(inner.lane, work.clone().unbind()) {
                // It is among the works, too, so nothing is freed here.
                Some(before) => before.get().precede(work.unbind()),
                None => ready.push(work),
            }
        }
        state.tell_if_due(&track);
        ready
    }

    /// The works whose handlers have not begun, in order.
    fn not_begun<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, Work>> {
        let line = self.line();
        line.works.iter().filter(|work| work.get().state() == WAITING).map(|work| work.bind(py).clone()).collect()
    }
}
