//! A governed producer's messages between their receipts and the client, as Python sees them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::check::Check;
use crate::errors;
use crate::express::Given;
use crate::gate::Gate;
use crate::lease::Producer;
use crate::line::{Line, Parcel, Stop, Unsent};
use crate::outlet::Outlet;

/// The messages of one governed producer that wait until their receipts are durable.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Backlog {
    /// Decides, and issues the receipts.
    pub gate: Py<Gate>,
    /// Where the messages wait.
    pub line: Line,
    /// The client without Python's lock; `None` where that road is closed.
    pub producer: Option<Producer>,
    /// Who produces, whatever is being handled.
    pub identity: Option<String>,
    /// Who produces where neither the above nor an event says so; empty for nobody.
    pub fallback: String,
    /// Bytes of key and value that the client takes at most.
    pub largest: usize,
    /// `_handled.get` of `chio_fast.context`.
    pub handled: Py<PyAny>,
    max_messages: AtomicUsize,
    max_bytes: usize,
    slow_road_reason: Option<String>,
    known: Mutex<Known>,
}

/// Outlets that were used before.
#[derive(Debug, Default)]
struct Known {
    /// The one that was used last: mostly the next one, too.
    last: Option<Py<Outlet>>,
    /// All of them by identity, then by topic.
    all: HashMap<String, HashMap<String, Py<Outlet>>>,
}

/// A message without callback that was not sent.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Refused(Unsent, Option<String>);

type Callback = Option<Py<PyAny>>;

impl Backlog {
    /// The outlet to a topic for an identity, once it is known.
    pub fn outlet<'py>(&self, py: Python<'py>, identity: &str, topic: &str) -> Option<Bound<'py, Outlet>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let leads_there = |outlet: &&Py<Outlet>| outlet.get().topic == topic && outlet.get().identity == identity;
        if let Some(last) = known.last.as_ref().filter(leads_there) {
            return Some(last.bind(py).clone());
        }
        let outlet = known.all.get(identity)?.get(topic)?.bind(py).clone();
        known.last = Some(outlet.clone().unbind());
        Some(outlet)
    }
}

