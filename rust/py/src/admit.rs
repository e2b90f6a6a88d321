//! Deciding a list of consumed messages, without receipts yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use chio_policy::{Decision, Reads, Request, Scratch};
use chio_rulings::{Generation, Resolved, Ruling};

use crate::clock;
use crate::event::Event;
use crate::gate::Gate;
use crate::held::Held;
use crate::inlet::Arrival;
use crate::message::{Reader, content};
use crate::original::{self, Original};
use crate::place::{Partition, Place};
use crate::read::Read;
use crate::record::Header;
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

/// Decides every message of a list of the client's.
pub fn admit<'py>(
    gate: &Gate,
    messages: &Bound<'py, PyAny>,
    partitions: &Bound<'py, PyDict>,
) -> PyResult<Admitted<'py>> {
    let mut admission = Admission::new(gate, partitions);
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
                admission.out.errors.push(message);
                continue;
            }
            let is_same = match (&admission.known, fields.topic.as_ref().map(Bound::cast::<PyString>)) {
                (Some(known), Some(Ok(topic))) => {
                    known.place.number == fields.partition && topic.to_str()? == known.place.topic
                }
                _ => false,
            };
            if !is_same {
                admission.known = match &fields.topic {
                    Some(topic) => admission.find(topic, fields.partition)?,
                    None => None,
                };
            }
            if !admission.is_expected(fields.offset) {
                admission.out.strays.push(message);
                continue;
            }
            let (key, value) = (content(fields.key, "key")?, content(fields.value, "value")?);
            let read = Read { key, value, offset: fields.offset, timestamp: fields.timestamp };
            reader.untrack(&message);
            admission.admit(Original::Client(message.unbind()), read, scratch)?;
        }
        Ok(admission.out)
    })
}

/// Decides every message that was taken from the client's library.
pub fn admit_taken<'py>(gate: &Gate, taken: Vec<Arrival>, partitions: &Bound<'py, PyDict>) -> PyResult<Admitted<'py>> {
    let py = partitions.py();
    let mut admission = Admission::new(gate, partitions);
    admission.out.events.reserve(taken.len());
    let mut at = None;
    let mut done = Vec::with_capacity(taken.len());
    gate.with_scratch(|scratch| {
        for Arrival { message, rest } in taken {
            if message.error() != 0 {
                admission.out.errors.push(original::message_of(py, &message)?);
                continue;
            }
            let (here, offset) = ((message.topic_mark(), message.partition()), message.offset());
            if at != Some(here) {
                at = Some(here);
                let topic = PyString::new(py, &String::from_utf8_lossy(message.topic()));
                admission.known = admission.find(&topic, message.partition())?;
            }
            if !admission.is_expected(offset) {
                admission.out.strays.push(original::message_of(py, &message)?);
                continue;
            }
            let content = |bytes: Option<&[u8]>| bytes.map(|bytes| Held::Bytes(PyBytes::new(py, bytes).into()));
            let (key, value) = (content(message.key()), content(message.value()));
            let read = Read { key, value, offset, timestamp: rest.time() };
            admission.admit(Original::Taken(rest), read, scratch)?;
            done.push(message);
        }
        // Freeing them takes as long as admitting them, and needs no Python.
        py.detach(|| drop(done));
        Ok(admission.out)
    })
}

/// The partition of a message, which is mostly that of the next one too.
struct Known {
    place: Arc<Place>,
    resolved: Arc<Resolved>,
}

/// The admission of one list.
struct Admission<'a, 'py> {
    partitions: &'a Bound<'py, PyDict>,
    now: i64,
    generation: Arc<Generation>,
    known: Option<Known>,
    out: Admitted<'py>,
}

impl<'a, 'py> Admission<'a, 'py> {
    fn new(gate: &'a Gate, partitions: &'a Bound<'py, PyDict>) -> Self {
        let (now, generation) = (clock::now(), gate.generation());
        Self { partitions, now, generation, known: None, out: Admitted::default() }
    }

    fn find(&self, topic: &Bound<'py, PyAny>, number: i32) -> PyResult<Option<Known>> {
        let Some(partition) = self.partitions.get_item((topic, number))? else { return Ok(None) };
        let place = Arc::clone(&partition.cast::<Partition>()?.get().place);
        let resolved = place.resolved(&self.generation);
        Ok(Some(Known { place, resolved }))
    }

    /// Whether the partition is assigned, and the offset beyond what was admitted of it.
    fn is_expected(&self, offset: i64) -> bool {
        self.known.as_ref().is_some_and(|known| known.place.progress.is_ahead(offset))
    }

    /// Decides a message of the known partition.
    fn admit(&mut self, original: Original, read: Read, scratch: &mut Scratch) -> PyResult<()> {
        let Some(Known { place, resolved }) = &self.known else { return Ok(()) };
        let (py, offset) = (self.partitions.py(), read.offset);
        let headers = if needs_headers(resolved) { original.all_headers(py) } else { Some(Vec::new()) };
        let decision = decide(headers.as_deref(), &read, place, resolved, self.now, scratch);
        let ruling = Ruling::new(Arc::clone(&self.generation), decision, self.now);
        place.progress.admit(offset);
        self.out.events.push(untracked(py, Event::new(original, read, place, ruling))?);
        Ok(())
    }
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
    let headers = if needs_headers(&resolved) { event.all_headers(py) } else { Some(Vec::new()) };
    let decision = gate.with_scratch(|scratch| {
        scratch.reset();
        event.with_view(headers.as_deref().unwrap_or_default(), |view| {
            let request = Request { event: headers.is_some().then_some(view), ..event.place.question().request(now) };
            generation.policy.decide_route(&resolved.route, &request, scratch)
        })
    });
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
    headers: Option<&[Header]>,
    read: &Read,
    place: &Place,
    resolved: &Resolved,
    now: i64,
    scratch: &mut Scratch,
) -> Decision {
    scratch.reset();
    read.with_view(place, headers.unwrap_or_default(), |view| {
        let request = Request { event: headers.is_some().then_some(view), ..place.question().request(now) };
        resolved.generation.policy.decide_route(&resolved.route, &request, scratch)
    })
}
