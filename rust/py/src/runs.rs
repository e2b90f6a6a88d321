//! The runs of one track: which of the events that are being handled a transaction may cover.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use chio_rulings::NOTHING;

use crate::run::{Key, Line, Run};
use crate::work::{FINISHED, WAITING, Work};

/// The runs of one track, and how many events are in them.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Runs {
    track: Arc<Track>,
}

/// What runs share with their track. Every change happens with Python's lock held, so nobody waits for the locks here for
/// longer than it takes somebody to fall asleep.
pub struct Track {
    state: Mutex<State>,
    /// Counts what `pick` is told.
    news: Mutex<u64>,
    arrived: Condvar,
}

/// What is in flight.
pub struct State {
    /// Events that were taken and are not committed.
    pub taken: usize,
    /// Those of them whose handlers are not done with them.
    pub unfinished: usize,
    picked: usize,
    runs: BTreeMap<Key, Py<Run>>,
    /// Runs whose first work is finished and not picked, in the order in which that came about.
    open: Vec<Py<Run>>,
    open_since: Instant,
    awaited: i64,
    /// Somebody waits for something to pick, and was not told of anything yet.
    is_picking: bool,
    is_stopped: bool,
    batch_size: usize,
    max_batch: Duration,
}

impl Track {
    /// No Python code may run while it is held.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self) -> MutexGuard<'_, u64> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        *self.news() += 1;
        self.arrived.notify_all();
    }

    /// Waits until there is other news than what was `seen`, or for so long.
    fn wait(&self, seen: u64, limit: Option<Duration>) {
        let is_old = |news: &mut u64| *news == seen;
        match limit {
            Some(limit) => drop(self.arrived.wait_timeout_while(self.news(), limit, is_old)),
            None => drop(self.arrived.wait_while(self.news(), is_old)),
        }
    }
}

impl State {
    /// Notes that the first work of a run that is not picked is finished.
    pub fn open(&mut self, run: &Bound<'_, Run>, line: &mut Line, track: &Track) {
        if self.open.is_empty() {
            self.open_since = Instant::now();
            self.tell(track); // whoever waits has a time to wait for from now on
        }
        if !std::mem::replace(&mut line.is_open, true) {
            self.open.push(run.clone().unbind());
        }
    }

    /// Wakes whoever waits, if there is enough; that the time has come they notice themselves.
    pub fn tell_if_due(&mut self, track: &Track) {
        if self.is_picking && !self.open.is_empty() && self.is_enough() {
            self.tell(track);
        }
    }

    /// Wakes whoever waits, once: it looks at everything anew.
    fn tell(&mut self, track: &Track) {
        if std::mem::replace(&mut self.is_picking, false) {
            track.tell();
        }
    }

    fn is_due(&self) -> bool {
        !self.open.is_empty() && (self.is_enough() || self.left().is_zero())
    }

    /// How long what is finished may still wait for something else to finish.
    fn left(&self) -> Duration {
        self.max_batch.saturating_sub(self.open_since.elapsed())
    }

    /// Whether what is finished need not wait for anything else to finish.
    fn is_enough(&self) -> bool {
        self.awaited > 0 || self.unfinished == 0 || self.pending() >= self.batch_size
    }

    /// How many works are finished and not picked.
    fn pending(&self) -> usize {
        self.taken.saturating_sub(self.unfinished + self.picked)
    }

