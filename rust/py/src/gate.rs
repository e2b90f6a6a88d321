//! The native half of an `Enforcer`: the current policy, and the way into the log.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use chio_policy::{Scratch, Verdict};
use chio_receipts::ReceiptId;
use chio_rulings::headers::{CORRELATION, RECEIPT, correlation_in};
use chio_rulings::{Generation, Origin, Ruling};

use crate::attest::Transaction;
use crate::check::{self, Asked, Check};
use crate::clock;
use crate::errors;
use crate::event::Event;
use crate::inbound::Inbound;
use crate::inlet::Inlet;
use crate::issue::Effect;
use crate::log::Log;
use crate::matter::Matter;
use crate::outcome::Resolved;
use crate::outlet::{Given, Outlet, Output, Whither};
use crate::place::{Partition, Whereabouts};
use crate::policy::Policy;
use crate::record::Record;
use crate::runs::Stretch;
use crate::untracked::untracked;

/// Joins a policy that can change with a log.
#[pyclass(frozen, module = "chio_fast._native")]
pub struct Gate {
    /// Where receipts go.
    pub log: Arc<chio_store::Log>,
    /// Guards that run for every decision.
    pub always: Arc<[String]>,
    /// Headers that carry a correlation text, the preferred one first.
    pub correlation: Arc<[String]>,
    /// What was decided so far.
    pub counts: Counts,
    log_object: Py<Log>,
    current: ArcSwap<Generation>,
    policy_object: Mutex<Py<Policy>>,
    scratch: Mutex<Scratch>,
    inbound: Mutex<Inbound>,
}

/// Receipts by verdict, and decisions made again.
#[derive(Debug, Default)]
pub struct Counts {
    allowed: AtomicU64,
    denied: AtomicU64,
    escalated: AtomicU64,
    delayed: AtomicU64,
    /// Decisions made again before their receipt.
    pub redecided: AtomicU64,
}

