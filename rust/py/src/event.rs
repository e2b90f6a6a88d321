//! A consumed message with its decision: the whole surface of the client's message, and ours.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use chio_conditions::EventView;
use chio_policy::{Request, Scratch, Verdict};
use chio_rulings::headers::TRACE;
use chio_rulings::{Issued, NOTHING, Recalled, Ruling};

use crate::admitted::AdmittedHeaders;
use crate::decision::{self, read_run};
use crate::headers;
use crate::held::{self, Held};
use crate::letter::{self, Form, Letter};
use crate::message::{Accessor, Reader};
use crate::original::{Body, Original, Taken};
use crate::place::Place;
use crate::read::{self, Read};
use crate::reader;
use crate::record::Header;

/// Events that were freed and whose memory is used again: those of a batch in hand and of the next one.
const SPARE: usize = 1024;

/// What a message held when it came.
type Admitted<'a, 'py> = (&'a str, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, Bound<'py, PyAny>);

/// A decided message.
///
/// With a free list an allocation is no news to the cyclic garbage collector, which would otherwise look at the whole heap
/// again and again while events come and go.
#[pyclass(frozen, freelist = SPARE, module = "chio_fast._native")]
pub struct Event {
    /// The rest of the message.
    original: Original,
    /// What the events of the partition share.
    pub place: Arc<Place>,
    /// Key as the client gave it.
    pub key: Option<Held>,
    /// Value as the client gave it.
    pub value: Option<Held>,
    /// Offset within the partition.
    pub offset: i64,
    /// Timestamp of the record, Unix ms.
    pub timestamp: Option<i64>,
    /// Stamp of the partition at admission.
    pub stamp: i64,
    /// `handed` of the partition just before this event got its receipt.
    pub floor: AtomicI64,
    ruling: Mutex<Ruling>,
    /// A setter was called, so that what was read at admission is not what the message holds now.
    changed: AtomicBool,
    headers: AdmittedHeaders,
}

impl Event {
    /// An event that was just decided.
    pub fn new(original: Original, read: Read, place: &Arc<Place>, ruling: Ruling) -> Self {
        Self {
            original,
            place: Arc::clone(place),
            key: read.key,
            value: read.value,
            offset: read.offset,
            timestamp: read.timestamp,
            stamp: place.progress.stamp.load(Ordering::Acquire),
            floor: AtomicI64::new(NOTHING),
            ruling: Mutex::new(ruling),
            changed: AtomicBool::new(false),
            headers: AdmittedHeaders::default(),
        }
    }

    /// The ruling; no Python code may run while it is held.
    pub fn ruling(&self) -> MutexGuard<'_, Ruling> {
        self.ruling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Guards that run for every decision.
    pub fn always(&self) -> &[String] {
        &self.place.always
    }

    /// Whether the partition is still assigned as it was at admission.
    pub fn is_current(&self) -> bool {
        self.place.progress.stamp.load(Ordering::Acquire) == self.stamp
    }

    /// Notes the receipt, here and in the partition.
    pub fn receipted(&self, ruling: &mut Ruling, issued: Issued) {
        ruling.issued = Some(issued);
        if std::mem::replace(&mut ruling.was_handed, true) {
            return;
        }
        let floor = self.place.progress.pass(self.offset, ruling.verdict() == Verdict::Allow);
        self.floor.store(floor, Ordering::Release);
    }

    /// The name of its request, for people.
    pub fn request_text(&self) -> String {
        format!("chio-kafka-{}-{}-{}", self.place.topic, self.place.number, self.offset)
    }

    /// Calls `f` with the event as it was admitted.
    pub fn with_view<R>(&self, headers: &[Header], f: impl FnOnce(&EventView<'_>) -> R) -> R {
        let at = (&*self.place, self.offset, self.timestamp);
        read::view(self.key.as_deref(), self.value.as_deref(), at, headers, f)
    }

    /// The trace that it is part of.
    pub fn trace<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let mut found = None;
        let seek = |name: &[u8], value: Option<&[u8]>| {
            if found.is_none() && name == TRACE.as_bytes() {
                found = value.map(|value| PyBytes::new(py, value));
            }
        };
        self.each_header(seek).ok()?;
        found
    }

