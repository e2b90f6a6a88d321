//! The produce boundary: what all events produced to one topic share, and single ones on their way there.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use chio_client::{Record, Refusal, Series};
use chio_conditions::Kind;
use chio_policy::{Decision, Reads, Request, Scratch};
use chio_receipts::{EventTarget, GuardVerdict, PushError, ReceiptId, TargetTemplate};
use chio_rulings::headers::{
    RECEIPT, RECEIPT_TERMINATED, SCOPE, SCOPE_TERMINATED, TRACE, TRACE_TERMINATED, correlation_in, trace_in,
};
use chio_rulings::{Generation, Latest, Origin, Question, Resolved, Ruling, Run};

use crate::event::Event;
use crate::held::{self, Held};
use crate::inbound::HandedOn;
use crate::offer::{self, Offer};
use crate::original::Taken;
use crate::outbound::{self, OutboundHeader};
use crate::record;

/// Under this name a closed outlet denies, as a guard does.
const GUARD: &str = "outlet";
/// How an output is called in error messages.
pub const ROLE: &str = "output";

/// What all events produced to one topic share.
#[pyclass(frozen, module = "chio_fast._native")]
#[derive(Debug)]
pub struct Outlet {
    /// Topic name.
    pub topic: String,
    /// Scope of producing to it.
    pub scope: String,
    /// Who produces.
    pub identity: String,
    /// What of it is known without Python's lock.
    pub address: Arc<Address>,
    /// Why nothing may be produced to it, whatever the policy says.
    pub closed: Option<String>,
    /// Whether outputs carry on the trace of the event that is handled.
    carries_trace: bool,
    /// Headers that carry a correlation text, the preferred one first.
    correlation: Arc<[String]>,
    /// Guards that run for every decision.
    pub always: Arc<[String]>,
    /// The topic as the client's `produce` takes it.
    topic_object: Py<PyString>,
    /// What the policy in force says about it in general.
    pub latest: Latest,
}

/// What records and receipts of an outlet share.
#[derive(Debug)]
pub struct Address {
    /// The topic as the client's library takes it.
    pub topic: Arc<CStr>,
    /// Who produces.
    pub identity: String,
    /// The target of its receipts.
    pub target: Arc<TargetTemplate>,
}

/// Where an outlet leads: the keywords of `Gate.outlet`.
pub struct Whither<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Scope of producing to it.
    pub scope: String,
    /// Who produces.
    pub identity: String,
    /// Cluster id, empty if unknown.
    pub cluster: &'a str,
    /// Topic id, empty if unknown.
    pub topic_id: &'a str,
    /// Why nothing may be produced to it, if so.
    pub closed: Option<String>,
    /// Whether outputs carry on the trace of the event that is handled.
    pub carries_trace: bool,
    /// Headers that carry a correlation text, the preferred one first.
    pub correlation: Arc<[String]>,
    /// Guards that run for every decision.
    pub always: Arc<[String]>,
}

impl Outlet {
    /// Renders what receipts of the outlet share.
    pub fn new(py: Python<'_>, to: Whither<'_>) -> PyResult<Self> {
        let target = TargetTemplate::event(&EventTarget {
            cluster: to.cluster,
            group: "",
            identity: &to.identity,
            topic: to.topic,
            topic_id: to.topic_id,
            partition: None,
        });
        let topic = CString::new(to.topic).map_err(|_| {
            PyValueError::new_err(format!("topic {:?} holds a NUL: name one that a cluster can have", to.topic))
        })?;
        Ok(Self {
            topic: to.topic.to_owned(),
            carries_trace: to.carries_trace,
            correlation: to.correlation,
            always: to.always,
            topic_object: PyString::new(py, to.topic).unbind(),
            scope: to.scope,
            address: Arc::new(Address { topic: topic.into(), identity: to.identity.clone(), target: Arc::new(target) }),
            identity: to.identity,
            closed: to.closed,
            latest: Latest::default(),
        })
    }

