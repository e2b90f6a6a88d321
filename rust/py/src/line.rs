//! The line in which messages wait between their receipts and the client. Nothing here needs Python's lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;

use chio_client::{Bundle, Record};
use chio_receipts::ReceiptId;
use chio_store::LogError;

use crate::check::Check;
use crate::lease::Producer;
use crate::outlet::Address;

/// What one bundle holds at most, unless one message alone is larger.
const BUNDLE_MESSAGES: usize = 1024;
const BUNDLE_BYTES: usize = 1 << 20;
/// Empty bundles that are kept for reuse.
const SPARE: usize = 16;
/// How long the flusher waits for a poll before it tries again.
const SLICE: Duration = Duration::from_millis(50);

/// An output that the client is given in Python, because somebody wants to hear what becomes of it.
#[derive(Debug)]
pub struct Parcel {
    /// It has its receipt.
    pub check: Py<Check>,
    /// Who wants to hear.
    pub on_delivery: Option<Py<PyAny>>,
}

/// An output without a callback that was not sent.
#[derive(Clone, Debug)]
pub struct Unsent {
    /// Where it was to go.
    pub address: Arc<Address>,
    /// Its receipt.
    pub receipt: ReceiptId,
    /// Why the client did not take it, a code of librdkafka; 0 if it was not asked.
    pub code: i32,
}

/// Outputs without callbacks that follow each other.
#[derive(Debug, Default)]
struct Load {
    records: Bundle,
    /// The receipt of each record, and its address among `addresses`.
    receipts: Vec<(ReceiptId, usize)>,
    addresses: Vec<Arc<Address>>,
    /// The first that has not been handed to the client or given up.
    next: usize,
}

#[derive(Debug)]
enum Piece {
    Load(Load),
    Parcel(Parcel),
}

/// What the application and the flusher share.
#[derive(Debug, Default)]
struct Waiting {
    pieces: VecDeque<Piece>,
    /// Ordinal of the last receipt among everything put so far.
    ordinal: u64,
    spare: Vec<Load>,
    /// Nothing more is put.
    is_shut: bool,
    /// Nothing more is sent.
    is_closing: bool,
    /// The flusher waits for somebody to poll the client.
    awaits_poll: bool,
    /// Threads that wait for the flusher.
    watchers: usize,
    flusher_waits: bool,
    /// Raised whenever the flusher has got somewhere.
    moves: u64,
}

/// Messages in the order in which they were put. One thread, the flusher, takes them.
#[derive(Debug, Default)]
pub struct Line {
    waiting: Mutex<Waiting>,
    /// The flusher waits here.
    called: Condvar,
    /// Others wait here for the flusher.
    moved: Condvar,
    /// The flusher's alone; no lock is taken for long while `waiting` is held.
    taken: Mutex<VecDeque<Piece>>,
    /// Messages in `waiting` and `taken`.
    count: AtomicUsize,
    /// Bytes of keys and values in `waiting`.
    bytes: AtomicUsize,
    sent: AtomicU64,
    is_shut: AtomicBool,
}

