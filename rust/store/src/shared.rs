//! What the handles of one log and its sealer share.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chio_receipts::{IdSource, PartitionKey, PushError, Signer};

use crate::error::LogError;
use crate::fork::Generation;
use crate::location::LogLocation;
use crate::options::{BatchSpec, LogOptions};
use crate::queue::{Issue, OpenBatch, Queue};
use crate::recent::{Recent, SealedReceipt, SignedCheckpoint};
use crate::stats::LogStats;

/// One open log of this process.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) location: LogLocation,
    pub(crate) issuer: String,
    pub(crate) epoch: u64,
    pub(crate) signer: Arc<Signer>,
    pub(crate) created_key: Option<PathBuf>,
    pub(crate) options: LogOptions,
    pub(crate) opened: Generation,
    pub(crate) sealer: Mutex<Option<JoinHandle<()>>>,
    queue: Mutex<Queue>,
    /// The sealer waits here for work.
    work: Condvar,
    /// Issuing threads wait here for room.
    room: Condvar,
    /// `wait_durable` waits here; guarded by `queue`.
    advanced: Condvar,
    /// Written by the sealer under `queue`, read by anybody.
    durable: AtomicU64,
    /// Whether issuing would wait. Written under `queue`, read by anybody, because every receipt's issuer does.
    is_full: AtomicBool,
    recent: Mutex<Recent>,
    counters: Mutex<LogStats>,
}

/// What the sealer takes in one go.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) batches: Vec<OpenBatch>,
    pub(crate) forgotten: Vec<PartitionKey>,
}

/// A batch that became durable.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) first: u64,
    pub(crate) checkpoint: SignedCheckpoint,
    pub(crate) is_transaction: bool,
    pub(crate) attempts: Vec<u32>,
    pub(crate) frame_bytes: u64,
}