    /// What is asked of the policy.
    pub fn question(&self) -> Question<'_> {
        Question { identity: &self.identity, scope: &self.scope, kind: Kind::Produce }
    }
}

#[pymethods]
impl Outlet {
    #[getter]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    #[getter]
    fn scope(&self) -> &str {
        &self.scope
    }

    #[getter]
    fn identity(&self) -> &str {
        &self.identity
    }

    fn __repr__(&self) -> String {
        format!("Outlet({}, scope={}, identity={})", self.topic, self.scope, self.identity)
    }
}

/// One event for an outlet. What it holds of Python is immutable, so nobody changes it between decision and sending.
#[derive(Debug)]
pub struct Output {
    outlet: Py<Outlet>,
    key: Option<Held>,
    value: Option<Held>,
    headers: Vec<OutboundHeader>,
    partition: Option<i32>,
    timestamp: i64,
    event: Option<Py<Event>>,
    origin: Origin,
    along: Along,
}

/// What an output takes along from its event and does not hold: it is read where the event has it, without Python's lock.
#[derive(Clone, Copy, Debug, Default)]
struct Along {
    trace: bool,
    correlation: bool,
}

/// What was resolved for the output before, which is mostly what the next one needs.
#[derive(Debug, Default)]
pub struct Before(Option<(*const Outlet, Arc<Resolved>)>);

impl Before {
    fn resolved(&mut self, outlet: &Outlet, generation: &Arc<Generation>) -> &Resolved {
        let is_same = |(before, resolved): &(*const Outlet, Arc<Resolved>)| {
            std::ptr::eq(*before, outlet) && Arc::ptr_eq(&resolved.generation, generation)
        };
        let (_, resolved) = match self.0.take().filter(is_same) {
            Some(same) => self.0.insert(same),
            None => self.0.insert((outlet, outlet.latest.under(generation, &outlet.question()))),
        };
        resolved
    }
}

/// What is to be produced: the keywords of `Gate.output`.
pub struct Given<'a, 'py> {
    /// Its key.
    pub key: Option<Bound<'py, PyAny>>,
    /// Its value.
    pub value: Option<Bound<'py, PyAny>>,
    /// The caller's headers.
    pub headers: Option<&'a Bound<'py, PyAny>>,
    /// Partition, -1 if the caller chose none.
    pub partition: i32,
    /// Unix ms, 0 for now.
    pub timestamp: i64,
    /// The event being handled.
    pub event: Option<Bound<'py, Event>>,
    /// Receipts that led to it.
    pub parents: Option<&'a Bound<'py, PyAny>>,
    /// Correlation text, if the caller gave one.
    pub correlation: Option<String>,
}

