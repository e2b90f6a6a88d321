//! The common way of an output in one call: everything from the arguments of `produce` to its place in the line.
//!
//! What is not common (guards that are due, what is not allowed, what is refused) is left to the long way, before anything
//! was done: it decides again, and raises what there is to raise.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use chio_client::Record;
use chio_policy::Verdict;
use chio_rulings::headers::{RECEIPT, SCOPE, correlation_text, is_stated_by_receipt};
use chio_rulings::{Origin, Ruling};

use crate::backlog::Backlog;
use crate::clock;
use crate::event::Event;
use crate::inbound::HandedOn;
use crate::offer::{Header, Offer};
use crate::record;

/// What `produce` was given.
#[derive(Debug)]
pub struct Given<'a, 'py> {
    /// Where to.
    pub topic: &'a Bound<'py, PyAny>,
    /// Value.
    pub value: Option<&'a Bound<'py, PyAny>>,
    /// Key.
    pub key: Option<&'a Bound<'py, PyAny>>,
    /// Partition, below 0 for the partitioner's choice.
    pub partition: i32,
    /// Headers.
    pub headers: Option<&'a Bound<'py, PyAny>>,
    /// Unix ms, 0 for now.
    pub timestamp: i64,
    /// Receipts that led to it beside the event that is handled and its calls.
    pub parents: &'a Bound<'py, PyAny>,
    /// Correlation text.
    pub correlation: Option<String>,
}

/// Name and value of a header, held so that nobody frees them meanwhile.
type Pair<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>);

impl Backlog {
    /// Decides on an output, issues its receipt and puts it into the line; false, and nothing was done, unless that is all
    /// it takes.
    pub fn express(&self, py: Python<'_>, given: Given<'_, '_>) -> PyResult<bool> {
        let gate = self.gate.get();
        if self.producer.is_none() || self.is_full() || self.line.is_shut() || !gate.log.has_room() {
            return Ok(false);
        }
        let Some(topic) = given.topic.cast::<PyString>().ok().and_then(|topic| topic.to_str().ok()) else {
            return Ok(false);
        };
        let handling = self.handling(py)?;
        let event = match &handling {
            None => None,
            Some(handling) => match handling.getattr(intern!(py, "event"))?.cast_into::<Event>() {
                Ok(event) if event.get().is_current() => Some(event),
                _ => return Ok(false),
            },
        };
        let identity = match (&self.identity, &event) {
            (Some(own), _) => own,
            (None, Some(event)) => &event.get().place.identity,
            (None, None) => &self.fallback,
        };
        let Some(outlet) = self.outlet(py, identity, topic) else { return Ok(false) };
        let outlet = outlet.get();
        let address = &outlet.address;

        let (Some(key), Some(value)) = (content(given.key), content(given.value)) else { return Ok(false) };
        if key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) > self.largest {
            return Ok(false);
        }
        let Some(pairs) = pairs(given.headers) else { return Ok(false) };
        let Some((headers, text)) = carried(&pairs, &gate.correlation) else { return Ok(false) };
        let mut origin = Origin { correlation: given.correlation.or(text), ..Origin::default() };
        if let Some(event) = &event {
            if let Some(issued) = event.get().ruling().issued {
                origin.add_parent(issued.id);
            }
            if origin.correlation.is_none() {
                origin.correlation = HandedOn::read(py, event.get(), &gate.correlation, false).correlation;
            }
        }
        if !add_parents(&mut origin, given.parents, handling.as_ref())? {
            return Ok(false);
        }

        let partition = Some(given.partition).filter(|number| *number >= 0);
        let correlation = origin.correlation.as_deref();
        let offer = Offer {
            outlet,
            key,
            value,
            headers: &headers,
            partition,
            event: event.as_ref(),
            origin: &origin,
            correlation,
        };
        let (generation, now) = (gate.generation(), clock::now());
        let resolved = offer.resolved(&generation);
        let decision = gate.with_scratch(|scratch| offer.decide(py, &resolved, now, scratch))?;
        let ruling = Ruling::new(generation, decision, now);
        // Deciding may have let other threads of Python run.
        let is_stale = ruling.is_stale(&gate.generation(), now);
        if is_stale || ruling.verdict() != Verdict::Allow || ruling.is_due(&gate.always) {
            return Ok(false);
        }
        let mut issued = None;
        crate::issue::issue(gate, py, &ruling.generation, |issue| {
            let id = issue.next_id(now);
            issued = Some((id, offer.push(issue, &ruling, &resolved, id)?));
            Ok(())
        })?;
        let Some((id, ordinal)) = issued else { return Ok(false) };
        gate.counts.add(Verdict::Allow);

