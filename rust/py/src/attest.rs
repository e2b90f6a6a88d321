//! Events of transactions: an id at hand-out, a receipt once it is known what becomes of the event.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use chio_receipts::{Attempt, Mode, PushError, ReceiptId, jcs};
use chio_rulings::{Generation, Issued};
use chio_store::BatchSpec;

use crate::check::Check;
use crate::errors;
use crate::event::Event;
use crate::gate::{Gate, wait_for_room};
use crate::inbound::Inbound;
use crate::issue::{self, Handed, Reading};

/// Gives ids to the events whose stamp still holds.
pub fn take<'py>(gate: &Gate, py: Python<'py>, given: Vec<Bound<'py, Event>>) -> PyResult<Handed<'py>> {
    let (live, due) = issue::live(gate, py, given, &gate.generation())?;
    if !due.is_empty() {
        return Ok(Handed { due, ..Handed::default() });
    }
    let given = gate.log.give_ids(|ids| {
        for event in live.iter().map(Bound::get) {
            let mut ruling = event.ruling();
            if ruling.issued.is_none() {
                let id = ids.next(ruling.now);
                event.receipted(&mut ruling, Issued::taken(id));
            }
        }
    });
    given.map_err(|error| errors::log(py, &error))?;
    Ok(Handed::sort(live))
}

/// What a transaction is about to do.
pub struct Transaction<'a> {
    /// Consumer group.
    pub group: &'a str,
    /// `transactional.id` of the producer.
    pub transactional_id: &'a str,
    /// Canonical JSON.
    pub attestation: &'a [u8],
}

impl Transaction<'_> {
    /// The mode of its batches; refuses what could not be sealed.
    fn mode(&self) -> PyResult<Mode> {
        for (name, text) in [("group", self.group), ("transactional_id", self.transactional_id)] {
            if text.is_empty() {
                return Err(PyValueError::new_err(format!("`{name}` is empty: give the one of the transaction")));
            }
        }
        let canonical = jcs::canonicalize(self.attestation)
            .map_err(|error| PyValueError::new_err(format!("`attestation` is not JSON: {error}")))?;
        if canonical != self.attestation || !canonical.starts_with(b"{") {
            return Err(PyValueError::new_err(
                "`attestation` is not a JSON object in canonical form (RFC 8785): sort its members, leave out spaces",
            ));
        }
        Ok(Mode::Transaction { group: self.group.to_owned(), transactional_id: self.transactional_id.to_owned() })
    }
}

/// Seals the receipts of a transaction: of taken events, then of checks. Gives the last ordinal of each batch.
pub fn attest(
    gate: &Gate,
    py: Python<'_>,
    events: &[Bound<'_, Event>],
    checks: &[Bound<'_, Check>],
    transaction: &Transaction<'_>,
) -> PyResult<Vec<u64>> {
    let mode = transaction.mode()?;
    wait_for_room(gate, py)?;
    let mut work = Work::default();
    for (place, event) in events.iter().map(Bound::get).enumerate() {
        let taken = Taken::of(event).map_err(|error| errors::push(&error))?;
        work.add(gate, py, place, taken);
    }
    for check in checks.iter().map(Bound::get) {
        let generation = undecided(check).map_err(|error| errors::push(&error))?;
        work.batch(&generation).checks.push(check);
    }
    let last = work.seal(gate, py, &mode, Some(transaction.attestation), false)?;
    for (batch, ordinals) in work.with_ordinals(&last) {
        let mut ordinals = ordinals;
        for (entry, ordinal) in batch.entries.iter().zip(&mut ordinals) {
            entry.reading.event.ruling().issued = Some(Issued { ordinal: Some(ordinal), ..entry.issued });
            gate.counts.add(entry.reading.event.ruling().verdict());
        }
        for ((check, id), ordinal) in batch.checks.iter().zip(&batch.check_ids).zip(ordinals) {
            check.ruling().issued = Some(Issued::sealed(*id, ordinal));
            gate.counts.add(check.ruling().verdict());
        }
    }
    Ok(last)
}

/// Seals the receipts of taken events that no transaction will hold, and lets the events be taken again; other events are
/// left alone. Gives the last ordinal, if there was any.
pub fn attempt(gate: &Gate, py: Python<'_>, events: &[Bound<'_, Event>]) -> PyResult<Option<u64>> {
    wait_for_room(gate, py)?;
    let mut work = Work::default();
    for (place, taken) in events.iter().filter_map(|event| Taken::of(event.get()).ok()).enumerate() {
        work.add(gate, py, place, taken);
    }
    let last = work.seal(gate, py, &Mode::Attempt, None, false)?;
    for entry in work.batches.values().flat_map(|batch| &batch.entries) {
        let mut ruling = entry.reading.event.ruling();
        ruling.issued = None;
        gate.counts.add(ruling.verdict());
    }
    Ok(last.last().copied())
}

/// Counts the attempts at taken events before their handlers run, by one more receipt for each. Gives the ordinals of those,
/// in the order of the events.
pub fn attempt_now(gate: &Gate, py: Python<'_>, events: &[Bound<'_, Event>]) -> PyResult<Vec<u64>> {
    wait_for_room(gate, py)?;
    let mut work = Work::default();
    for (place, event) in events.iter().map(Bound::get).enumerate() {
        let taken = Taken::of(event).map_err(|error| errors::push(&error))?;
        work.add(gate, py, place, taken);
    }
    let last = work.seal(gate, py, &Mode::Attempt, None, true)?;
    let mut given = vec![0; events.len()];
    for (batch, ordinals) in work.with_ordinals(&last) {
        for (entry, ordinal) in batch.entries.iter().zip(ordinals) {
            entry.reading.event.ruling().issued = Some(Issued { is_counted: true, ..entry.issued });
            if let Some(slot) = given.get_mut(entry.place) {
                *slot = ordinal;
            }
        }
    }
    Ok(given)
}

