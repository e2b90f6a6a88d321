//! Giving receipts: everything that needs Python is read first, then one lock of the log covers a whole list.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;

use chio_policy::Verdict;
use chio_receipts::{
    Attempt, Content, Draft, Evidence, PushError, ReceiptId, TargetTemplate, Template, TemplateFields,
};
use chio_rulings::{Generation, Issued, Resolved, Ruling};

use crate::admit;
use crate::check::Check;
use crate::clock;
use crate::errors;
use crate::event::Event;
use crate::gate::{Gate, wait_for_room};
use crate::inbound::{Inbound, Part};
use crate::line::Unsent;
use crate::outlet::{Address, Before};
use crate::place::Place;

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

impl<'py> Handed<'py> {
    /// Sorts events by what was decided about them.
    pub fn sort(live: Vec<Bound<'py, Event>>) -> Self {
        let mut handed = Self::default();
        for event in live {
            let verdict = event.get().ruling().verdict();
            if verdict == Verdict::Allow { handed.allowed.push(event) } else { handed.denied.push(event) }
        }
        handed
    }
}

/// Gives receipts to the events whose stamp still holds.
pub fn events<'py>(
    gate: &Gate,
    py: Python<'py>,
    given: Vec<Bound<'py, Event>>,
    before_action: bool,
) -> PyResult<Handed<'py>> {
    wait_for_room(gate, py)?;
    let generation = gate.generation();
    let (live, due) = live(gate, py, given, &generation)?;
    if !due.is_empty() {
        return Ok(Handed { due, ..Handed::default() });
    }
    push_events(gate, py, &live, &generation, before_action.then_some(Evidence::BeforeAction))?;
    Ok(Handed::sort(live))
}

/// Gives the event its receipt if that is all that its hand-out at `now` takes; false, and nothing was done, if it is void,
/// not allowed, has guards due or is to be decided again, or if the log has no room.
pub fn hand_out(gate: &Gate, py: Python<'_>, event: &Event, now: i64) -> PyResult<bool> {
    if !gate.log.has_room() {
        return Ok(false);
    }
    let generation = gate.current();
    gate.with_inbound(|inbound| {
        let resolved = event.place.resolved(&generation);
        let reading = Reading::new(gate, event, &resolved, inbound);
        let mut is_simple = false;
        issue(gate, py, &generation, |issue| {
            let mut ruling = event.ruling();
            let holds = event.is_current() && !ruling.is_stale(&generation, now);
            is_simple = holds && ruling.verdict() == Verdict::Allow && !ruling.is_due(&gate.always);
            if is_simple { give(gate, issue, inbound, (&reading, &resolved), &mut ruling, None) } else { Ok(()) }
        })?;
        Ok(is_simple)
    })
}

/// The events whose stamp still holds, decided again where that is due, and those of them whose guards have not run.
#[expect(clippy::type_complexity, reason = "a pair of lists reads best in place")]
pub fn live<'py>(
    gate: &Gate,
    py: Python<'py>,
    given: Vec<Bound<'py, Event>>,
    generation: &Arc<Generation>,
) -> PyResult<(Vec<Bound<'py, Event>>, Vec<Bound<'py, Event>>)> {
    let now = clock::now();
    let (mut live, mut due) = (Vec::with_capacity(given.len()), Vec::new());
    for event in given {
        let inner = event.get();
        if !inner.is_current() {
            continue;
        }
        let (is_stale, mut is_due) = {
            let ruling = inner.ruling();
            (ruling.is_stale(generation, now), ruling.is_due(&gate.always))
        };
        if is_stale {
            admit::decide_again(gate, py, inner, generation, now)?;
            is_due = inner.ruling().is_due(&gate.always);
        }
        if is_due {
            due.push(event.clone());
        }
        live.push(event);
    }
    Ok((live, due))
}

/// What many threads share, where one of them counts its own uses of it: all would write to the common count.
pub struct Common<T>(pub Arc<T>);

impl<T> Deref for Common<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

/// What was resolved for the event before, which is mostly what the next one needs.
#[derive(Default)]
pub struct Known<'a>(Option<(&'a Arc<Place>, Rc<Common<Resolved>>)>);