    /// Picks finished works, the runs in the order in which they opened.
    fn take(&mut self, py: Python<'_>, track: &Track, mut limit: usize) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        for run in self.open.iter().map(|run| run.bind(py).clone()).collect::<Vec<_>>() {
            let mut line = run.get().line();
            let finished = line.works.iter().take(limit).take_while(|work| work.get().state() == FINISHED).count();
            let works: Vec<Py<Work>> = line.works.drain(..finished).collect();
            let (Some(first), Some(last)) = (works.first(), works.last()) else { break };
            let (mut first, next) = (first.get().event.get().offset, last.get().event.get().offset + 1);
            if line.next != NOTHING {
                // Below it begins a topic that was created anew, while the group still has the offset of the former one.
                first = first.min(line.next);
            }
            line.next = next;
            line.picked += works.len();
            line.is_open = false;
            self.open.retain(|other| !other.is(&run));
            self.picked += works.len();
            limit -= works.len();
            if line.is_finished_at_frontier() {
                self.open(&run, &mut line, track);
            }
            drop(line);
            stretches.push(Stretch { run: run.unbind(), works, first, next });
        }
        stretches
    }
}

#[pymethods]
impl Runs {
    #[new]
    fn new(batch_size: usize, max_batch_s: f64) -> PyResult<Self> {
        let max_batch = Duration::try_from_secs_f64(max_batch_s)
            .map_err(|error| PyValueError::new_err(format!("a batch cannot wait {max_batch_s} s: {error}")))?;
        let state = State {
            taken: 0,
            unfinished: 0,
            picked: 0,
            runs: BTreeMap::new(),
            open: Vec::new(),
            open_since: Instant::now(),
            awaited: 0,
            is_picking: false,
            is_stopped: false,
            batch_size,
            max_batch,
        };
        Ok(Self { track: Arc::new(Track { state: Mutex::new(state), news: Mutex::new(0), arrived: Condvar::new() }) })
    }