/// Where the flusher stops.
#[derive(Debug)]
pub enum Stop {
    /// At messages for Python; each counts until [`Line::passed`].
    Parcels(Vec<Parcel>),
    /// At one that the client does not take; it counts likewise.
    Refused(Unsent),
    /// The line is closed; what is left is to be given up.
    Closing,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    /// Messages that wait, those in the flusher's hands included.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Messages handed to the client without Python.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether nothing more is put.
    pub fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Acquire)
    }

    /// Puts a message without callback, which has its receipt; false if nothing more is put.
    pub fn put<'a>(
        &self,
        address: &Arc<Address>,
        record: &Record<'_>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        (receipt, ordinal): (ReceiptId, u64),
    ) -> bool {
        let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        self.with_waiting(1, size, ordinal, |waiting| {
            let fits = matches!(waiting.pieces.back(), Some(Piece::Load(load)) if load.has_room());
            if !fits {
                let load = waiting.spare.pop().unwrap_or_default();
                waiting.pieces.push_back(Piece::Load(load));
            }
            if let Some(Piece::Load(load)) = waiting.pieces.back_mut() {
                load.push(address, record, headers, receipt);
            }
        })
    }

    /// Puts messages with callbacks, which have their receipts, with no other in between; false if nothing more is put.
    pub fn put_parcels(&self, parcels: Vec<Parcel>, size: usize, ordinal: u64) -> bool {
        self.with_waiting(parcels.len(), size, ordinal, |waiting| {
            waiting.pieces.extend(parcels.into_iter().map(Piece::Parcel));
        })
    }

    fn with_waiting(&self, count: usize, size: usize, ordinal: u64, put: impl FnOnce(&mut Waiting)) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.is_shut {
            return false;
        }
        put(&mut waiting);
        waiting.ordinal = waiting.ordinal.max(ordinal);
        self.count.fetch_add(count, Ordering::AcqRel);
        self.bytes.fetch_add(size, Ordering::AcqRel);
        let flusher_waits = waiting.flusher_waits;
        drop(waiting);
        if flusher_waits {
            self.called.notify_one();
        }
        true
    }

    /// Takes what waits, waits until it is durable, and hands it to the producer, again and again, until there is something
    /// to do that takes Python.
    ///
    /// # Errors
    /// What was taken does not become durable, and is not sent.
    pub fn forward(&self, log: &chio_store::Log, producer: Option<&Producer>) -> Result<Stop, LogError> {
        let mut taken = lock(&self.taken);
        loop {
            if taken.is_empty() {
                let Some(ordinal) = self.take(&mut taken) else { return Ok(Stop::Closing) };
                log.wait_durable(ordinal, None)?;
            }
            match taken.pop_front() {
                Some(Piece::Parcel(first)) => return Ok(Stop::Parcels(following(first, &mut taken))),
                Some(Piece::Load(mut load)) => {
                    let stop = self.send(&mut load, producer);
                    if load.next < load.records.len() {
                        taken.push_front(Piece::Load(load));
                    } else {
                        self.reuse(load);
                    }
                    if let Some(stop) = stop {
                        return Ok(stop);
                    }
                }
                None => {}
            }
        }
    }

    /// Waits for messages and takes all; gives the ordinal by which all of them are durable, `None` once nothing more is
    /// sent.
    fn take(&self, taken: &mut VecDeque<Piece>) -> Option<u64> {
        let mut waiting = lock(&self.waiting);
        self.move_on(&mut waiting);
        while waiting.pieces.is_empty() && !waiting.is_closing {
            waiting.flusher_waits = true;
            waiting = self.called.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.flusher_waits = false;
        if waiting.is_closing {
            return None;
        }
        std::mem::swap(&mut waiting.pieces, taken);
        self.bytes.store(0, Ordering::Release);
        Some(waiting.ordinal)
    }

    /// Hands messages to the producer. While its queue is full this waits for somebody to poll.
    fn send(&self, load: &mut Load, producer: Option<&Producer>) -> Option<Stop> {
        loop {
            let first = load.next;
            let refusal = {
                let lease = producer.and_then(Producer::lease);
                load.send(lease.as_ref().map(|lease| &lease.sender))
            };
            let sent = load.next - first;
            self.sent.fetch_add(sent as u64, Ordering::AcqRel);
            self.passed(sent);
            let code = refusal?;
            if code != chio_client::sender::QUEUE_FULL {
                let refused = load.unsent(code);
                load.next += 1;
                return refused.map(Stop::Refused);
            }
            if self.await_poll() {
                return Some(Stop::Closing);
            }
        }
    }

    /// So many messages were handed to the client or given up.
    pub fn passed(&self, number: usize) {
        self.count.fetch_sub(number, Ordering::AcqRel);
        self.move_on(&mut lock(&self.waiting));
    }

    /// Tells those who wait for the flusher.
    fn move_on(&self, waiting: &mut Waiting) {
        waiting.moves += 1;
        if waiting.watchers > 0 {
            self.moved.notify_all();
        }
    }

    fn reuse(&self, mut load: Load) {
        load.clear();
        let mut waiting = lock(&self.waiting);
        // What one large message made large is not kept.
        if waiting.spare.len() < SPARE && load.records.capacity() <= 2 * BUNDLE_BYTES {
            waiting.spare.push(load);
        }
    }

    /// Waits until somebody has polled the client, for a little while at most; true if nothing more is sent.
    pub fn await_poll(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        self.move_on(&mut waiting);
        waiting.awaits_poll = true;
        let is_full = |waiting: &mut Waiting| waiting.awaits_poll && !waiting.is_closing;
        waiting = self.called.wait_timeout_while(waiting, SLICE, is_full).unwrap_or_else(PoisonError::into_inner).0;
        waiting.awaits_poll = false;
        waiting.is_closing
    }

    /// Somebody has polled the client: there may be room in it.
    pub fn polled(&self) {
        let awaited = std::mem::take(&mut lock(&self.waiting).awaits_poll);
        if awaited {
            self.called.notify_one();
        }
    }

    /// Waits until the flusher has got somewhere, at most `timeout`.
    pub fn await_move(&self, timeout: Duration) {
        let mut waiting = lock(&self.waiting);
        let seen = waiting.moves;
        let rests = |waiting: &mut Waiting| waiting.moves == seen && self.len() > 0;
        waiting.watchers += 1;
        waiting = self.moved.wait_timeout_while(waiting, timeout, rests).unwrap_or_else(PoisonError::into_inner).0;
        waiting.watchers -= 1;
    }

    /// Lets nothing more be put, and if `is_closing` nothing more be sent.
    pub fn shut(&self, is_closing: bool) {
        let mut waiting = lock(&self.waiting);
        waiting.is_shut = true;
        waiting.is_closing |= is_closing;
        self.is_shut.store(true, Ordering::Release);
        self.called.notify_one();
    }

    /// Takes out what was not sent, in order; each counts until [`Line::passed`].
    pub fn drain(&self) -> (Vec<Parcel>, Vec<Unsent>) {
        let mut taken = lock(&self.taken);
        taken.append(&mut lock(&self.waiting).pieces);
        let (mut parcels, mut unsent) = (Vec::new(), Vec::new());
        for piece in taken.drain(..) {
            match piece {
                Piece::Parcel(parcel) => parcels.push(parcel),
                Piece::Load(mut load) => {
                    while let Some(next) = load.unsent(0) {
                        unsent.push(next);
                        load.next += 1;
                    }
                }
            }
        }
        self.bytes.store(0, Ordering::Release);
        (parcels, unsent)
    }
}