    /// Calls `each` with name and value of every header, as the message came; waits for Python where it has to be asked.
    ///
    /// # Errors
    /// They are unreadable.
    pub fn each_header(&self, each: impl FnMut(&[u8], Option<&[u8]>)) -> PyResult<()> {
        self.headers.each(&self.original, each)
    }

    /// The rest of the message as it came, if Python need not be asked for it.
    pub fn taken(&self) -> Option<&Taken> {
        match &self.original {
            Original::Client(_) => None,
            Original::Taken(taken) => Some(taken),
        }
    }

    /// All headers, as the message came; `None` if they are unreadable.
    pub fn all_headers(&self, py: Python<'_>) -> Option<Vec<Header>> {
        self.headers.all(py, &self.original)
    }

    /// The client's message.
    fn message<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.original.message(
            py,
            Body {
                topic: &self.place.topic_object,
                partition: self.place.number,
                offset: self.offset,
                key: self.key.as_ref(),
                value: self.value.as_ref(),
            },
        )
    }

    fn current<'py>(&self, py: Python<'py>, accessor: Accessor) -> PyResult<Bound<'py, PyAny>> {
        let message = self.message(py)?;
        Reader::new(py, Some(&message))?.call(&message, accessor)
    }

    fn set(&self, py: Python<'_>, name: &str, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.message(py)?.call_method1(name, (value,))?;
        self.changed.store(true, Ordering::Release);
        Ok(())
    }
}