/// A lock of ours is poisoned only by a panic in a caller's closure; the queue is whole then, because every push is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    #[allow(clippy::too_many_arguments, reason = "called once; every argument is a field")]
    pub(crate) fn new(
        location: LogLocation,
        issuer: String,
        epoch: u64,
        signer: Arc<Signer>,
        created_key: Option<PathBuf>,
        options: LogOptions,
        queue: Queue,
        head: Option<SignedCheckpoint>,
    ) -> Self {
        Self {
            location,
            issuer,
            epoch,
            signer,
            created_key,
            options,
            opened: Generation::current(),
            sealer: Mutex::new(None),
            queue: Mutex::new(queue),
            work: Condvar::new(),
            room: Condvar::new(),
            advanced: Condvar::new(),
            durable: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            recent: Mutex::new(Recent::after(head)),
            counters: Mutex::default(),
        }
    }

    pub(crate) fn issue(&self, spec: &BatchSpec, drafts: impl FnOnce(&mut Issue<'_>)) -> Result<u64, LogError> {
        let mut queue = lock(&self.queue);
        if let Some(failure) = &queue.failure {
            return Err(failure.clone());
        }
        let was_idle = queue.open.is_none() && queue.closed.is_empty();
        drafts(&mut Issue { queue: &mut queue, spec });
        self.note_room(&queue);
        let issued = queue.issued;
        let full = !queue.closed.is_empty()
            || queue.open.as_ref().is_some_and(|open| open.pending.len() >= self.options.max_batch);
        let is_waiting = queue.sealer_waits;
        drop(queue);
        // An idle sealer must learn that its linger has begun; a lingering one wakes by itself, a busy one looks again.
        if is_waiting && (was_idle || full) {
            self.work.notify_one();
        }
        Ok(issued)
    }

    /// Batches of their own, sealed at once, appended in one durable write.
    pub(crate) fn issue_batches(
        &self,
        specs: &[BatchSpec],
        mut drafts: impl FnMut(usize, &mut Issue<'_>) -> Result<(), PushError>,
    ) -> Result<Vec<u64>, LogError> {
        let mut queue = lock(&self.queue);
        if let Some(failure) = &queue.failure {
            return Err(failure.clone());
        }
        let mark = queue.mark();
        let mut last = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            if let Err(error) = drafts(index, &mut Issue { queue: &mut queue, spec }) {
                queue.take_back(&mark);
                return Err(LogError::Seal { detail: error.to_string() });
            }
            queue.close_open();
            last.push(queue.issued);
        }
        queue.join(&mark);
        self.note_room(&queue);
        drop(queue);
        self.work.notify_one();
        Ok(last)
    }

    /// Gives ids whose receipts are issued later, if ever.
    pub(crate) fn give_ids(&self, give: impl FnOnce(&mut IdSource)) -> Result<(), LogError> {
        let mut queue = lock(&self.queue);
        match &queue.failure {
            Some(failure) => Err(failure.clone()),
            None => {
                give(queue.ids());
                Ok(())
            }
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Acquire)
    }

    /// After a failure nobody waits for room: issuing says what failed.
    fn note_room(&self, queue: &Queue) {
        let is_full = !queue.has_room(&self.options) && queue.failure.is_none();
        self.is_full.store(is_full, Ordering::Release);
    }

    pub(crate) fn wait_for_room(&self, timeout: Option<Duration>) -> Result<bool, LogError> {
        let mut queue = lock(&self.queue);
        if queue.failure.is_none() && !queue.has_room(&self.options) {
            lock(&self.counters).waits += 1;
            // What fills the bound is sealed at once: lingering would only prolong the wait.
            queue.asked = queue.issued;
            self.work.notify_one();
            let full = |queue: &mut Queue| queue.failure.is_none() && !queue.has_room(&self.options);
            queue = match timeout {
                None => self.room.wait_while(queue, full).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    self.room.wait_timeout_while(queue, timeout, full).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        match &queue.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(queue.has_room(&self.options)),
        }
    }

    pub(crate) fn issued(&self) -> u64 {
        lock(&self.queue).issued
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn seal(&self) -> u64 {
        let mut queue = lock(&self.queue);
        queue.asked = queue.issued;
        let issued = queue.issued;
        drop(queue);
        self.work.notify_one();
        issued
    }

    pub(crate) fn wait_durable(&self, ordinal: u64, timeout: Option<Duration>) -> Result<bool, LogError> {
        if self.durable() >= ordinal {
            return Ok(true);
        }
        let mut queue = lock(&self.queue);
        if ordinal > queue.issued {
            let detail = format!("ordinal {ordinal} was not issued, the last one is {}", queue.issued);
            return Err(LogError::Options { detail });
        }
        queue.waiting += 1;
        // The sealer lingers less when somebody waits.
        self.work.notify_one();
        let pending = |queue: &mut Queue| self.durable() < ordinal && queue.failure.is_none();
        let mut queue = match timeout {
            None => self.advanced.wait_while(queue, pending).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.advanced.wait_timeout_while(queue, timeout, pending).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        queue.waiting -= 1;
        match &queue.failure {
            _ if self.durable() >= ordinal => Ok(true),
            Some(failure) => Err(failure.clone()),
            None => Ok(false),
        }
    }

    pub(crate) fn forget(&self, partition: PartitionKey) {
        lock(&self.queue).forgotten.push(partition);
    }

    pub(crate) fn sealed(&self, ordinals: Range<u64>) -> Vec<Option<SealedReceipt>> {
        lock(&self.recent).get(ordinals)
    }

    /// The checkpoint of the transaction's batch that holds `ordinal`, if it is among the recent ones.
    pub(crate) fn checkpoint(&self, ordinal: u64) -> Option<SignedCheckpoint> {
        lock(&self.recent).checkpoint(ordinal)
    }

    /// The issuer's newest checkpoint.
    pub(crate) fn head(&self) -> Option<SignedCheckpoint> {
        lock(&self.recent).head()
    }

    pub(crate) fn stats(&self) -> LogStats {
        let queue = lock(&self.queue);
        LogStats {
            issued: queue.issued,
            durable: self.durable(),
            unsealed_bytes: queue.unsealed_bytes as u64,
            ..*lock(&self.counters)
        }
    }

    /// Tells the sealer to seal what there is and end.
    pub(crate) fn begin_closing(&self) {
        lock(&self.queue).closing = true;
        self.work.notify_one();
    }

    /// Why nothing more becomes durable, if so.
    pub(crate) fn failure(&self) -> Option<LogError> {
        lock(&self.queue).failure.clone()
    }

    /// Waits for work; `None` when the log is closing and all is sealed.
    pub(crate) fn next_work(&self) -> Option<Work> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.is_due() {
                break;
            }
            let Some(open) = &queue.open else {
                if queue.closing {
                    return None;
                }
                queue.sealer_waits = true;
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.sealer_waits = false;
                continue;
            };
            if open.pending.len() >= self.options.max_batch {
                break;
            }
            let linger = if queue.waiting > 0 { self.options.linger_waited } else { self.options.linger };
            let left = (open.since + linger).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue.sealer_waits = true;
            queue = self.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            queue.sealer_waits = false;
        }
        Some(Work { batches: queue.take(), forgotten: std::mem::take(&mut queue.forgotten) })
    }

    /// Publishes that batches are durable, and gives their arenas back.
    pub(crate) fn publish(&self, appended: Vec<Appended>, drafts: Vec<OpenBatch>, sizes: (usize, usize)) {
        let mut recent = lock(&self.recent);
        let mut counters = lock(&self.counters);
        counters.appends += 1;
        let mut last = self.durable();
        for batch in appended {
            counters.batches += 1;
            counters.bytes += batch.frame_bytes;
            last = batch.first + batch.attempts.len() as u64 - 1;
            recent.push(batch.first, batch.checkpoint, batch.is_transaction, batch.attempts);
        }
        drop(counters);
        drop(recent);
        let mut queue = lock(&self.queue);
        queue.unsealed -= sizes.0;
        queue.unsealed_bytes -= sizes.1;
        queue.reuse(drafts.into_iter().map(|batch| batch.pending));
        self.note_room(&queue);
        self.durable.store(last, Ordering::Release);
        drop(queue);
        self.advanced.notify_all();
        self.room.notify_all();
    }

    /// Nothing more becomes durable: every waiting and every later call returns this.
    pub(crate) fn fail(&self, failure: LogError) {
        let mut queue = lock(&self.queue);
        queue.failure.get_or_insert(failure);
        self.note_room(&queue);
        drop(queue);
        self.advanced.notify_all();
        self.room.notify_all();
    }
}