        let spelled = id.spelled();
        let own = [(RECEIPT.as_bytes(), Some(spelled.as_slice())), (SCOPE.as_bytes(), Some(outlet.scope.as_bytes()))];
        let sent = headers.iter().map(|(name, value)| (name.as_bytes(), *value)).chain(own);
        let (partition, timestamp) = (partition.unwrap_or(-1), given.timestamp);
        let record = Record { topic: &address.topic, partition, key, value, timestamp };
        Ok(self.line.put(address, &record, sent, (id, ordinal)))
    }

    /// What is being handled by the calling code.
    fn handling<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let handled = self.handled.bind(py).call0()?.cast_into::<PyTuple>()?;
        match handled.len() {
            0 => Ok(None),
            length => handled.get_item(length - 1).map(Some),
        }
    }
}

/// The bytes of a key or value; `None` if it is of no type that the client takes.
fn content<'a>(given: Option<&'a Bound<'_, PyAny>>) -> Option<Option<&'a [u8]>> {
    given.map_or(Some(None), |given| record::bytes_of(given).ok().flatten())
}

/// Headers as they are mostly given; `None` for any other form.
fn pairs<'py>(given: Option<&Bound<'py, PyAny>>) -> Option<Vec<Pair<'py>>> {
    let Some(given) = given else { return Some(Vec::new()) };
    let pair = |pair: Bound<'py, PyAny>| {
        let pair = pair.cast_exact::<PyTuple>().ok().filter(|pair| pair.len() == 2)?;
        Some((pair.get_item(0).ok()?.cast_into::<PyString>().ok()?, pair.get_item(1).ok()?))
    };
    if let Ok(list) = given.cast_exact::<PyList>() {
        return list.iter().map(pair).collect();
    }
    if let Ok(tuple) = given.cast_exact::<PyTuple>() {
        return tuple.iter().map(pair).collect();
    }
    let members = given.cast_exact::<PyDict>().ok()?;
    members.iter().map(|(name, value)| Some((name.cast_into::<PyString>().ok()?, value))).collect()
}

/// The headers that are carried along, and the correlation text among all of them, as [`crate::outbound::carried`] gives
/// them; `None` for what it refuses.
fn carried<'a>(pairs: &'a [Pair<'_>], names: &[String]) -> Option<(Vec<Header<'a>>, Option<String>)> {
    let (mut headers, mut text, mut rank) = (Vec::with_capacity(pairs.len()), None, names.len());
    for (name, value) in pairs {
        let name = name.to_str().ok()?;
        let bytes = record::bytes_of(value).ok()??;
        if name.contains('\0') || value.is_instance_of::<PyString>() && bytes.is_some_and(|bytes| bytes.contains(&0)) {
            return None;
        }
        if let Some(found) = names.iter().take(rank).position(|known| known == name)
            && let Some(bytes) = bytes
        {
            (rank, text) = (found, Some(correlation_text(bytes).into_owned()));
        }
        if !is_stated_by_receipt(name) {
            headers.push((name, bytes));
        }
    }
    Some((headers, text))
}

/// Adds the given parents and the calls of what is handled; false for parents that can be read only once, or are no text.
fn add_parents(origin: &mut Origin, given: &Bound<'_, PyAny>, handling: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    if !given.is_exact_instance_of::<PyTuple>() && !given.is_exact_instance_of::<PyList>() {
        return Ok(false);
    }
    let calls = handling.map(|handling| handling.getattr(intern!(handling.py(), "calls"))).transpose()?;
    for parents in [Some(given), calls.as_ref()].into_iter().flatten().filter(|parents| parents.len().unwrap_or(0) > 0)
    {
        for parent in parents.try_iter()? {
            match parent?.cast::<PyString>().ok().and_then(|parent| parent.to_str().ok()) {
                Some(parent) => origin.add_parents([parent.as_bytes()]),
                None => return Ok(false),
            }
        }
    }
    Ok(true)
}