impl Counts {
    /// Counts a receipt.
    pub fn add(&self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Allow => &self.allowed,
            Verdict::Deny => &self.denied,
            Verdict::Escalate => &self.escalated,
            Verdict::Delay => &self.delayed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the receipts that others have counted.
    pub fn add_all(&self, others: &Self) {
        for (counter, other) in self.verdicts().into_iter().zip(others.verdicts()) {
            counter.fetch_add(other.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn verdicts(&self) -> [&AtomicU64; 4] {
        [&self.allowed, &self.denied, &self.escalated, &self.delayed]
    }
}

impl Gate {
    /// The policy in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// The same for one look at it, which costs less.
    pub fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// Calls `f` with scratch space for decisions.
    pub fn with_scratch<R>(&self, f: impl FnOnce(&mut Scratch) -> R) -> R {
        lend(&self.scratch, f)
    }

    /// Calls `f` with room for what is read of events.
    pub fn with_inbound<R>(&self, f: impl FnOnce(&mut Inbound) -> R) -> R {
        lend(&self.inbound, |inbound| {
            inbound.clear();
            f(inbound)
        })
    }

    /// Decides on an output.
    pub fn decide_output<'py>(
        &self,
        outlet: &Bound<'py, Outlet>,
        given: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, Check>> {
        let output = Output::new(outlet, given)?;
        let (generation, now) = (self.generation(), clock::now());
        let decision = self.with_scratch(|scratch| output.decide(outlet.py(), &generation, now, scratch))?;
        let ruling = output.ruling(generation, decision, now);
        untracked(outlet.py(), Check::new(Asked::Output(output), ruling))
    }
}

/// Calls `f` with what is kept in `slot`, so that a single thread allocates it once; another one, and a call within `f`, get
/// their own meanwhile.
fn lend<T: Default, R>(slot: &Mutex<T>, f: impl FnOnce(&mut T) -> R) -> R {
    match slot.try_lock() {
        Ok(mut kept) => f(&mut kept),
        Err(_) => f(&mut T::default()),
    }
}

#[pymethods]
impl Gate {
    #[new]
    #[pyo3(signature = (log, policy, *, guards = Vec::new(), correlation_headers = None))]
    fn new(
        log: &Bound<'_, Log>,
        policy: &Bound<'_, Policy>,
        guards: Vec<String>,
        correlation_headers: Option<Vec<String>>,
    ) -> Self {
        Self {
            log: Arc::clone(&log.get().inner),
            always: guards.into(),
            correlation: correlation_headers.unwrap_or_else(|| CORRELATION.map(str::to_owned).to_vec()).into(),
            counts: Counts::default(),
            log_object: log.clone().unbind(),
            current: ArcSwap::from_pointee(Generation::new(Arc::clone(&policy.get().inner))),
            policy_object: Mutex::new(policy.clone().unbind()),
            scratch: Mutex::default(),
            inbound: Mutex::default(),
        }
    }

    #[getter]
    fn policy(&self, py: Python<'_>) -> Py<Policy> {
        self.policy_object.lock().unwrap_or_else(PoisonError::into_inner).clone_ref(py)
    }

    #[getter]
    fn log(&self, py: Python<'_>) -> Py<Log> {
        self.log_object.clone_ref(py)
    }

    fn set_policy(&self, policy: &Bound<'_, Policy>) {
        let given = policy.clone().unbind();
        let former = {
            let mut object = self.policy_object.lock().unwrap_or_else(PoisonError::into_inner);
            self.current.store(Arc::new(Generation::new(Arc::clone(&policy.get().inner))));
            std::mem::replace(&mut *object, given)
        };
        self.log.seal();
        drop(former);
    }

    #[pyo3(signature = (topic, number, *, scope, identity, cluster = None, topic_id = None, group = None, stamp = 0))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn partition(
        &self,
        py: Python<'_>,
        topic: &str,
        number: i32,
        scope: String,
        identity: String,
        cluster: Option<&str>,
        topic_id: Option<&str>,
        group: Option<&str>,
        stamp: i64,
    ) -> Partition {
        let (cluster, topic_id, group) = (cluster.unwrap_or(""), topic_id.unwrap_or(""), group.unwrap_or(""));
        let partition = Partition::new(
            py,
            Whereabouts { topic, number, scope, identity, cluster, topic_id, group, stamp },
            &self.always,
        );
        if let Some(key) = partition.place.target.partition_key() {
            self.log.partition_assigned(key);
        }
        partition
    }

    fn admit<'py>(
        &self,
        messages: &Bound<'py, PyAny>,
        partitions: &Bound<'py, PyDict>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyList>)> {
        let py = messages.py();
        let admitted = match messages.cast::<Inlet>() {
            Ok(inlet) => crate::admit::admit_taken(self, inlet.get().taken(), partitions)?,
            Err(_) => crate::admit::admit(self, messages, partitions)?,
        };
        Ok((PyList::new(py, admitted.events)?, PyList::new(py, admitted.errors)?, PyList::new(py, admitted.strays)?))
    }

    #[pyo3(signature = (events, *, before_action = false))]
    fn issue<'py>(
        &self,
        py: Python<'py>,
        events: &Bound<'py, PyAny>,
        before_action: bool,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyList>)> {
        let issued = crate::issue::events(self, py, events.extract()?, before_action)?;
        let allowed = match events.cast::<PyList>() {
            // All of them allowed is the rule.
            Ok(given) if given.len() == issued.allowed.len() => given.clone(),
            _ => PyList::new(py, issued.allowed)?,
        };
        Ok((allowed, PyList::new(py, issued.denied)?, PyList::new(py, issued.due)?))
    }

    fn take<'py>(
        &self,
        py: Python<'py>,
        events: Vec<Bound<'py, Event>>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyList>)> {
        let taken = crate::attest::take(self, py, events)?;
        Ok((PyList::new(py, taken.allowed)?, PyList::new(py, taken.denied)?, PyList::new(py, taken.due)?))
    }