impl Output {
    /// Checks and keeps what is to be produced. Without a correlation text of its own, that of its headers counts, else that
    /// of the event.
    pub fn new(outlet: &Bound<'_, Outlet>, given: Given<'_, '_>) -> PyResult<Self> {
        let correlation = &*outlet.get().correlation;
        let held = |content: Option<Bound<'_, PyAny>>, name| {
            let Some(content) = content else { return Ok(None) };
            Held::take(content.clone())?.ok_or_else(|| record::content_type_error(&content, ROLE, name))
        };
        let (key, value) = (held(given.key, "key")?, held(given.value, "value")?);
        let (mut headers, text) =
            given.headers.map(|headers| outbound::carried(headers, correlation)).transpose()?.unwrap_or_default();
        let mut origin = Origin { correlation: given.correlation.or(text), ..Origin::default() };
        let mut along = Along::default();
        if let Some(event) = &given.event {
            let issued = event.get().ruling().issued;
            if let Some(issued) = issued {
                origin.add_parent(issued.id);
            }
            let names = if origin.correlation.is_none() { correlation } else { &[] };
            let wants_trace = outlet.get().carries_trace && !outbound::hold_trace(&headers);
            if event.get().taken().is_some() {
                along = Along { trace: wants_trace, correlation: !names.is_empty() };
            } else if wants_trace || !names.is_empty() {
                let handed_on = HandedOn::read(event.py(), event.get(), names, wants_trace);
                origin.correlation = origin.correlation.or(handed_on.correlation);
                headers.extend(handed_on.trace.map(OutboundHeader::trace));
            }
        }
        if let Some(parents) = given.parents {
            for parent in parents.try_iter()? {
                let parent = parent?;
                origin.add_parents([parent.cast::<PyString>()?.to_str()?.as_bytes()]);
            }
        }
        Ok(Self {
            outlet: outlet.clone().unbind(),
            key,
            value,
            headers,
            partition: Some(given.partition).filter(|number| *number >= 0),
            timestamp: given.timestamp,
            event: given.event.map(Bound::unbind),
            origin,
            along,
        })
    }

    /// What is asked of the policy.
    pub fn question(&self) -> Question<'_> {
        self.outlet.get().question()
    }

    /// What led to it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Guards that run for every decision.
    pub fn always(&self) -> &[String] {
        &self.outlet.get().always
    }

    /// The target of its receipts.
    pub fn target(&self) -> Arc<TargetTemplate> {
        Arc::clone(&self.outlet.get().address.target)
    }

    /// Decides by a policy; may call Python to read the headers of the event.
    pub fn decide(
        &self,
        py: Python<'_>,
        generation: &Arc<Generation>,
        now: i64,
        scratch: &mut Scratch,
    ) -> PyResult<Decision> {
        let resolved = self.outlet.get().latest.under(generation, &self.question());
        let needs_headers = resolved.route.reads().contains(Reads::HEADERS);
        self.offer(py, needs_headers, |offer| offer.decide(py, &resolved, now, scratch))
    }

    /// A decision that nobody but the outlet itself has looked at.
    pub fn ruling(&self, generation: Arc<Generation>, decision: Decision, now: i64) -> Ruling {
        let mut ruling = Ruling::new(generation, decision, now);
        if let Some(reason) = &self.outlet.get().closed {
            ruling.runs.push(Run { name: GUARD.to_owned(), verdict: GuardVerdict::Deny, reason: reason.clone() });
        }
        ruling
    }

    /// Calls `f` with the request, asked for a scope, with or without headers.
    pub fn with_request<R>(
        &self,
        py: Python<'_>,
        (scope, needs_headers): (&str, bool),
        now: i64,
        f: &mut dyn FnMut(&Request<'_>) -> R,
    ) -> PyResult<R> {
        self.offer(py, needs_headers, |offer| offer.with_request(py, (scope, needs_headers), now, f))
    }

    /// Hands its receipt to the log; needs no Python.
    pub fn push(
        &self,
        issue: &mut chio_store::Issue<'_>,
        ruling: &Ruling,
        id: ReceiptId,
        before: &mut Before,
    ) -> Result<u64, PushError> {
        let headers = self.headers(!ruling.generation.policy.header_names().is_empty());
        let resolved = before.resolved(self.outlet.get(), &ruling.generation);
        let correlation = self.correlation();
        self.offered(None, &headers, correlation.as_deref()).push(issue, ruling, resolved, id)
    }

    /// The trace that its event has, if it is to take that along.
    fn trace(&self) -> Option<&[u8]> {
        trace_in(self.taken().filter(|_| self.along.trace)?.headers())
    }

    /// Its correlation text, or that of its event.
    fn correlation(&self) -> Option<Cow<'_, str>> {
        if let Some(own) = &self.origin.correlation {
            return Some(own.into());
        }
        let taken = self.taken().filter(|_| self.along.correlation)?;
        correlation_in(taken.headers(), &self.outlet.get().correlation).filter(|text| !text.is_empty())
    }

    fn taken(&self) -> Option<&Taken> {
        self.event.as_ref()?.get().taken()
    }

    /// Calls `f` with the output, with or without its headers.
    fn offer<R>(&self, py: Python<'_>, needs_headers: bool, f: impl FnOnce(&Offer<'_, '_>) -> R) -> R {
        let event = self.event.as_ref().map(|event| event.bind(py));
        f(&self.offered(event, &self.headers(needs_headers), None))
    }

    fn headers(&self, are_needed: bool) -> Vec<offer::Header<'_>> {
        if !are_needed {
            return Vec::new();
        }
        let trace = self.trace().map(|trace| (TRACE, Some(trace)));
        self.headers.iter().map(OutboundHeader::view).chain(trace).collect()
    }

    fn offered<'a, 'py>(
        &'a self,
        event: Option<&'a Bound<'py, Event>>,
        headers: &'a [offer::Header<'a>],
        correlation: Option<&'a str>,
    ) -> Offer<'a, 'py> {
        Offer {
            outlet: self.outlet.get(),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers,
            partition: self.partition,
            event,
            origin: &self.origin,
            correlation,
        }
    }

    /// The event being handled.
    pub fn event(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.event.as_ref().map(|event| event.clone_ref(py).into_any())
    }

    /// The output as guards see it.
    pub fn shown(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let shown = PyDict::new(py);
        shown.set_item(intern!(py, "topic"), &self.outlet.get().topic)?;
        shown.set_item(intern!(py, "partition"), self.partition)?;
        shown.set_item(intern!(py, "key"), held::object(py, self.key.as_ref())?)?;
        shown.set_item(intern!(py, "value"), held::object(py, self.value.as_ref())?)?;
        shown.set_item(intern!(py, "headers"), self.sent_headers(py, None)?)?;
        shown.set_item(intern!(py, "timestamp"), self.timestamp)?;
        Ok(shown.into_any().unbind())
    }

    /// The headers as they are sent: the caller's, the trace, then receipt and scope once there is a receipt.
    pub fn sent_headers<'py>(&self, py: Python<'py>, receipt: Option<ReceiptId>) -> PyResult<Bound<'py, PyList>> {
        let mut sent = Vec::with_capacity(self.headers.len() + 3);
        for header in &self.headers {
            sent.push(header.pair(py)?);
        }
        if let Some(trace) = self.trace() {
            sent.push((intern!(py, TRACE), PyBytes::new(py, trace)).into_pyobject(py)?);
        }
        if let Some(receipt) = receipt {
            sent.push((intern!(py, RECEIPT), receipt.to_string()).into_pyobject(py)?);
            sent.push((intern!(py, SCOPE), &self.outlet.get().scope).into_pyobject(py)?);
        }
        PyList::new(py, sent)
    }

    /// Calls `produce` of a client with it: the ordinary road.
    pub fn send<'py>(
        &self,
        produce: &Bound<'py, PyAny>,
        on_delivery: &Bound<'py, PyAny>,
        receipt: ReceiptId,
    ) -> PyResult<()> {
        let py = produce.py();
        let (key, value) = (held::object(py, self.key.as_ref())?, held::object(py, self.value.as_ref())?);
        let headers = self.sent_headers(py, Some(receipt))?;
        let partition = self.partition.unwrap_or(-1);
        // The argument that is None is another name of the one before.
        let topic = &self.outlet.get().topic_object;
        produce.call1((topic, value, key, partition, on_delivery, py.None(), self.timestamp, headers))?;
        Ok(())
    }

    /// Hands it to a producer of the client's; needs no Python, and nobody hears of its delivery.
    pub fn hand<'a>(&'a self, series: &mut Series<'a>, receipt: ReceiptId) -> Result<(), Refusal> {
        let outlet = self.outlet.get();
        let record = Record {
            topic: &outlet.address.topic,
            partition: self.partition.unwrap_or(-1),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            timestamp: self.timestamp,
        };
        let spelled = receipt.spelled();
        let own = [(RECEIPT_TERMINATED, Some(spelled.as_slice())), (SCOPE_TERMINATED, Some(outlet.scope.as_bytes()))];
        let carried = self.headers.iter().map(|header| (&*header.name, header.value.as_deref()));
        let trace = self.trace().map(|trace| (TRACE_TERMINATED, Some(trace)));
        series.send(&record, carried.chain(trace).chain(own))
    }
}
