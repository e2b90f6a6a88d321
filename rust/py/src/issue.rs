//! Giving receipts: everything that needs Python is read first, then one lock of the log covers a whole list.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use chio_conditions::Kind;
use chio_policy::Verdict;
use chio_receipts::{
    Attempt, Content, Draft, Evidence, PushError, ReceiptId, TargetTemplate, Template, TemplateFields,
};

use crate::admit;
use crate::check::Check;
use crate::clock;
use crate::errors;
use crate::event::Event;
use crate::gate::{Gate, wait_for_room};
use crate::inbound::{Inbound, is_digested};
use crate::record::{self, Header};
use crate::ruling::{Generation, Issued, Ruling};

/// What became of a list of events.
#[derive(Default)]
pub struct Handed<'py> {
    /// To be handed out.
    pub allowed: Vec<Bound<'py, Event>>,
    /// To be sent to the DLQ.
    pub denied: Vec<Bound<'py, Event>>,
    /// With guards that have not run; then no receipt was issued.
    pub due: Vec<Bound<'py, Event>>,
}

/// Gives receipts to the events whose stamp still holds.
pub fn events<'py>(
    gate: &Gate,
    py: Python<'py>,
    given: Vec<Bound<'py, Event>>,
    before_action: bool,
) -> PyResult<Handed<'py>> {
    wait_for_room(gate, py)?;
    let (now, generation) = (clock::now(), gate.generation());
    let mut live = Vec::with_capacity(given.len());
    let mut handed = Handed::default();
    for event in given {
        let inner = event.get();
        if !inner.is_current() {
            continue;
        }
        let stale = inner.ruling().is_stale(&generation, now);
        if stale {
            admit::decide_again(gate, py, inner, &generation, now)?;
        }
        if inner.ruling().is_due(&gate.always) {
            handed.due.push(event.clone());
        }
        live.push(event);
    }
    if handed.due.is_empty() {
        let evidence = before_action.then_some(Evidence::BeforeAction);
        push_events(gate, py, &live, &generation, evidence)?;
        for event in live {
            let verdict = event.get().ruling().verdict();
            if verdict == Verdict::Allow { handed.allowed.push(event) } else { handed.denied.push(event) }
        }
    }
    Ok(handed)
}