    #[pyo3(signature = (events, checks, *, group, transactional_id, attestation))]
    fn attest(
        &self,
        py: Python<'_>,
        events: Vec<Bound<'_, Event>>,
        checks: Vec<Bound<'_, Check>>,
        group: &str,
        transactional_id: &str,
        attestation: &[u8],
    ) -> PyResult<Vec<u64>> {
        let transaction = Transaction { group, transactional_id, attestation };
        crate::attest::attest(self, py, &events, &checks, &transaction)
    }

    #[pyo3(signature = (stretches, *, group, transactional_id, attestation))]
    fn attest_stretches(
        &self,
        py: Python<'_>,
        stretches: Vec<Bound<'_, Stretch>>,
        group: &str,
        transactional_id: &str,
        attestation: &[u8],
    ) -> PyResult<Vec<u64>> {
        let transaction = Transaction { group, transactional_id, attestation };
        crate::attest::attest_stretches(self, py, &stretches, &transaction)
    }

    fn attempt(&self, py: Python<'_>, events: Vec<Bound<'_, Event>>) -> PyResult<Option<u64>> {
        crate::attest::attempt(self, py, &events)
    }

    fn attempt_now(&self, py: Python<'_>, events: Vec<Bound<'_, Event>>) -> PyResult<Vec<u64>> {
        crate::attest::attempt_now(self, py, &events)
    }

    fn outcomes(&self, py: Python<'_>, resolved: Vec<Resolved>) -> PyResult<u64> {
        crate::outcome::record(self, py, &resolved)
    }

    fn rollback(&self, py: Python<'_>, events: Vec<Bound<'_, Event>>) -> PyResult<()> {
        crate::issue::rollback(self, py, &events)
    }

