//! The receipt log as a reader sees it.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chio_receipts::export::{Export, Proven};
use chio_receipts::frame::{self, Frame, Slot};
use chio_receipts::record::Record;
use chio_receipts::trust::Trust;
use chio_receipts::verify::{LogVerifier, Report};
use chio_receipts::{Kind, PartitionKey, ReceiptId};

use crate::batch_store::{BatchInfo, BatchStore, State};
use crate::error::LogError;
use crate::filter::{Filter, Order, Position};
use crate::index::{self, Frames, Index};
use crate::location::LogLocation;

/// Frames that are kept, because a page or a chain often has several receipts of one batch.
const CACHED: usize = 8;

/// Batches that are listed in one go.
const LISTED: usize = 256;

/// A receipt (or an outcome record) as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReceipt {
    /// Where it lies.
    pub position: Position,
    /// Its id.
    pub id: ReceiptId,
    /// Its body: JSON as it was signed.
    pub body: String,
    /// Its batch: issuer, epoch, policy version, checkpoint, state.
    pub batch: Arc<BatchInfo>,
}

/// Receipts that a query found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order asked for.
    pub receipts: Vec<StoredReceipt>,
    /// Where the next page starts; `None` when this was the last one at the time.
    pub next: Option<Position>,
}

/// Reads a receipt log, also while others write. Holds no lock and no transaction between calls.
#[derive(Debug)]
pub struct LogReader {
    store: Box<dyn BatchStore>,
    location: LogLocation,
    log_id: String,
    index: Mutex<Option<Index>>,
    frames: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogReader {
    /// Opens the log at a location for reading; a file may lie on a medium that cannot be written.
    ///
    /// # Errors
    /// `Missing`, `Foreign`, `Newer`, `Corrupt`, `Unavailable`, or what the operating system says.
    pub fn open(location: impl Into<LogLocation>) -> Result<Self, LogError> {
        let location = location.into().resolved()?;
        let store = location.open_readable()?;
        let log_id = store.log_id()?;
        Ok(Self { store, location, log_id, index: Mutex::default(), frames: Mutex::default() })
    }

    /// The log's random id, the last part of its issuers' names.
    pub fn log_id(&self) -> &str {
        &self.log_id
    }

    /// Where the log is, with links resolved.
    pub fn location(&self) -> &LogLocation {
        &self.location
    }

    /// Where its batches are.
    pub(crate) fn store(&self) -> &dyn BatchStore {
        self.store.as_ref()
    }

    /// What messages call the log.
    pub(crate) fn shown(&self) -> &Path {
        self.location.shown()
    }

    /// At most `limit` batches from position `from` on, in order.
    ///
    /// # Errors
    /// What reading the file fails with.
    pub fn batches(&self, from: u64, limit: usize) -> Result<Vec<BatchInfo>, LogError> {
        self.store.scan(from, limit)
    }

    /// The state of a batch.
    ///
    /// # Errors
    /// `NotFound`, or what reading the file fails with.
    pub fn state(&self, batch: u64) -> Result<State, LogError> {
        let found = self.store.scan(batch, 1)?.into_iter().find(|found| found.batch == batch);
        found.map(|found| found.state).ok_or_else(|| LogError::NotFound { what: format!("batch {batch}") })
    }

    /// The frame of a batch, as it is stored.
    ///
    /// # Errors
    /// `NotFound`, or what reading the file fails with.
    pub fn frame(&self, batch: u64) -> Result<Arc<Vec<u8>>, LogError> {
        let mut frames = lock(&self.frames);
        if let Some((_, bytes)) = frames.iter().find(|(known, _)| *known == batch) {
            return Ok(Arc::clone(bytes));
        }
        let bytes = self.store.frame(batch)?;
        let bytes = Arc::new(bytes.ok_or_else(|| LogError::NotFound { what: format!("batch {batch}") })?);
        if frames.len() >= CACHED {
            frames.pop_front();
        }
        frames.push_back((batch, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// The highest offset of a partition that any consume receipt names.
    ///
    /// # Errors
    /// What reading the log fails with.
    pub fn highest_offset(&self, partition: &PartitionKey) -> Result<Option<i64>, LogError> {
        self.store.highest_offset(partition)
    }

    /// The receipt or outcome record with this id.
    ///
    /// # Errors
    /// `NotFound`, also when its body is withheld: the id is part of the body.
    pub fn get(&self, id: ReceiptId) -> Result<StoredReceipt, LogError> {
        self.find(id)?.ok_or_else(|| LogError::NotFound { what: format!("receipt `{id}`") })
    }

    /// Like [`LogReader::get`], with `None` for what is not there.
    pub(crate) fn find(&self, id: ReceiptId) -> Result<Option<StoredReceipt>, LogError> {
        for batch in self.store.find_id(id)? {
            let bytes = self.frame(batch)?;
            let frame = self.decode(batch, &bytes)?;
            for (place, slot) in frame.slots().enumerate() {
                let Slot::Body(body) = slot else { continue };
                if self.parse(batch, body)?.id() == id {
                    return self.stored(Position::new(batch, place), id, body, &self.info(batch)?).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The consume receipts of a partition whose offsets lie in `offsets`, in the order of the log.
    ///
    /// # Errors
    /// What reading the log fails with.
    pub fn consumed(
        &self,
        partition: &PartitionKey,
        offsets: &RangeInclusive<u64>,
    ) -> Result<Vec<StoredReceipt>, LogError> {
        let signed = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
        let mut found = Vec::new();
        for batch in self.store.covering(partition, signed(*offsets.start())..=signed(*offsets.end()))? {
            let (bytes, info) = (self.frame(batch)?, self.info(batch)?);
            for (place, slot) in self.decode(batch, &bytes)?.slots().enumerate() {
                let Slot::Body(body) = slot else { continue };
                let record = self.parse(batch, body)?;
                if let Record::Receipt(receipt) = &record
                    && receipt.kind == Kind::Consume
                    && receipt.offset().is_some_and(|offset| offsets.contains(&offset))
                    && receipt.partition_key().as_ref() == Some(partition)
                {
                    found.push(self.stored(Position::new(batch, place), record.id(), body, &info)?);
                }
            }
        }
        Ok(found)
    }

    /// Receipts that pass `filter`, in the order of the log, at most `limit` after position `after`.
    ///
    /// Writes that go on meanwhile neither repeat nor hide anything: positions never change, and new ones are at the end.
    ///
    /// # Errors
    /// `Query` for a filter that means nothing, or what reading the file fails with.
    pub fn query(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, LogError> {
        let positions = self.with_index(|index| index.query(filter, order, after, limit))?;
        let receipts = self.at(&positions)?;
        let next = if positions.len() < limit { None } else { positions.last().copied() };
        Ok(Page { receipts, next })
    }

    /// Everything that is needed to verify one receipt offline, with the outcome of its transaction where one is recorded.
    ///
    /// # Errors
    /// `NotFound`, or what reading the file fails with.
    pub fn export(&self, id: ReceiptId) -> Result<Export, LogError> {
        let stored = self.get(id)?;
        let outcome = self.outcome(&stored.batch)?;
        Ok(Export { receipt: self.proven(stored.position)?, outcome })
    }

    /// Writes the frames of a range of batches to `out`, one after the other: the stream that both verifiers read.
    /// Returns how many there were.
    ///
    /// # Errors
    /// What reading the file or writing to `out` fails with.
    pub fn export_stream(&self, batches: RangeInclusive<u64>, out: &mut dyn Write) -> Result<u64, LogError> {
        let mut written = 0;
        self.each_frame(batches, |_, bytes| {
            written += 1;
            out.write_all(bytes).map_err(|error| LogError::from_io(Path::new("export"), &error))
        })?;
        Ok(written)
    }

    /// Verifies the whole log, up to the batch that is its last when this begins. `progress` is told how many records of
    /// how many are done.
    ///
    /// # Errors
    /// What reading the file fails with, and `Corrupt` when its tables contradict its frames. What is wrong with the
    /// frames themselves stands in the report.
    pub fn verify(&self, trust: &Trust, progress: &mut dyn FnMut(u64)) -> Result<Report, LogError> {
        let mut verifier = LogVerifier::new(trust);
        let mut done = 0;
        self.each_frame(1..=u64::MAX, |info, bytes| {
            if let Ok(frame) = frame::decode(bytes)
                && frame.checkpoint_hash() != info.checkpoint
            {
                let detail = format!("batch {} is listed with another checkpoint than its frame has", info.batch);
                return Err(LogError::corrupt(self.shown(), detail));
            }
            verifier.feed(bytes);
            done += info.count;
            progress(done);
            Ok(())
        })?;
        Ok(verifier.finish())
    }

    /// Makes the index anew, whatever state it is in.
    ///
    /// # Errors
    /// What reading the log or writing the index fails with.
    pub fn rebuild_index(&self) -> Result<(), LogError> {
        let mut slot = lock(&self.index);
        *slot = None;
        index::remove(&self.location)?;
        slot.insert(Index::open(&self.location, &self.log_id)?).catch_up(self)
    }

    /// Runs `ask` on an index that knows everything appended up to now; a damaged index is made anew once.
    pub(crate) fn with_index<T>(&self, ask: impl Fn(&Index) -> Result<T, LogError>) -> Result<T, LogError> {
        let mut slot = lock(&self.index);
        let attempt = |slot: &mut Option<Index>| {
            let index = match slot {
                Some(index) => index,
                None => slot.insert(Index::open(&self.location, &self.log_id)?),
            };
            index.catch_up(self)?;
            ask(index)
        };
        match attempt(&mut slot) {
            Err(LogError::Corrupt { path, .. } | LogError::Foreign { path }) if path != self.shown() => {
                *slot = None;
                index::remove(&self.location)?;
                attempt(&mut slot)
            }
            other => other,
        }
    }

    /// The receipts at these positions, without those whose bodies were withheld since the index learnt of them.
    pub(crate) fn at(&self, positions: &[Position]) -> Result<Vec<StoredReceipt>, LogError> {
        let mut receipts = Vec::with_capacity(positions.len());
        for group in positions.chunk_by(|a, b| a.batch() == b.batch()) {
            let Some(batch) = group.first().map(|position| position.batch()) else { continue };
            let info = self.info(batch)?;
            let bytes = self.frame(batch)?;
            let frame = self.decode(batch, &bytes)?;
            let slots: Vec<Slot<'_>> = frame.slots().collect();
            for position in group {
                if let Some(Slot::Body(body)) = slots.get(position.place()) {
                    let id = self.parse(batch, body)?.id();
                    receipts.push(self.stored(*position, id, body, &info)?);
                }
            }
        }
        Ok(receipts)
    }

    /// The newest outcome record for a transaction's batch.
    fn outcome(&self, info: &BatchInfo) -> Result<Option<Proven>, LogError> {
        let Some(batch) = info.resolved_by else { return Ok(None) };
        let bytes = self.frame(batch)?;
        let frame = self.decode(batch, &bytes)?;
        let mut found = None;
        for (place, slot) in frame.slots().enumerate() {
            if let Slot::Body(body) = slot
                && let Record::Outcome(outcome) = self.parse(batch, body)?
                && outcome.batch == info.checkpoint
            {
                found = Some(place);
            }
        }
        found.map(|place| self.proven(Position::new(batch, place))).transpose()
    }

    fn proven(&self, position: Position) -> Result<Proven, LogError> {
        let bytes = self.frame(position.batch())?;
        let frame = self.decode(position.batch(), &bytes)?;
        Proven::from_frame(&frame, position.place())
            .ok_or_else(|| LogError::corrupt(self.shown(), format!("record {position} cannot be read")))
    }

    fn stored(
        &self,
        position: Position,
        id: ReceiptId,
        body: &[u8],
        batch: &Arc<BatchInfo>,
    ) -> Result<StoredReceipt, LogError> {
        let body = String::from_utf8(body.to_vec())
            .map_err(|_| LogError::corrupt(self.shown(), format!("record {position} is not UTF-8")))?;
        Ok(StoredReceipt { position, id, body, batch: Arc::clone(batch) })
    }

    fn info(&self, batch: u64) -> Result<Arc<BatchInfo>, LogError> {
        let info = self.store.scan(batch, 1)?.into_iter().find(|info| info.batch == batch);
        info.map(Arc::new).ok_or_else(|| LogError::NotFound { what: format!("batch {batch}") })
    }

    fn decode<'a>(&self, batch: u64, bytes: &'a [u8]) -> Result<Frame<'a>, LogError> {
        frame::decode(bytes).map_err(|error| LogError::corrupt(self.shown(), format!("batch {batch}: {error}")))
    }

    fn parse<'a>(&self, batch: u64, body: &'a [u8]) -> Result<Record<'a>, LogError> {
        Record::parse(body).map_err(|error| LogError::corrupt(self.shown(), format!("batch {batch}: {error}")))
    }

    /// Hands over the frames of a range, up to the batch that is the last when this begins.
    fn each_frame(
        &self,
        batches: RangeInclusive<u64>,
        mut take: impl FnMut(&BatchInfo, &[u8]) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let last = (*batches.end()).min(self.store.last_batch()?);
        let mut next = (*batches.start()).max(1);
        while next <= last {
            let listed = self.store.scan(next, LISTED)?;
            if listed.is_empty() {
                let detail = format!("batch {next} is missing, though there are later ones");
                return Err(LogError::corrupt(self.shown(), detail));
            }
            for info in listed.iter().take_while(|info| info.batch <= last) {
                if info.batch != next {
                    return Err(LogError::corrupt(self.shown(), format!("batch {next} is missing")));
                }
                // Not by way of the cache: every frame is read once.
                let bytes = Frames::frame(self, info.batch)?;
                take(info, &bytes)?;
                next += 1;
            }
        }
        Ok(())
    }
}

impl Frames for LogReader {
    fn shown(&self) -> &Path {
        self.location.shown()
    }

    fn batches(&self, from: u64, limit: usize) -> Result<Vec<BatchInfo>, LogError> {
        self.store.scan(from, limit)
    }

    fn frame(&self, batch: u64) -> Result<Vec<u8>, LogError> {
        self.store.frame(batch)?.ok_or_else(|| LogError::NotFound { what: format!("batch {batch}") })
    }
}