fn push_events(
    gate: &Gate,
    py: Python<'_>,
    live: &[Bound<'_, Event>],
    generation: &Arc<Generation>,
    evidence: Option<Evidence>,
) -> PyResult<()> {
    let mut ready = Vec::with_capacity(live.len());
    let mut inbound = Inbound::default();
    for bound in live {
        let event = bound.get();
        if event.ruling().issued.is_some() {
            continue;
        }
        let resolved = event.place.resolved(generation);
        let read = inbound.read(event.raw.bind(py), generation.policy.header_names(), &gate.correlation);
        let template = resolved.template(&event.ruling(), &event.place.question());
        ready.push((event, template, read));
    }
    issue(gate, py, generation, |issue| {
        for (event, template, read) in &ready {
            let mut ruling = event.ruling();
            if ruling.issued.is_some() {
                continue;
            }
            let headers = inbound.headers(read);
            let id = issue.next_id(ruling.now);
            let draft = Draft {
                offset: Some(event.offset),
                timestamp: event.timestamp,
                content: Content::Event {
                    key: bytes(py, &event.key),
                    headers: &headers,
                    value: bytes(py, &event.value),
                },
                parents: inbound.parents(read),
                parents_rejected: read.rejected,
                attempt: Attempt::Ask,
                correlation: inbound.correlation(read),
                evidence,
                ..Draft::new(id, ruling.now, template, &event.place.target)
            };
            let ordinal = issue.push(&draft)?;
            event.receipted(&mut ruling, Issued { id, ordinal });
            gate.counts.add(ruling.verdict());
        }
        Ok(())
    })
}

/// The bytes of a key or value that was checked at admission.
fn bytes<'a>(py: Python<'a>, given: &'a Option<Py<PyAny>>) -> Option<&'a [u8]> {
    record::bytes_of(given.as_ref()?.bind(py)).ok()??
}

/// Gives receipts to checks; returns those with guards that have not run, and then issues none.
pub fn checks<'py>(gate: &Gate, py: Python<'py>, given: Vec<Bound<'py, Check>>) -> PyResult<Vec<Bound<'py, Check>>> {
    wait_for_room(gate, py)?;
    let (now, generation) = (clock::now(), gate.generation());
    let mut due = Vec::new();
    for bound in &given {
        let check = bound.get();
        let mut ruling = check.ruling();
        if ruling.is_stale(&generation, now) {
            let decision = gate.with_scratch(|scratch| {
                scratch.reset();
                let matter = &check.matter;
                matter.with_request(&matter.scope, now, |request| generation.policy.decide(request, scratch))
            });
            ruling.renew(&generation, decision, now);
            gate.counts.redecided.fetch_add(1, Ordering::Relaxed);
        }
        if ruling.is_due(&gate.always) {
            drop(ruling);
            due.push(bound.clone());
        }
    }
    if !due.is_empty() {
        return Ok(due);
    }
    issue(gate, py, &generation, |issue| {
        for bound in &given {
            let check = bound.get();
            let mut ruling = check.ruling();
            if ruling.issued.is_some() {
                continue;
            }
            let id = issue.next_id(ruling.now);
            let ordinal = push_check(issue, check, &ruling, id)?;
            ruling.issued = Some(Issued { id, ordinal });
            gate.counts.add(ruling.verdict());
        }
        Ok(())
    })?;
    Ok(due)
}

fn push_check(
    issue: &mut chio_store::Issue<'_>,
    check: &Check,
    ruling: &Ruling,
    id: ReceiptId,
) -> Result<u64, PushError> {
    let matter = &check.matter;
    let (template, target) = (Arc::new(ruling.template(&matter.question())), Arc::new(matter.target()));
    let subject = matter.subject();
    let names = ruling.generation.policy.header_names();
    let digested = |header: &&Header| is_digested(names, &header.0);
    let headers: Vec<_> = subject
        .iter()
        .flat_map(|record| record.headers.iter().filter(digested))
        .map(|(name, value)| (name.as_str(), value.as_deref()))
        .collect();
    let is_inbound = matter.kind == Kind::Consume;
    let offset = subject.filter(|_| is_inbound).and_then(|record| record.offset);
    let content = match (subject, &matter.arguments) {
        (Some(record), _) => {
            Content::Event { key: record.key.as_deref(), headers: &headers, value: record.value.as_deref() }
        }
        (None, Some(arguments)) => Content::Arguments(arguments),
        (None, None) => Content::None,
    };
    let is_counted = target.partition_key().is_some() && offset.is_some_and(|offset| offset >= 0);
    issue.push(&Draft {
        offset,
        timestamp: subject.filter(|_| is_inbound).and_then(|record| record.timestamp),
        content,
        parents: &matter.parents,
        parents_rejected: matter.parents_rejected,
        attempt: if is_counted { Attempt::Ask } else { Attempt::None },
        correlation: matter.correlation.as_deref(),
        ..Draft::new(id, ruling.now, &template, &target)
    })
}

/// Issues the receipt of what became of an allowed tool call.
pub fn effect(
    gate: &Gate,
    py: Python<'_>,
    check: &Check,
    result: Option<&[u8]>,
    error: Option<&str>,
    duration_ms: u64,
) -> PyResult<ReceiptId> {
    wait_for_room(gate, py)?;
    let (generation, parent) = {
        let ruling = check.ruling();
        (Arc::clone(&ruling.generation), ruling.issued.map(|issued| issued.id))
    };
    let template = Arc::new(Template::new(&TemplateFields {
        kind: chio_receipts::Kind::Effect,
        identity: &check.matter.identity,
        scope: &check.matter.scope,
        verdict: None,
        rule: "",
        reason: "",
        errors: &[],
        guards: &[],
    }));
    let target: Arc<TargetTemplate> = Arc::new(check.matter.target());
    let (now, mut given) = (clock::now(), None);
    issue(gate, py, &generation, |issue| {
        let id = issue.next_id(now);
        issue.push(&Draft {
            content: result.map_or(Content::None, Content::Arguments),
            parents: parent.as_slice(),
            correlation: check.matter.correlation.as_deref(),
            duration_ms: Some(duration_ms),
            error,
            ..Draft::new(id, now, &template, &target)
        })?;
        given = Some(id);
        Ok(())
    })?;
    given.ok_or_else(|| errors::push(&PushError::Kind("the log gave no id")))
}

/// Takes back receipts of events that are not handed out after all.
pub fn rollback(gate: &Gate, py: Python<'_>, given: &[Bound<'_, Event>]) -> PyResult<()> {
    wait_for_room(gate, py)?;
    let (now, generation) = (clock::now(), gate.generation());
    issue(gate, py, &generation, |issue| {
        for bound in given {
            let event = bound.get();
            let Some(issued) = event.ruling().issued else { continue };
            let id = issue.next_id(now);
            issue.push(&Draft {
                offset: Some(event.offset),
                timestamp: event.timestamp,
                rollback: Some(issued.id),
                ..Draft::new(id, now, &event.place.rollback, &event.place.target)
            })?;
        }
        Ok(())
    })
}

/// Holds the log's lock once. `push` runs under it and must not call Python, which could wait for another thread that
/// waits for this lock.
fn issue(
    gate: &Gate,
    py: Python<'_>,
    generation: &Arc<Generation>,
    push: impl FnOnce(&mut chio_store::Issue<'_>) -> Result<(), PushError>,
) -> PyResult<()> {
    let mut pushed = Ok(());
    let issued = gate.log.issue_now(generation.policy.version(), |issue| pushed = push(issue));
    issued.map_err(|error| errors::log(py, &error))?;
    pushed.map_err(|error| errors::push(&error))
}
