//! Events of transactions: an id at hand-out, a receipt once it is known what becomes of the event.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use chio_receipts::{Attempt, Evidence, Mode, PushError, jcs};
use chio_rulings::{Generation, Issued, Resolved};
use chio_store::BatchSpec;

use crate::check::Check;
use crate::errors;
use crate::event::Event;
use crate::gate::{Gate, wait_for_room};
use crate::inbound::Inbound;
use crate::issue::{self, Handed, Reading};
use crate::place::Place;

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
    let mut work = Work::of(gate, py, events)?;
    for check in checks.iter().map(Bound::get) {
        let generation = undecided(check).map_err(|error| errors::push(&error))?;
        work.batch(&generation).checks.push(Entrant { check, generation, issued: None });
    }
    let last = work.seal(gate, py, &mode, Some(transaction.attestation), Receipts::Final)?;
    for batch in work.batches.values() {
        batch.entries.iter().for_each(|entry| gate.counts.add(entry.reading.event.ruling().verdict()));
        batch.checks.iter().for_each(|entrant| gate.counts.add(entrant.check.ruling().verdict()));
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
    let last = work.seal(gate, py, &Mode::Attempt, None, Receipts::Abandoned)?;
    let entries = work.batches.values().flat_map(|batch| &batch.entries);
    for entry in entries.filter(|entry| entry.ordinal.is_some()) {
        gate.counts.add(entry.reading.event.ruling().verdict());
    }
    Ok(last.last().copied())
}

/// Counts the attempts at taken events before their handlers run, by one more receipt for each. Gives the ordinals of those,
/// in the order of the events.
pub fn attempt_now(gate: &Gate, py: Python<'_>, events: &[Bound<'_, Event>]) -> PyResult<Vec<u64>> {
    wait_for_room(gate, py)?;
    let mut work = Work::of(gate, py, events)?;
    work.seal(gate, py, &Mode::Attempt, None, Receipts::Further)?;
    let mut given = vec![0; events.len()];
    for entry in work.batches.values().flat_map(|batch| &batch.entries) {
        if let (Some(slot), Some(ordinal)) = (given.get_mut(entry.place), entry.ordinal) {
            *slot = ordinal;
        }
    }
    Ok(given)
}

/// What the receipts of taken events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receipts {
    /// The only ones; each has the id that was given.
    Final,
    /// Of attempts that lead nowhere; the events may be taken again. One that another thread has sealed meanwhile has its
    /// receipt.
    Abandoned,
    /// Further ones with ids of their own: those of the ids that were given follow.
    Further,
}

impl Receipts {
    /// What an event has from then on.
    fn leave(self, issued: Issued, ordinal: u64) -> Option<Issued> {
        match self {
            Self::Final => Some(Issued { ordinal: Some(ordinal), ..issued }),
            Self::Abandoned => None,
            Self::Further => Some(Issued { is_counted: true, ..issued }),
        }
    }

    /// When they are durable: those that count an attempt are before its handler runs, which tells them from the others.
    fn evidence(self) -> Option<Evidence> {
        (self == Self::Further).then_some(Evidence::BeforeAction)
    }
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
    /// The place of the event before, under the policy that decided it.
    known: Option<(&'a Arc<Place>, Arc<Resolved>)>,
    batches: BTreeMap<[u8; 32], Batch<'a>>,
}

#[derive(Default)]
struct Batch<'a> {
    entries: Vec<Entry<'a>>,
    checks: Vec<Entrant<'a>>,
}

/// A taken event.
struct Entry<'a> {
    /// Position in the list that the caller gave.
    place: usize,
    /// What it had before.
    issued: Issued,
    /// That of its receipt, once it is pushed.
    ordinal: Option<u64>,
    reading: Reading<'a>,
}

/// A check that is to have its receipt.
struct Entrant<'a> {
    check: &'a Check,
    /// The policy that decided it.
    generation: Arc<Generation>,
    /// What it has, once its receipt is pushed.
    issued: Option<Issued>,
}