#[pymethods]
impl Event {
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.message(py)
    }

    #[getter]
    fn chio_receipt_id(&self) -> Option<String> {
        self.ruling().issued.map(|issued| issued.id.to_string())
    }

    #[getter]
    fn chio_decision<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let snapshot = self.ruling().snapshot(&self.place.question(), self.always());
        decision::build(py, &snapshot)
    }

    #[getter]
    fn identity(&self) -> &str {
        &self.place.identity
    }

    #[getter]
    fn scope(&self) -> &str {
        &self.place.scope
    }

    #[getter]
    fn kind(&self) -> &'static str {
        "consume"
    }

    #[getter]
    fn request(&self) -> String {
        self.request_text()
    }

    #[pyo3(signature = (*, attempt, value, rest))]
    fn dead_letter<'py>(
        &self,
        py: Python<'py>,
        attempt: Option<u64>,
        value: bool,
        rest: bool,
    ) -> PyResult<Option<Letter<'py>>> {
        let snapshot = self.ruling().snapshot(&self.place.question(), self.always());
        letter::of(self, py, &snapshot, attempt, Form { value, rest })
    }

    /// Topic, key, value and headers as the message came, whatever was set since.
    fn admitted<'py>(&self, py: Python<'py>) -> PyResult<Admitted<'_, 'py>> {
        let (key, value) = (held::object(py, self.key.as_ref())?, held::object(py, self.value.as_ref())?);
        Ok((&self.place.topic, key, value, self.headers.given(py, &self.original)?))
    }

    #[getter]
    #[pyo3(name = "trace")]
    fn get_trace<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.trace(py)
    }

    #[getter(partition_key)]
    pub fn get_partition_key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, &self.place.target.partition_key()?.0))
    }

    #[getter]
    fn request_key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let partition = self.place.target.partition_key()?;
        Some(PyBytes::new(py, &chio_receipts::request_key(&partition, self.offset).0))
    }

    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let digest = chio_receipts::digest::event(self.key.as_deref(), &[], self.value.as_deref(), None);
        PyBytes::new(py, &digest)
    }

    #[getter]
    fn stamp(&self) -> i64 {
        self.stamp
    }

    #[getter(is_current)]
    fn get_is_current(&self) -> bool {
        self.is_current()
    }

    #[getter]
    fn ordinal(&self) -> Option<u64> {
        self.ruling().issued.and_then(|issued| issued.ordinal)
    }

    #[getter]
    fn floor(&self) -> i64 {
        self.floor.load(Ordering::Acquire)
    }

    #[getter]
    fn guards_due<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let due: Vec<String> = self.ruling().due(self.always()).map(str::to_owned).collect();
        PyTuple::new(py, due)
    }

    fn guards_ran(&self, runs: &Bound<'_, PyAny>) -> PyResult<()> {
        let runs = runs.try_iter()?.map(|run| read_run(&run?)).collect::<PyResult<Vec<_>>>()?;
        self.ruling().record(runs, self.always());
        Ok(())
    }

    #[pyo3(signature = (receipt_id, *, verdict = None, rule = None, reason = None))]
    fn recall(
        &self,
        py: Python<'_>,
        receipt_id: &str,
        verdict: Option<&str>,
        rule: Option<String>,
        reason: Option<String>,
    ) -> PyResult<()> {
        let id = reader::parse(py, receipt_id)?;
        let verdict = verdict.map(read_verdict).transpose()?;
        let standing = verdict.map(|verdict| (verdict, rule.unwrap_or_default()));
        self.ruling().recalled = Some(Box::new(Recalled { id, standing, reason }));
        Ok(())
    }

    fn has_scope(&self, py: Python<'_>, scope: &str) -> bool {
        let (generation, now) = {
            let ruling = self.ruling();
            (Arc::clone(&ruling.generation), ruling.now)
        };
        let headers = self.all_headers(py);
        self.with_view(headers.as_deref().unwrap_or_default(), |view| {
            let request =
                Request { scope, event: headers.is_some().then_some(view), ..self.place.question().request(now) };
            generation.policy.has_scope(&request, &mut Scratch::new())
        })
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        context(slf.py())?.call_method1(intern!(slf.py(), "enter"), (&slf,))?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exc))]
    fn __exit__(slf: &Bound<'_, Self>, _exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        context(slf.py())?.call_method1(intern!(slf.py(), "leave"), (slf,))?;
        Ok(())
    }

    fn topic<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.changed.load(Ordering::Acquire) {
            return self.current(py, Accessor::Topic);
        }
        Ok(self.place.topic_object.bind(py).clone().into_any())
    }

    fn partition(&self) -> i32 {
        self.place.number
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn key<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.changed.load(Ordering::Acquire) {
            return self.current(py, Accessor::Key).map(Some);
        }
        held::object(py, self.key.as_ref())
    }

    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.changed.load(Ordering::Acquire) {
            return self.current(py, Accessor::Value).map(Some);
        }
        held::object(py, self.value.as_ref())
    }

    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.current(py, Accessor::Timestamp)
    }

    fn error<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.current(py, Accessor::Error)
    }

    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.changed.load(Ordering::Acquire) {
            return headers::given(&self.message(py)?);
        }
        self.original.given_headers(py)
    }

    fn latency<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.message(py)?.call_method0(intern!(py, "latency"))
    }

    fn leader_epoch<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.message(py)?.call_method0(intern!(py, "leader_epoch"))
    }

    fn delivery_count<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.message(py)?.call_method0(intern!(py, "delivery_count"))
    }

    fn deserialized_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.message(py)?.call_method0(intern!(py, "deserialized_key"))
    }

    fn deserialized_value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.message(py)?.call_method0(intern!(py, "deserialized_value"))
    }

    fn set_headers(&self, py: Python<'_>, headers: Bound<'_, PyAny>) -> PyResult<()> {
        self.headers.keep(py, &self.original);
        self.set(py, "set_headers", headers)
    }

    fn set_key(&self, py: Python<'_>, key: Bound<'_, PyAny>) -> PyResult<()> {
        self.set(py, "set_key", key)
    }

    fn set_value(&self, py: Python<'_>, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.set(py, "set_value", value)
    }

    fn set_topic(&self, py: Python<'_>, topic: Bound<'_, PyAny>) -> PyResult<()> {
        self.set(py, "set_topic", topic)
    }

    fn set_error(&self, py: Python<'_>, error: Bound<'_, PyAny>) -> PyResult<()> {
        self.set(py, "set_error", error)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.message(py)?.len()
    }

    fn __repr__(&self) -> String {
        let ruling = self.ruling();
        format!("Event({}[{}]@{}, {})", self.place.topic, self.place.number, self.offset, ruling.verdict().as_str())
    }
}

fn read_verdict(word: &str) -> PyResult<Verdict> {
    Verdict::from_word(word).ok_or_else(|| {
        PyValueError::new_err(format!("`{word}` is no verdict: write `allow`, `deny`, `escalate` or `delay`"))
    })
}

fn context(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "chio_fast.context"))
}