impl<'a> Known<'a> {
    /// What a policy says of the events of a partition in general.
    pub fn of(&mut self, event: &'a Event, generation: &Arc<Generation>) -> Rc<Common<Resolved>> {
        let is_same = |(place, resolved): &&(&Arc<Place>, Rc<Common<Resolved>>)| {
            Arc::ptr_eq(place, &event.place) && Arc::ptr_eq(&resolved.generation, generation)
        };
        if let Some((_, resolved)) = self.0.as_ref().filter(is_same) {
            return Rc::clone(resolved);
        }
        let resolved = Rc::new(Common(event.place.resolved(generation)));
        self.0 = Some((&event.place, Rc::clone(&resolved)));
        resolved
    }
}

/// An event with what its receipt takes from Python.
pub struct Reading<'a> {
    /// The event.
    pub event: &'a Event,
    part: Part,
}

impl<'a> Reading<'a> {
    /// Reads an event whose place was `resolved` under the policy that decided it.
    pub fn new(gate: &Gate, event: &'a Event, resolved: &Resolved, into: &mut Inbound) -> Self {
        let part = into.read(event, resolved.generation.policy.header_names(), &gate.correlation);
        Self { event, part }
    }

    /// Hands the receipt to the log; needs no Python.
    pub fn push(
        &self,
        issue: &mut chio_store::Issue<'_>,
        inbound: &Inbound,
        resolved: &Resolved,
        ruling: &Ruling,
        (id, attempt, evidence): (ReceiptId, Attempt, Option<Evidence>),
    ) -> Result<u64, PushError> {
        let Self { event, part } = self;
        require_decided(ruling, &resolved.generation, event.always())?;
        let headers = inbound.headers(part);
        let parents = ruling.parents(inbound.parents(part));
        resolved.with_template(ruling, &event.place.question(), |template| {
            issue.push(&Draft {
                offset: Some(event.offset),
                timestamp: event.timestamp,
                content: Content::Event { key: event.key.as_deref(), headers: &headers, value: event.value.as_deref() },
                parents: &parents,
                parents_rejected: part.rejected,
                attempt,
                correlation: inbound.correlation(part),
                evidence,
                ..Draft::new(id, ruling.now, template, &event.place.target)
            })
        })
    }
}

/// Reading may have let other threads of Python run: refuses what they decided again, by another policy or without the guards
/// that are due then.
pub fn require_decided(ruling: &Ruling, by: &Arc<Generation>, always: &[String]) -> Result<(), PushError> {
    if Arc::ptr_eq(&ruling.generation, by) && !ruling.is_due(always) {
        return Ok(());
    }
    Err(PushError::Kind("what was decided was decided again by another thread meanwhile"))
}

fn push_events(
    gate: &Gate,
    py: Python<'_>,
    live: &[Bound<'_, Event>],
    generation: &Arc<Generation>,
    evidence: Option<Evidence>,
) -> PyResult<()> {
    gate.with_inbound(|inbound| {
        let mut ready = Vec::with_capacity(live.len());
        let mut known = Known::default();
        for event in live.iter().map(Bound::get) {
            let resolved = known.of(event, generation);
            ready.push((Reading::new(gate, event, &resolved, inbound), resolved));
        }
        issue(gate, py, generation, |issue| {
            ready.iter().try_for_each(|(reading, resolved)| {
                give(gate, issue, inbound, (reading, resolved), &mut reading.event.ruling(), evidence)
            })
        })
        .map(drop)
    })
}

/// Gives an event its receipt, unless it has one.
fn give(
    gate: &Gate,
    issue: &mut chio_store::Issue<'_>,
    inbound: &Inbound,
    (reading, resolved): (&Reading<'_>, &Resolved),
    ruling: &mut Ruling,
    evidence: Option<Evidence>,
) -> Result<(), PushError> {
    if ruling.issued.is_some() {
        return Ok(());
    }
    let id = issue.next_id(ruling.now);
    let ordinal = reading.push(issue, inbound, resolved, ruling, (id, Attempt::Ask, evidence))?;
    reading.event.receipted(ruling, Issued::sealed(id, ordinal));
    gate.counts.add(ruling.verdict());
    Ok(())
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
        let mut before = Before::default();
        for bound in &given {
            let check = bound.get();
            let mut ruling = check.ruling();
            if ruling.issued.is_some() {
                continue;
            }
            require_decided(&ruling, &generation, check.always())?;
            let id = issue.next_id(ruling.now);
            let ordinal = check.push(issue, &ruling, id, &mut before)?;
            ruling.issued = Some(Issued::sealed(id, ordinal));
            gate.counts.add(ruling.verdict());
        }
        Ok(())
    })?;
    Ok(due)
}