/// A message for Python and those that follow it: Python's lock is taken once for all.
fn following(first: Parcel, taken: &mut VecDeque<Piece>) -> Vec<Parcel> {
    let mut parcels = vec![first];
    while let Some(piece) = taken.pop_front() {
        match piece {
            Piece::Parcel(parcel) => parcels.push(parcel),
            Piece::Load(load) => {
                taken.push_front(Piece::Load(load));
                break;
            }
        }
    }
    parcels
}

impl Load {
    fn has_room(&self) -> bool {
        self.records.len() < BUNDLE_MESSAGES && self.records.bytes() < BUNDLE_BYTES
    }

    fn push<'a>(
        &mut self,
        address: &Arc<Address>,
        record: &Record<'_>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        receipt: ReceiptId,
    ) {
        self.records.push(&address.topic, record, headers);
        let known = self.addresses.iter().rposition(|known| Arc::ptr_eq(known, address));
        let address = known.unwrap_or_else(|| {
            self.addresses.push(Arc::clone(address));
            self.addresses.len() - 1
        });
        self.receipts.push((receipt, address));
    }

    /// Hands over what is left; gives the code with which the next one is refused.
    fn send(&mut self, sender: Option<&chio_client::Sender>) -> Option<i32> {
        let Some(sender) = sender else { return Some(chio_client::sender::DESTROYED) };
        let (next, refusal) = sender.send_bundle(&self.records, self.next);
        self.next = next;
        refusal.map(|refusal| refusal.code)
    }

    /// The next one that was not sent.
    fn unsent(&self, code: i32) -> Option<Unsent> {
        let (receipt, address) = self.receipts.get(self.next)?;
        let address = Arc::clone(self.addresses.get(*address)?);
        Some(Unsent { address, receipt: *receipt, code })
    }

    fn clear(&mut self) {
        self.records.clear();
        self.receipts.clear();
        self.addresses.clear();
        self.next = 0;
    }
}
