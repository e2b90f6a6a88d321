//! What is issued and not yet durable: the only state that issuing threads and the sealer share.

use std::collections::VecDeque;
use std::time::Instant;

use chio_receipts::{Draft, IdSource, Mode, OutcomeDraft, PartitionKey, Pending, PushError, ReceiptId};

use crate::batch_store::OutcomeOf;
use crate::error::LogError;
use crate::options::{BatchSpec, LogOptions};

/// Bytes of drafts that one durable write takes at least, if there are so many: enough to pay for a sync, little enough
/// that those who wait for the first of them do not wait for long.
const ROUND_BYTES: usize = 8 << 20;

/// Bytes of empty arenas that are kept, so that a busy log allocates none: as much as one round takes, and what comes in
/// meanwhile.
const SPARE_BYTES: usize = 2 * ROUND_BYTES;

/// Drafts that will be one batch.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) spec: BatchSpec,
    pub(crate) pending: Pending,
    /// Ordinal of the first draft.
    pub(crate) first: u64,
    /// The outcome records among the drafts.
    pub(crate) outcomes: Vec<OutcomeOf>,
    /// When the first draft came.
    pub(crate) since: Instant,
    /// It becomes durable together with the batch before it, or neither does.
    pub(crate) joined: bool,
}

/// Empty arenas for the next batches.
#[derive(Debug, Default)]
struct Spare {
    arenas: Vec<Pending>,
    bytes: usize,
}

impl Spare {
    fn take(&mut self) -> Pending {
        let arena = self.arenas.pop().unwrap_or_default();
        self.bytes -= arena.capacity();
        arena
    }

    fn keep(&mut self, arena: Pending) {
        let bytes = self.bytes + arena.capacity();
        if bytes <= SPARE_BYTES {
            self.bytes = bytes;
            self.arenas.push(arena);
        }
    }
}

/// Where a queue stood before batches that are issued together, all or none.
#[derive(Debug)]
pub(crate) struct Mark {
    closed: usize,
    issued: u64,
    unsealed: usize,
    unsealed_bytes: usize,
}

/// Guarded by the log's mutex; the lock of one `issue` covers ids, ordinals and order.
#[derive(Debug)]
pub(crate) struct Queue {
    ids: IdSource,
    max_batch: usize,
    /// Batches that take no more drafts, oldest first.
    pub(crate) closed: VecDeque<OpenBatch>,
    /// The batch that takes drafts; younger than all closed ones.
    pub(crate) open: Option<OpenBatch>,
    /// Ordinal of the last receipt issued; 0 before the first.
    pub(crate) issued: u64,
    /// Everything up to this ordinal is to be sealed at once.
    pub(crate) asked: u64,
    /// Receipts and bytes in `closed`, `open`, and in the sealer's hands.
    pub(crate) unsealed: usize,
    pub(crate) unsealed_bytes: usize,
    /// Partitions whose attempts are to be looked up anew.
    pub(crate) forgotten: Vec<PartitionKey>,
    /// The sealer waits for work; while it does not, nobody needs to wake it.
    pub(crate) sealer_waits: bool,
    /// Threads in `wait_durable`.
    pub(crate) waiting: usize,
    /// Why nothing more becomes durable; sticky.
    pub(crate) failure: Option<LogError>,
    /// The last user has closed the log: the sealer ends when everything is sealed.
    pub(crate) closing: bool,
    spare: Spare,
}

impl Queue {
    pub(crate) fn new(ids: IdSource, max_batch: usize) -> Self {
        Self {
            ids,
            max_batch,
            closed: VecDeque::new(),
            open: None,
            issued: 0,
            asked: 0,
            unsealed: 0,
            unsealed_bytes: 0,
            forgotten: Vec::new(),
            sealer_waits: false,
            waiting: 0,
            failure: None,
            closing: false,
            spare: Spare::default(),
        }
    }

    /// Whether another batch of drafts may come in. A single call may pass the bound by what it pushes.
    pub(crate) fn has_room(&self, options: &LogOptions) -> bool {
        self.unsealed < options.max_unsealed && self.unsealed_bytes < options.max_unsealed_bytes
    }