/// An event that has an id and no receipt.
struct Taken<'a> {
    event: &'a Event,
    issued: Issued,
    generation: Arc<Generation>,
}

impl<'a> Taken<'a> {
    fn of(event: &'a Event) -> Result<Self, PushError> {
        let ruling = event.ruling();
        match ruling.issued {
            None => Err(PushError::Kind("an event was not taken: take it first")),
            Some(Issued { ordinal: Some(_), .. }) => Err(PushError::Kind("an event has its receipt already")),
            Some(issued) => Ok(Self { event, issued, generation: Arc::clone(&ruling.generation) }),
        }
    }
}

/// The policy that decided a check, if nothing is missing for its receipt.
fn undecided(check: &Check) -> Result<Arc<Generation>, PushError> {
    let ruling = check.ruling();
    if ruling.issued.is_some() {
        return Err(PushError::Kind("a check has its receipt already"));
    }
    if ruling.is_due(&check.always) {
        return Err(PushError::Kind("guards of a check have not run: run them first"));
    }
    Ok(Arc::clone(&ruling.generation))
}

/// What will be sealed together, by policy version.
#[derive(Default)]
struct Work<'a> {
    inbound: Inbound,
    batches: BTreeMap<[u8; 32], Batch<'a>>,
}

#[derive(Default)]
struct Batch<'a> {
    entries: Vec<Entry<'a>>,
    checks: Vec<&'a Check>,
    /// Ids of the checks, given while the receipts are issued.
    check_ids: Vec<ReceiptId>,
}

struct Entry<'a> {
    /// Position in the list that the caller gave.
    place: usize,
    issued: Issued,
    reading: Reading<'a>,
}

impl<'a> Work<'a> {
    fn add(&mut self, gate: &Gate, py: Python<'_>, place: usize, taken: Taken<'a>) {
        let Taken { event, issued, generation } = taken;
        let reading = Reading::new(gate, py, event, &event.place.resolved(&generation), &mut self.inbound);
        self.batch(&generation).entries.push(Entry { place, issued, reading });
    }

    fn batch(&mut self, generation: &Generation) -> &mut Batch<'a> {
        self.batches.entry(generation.policy.version()).or_default()
    }

    /// Issues all batches, to be sealed at once and appended in one durable write; gives the last ordinal of each. With
    /// `fresh_ids`, the receipts of events are further ones and take ids of their own.
    fn seal(
        &mut self,
        gate: &Gate,
        py: Python<'_>,
        mode: &Mode,
        attestation: Option<&[u8]>,
        fresh_ids: bool,
    ) -> PyResult<Vec<u64>> {
        let Self { inbound, batches } = self;
        let spec = |version: &[u8; 32]| BatchSpec {
            policy_version: *version,
            mode: mode.clone(),
            attestation: attestation.map(<[u8]>::to_vec),
        };
        let specs: Vec<BatchSpec> = batches.keys().map(spec).collect();
        let mut batches: Vec<&mut Batch<'_>> = batches.values_mut().collect();
        for batch in &mut batches {
            batch.entries.sort_by_key(|entry| entry.issued.id);
        }
        let issued = gate.log.issue_batches(&specs, |index, issue| match batches.get_mut(index) {
            Some(batch) => batch.push(py, issue, inbound, fresh_ids),
            None => Ok(()),
        });
        issued.map_err(|error| errors::log(py, &error))
    }

    /// Each batch with the ordinals of its receipts, which follow each other.
    fn with_ordinals(&self, last: &[u64]) -> impl Iterator<Item = (&Batch<'a>, std::ops::RangeInclusive<u64>)> {
        let ordinals = |batch: &Batch<'_>, last: u64| {
            let count = (batch.entries.len() + batch.checks.len()) as u64;
            last + 1 - count..=last
        };
        self.batches.values().zip(last).map(move |(batch, last)| (batch, ordinals(batch, *last)))
    }
}

impl Batch<'_> {
    /// Hands the receipts to the log; calls no Python.
    fn push(
        &mut self,
        py: Python<'_>,
        issue: &mut chio_store::Issue<'_>,
        inbound: &Inbound,
        fresh_ids: bool,
    ) -> Result<(), PushError> {
        for Entry { issued, reading, .. } in &self.entries {
            let ruling = reading.event.ruling();
            // Reading may have let other threads of Python run.
            if ruling.issued != Some(*issued) {
                return Err(PushError::Kind("an event was sealed by another thread meanwhile"));
            }
            let id = if fresh_ids { issue.next_id(ruling.now) } else { issued.id };
            let attempt = if issued.is_counted { Attempt::Again } else { Attempt::Ask };
            reading.push(py, issue, inbound, &ruling, (id, attempt, None))?;
        }
        for check in &self.checks {
            let ruling = check.ruling();
            let id = issue.next_id(ruling.now);
            check.push(issue, &ruling, id)?;
            self.check_ids.push(id);
        }
        Ok(())
    }
}