impl<'a> Work<'a> {
    /// Work with taken events.
    fn of<'py: 'a>(gate: &Gate, py: Python<'py>, events: &'a [Bound<'py, Event>]) -> PyResult<Self> {
        let mut work = Self::default();
        for (place, event) in events.iter().map(Bound::get).enumerate() {
            let taken = Taken::of(event).map_err(|error| errors::push(&error))?;
            work.add(gate, py, place, taken);
        }
        Ok(work)
    }

    fn add(&mut self, gate: &Gate, py: Python<'a>, place: usize, taken: Taken<'a>) {
        let Taken { event, issued, generation } = taken;
        let of_the_same = |(place, known): &(&Arc<Place>, Arc<Resolved>)| {
            Arc::ptr_eq(place, &event.place) && Arc::ptr_eq(&known.generation, &generation)
        };
        // Events of one partition follow each other.
        let (_, resolved) = match self.known.take().filter(of_the_same) {
            Some(same) => self.known.insert(same),
            None => self.known.insert((&event.place, event.place.resolved(&generation))),
        };
        let reading = Reading::new(gate, py, event, Arc::clone(resolved), &mut self.inbound);
        self.batch(&generation).entries.push(Entry { place, issued, ordinal: None, reading });
    }

    fn batch(&mut self, generation: &Generation) -> &mut Batch<'a> {
        self.batches.entry(generation.policy.version()).or_default()
    }

    /// Issues all batches, to be sealed at once and appended in one durable write; gives the last ordinal of each. Other
    /// threads of Python run meanwhile.
    fn seal(
        &mut self,
        gate: &Gate,
        py: Python<'_>,
        mode: &Mode,
        attestation: Option<&[u8]>,
        receipts: Receipts,
    ) -> PyResult<Vec<u64>> {
        let Self { inbound, batches, .. } = self;
        let spec = |version: &[u8; 32]| BatchSpec {
            policy_version: *version,
            mode: mode.clone(),
            attestation: attestation.map(<[u8]>::to_vec),
        };
        let specs: Vec<BatchSpec> = batches.keys().map(spec).collect();
        let mut batches: Vec<&mut Batch<'a>> = batches.values_mut().collect();
        let issued = py.detach(|| {
            for batch in &mut batches {
                batch.entries.sort_by_key(|entry| entry.issued.id);
            }
            let issued = gate.log.issue_batches(&specs, |index, issue| match batches.get_mut(index) {
                Some(batch) => batch.push(issue, inbound, receipts),
                None => Ok(()),
            });
            if issued.is_err() {
                batches.iter().for_each(|batch| batch.take_back());
            }
            issued
        });
        issued.map_err(|error| errors::log(py, &error))
    }
}

impl Batch<'_> {
    /// Hands the receipts to the log, and notes each where it belongs before anybody else can look, so that no other thread
    /// issues one for the same event or check.
    fn push(
        &mut self,
        issue: &mut chio_store::Issue<'_>,
        inbound: &Inbound,
        receipts: Receipts,
    ) -> Result<(), PushError> {
        for Entry { issued, reading, ordinal, .. } in &mut self.entries {
            let mut ruling = reading.event.ruling();
            // Other threads of Python may have run since it was read.
            if ruling.issued != Some(*issued) {
                if receipts == Receipts::Abandoned {
                    continue;
                }
                return Err(PushError::Kind("an event is given twice, or was sealed by another thread meanwhile"));
            }
            let id = if receipts == Receipts::Further { issue.next_id(ruling.now) } else { issued.id };
            let attempt = if issued.is_counted { Attempt::Again } else { Attempt::Ask };
            let pushed = reading.push(issue, inbound, &ruling, (id, attempt, receipts.evidence()))?;
            *ordinal = Some(pushed);
            ruling.issued = receipts.leave(*issued, pushed);
        }
        for Entrant { check, generation, issued } in &mut self.checks {
            let mut ruling = check.ruling();
            if ruling.issued.is_some() {
                return Err(PushError::Kind("a check has its receipt already"));
            }
            issue::require_decided(&ruling, generation, &check.always)?;
            let id = issue.next_id(ruling.now);
            let ordinal = check.push(issue, &ruling, id)?;
            *issued = Some(Issued::sealed(id, ordinal));
            ruling.issued = *issued;
        }
        Ok(())
    }

    /// Forgets the receipts that were pushed: the log has taken them back.
    fn take_back(&self) {
        for entry in self.entries.iter().filter(|entry| entry.ordinal.is_some()) {
            entry.reading.event.ruling().issued = Some(entry.issued);
        }
        for entrant in self.checks.iter().filter(|entrant| entrant.issued.is_some()) {
            entrant.check.ruling().issued = None;
        }
    }
}