    /// Lets the open batch take no more drafts.
    pub(crate) fn close_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.closed.push_back(open);
        }
    }

    /// Closes the open batch, and notes where the queue stands then.
    pub(crate) fn mark(&mut self) -> Mark {
        self.close_open();
        let Self { issued, unsealed, unsealed_bytes, .. } = *self;
        Mark { closed: self.closed.len(), issued, unsealed, unsealed_bytes }
    }

    /// Joins everything issued since `mark`, as batches that take no more drafts.
    pub(crate) fn join(&mut self, mark: &Mark) {
        self.close_open();
        self.closed.iter_mut().skip(mark.closed + 1).for_each(|batch| batch.joined = true);
    }

    /// Takes back everything issued since `mark`; ids that were given stay unused.
    pub(crate) fn take_back(&mut self, mark: &Mark) {
        self.close_open();
        let taken_back: Vec<Pending> = self.closed.drain(mark.closed..).map(|batch| batch.pending).collect();
        self.reuse(taken_back.into_iter().map(|mut pending| {
            pending.clear();
            pending
        }));
        self.issued = mark.issued;
        self.unsealed = mark.unsealed;
        self.unsealed_bytes = mark.unsealed_bytes;
    }

    /// Gives ids without receipts.
    pub(crate) fn ids(&mut self) -> &mut IdSource {
        &mut self.ids
    }

    /// Whether the sealer has something to do at once.
    pub(crate) fn is_due(&self) -> bool {
        !self.closed.is_empty() || self.open.as_ref().is_some_and(|open| open.first <= self.asked || self.closing)
    }

    /// Takes what is to be sealed now, oldest first, up to [`ROUND_BYTES`]. The open batch goes along when there is room:
    /// sealing it costs less than waking up for it again. Joined batches are never parted.
    pub(crate) fn take(&mut self) -> Vec<OpenBatch> {
        self.close_open();
        let mut bytes = 0;
        let fitting = self.closed.iter().take_while(|batch| {
            let fits = bytes < ROUND_BYTES || batch.joined;
            bytes += batch.pending.bytes();
            fits
        });
        let count = fitting.count();
        self.closed.drain(..count).collect()
    }

    /// Gives back arenas after their drafts are durable.
    pub(crate) fn reuse(&mut self, arenas: impl Iterator<Item = Pending>) {
        arenas.for_each(|arena| self.spare.keep(arena));
    }

    fn open_for(&mut self, spec: &BatchSpec) -> &mut OpenBatch {
        // What a transaction does is one batch, however many receipts it has.
        let max = if spec.mode == Mode::Recorded { self.max_batch } else { usize::MAX };
        let fits = self.open.as_ref().is_some_and(|open| open.pending.len() < max && open.spec == *spec);
        if !fits {
            self.close_open();
        }
        self.open.get_or_insert_with(|| OpenBatch {
            spec: spec.clone(),
            pending: self.spare.take(),
            first: self.issued + 1,
            outcomes: Vec::new(),
            since: Instant::now(),
            joined: false,
        })
    }

    fn push(
        &mut self,
        spec: &BatchSpec,
        push: impl FnOnce(&mut Pending) -> Result<(), PushError>,
    ) -> Result<u64, PushError> {
        let pending = &mut self.open_for(spec).pending;
        let before = pending.bytes();
        let pushed = push(pending);
        let added = pending.bytes() - before;
        let emptied = pending.is_empty();
        if emptied {
            self.open = None;
        }
        pushed?;
        self.issued += 1;
        self.unsealed += 1;
        self.unsealed_bytes += added;
        Ok(self.issued)
    }
}

/// Hands out ids and takes drafts while it holds the log's lock: keep what is done meanwhile short, and do not block.
#[derive(Debug)]
pub struct Issue<'a> {
    pub(crate) queue: &'a mut Queue,
    pub(crate) spec: &'a BatchSpec,
}

impl Issue<'_> {
    /// The next id; ids are pushed in the order in which they are given, and may be left out.
    ///
    /// `now` is Unix time in ms.
    pub fn next_id(&mut self, now: i64) -> ReceiptId {
        self.queue.ids.next(now)
    }

    /// Adds a receipt and returns its ordinal.
    ///
    /// # Errors
    /// [`PushError`] when the draft cannot become a receipt; nothing was added then.
    pub fn push(&mut self, draft: &Draft<'_>) -> Result<u64, PushError> {
        self.queue.push(self.spec, |pending| pending.push(draft))
    }

    /// Adds the record of what became of a transaction's batch and returns its ordinal.
    ///
    /// # Errors
    /// As for [`Issue::push`].
    pub fn push_outcome(&mut self, draft: &OutcomeDraft<'_>) -> Result<u64, PushError> {
        let ordinal = self.queue.push(self.spec, |pending| pending.push_outcome(draft))?;
        if let Some(open) = &mut self.queue.open {
            let OutcomeDraft { batch: checkpoint, outcome, contradicts, .. } = *draft;
            open.outcomes.push(OutcomeOf { checkpoint, outcome, contradicts });
        }
        Ok(ordinal)
    }
}