    #[pyo3(signature = (identity, scope, *, kind = "consume", event = None, tool = None, arguments = None, output = None,
                        parents = Vec::new(), correlation = None))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn request(
        &self,
        identity: String,
        scope: String,
        kind: &str,
        event: Option<Bound<'_, PyAny>>,
        tool: Option<String>,
        arguments: Option<Vec<u8>>,
        output: Option<Bound<'_, PyAny>>,
        parents: Vec<String>,
        correlation: Option<String>,
    ) -> PyResult<Check> {
        let mut matter = Matter {
            identity,
            scope,
            kind: check::kind(kind)?,
            event: event.as_ref().map(|event| Record::read(event, "event")).transpose()?,
            tool,
            arguments,
            output: output.as_ref().map(|output| Record::read(output, "output")).transpose()?,
            origin: Origin { correlation, ..Origin::default() },
            always: Arc::clone(&self.always),
            shown: (event.map(Bound::unbind), output.map(Bound::unbind)),
        };
        matter.origin.add_parents(parents.iter().map(String::as_bytes));
        if matter.kind == chio_conditions::Kind::Consume {
            let inbound = matter.event.as_ref().map(|event| event.header_values(RECEIPT)).unwrap_or_default();
            matter.origin.add_parents(inbound.iter().map(Vec::as_slice));
        }
        if matter.origin.correlation.is_none() {
            let mut records = [&matter.output, &matter.event].into_iter().flatten();
            matter.origin.correlation = records.find_map(|record| {
                let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
                correlation_in(headers, &self.correlation).map(Cow::into_owned)
            });
        }
        let (generation, now) = (self.generation(), clock::now());
        let decision = self.with_scratch(|scratch| {
            scratch.reset();
            matter.with_request(&matter.scope, now, |request| generation.policy.decide(request, scratch))
        });
        let ruling = Ruling::new(generation, decision, now);
        Ok(Check::new(Asked::Matter(Box::new(matter)), ruling))
    }

    #[pyo3(signature = (topic, *, scope, identity, cluster = None, topic_id = None, closed = None, carries_trace = false))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn outlet(
        &self,
        py: Python<'_>,
        topic: &str,
        scope: String,
        identity: String,
        cluster: Option<&str>,
        topic_id: Option<&str>,
        closed: Option<String>,
        carries_trace: bool,
    ) -> PyResult<Outlet> {
        let (cluster, topic_id) = (cluster.unwrap_or(""), topic_id.unwrap_or(""));
        let (correlation, always) = (Arc::clone(&self.correlation), Arc::clone(&self.always));
        let whither = Whither { topic, scope, identity, cluster, topic_id, closed, carries_trace, correlation, always };
        Outlet::new(py, whither)
    }

    #[pyo3(signature = (outlet, key, value, headers, partition = -1, timestamp = 0, event = None, parents = None,
                        correlation = None))]
    #[expect(clippy::too_many_arguments, reason = "these are the arguments of the Python method")]
    fn output<'py>(
        &self,
        outlet: &Bound<'py, Outlet>,
        key: Option<Bound<'py, PyAny>>,
        value: Option<Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        partition: i32,
        timestamp: i64,
        event: Option<Bound<'py, Event>>,
        parents: Option<&Bound<'py, PyAny>>,
        correlation: Option<String>,
    ) -> PyResult<Bound<'py, Check>> {
        self.decide_output(outlet, Given { key, value, headers, partition, timestamp, event, parents, correlation })
    }

    #[pyo3(signature = (outlet, key, value, headers, partition = -1, timestamp = 0, event = None, parents = None,
                        correlation = None))]
    #[expect(clippy::too_many_arguments, reason = "these are the arguments of the Python method")]
    fn authorise<'py>(
        &self,
        outlet: &Bound<'py, Outlet>,
        key: Option<Bound<'py, PyAny>>,
        value: Option<Bound<'py, PyAny>>,
        headers: Option<&Bound<'py, PyAny>>,
        partition: i32,
        timestamp: i64,
        event: Option<Bound<'py, Event>>,
        parents: Option<&Bound<'py, PyAny>>,
        correlation: Option<String>,
    ) -> PyResult<Bound<'py, Check>> {
        let given = Given { key, value, headers, partition, timestamp, event, parents, correlation };
        let check = self.decide_output(outlet, given)?;
        crate::issue::checks(self, outlet.py(), vec![check.clone()])?;
        Ok(check)
    }

    fn issue_checks<'py>(&self, py: Python<'py>, checks: Vec<Bound<'py, Check>>) -> PyResult<Vec<Bound<'py, Check>>> {
        crate::issue::checks(self, py, checks)
    }

    fn rollback_checks(&self, py: Python<'_>, checks: Vec<Bound<'_, Check>>) -> PyResult<()> {
        crate::issue::rollback_checks(self, py, &checks)
    }

    #[pyo3(signature = (check, *, result, error, duration_ms, reason = "", stands_for = Vec::new()))]
    #[expect(clippy::too_many_arguments, reason = "these are the keywords of the Python method")]
    fn effect(
        &self,
        py: Python<'_>,
        check: &Bound<'_, Check>,
        result: Option<&[u8]>,
        error: Option<&str>,
        duration_ms: u64,
        reason: &str,
        stands_for: Vec<String>,
    ) -> PyResult<String> {
        let stands_for: Vec<_> = stands_for.iter().filter_map(|id| ReceiptId::parse(id.as_bytes()).ok()).collect();
        let effect = Effect { result, error, duration_ms, reason, stands_for: &stands_for };
        crate::issue::effect(self, py, check.get(), &effect).map(|id| id.to_string())
    }

    fn counts(&self) -> HashMap<&'static str, u64> {
        let counts = &self.counts;
        [
            ("allowed", &counts.allowed),
            ("denied", &counts.denied),
            ("escalated", &counts.escalated),
            ("delayed", &counts.delayed),
            ("redecided", &counts.redecided),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
        .into()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({})", self.generation().version)
    }
}

/// Refuses a call whose log cannot take receipts, and waits, without the GIL, until it has room.
pub fn wait_for_room(gate: &Gate, py: Python<'_>) -> PyResult<()> {
    while !gate.log.has_room() {
        py.check_signals()?;
        py.detach(|| gate.log.wait_for_room(Some(crate::log::SLICE))).map_err(|error| errors::log(py, &error))?;
    }
    Ok(())
}