#[pymethods]
impl Backlog {
    #[new]
    #[pyo3(signature = (gate, producer, *, identity, fallback, largest, max_messages, max_bytes, heard = false))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn new(
        gate: &Bound<'_, Gate>,
        producer: &Bound<'_, PyAny>,
        identity: Option<String>,
        fallback: Option<String>,
        largest: Option<usize>,
        max_messages: usize,
        max_bytes: usize,
        heard: bool,
    ) -> PyResult<Self> {
        let py = gate.py();
        let (producer, slow_road_reason) = match Producer::new(producer) {
            Ok(_) if heard => (None, Some("an `on_delivery` hears of every message".to_owned())),
            Ok(producer) => (Some(producer), None),
            Err(reason) => (None, Some(reason.value(py).to_string())),
        };
        Ok(Self {
            gate: gate.clone().unbind(),
            line: Line::default(),
            producer,
            identity: identity.filter(|identity| !identity.is_empty()),
            fallback: fallback.unwrap_or_default(),
            largest: largest.unwrap_or(usize::MAX),
            handled: py.import("chio_fast.context")?.getattr("_handled")?.getattr("get")?.unbind(),
            max_messages: AtomicUsize::new(max_messages),
            max_bytes,
            slow_road_reason,
            known: Mutex::default(),
        })
    }

    #[getter]
    fn slow_road_reason(&self) -> Option<&str> {
        self.slow_road_reason.as_deref()
    }

    #[getter]
    fn max_messages(&self) -> usize {
        self.max_messages.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_max_messages(&self, number: usize) {
        self.max_messages.store(number, Ordering::Relaxed);
    }

    #[getter]
    fn sent(&self) -> u64 {
        self.line.sent()
    }

    /// Whether nothing more may be put now.
    #[getter]
    pub fn is_full(&self) -> bool {
        self.line.len() >= self.max_messages() || self.line.bytes() >= self.max_bytes
    }

    fn __len__(&self) -> usize {
        self.line.len()
    }

    fn know(&self, outlet: &Bound<'_, Outlet>) {
        let (identity, topic) = (outlet.get().identity.clone(), outlet.get().topic.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.all.entry(identity).or_default().insert(topic, outlet.clone().unbind());
    }

    #[expect(clippy::too_many_arguments, reason = "these are the arguments of the Python method")]
    fn produce(
        &self,
        py: Python<'_>,
        topic: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        partition: i32,
        headers: Option<&Bound<'_, PyAny>>,
        timestamp: i64,
        parents: &Bound<'_, PyAny>,
        correlation: Option<String>,
    ) -> PyResult<bool> {
        self.express(py, Given { topic, value, key, partition, headers, timestamp, parents, correlation })
    }

    fn put(&self, parcels: Vec<(Bound<'_, Check>, Callback)>, size: usize) -> bool {
        let ordinal =
            |(check, _): &(Bound<'_, Check>, _)| check.get().ruling().issued.and_then(|issued| issued.ordinal);
        let ordinal = parcels.iter().filter_map(ordinal).max().unwrap_or(0);
        let parcel = |(check, on_delivery): (Bound<'_, Check>, _)| Parcel { check: check.unbind(), on_delivery };
        self.line.put_parcels(parcels.into_iter().map(parcel).collect(), size, ordinal)
    }

    fn forward<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let log = &self.gate.get().log;
        let stop = py.detach(|| self.line.forward(log, self.producer.as_ref()));
        match stop.map_err(|error| errors::log(py, &error))? {
            Stop::Parcels(parcels) => PyList::new(py, parcels.into_iter().map(pair)).map(|list| Some(list.into_any())),
            Stop::Refused(unsent) => Bound::new(py, self.refused(unsent)).map(|refused| Some(refused.into_any())),
            Stop::Closing => Ok(None),
        }
    }

    fn passed(&self, number: usize) {
        self.line.passed(number);
    }

    fn await_poll(&self, py: Python<'_>) -> bool {
        py.detach(|| self.line.await_poll())
    }

    fn polled(&self) {
        self.line.polled();
    }

    fn await_move(&self, py: Python<'_>, timeout: f64) {
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        py.detach(|| self.line.await_move(timeout));
    }

    fn shut(&self, is_closing: bool) {
        self.line.shut(is_closing);
    }

    fn drain(&self) -> (Vec<(Py<Check>, Callback)>, Vec<Refused>) {
        let (parcels, unsent) = self.line.drain();
        (parcels.into_iter().map(pair).collect(), unsent.into_iter().map(|unsent| self.refused(unsent)).collect())
    }

    fn take_back(&self, py: Python<'_>, refused: Vec<Bound<'_, Refused>>) -> PyResult<()> {
        let refused: Vec<Unsent> = refused.iter().map(|refused| refused.get().0.clone()).collect();
        crate::issue::rollback_unsent(self.gate.get(), py, &refused)
    }
}

impl Backlog {
    fn refused(&self, unsent: Unsent) -> Refused {
        let describe = |producer: &Producer| producer.describe(unsent.code);
        let reason = self.producer.as_ref().filter(|_| unsent.code != 0).map(describe);
        Refused(unsent, reason)
    }
}

#[pymethods]
impl Refused {
    #[getter]
    fn topic(&self) -> String {
        self.0.address.topic.to_string_lossy().into_owned()
    }

    #[getter]
    fn receipt_id(&self) -> String {
        self.0.receipt.to_string()
    }

    #[getter]
    fn code(&self) -> i32 {
        self.0.code
    }

    #[getter]
    fn reason(&self) -> Option<&str> {
        self.1.as_deref()
    }
}

fn pair(Parcel { check, on_delivery }: Parcel) -> (Py<Check>, Callback) {
    (check, on_delivery)
}
