//! Deciding a list of consumed messages, without receipts yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use chio_policy::{Decision, Reads, Request, Scratch};
use chio_rulings::{Generation, Resolved, Ruling};

use crate::clock;
use crate::event::Event;
use crate::gate::Gate;
use crate::headers;
use crate::layout::Fields;
use crate::message::{Reader, check_content};
use crate::place::{Partition, Place};
use crate::read::Read;
use crate::untracked::untracked;

/// What became of a list of messages.
#[derive(Default)]
pub struct Admitted<'py> {
    /// Decided ones.
    pub events: Vec<Bound<'py, Event>>,
    /// Those that carry an error.
    pub errors: Vec<Bound<'py, PyAny>>,
    /// Those of partitions that are not assigned, or below what was admitted.
    pub strays: Vec<Bound<'py, PyAny>>,
}

/// Decides every message of a list.
pub fn admit<'py>(
    gate: &Gate,
    messages: &Bound<'py, PyAny>,
    partitions: &Bound<'py, PyDict>,
) -> PyResult<Admitted<'py>> {
    let (now, generation) = (clock::now(), gate.generation());
    let mut out = Admitted::default();
    let mut known: Option<(Arc<Place>, Arc<Resolved>)> = None;
    let mut reader = None;
    gate.with_scratch(|scratch| {
        for message in messages.try_iter()? {
            let message = message?;
            let reader = match reader {
                Some(reader) => reader,
                None => *reader.insert(Reader::new(message.py(), Some(&message))?),
            };
            let fields = reader.fields(&message)?;
            if fields.is_error {
                out.errors.push(message);
                continue;
            }
            if !is_at(known.as_ref(), &fields)? {
                known = find(partitions, &fields)?.map(|place| {
                    let resolved = place.resolved(&generation);
                    (place, resolved)
                });
            }
            let place = known.as_ref().filter(|(place, _)| place.progress.is_ahead(fields.offset));
            let Some((place, resolved)) = place else {
                out.strays.push(message);
                continue;
            };
            check_content(fields.key.as_ref(), "key")?;
            check_content(fields.value.as_ref(), "value")?;
            let offset = fields.offset;
            let read = Read { key: fields.key, value: fields.value, offset, timestamp: fields.timestamp };
            let decision = decide(&message, &read, place, resolved, now, scratch)?;
            let ruling = Ruling::new(Arc::clone(&generation), decision, now);
            place.progress.admit(offset);
            reader.untrack(&message);
            out.events.push(untracked(message.py(), Event::new(&message, read, place, &gate.always, ruling))?);
        }
        Ok(out)
    })
}

/// Decides an admitted event again, under the policy in force.
pub fn decide_again(
    gate: &Gate,
    py: Python<'_>,
    event: &Event,
    generation: &Arc<Generation>,
    now: i64,
) -> PyResult<()> {
    let resolved = event.place.resolved(generation);
    let headers = if needs_headers(&resolved) { event.headers.all(event.raw.bind(py)) } else { Some(Vec::new()) };
    let decision = gate.with_scratch(|scratch| {
        scratch.reset();
        event.with_view(py, headers.as_deref().unwrap_or_default(), |view| {
            let request = Request { event: headers.is_some().then_some(view), ..event.place.question().request(now) };
            generation.policy.decide_route(&resolved.route, &request, scratch)
        })
    })?;
    event.ruling().renew(generation, decision, now);
    gate.counts.redecided.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Whether headers have to be read before an event of this partition can be decided, because a condition looks at them.
/// Where they are unreadable, the whole event counts as absent, so that every such condition errs.
fn needs_headers(resolved: &Resolved) -> bool {
    resolved.route.reads().contains(Reads::HEADERS)
}

fn decide(
    message: &Bound<'_, PyAny>,
    read: &Read<'_>,
    place: &Place,
    resolved: &Resolved,
    now: i64,
    scratch: &mut Scratch,
) -> PyResult<Decision> {
    let headers = if needs_headers(resolved) { headers::all(message) } else { Some(Vec::new()) };
    scratch.reset();
    read.with_view(place, headers.as_deref().unwrap_or_default(), |view| {
        let request = Request { event: headers.is_some().then_some(view), ..place.question().request(now) };
        resolved.generation.policy.decide_route(&resolved.route, &request, scratch)
    })
}

/// Whether the message is of the same partition as the one before it, which is the rule in a batch.
fn is_at(known: Option<&(Arc<Place>, Arc<Resolved>)>, fields: &Fields<'_>) -> PyResult<bool> {
    let Some((place, _)) = known else { return Ok(false) };
    match fields.topic.as_ref().map(Bound::cast::<PyString>) {
        Some(Ok(topic)) => Ok(place.number == fields.partition && topic.to_str()? == place.topic),
        _ => Ok(false),
    }
}

fn find(partitions: &Bound<'_, PyDict>, fields: &Fields<'_>) -> PyResult<Option<Arc<Place>>> {
    let Some(topic) = &fields.topic else { return Ok(None) };
    match partitions.get_item((topic, fields.partition))? {
        Some(partition) => Ok(Some(Arc::clone(&partition.cast::<Partition>()?.get().place))),
        None => Ok(None),
    }
}