    /// Handlers may hold on to the processor that holds this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Who holds the lock has Python's as well, which the collector has now.
        match self.track.state.try_lock() {
            Ok(state) => state.runs.values().try_for_each(|run| visit.call(run)),
            Err(_) => Ok(()),
        }
    }

    fn __len__(&self) -> usize {
        self.track.state().runs.len()
    }

    #[getter]
    fn taken(&self) -> usize {
        self.track.state().taken
    }

    #[getter]
    fn unfinished(&self) -> usize {
        self.track.state().unfinished
    }

    #[getter]
    fn is_settled(&self) -> bool {
        let state = self.track.state();
        state.open.is_empty() && state.picked == 0
    }

    #[getter]
    fn is_due(&self) -> bool {
        self.track.state().is_due()
    }

    #[getter]
    fn is_awaited(&self) -> bool {
        self.track.state().is_picking
    }

    fn get(&self, py: Python<'_>, key: Key) -> Option<Py<Run>> {
        self.track.state().runs.get(&key).map(|run| run.clone_ref(py))
    }

    fn begin(&self, run: &Bound<'_, Run>) {
        let inner = run.get();
        inner.join(&self.track);
        let former = self.track.state().runs.insert(inner.key.clone(), run.clone().unbind());
        drop(former);
    }

    fn begins_at(&self, offsets: BTreeMap<Key, i64>) {
        let state = self.track.state();
        for (key, offset) in offsets {
            let Some(run) = state.runs.get(&key) else { continue };
            let mut line = run.get().line();
            if line.next == NOTHING && line.picked == 0 {
                line.next = offset;
            }
        }
    }

    fn end(&self, py: Python<'_>, keys: Vec<Key>) -> Vec<Py<Work>> {
        let (mut begun, mut over) = (Vec::new(), Vec::new());
        let mut state = self.track.state();
        for key in keys {
            let Some(run) = state.runs.remove(&key) else { continue };
            run.get().end();
            state.open.retain(|other| !other.is(&run));
            let line = std::mem::take(&mut *run.get().line());
            let is_begun = |work: &&Py<Work>| work.get().state() != WAITING && !work.get().is_denied();
            begun.extend(line.works.iter().filter(is_begun).map(|work| work.clone_ref(py)));
            state.taken = state.taken.saturating_sub(line.works.len() + line.picked);
            state.picked = state.picked.saturating_sub(line.picked);
            let unfinished = line.works.iter().filter(|work| work.get().state() != FINISHED).count();
            state.unfinished = state.unfinished.saturating_sub(unfinished);
            // Those of a lane hold on to each other.
            let followers: Vec<_> = line.works.iter().filter_map(|work| work.get().take_follower()).collect();
            over.push((run, line, followers));
        }
        state.tell(&self.track);
        drop(state);
        drop(over);
        begun
    }

    /// Waits until there is something to commit; gives it, or None once `stop` was called.
    fn pick(&self, py: Python<'_>, limit: usize) -> Option<Vec<Stretch>> {
        loop {
            let (seen, left) = {
                let seen = *self.track.news();
                let mut state = self.track.state();
                if state.is_stopped {
                    return None;
                }
                if state.is_due() {
                    return Some(state.take(py, &self.track, limit));
                }
                state.is_picking = true;
                (seen, (!state.open.is_empty()).then(|| state.left()))
            };
            py.detach(|| self.track.wait(seen, left));
            self.track.state().is_picking = false;
        }
    }

    fn pick_ahead(&self, py: Python<'_>, limit: usize) -> Option<Vec<Stretch>> {
        let mut state = self.track.state();
        let is_full = !state.open.is_empty() && state.pending() >= limit.min(state.batch_size);
        is_full.then(|| state.take(py, &self.track, limit))
    }

    fn committed(&self, py: Python<'_>, stretches: Vec<Bound<'_, Stretch>>) -> PyResult<()> {
        for stretch in stretches.iter().map(Bound::get) {
            let (run, count) = (stretch.run.get(), stretch.works.len());
            {
                let mut state = self.track.state();
                if !run.is_alive() {
                    continue;
                }
                let mut line = run.line();
                line.picked = line.picked.saturating_sub(count);
                state.picked = state.picked.saturating_sub(count);
                state.taken = state.taken.saturating_sub(count);
            }
            run.committed_up_to(py, stretch.next)?;
        }
        Ok(())
    }

    #[pyo3(signature = (*, awaited))]
    fn hurry(&self, awaited: bool) {
        let mut state = self.track.state();
        state.awaited += if awaited { 1 } else { -1 };
        state.tell(&self.track);
    }

    fn stop(&self) {
        let mut state = self.track.state();
        state.is_stopped = true;
        state.tell(&self.track);
    }

    fn stalled<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let first = |run: &Py<Run>| {
            let line = run.get().line();
            let first = line.works.front().filter(|work| line.picked == 0 && work.get().state() != FINISHED)?;
            Some((run.clone_ref(py), first.clone_ref(py)))
        };
        let found: Vec<_> = self.track.state().runs.values().filter_map(first).collect();
        let stalled = PyDict::new(py);
        for (run, work) in found {
            stalled.set_item(run, work)?;
        }
        Ok(stalled)
    }
}

/// The part of a run that one transaction covers.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Stretch {
    run: Py<Run>,
    /// The events, with what their handlers produced.
    pub works: Vec<Py<Work>>,
    /// Lowest offset.
    #[pyo3(get)]
    first: i64,
    /// The offset after the highest one.
    #[pyo3(get)]
    next: i64,
}

#[pymethods]
impl Stretch {
    #[new]
    fn new(run: Py<Run>, works: Vec<Py<Work>>, first: i64, end: i64) -> Self {
        Self { run, works, first, next: end }
    }

    #[getter]
    fn run(&self, py: Python<'_>) -> Py<Run> {
        self.run.clone_ref(py)
    }

    #[getter]
    fn works<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.works.iter().map(|work| work.bind(py)))
    }

    #[getter]
    fn partition_key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.works.first()?.get().event.get().get_partition_key(py)
    }

    #[getter]
    fn letters<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, Work>> {
        self.works.iter().filter(|work| work.get().is_letter()).map(|work| work.bind(py).clone()).collect()
    }

    fn __len__(&self) -> usize {
        self.works.len()
    }
}
