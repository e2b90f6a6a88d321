//! Events of transactions: an id at hand-out, a receipt once it is known what becomes of the event. Receipts are read and
//! pushed without Python's lock.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use pyo3::PyClass;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use chio_receipts::{Attempt, Evidence, Mode, PushError, jcs};
use chio_rulings::{Generation, Issued, Resolved};
use chio_store::{BatchSpec, LogError};

use crate::check::Check;
use crate::errors;
use crate::event::Event;
use crate::gate::{Counts, Gate, wait_for_room};
use crate::inbound::Inbound;
use crate::issue::{self, Common, Handed, Known, Reading};
use crate::outlet::Before;
use crate::runs::Stretch;
use crate::work;

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
    let (events, checks) = (inner(events), inner(checks));
    py.detach(|| Work::of(gate, events)?.attest(gate, checks, &mode, transaction.attestation))
        .map_err(|failure| failure.raised(py))
}

/// The same for the events of stretches, and what their handlers produced.
pub fn attest_stretches(
    gate: &Gate,
    py: Python<'_>,
    stretches: &[Bound<'_, Stretch>],
    transaction: &Transaction<'_>,
) -> PyResult<Vec<u64>> {
    let mode = transaction.mode()?;
    wait_for_room(gate, py)?;
    let stretches = inner(stretches);
    py.detach(|| {
        let works = || stretches.iter().flat_map(|stretch| &stretch.works).map(Py::get);
        let receipts = Work::of(gate, works().map(|work| work.event.get()))?;
        let kept: Vec<_> = works().map(work::Work::kept).collect();
        receipts.attest(gate, kept.iter().flat_map(|kept| kept.outputs()), &mode, transaction.attestation)
    })
    .map_err(|failure| failure.raised(py))
}

/// What Python's objects hold, which can be looked at without Python's lock.
fn inner<'a, T: PyClass<Frozen = True> + Sync>(objects: &'a [Bound<'_, T>]) -> Vec<&'a T> {
    objects.iter().map(Bound::get).collect()
}

/// Why nothing was sealed.
enum Failure {
    /// Something cannot have a receipt.
    Push(PushError),
    /// The log took none.
    Log(LogError),
}

impl Failure {
    fn raised(&self, py: Python<'_>) -> PyErr {
        match self {
            Self::Push(error) => errors::push(error),
            Self::Log(error) => errors::log(py, error),
        }
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        Self::Push(error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// Seals the receipts of taken events that no transaction will hold, and lets the events be taken again; other events are
/// left alone. Gives the last ordinal, if there was any.
pub fn attempt(gate: &Gate, py: Python<'_>, events: &[Bound<'_, Event>]) -> PyResult<Option<u64>> {
    wait_for_room(gate, py)?;
    let events = inner(events);
    py.detach(|| {
        let mut work = Work::default();
        for (place, event) in events.into_iter().enumerate() {
            // Others than those that were taken are left alone.
            let _ = work.add(gate, place, event);
        }
        let last = work.seal(gate, &Mode::Attempt, None, Receipts::Abandoned)?;
        work.count(gate);
        Ok(last.last().copied())
    })
    .map_err(|failure: Failure| failure.raised(py))
}

/// Counts the attempts at taken events before their handlers run, by one more receipt for each. Gives the ordinals of those,
/// in the order of the events.
pub fn attempt_now(gate: &Gate, py: Python<'_>, events: &[Bound<'_, Event>]) -> PyResult<Vec<u64>> {
    wait_for_room(gate, py)?;
    let events = inner(events);
    let count = events.len();
    py.detach(|| {
        let mut work = Work::of(gate, events)?;
        work.seal(gate, &Mode::Attempt, None, Receipts::Further)?;
        let mut given = vec![0; count];
        for entry in work.batches.values().flat_map(|batch| &batch.entries) {
            if let (Some(slot), Some(ordinal)) = (given.get_mut(entry.place), entry.ordinal) {
                *slot = ordinal;
            }
        }
        Ok(given)
    })
    .map_err(|failure: Failure| failure.raised(py))
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

/// What will be sealed together, by policy version.
#[derive(Default)]
struct Work<'a> {
    inbound: Inbound,
    known: Known<'a>,
    /// The policy that decided the check before.
    policy: Option<Rc<Common<Generation>>>,
    batches: BTreeMap<[u8; 32], Batch<'a>>,
}

#[derive(Default)]
struct Batch<'a> {
    entries: Vec<Entry<'a>>,
    checks: Vec<Entrant<'a>>,
    /// Receipts that were pushed, by verdict.
    pushed: Counts,
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
    resolved: Rc<Common<Resolved>>,
}

/// A check that is to have its receipt.
struct Entrant<'a> {
    check: &'a Check,
    /// The policy that decided it.
    generation: Rc<Common<Generation>>,
    /// What it has, once its receipt is pushed.
    issued: Option<Issued>,
}

impl<'a> Work<'a> {
    /// Work with taken events.
    fn of(gate: &Gate, events: impl IntoIterator<Item = &'a Event>) -> Result<Self, PushError> {
        let mut work = Self::default();
        for (place, event) in events.into_iter().enumerate() {
            work.add(gate, place, event)?;
        }
        Ok(work)
    }

    /// Seals the receipts of its events, then of `checks`, for a transaction.
    fn attest<'c>(
        self,
        gate: &Gate,
        checks: impl IntoIterator<Item = &'c Check>,
        mode: &Mode,
        attestation: &[u8],
    ) -> Result<Vec<u64>, Failure>
    where
        'a: 'c,
    {
        let mut work: Work<'c> = self;
        for check in checks {
            work.add_check(check)?;
        }
        let last = work.seal(gate, mode, Some(attestation), Receipts::Final)?;
        work.count(gate);
        Ok(last)
    }

    /// Adds an event that has an id and no receipt.
    fn add(&mut self, gate: &Gate, place: usize, event: &'a Event) -> Result<(), PushError> {
        let ruling = event.ruling();
        let issued = match ruling.issued {
            None => return Err(PushError::Kind("an event was not taken: take it first")),
            Some(Issued { ordinal: Some(_), .. }) => {
                return Err(PushError::Kind("an event has its receipt already"));
            }
            Some(issued) => issued,
        };
        let resolved = self.known.of(event, &ruling.generation);
        drop(ruling);
        let reading = Reading::new(gate, event, &resolved, &mut self.inbound);
        self.batch(&resolved.generation).entries.push(Entry { place, issued, ordinal: None, reading, resolved });
        Ok(())
    }

    /// Adds a check for whose receipt nothing is missing.
    fn add_check(&mut self, check: &'a Check) -> Result<(), PushError> {
        let ruling = check.ruling();
        if ruling.issued.is_some() {
            return Err(PushError::Kind("a check has its receipt already"));
        }
        if ruling.is_due(check.always()) {
            return Err(PushError::Kind("guards of a check have not run: run them first"));
        }
        let known = self.policy.as_ref().filter(|known| Arc::ptr_eq(known, &ruling.generation));
        let generation = known.cloned().unwrap_or_else(|| Rc::new(Common(Arc::clone(&ruling.generation))));
        drop(ruling);
        self.policy = Some(Rc::clone(&generation));
        self.batch(&generation).checks.push(Entrant { check, generation, issued: None });
        Ok(())
    }

    /// Adds what was pushed to what the gate counts.
    fn count(&self, gate: &Gate) {
        self.batches.values().for_each(|batch| gate.counts.add_all(&batch.pushed));
    }

    fn batch(&mut self, generation: &Generation) -> &mut Batch<'a> {
        self.batches.entry(generation.policy.version()).or_default()
    }

    /// Issues all batches, to be sealed at once and appended in one durable write; gives the last ordinal of each.
    fn seal(
        &mut self,
        gate: &Gate,
        mode: &Mode,
        attestation: Option<&[u8]>,
        receipts: Receipts,
    ) -> Result<Vec<u64>, LogError> {
        let Self { inbound, batches, .. } = self;
        let spec = |version: &[u8; 32]| BatchSpec {
            policy_version: *version,
            mode: mode.clone(),
            attestation: attestation.map(<[u8]>::to_vec),
        };
        let specs: Vec<BatchSpec> = batches.keys().map(spec).collect();
        let mut batches: Vec<&mut Batch<'a>> = batches.values_mut().collect();
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
        for Entry { issued, reading, ordinal, resolved, .. } in &mut self.entries {
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
            let pushed = reading.push(issue, inbound, resolved, &ruling, (id, attempt, receipts.evidence()))?;
            *ordinal = Some(pushed);
            ruling.issued = receipts.leave(*issued, pushed);
            self.pushed.add(ruling.verdict());
        }
        let mut before = Before::default();
        for Entrant { check, generation, issued } in &mut self.checks {
            let mut ruling = check.ruling();
            if ruling.issued.is_some() {
                return Err(PushError::Kind("a check has its receipt already"));
            }
            issue::require_decided(&ruling, generation, check.always())?;
            let id = issue.next_id(ruling.now);
            let ordinal = check.push(issue, &ruling, id, &mut before)?;
            *issued = Some(Issued::sealed(id, ordinal));
            ruling.issued = *issued;
            self.pushed.add(ruling.verdict());
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
