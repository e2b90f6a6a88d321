//! Giving receipts: everything that needs Python is read first, then one lock of the log covers a whole list.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use chio_policy::Verdict;
use chio_receipts::{Attempt, Content, Draft, Evidence, PushError, ReceiptId, Template, TemplateFields};

use crate::admit;
use crate::check::Check;
use crate::clock;
use crate::errors;
use crate::event::Event;
use crate::gate::{Gate, wait_for_room};
use crate::inbound::Inbound;
use crate::record;
use crate::ruling::{Generation, Issued};

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
            let parents = ruling.parents(inbound.parents(read));
            let id = issue.next_id(ruling.now);
            let draft = Draft {
                offset: Some(event.offset),
                timestamp: event.timestamp,
                content: Content::Event {
                    key: record::checked_bytes(py, &event.key),
                    headers: &headers,
                    value: record::checked_bytes(py, &event.value),
                },
                parents: &parents,
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

/// Gives receipts to checks; returns those with guards that have not run, and then issues none.
pub fn checks<'py>(gate: &Gate, py: Python<'py>, given: Vec<Bound<'py, Check>>) -> PyResult<Vec<Bound<'py, Check>>> {
    wait_for_room(gate, py)?;
    let (now, generation) = (clock::now(), gate.generation());
    let mut due = Vec::new();
    for bound in &given {
        let check = bound.get();
        let is_stale = check.ruling().is_stale(&generation, now);
        if is_stale {
            let decision = gate.with_scratch(|scratch| check.decide(py, &generation, now, scratch))?;
            check.ruling().renew(&generation, decision, now);
            gate.counts.redecided.fetch_add(1, Ordering::Relaxed);
        }
        let is_due = check.ruling().is_due(&gate.always);
        if is_due {
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
            let ordinal = check.push(py, issue, &ruling, id)?;
            ruling.issued = Some(Issued { id, ordinal });
            gate.counts.add(ruling.verdict());
        }
        Ok(())
    })?;
    Ok(due)
}

/// What became of an allowed tool call.
#[derive(Debug)]
pub struct Effect<'a> {
    /// JSON text of its result.
    pub result: Option<&'a [u8]>,
    /// What it failed with.
    pub error: Option<&'a str>,
    /// How long it took, ms.
    pub duration_ms: u64,
    /// A sentence where the result came from elsewhere; empty for none.
    pub reason: &'a str,
    /// Earlier receipts that this one stands for, its parents beside that of the call.
    pub stands_for: &'a [ReceiptId],
}

/// Issues the receipt of what became of an allowed tool call.
pub fn effect(gate: &Gate, py: Python<'_>, check: &Check, effect: &Effect<'_>) -> PyResult<ReceiptId> {
    wait_for_room(gate, py)?;
    let (generation, call) = {
        let ruling = check.ruling();
        (Arc::clone(&ruling.generation), ruling.issued.map(|issued| issued.id))
    };
    let parents: Vec<ReceiptId> = call.into_iter().chain(effect.stands_for.iter().copied()).collect();
    let question = check.question();
    let template = Arc::new(Template::new(&TemplateFields {
        kind: chio_receipts::Kind::Effect,
        identity: question.identity,
        scope: question.scope,
        verdict: None,
        rule: "",
        reason: effect.reason,
        errors: &[],
        guards: &[],
    }));
    let target = check.target();
    let (now, mut given) = (clock::now(), None);
    issue(gate, py, &generation, |issue| {
        let id = issue.next_id(now);
        issue.push(&Draft {
            content: effect.result.map_or(Content::None, Content::Arguments),
            parents: &parents,
            correlation: check.correlation(),
            duration_ms: Some(effect.duration_ms),
            error: effect.error,
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

/// Takes back receipts of checks that were not acted upon after all.
pub fn rollback_checks(gate: &Gate, py: Python<'_>, given: &[Bound<'_, Check>]) -> PyResult<()> {
    wait_for_room(gate, py)?;
    let (now, generation) = (clock::now(), gate.generation());
    let taken_back = |bound: &Bound<'_, Check>| {
        let check = bound.get();
        let issued = check.ruling().issued?;
        let template = Template::new(&TemplateFields {
            kind: chio_receipts::Kind::Rollback,
            identity: check.question().identity,
            scope: "",
            verdict: None,
            rule: "",
            reason: "not acted upon after all",
            errors: &[],
            guards: &[],
        });
        Some((issued.id, Arc::new(template), check.target()))
    };
    let taken_back: Vec<_> = given.iter().filter_map(taken_back).collect();
    issue(gate, py, &generation, |issue| {
        for (receipt, template, target) in &taken_back {
            let id = issue.next_id(now);
            issue.push(&Draft { rollback: Some(*receipt), ..Draft::new(id, now, template, target) })?;
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
