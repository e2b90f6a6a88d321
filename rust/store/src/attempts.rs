//! Which attempt at a request a receipt is.
//!
//! A request is an offset of a partition for one identity; the same place with another digest or timestamp is another
//! request. Above the highest offset that the log knows, an attempt is the first, without a look-up. At or below it, the
//! stored receipts around that offset are read once and kept.

use std::collections::HashMap;

use chio_receipts::frame::{self, Slot};
use chio_receipts::record::{Receipt, Record, Target};
use chio_receipts::{AttemptQuery, Kind, PartitionKey};
use foldhash::fast::RandomState;

use crate::batch_store::BatchStore;
use crate::error::LogError;

/// Offsets that one look-up reads ahead: a replay walks forward through them.
const WINDOW: i64 = 4096;

/// Partitions that are remembered; above it all are forgotten, which costs look-ups and nothing else.
const MAX_PARTITIONS: usize = 65_536;

/// What makes a receipt an attempt at the same request, and which one it is.
#[derive(Debug, Clone, Copy)]
struct Seen {
    offset: i64,
    digest: Option<[u8; 32]>,
    timestamp: Option<i64>,
    attempt: u32,
}

impl Seen {
    fn is_at(&self, query: &AttemptQuery) -> bool {
        self.offset == query.offset && self.digest == query.digest && self.timestamp == query.timestamp
    }
}

/// The stored attempts of a range of offsets.
#[derive(Debug)]
struct Window {
    first: i64,
    last: i64,
    by_offset: HashMap<i64, Vec<Seen>, RandomState>,
}

impl Window {
    fn insert(&mut self, seen: Seen) {
        if !(self.first..=self.last).contains(&seen.offset) {
            return;
        }
        let known = self.by_offset.entry(seen.offset).or_default();
        match known.iter_mut().find(|k| k.digest == seen.digest && k.timestamp == seen.timestamp) {
            Some(known) => known.attempt = known.attempt.max(seen.attempt),
            None => known.push(seen),
        }
    }
}

/// One partition as far as it is known.
#[derive(Debug, Default)]
struct Known {
    /// Highest offset stored or sealed.
    highest: Option<i64>,
    window: Option<Window>,
    /// Sealed since the last durable append, offsets ascending.
    fresh: Vec<Seen>,
    /// Sealed since then at or below the highest.
    again: Vec<Seen>,
}

impl Known {
    fn sealed_before(&self, query: &AttemptQuery) -> u32 {
        let at = self.fresh.partition_point(|seen| seen.offset < query.offset);
        let fresh = self.fresh.get(at).filter(|seen| seen.is_at(query)).map_or(0, |seen| seen.attempt);
        let again = self.again.iter().filter(|seen| seen.is_at(query)).map(|seen| seen.attempt).max();
        fresh.max(again.unwrap_or(0))
    }
}

/// Answers the sealer; used by its thread alone.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    partitions: HashMap<PartitionKey, Known, RandomState>,
}

impl Attempts {
    /// The attempt of a receipt that is being sealed.
    pub(crate) fn next(&mut self, store: &dyn BatchStore, query: &AttemptQuery) -> Result<u32, LogError> {
        let known = match self.partitions.entry(query.partition) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let highest = store.highest_offset(&query.partition)?;
                entry.insert(Known { highest, ..Known::default() })
            }
        };
        let seen = |attempt| Seen { offset: query.offset, digest: query.digest, timestamp: query.timestamp, attempt };
        if known.highest.is_none_or(|highest| query.offset > highest) {
            known.highest = Some(query.offset);
            known.fresh.push(seen(1));
            return Ok(1);
        }
        let covered = known.window.as_ref().is_some_and(|window| (window.first..=window.last).contains(&query.offset));
        if !covered {
            known.window = Some(read_window(store, &query.partition, query.offset)?);
        }
        let stored = known.window.as_ref().and_then(|window| window.by_offset.get(&query.offset));
        let stored = stored.into_iter().flatten().filter(|seen| seen.is_at(query)).map(|seen| seen.attempt).max();
        let last = stored.unwrap_or(0).max(known.sealed_before(query));
        let attempt = if query.again { last.max(1) } else { last.saturating_add(1) };
        known.again.push(seen(attempt));
        Ok(attempt)
    }

    /// Everything sealed so far is stored.
    pub(crate) fn stored(&mut self) {
        for known in self.partitions.values_mut() {
            if let Some(window) = &mut known.window {
                known.fresh.iter().chain(&known.again).for_each(|seen| window.insert(*seen));
            }
            known.fresh.clear();
            known.again.clear();
        }
        if self.partitions.len() > MAX_PARTITIONS {
            self.partitions.clear();
        }
    }

    /// Another process may have had the partition: what was known of it counts no more.
    pub(crate) fn forget(&mut self, partition: &PartitionKey) {
        self.partitions.remove(partition);
    }
}

/// Reads the stored attempts from `first` on.
fn read_window(store: &dyn BatchStore, partition: &PartitionKey, first: i64) -> Result<Window, LogError> {
    let last = first.saturating_add(WINDOW - 1);
    let mut window = Window { first, last, by_offset: HashMap::default() };
    for batch in store.covering(partition, first..=last)? {
        let Some(bytes) = store.frame(batch)? else { continue };
        let damaged =
            |detail: String| LogError::Corrupt { path: Default::default(), detail: format!("batch {batch}: {detail}") };
        let frame = frame::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
        for slot in frame.slots() {
            let Slot::Body(body) = slot else { continue };
            let record = Record::parse(body).map_err(|error| damaged(error.to_string()))?;
            if let Record::Receipt(receipt) = record
                && let Some(seen) = seen_in(&receipt, partition)
            {
                window.insert(seen);
            }
        }
    }
    Ok(window)
}

/// The attempt that a stored receipt records, if it is one at a request of this partition.
fn seen_in(receipt: &Receipt<'_>, partition: &PartitionKey) -> Option<Seen> {
    let Target::Event { offset, timestamp, .. } = receipt.target else { return None };
    if receipt.kind != Kind::Consume || receipt.partition_key().as_ref() != Some(partition) {
        return None;
    }
    Some(Seen {
        offset: i64::try_from(offset?).ok()?,
        digest: receipt.digest,
        timestamp: timestamp.and_then(|timestamp| i64::try_from(timestamp).ok()),
        // A receipt without a number was not counted, and is an attempt all the same.
        attempt: receipt.attempt.map_or(1, |attempt| u32::try_from(attempt).unwrap_or(u32::MAX)),
    })
}