/// What became of an allowed tool call.
#[derive(Debug)]
pub struct Effect<'a> {
    /// JSON text of its result; one without canonical form has no digest.
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
        let draft = Draft {
            parents: &parents,
            correlation: check.correlation(),
            duration_ms: Some(effect.duration_ms),
            error: effect.error,
            ..Draft::new(id, now, &template, &target)
        };
        let content = effect.result.map_or(Content::None, Content::Arguments);
        match issue.push(&Draft { content, ..draft }) {
            // The call was made, whatever it gave.
            Err(PushError::Arguments(_)) => issue.push(&draft)?,
            pushed => pushed?,
        };
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
            // An event that was only taken has no receipt.
            let Some(issued) = event.ruling().issued.filter(|issued| issued.ordinal.is_some()) else { continue };
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
    .map(drop)
}

/// Takes back receipts of checks that were not acted upon after all.
pub fn rollback_checks(gate: &Gate, py: Python<'_>, given: &[Bound<'_, Check>]) -> PyResult<()> {
    let taken_back = |bound: &Bound<'_, Check>| {
        let check = bound.get();
        let issued = check.ruling().issued?;
        Some((issued.id, not_acted_upon(check.question().identity), check.target()))
    };
    take_back(gate, py, &given.iter().filter_map(taken_back).collect::<Vec<_>>())
}

/// Takes back receipts of outputs that were not sent after all.
pub fn rollback_unsent(gate: &Gate, py: Python<'_>, given: &[Unsent]) -> PyResult<()> {
    let taken_back = |unsent: &Unsent| {
        let Address { identity, target, .. } = &*unsent.address;
        (unsent.receipt, not_acted_upon(identity), Arc::clone(target))
    };
    take_back(gate, py, &given.iter().map(taken_back).collect::<Vec<_>>())
}

/// What receipts share that take back those of an identity.
fn not_acted_upon(identity: &str) -> Arc<Template> {
    Arc::new(Template::new(&TemplateFields {
        kind: chio_receipts::Kind::Rollback,
        identity,
        scope: "",
        verdict: None,
        rule: "",
        reason: "not acted upon after all",
        errors: &[],
        guards: &[],
    }))
}

fn take_back(
    gate: &Gate,
    py: Python<'_>,
    receipts: &[(ReceiptId, Arc<Template>, Arc<TargetTemplate>)],
) -> PyResult<()> {
    wait_for_room(gate, py)?;
    let (now, generation) = (clock::now(), gate.generation());
    issue(gate, py, &generation, |issue| {
        for (receipt, template, target) in receipts {
            let id = issue.next_id(now);
            issue.push(&Draft { rollback: Some(*receipt), ..Draft::new(id, now, template, target) })?;
        }
        Ok(())
    })
    .map(drop)
}

/// Holds the log's lock once, and gives the ordinal of the last receipt. `push` runs under the lock and must not call Python,
/// which could wait for another thread that waits for it.
pub fn issue(
    gate: &Gate,
    py: Python<'_>,
    generation: &Arc<Generation>,
    push: impl FnOnce(&mut chio_store::Issue<'_>) -> Result<(), PushError>,
) -> PyResult<u64> {
    let mut pushed = Ok(());
    let issued = gate.log.issue_now(generation.policy.version(), |issue| pushed = push(issue));
    let last = issued.map_err(|error| errors::log(py, &error))?;
    pushed.map(|()| last).map_err(|error| errors::push(&error))
}
