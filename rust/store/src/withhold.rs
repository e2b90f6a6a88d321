//! Replacing bodies by their leaf hashes (retention, erasure).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use chio_receipts::ReceiptId;
use chio_receipts::frame::{self, Slot};
use chio_receipts::record::Record;

use crate::batch_store::BatchStore;
use crate::error::LogError;
use crate::index;
use crate::location::LogLocation;

/// Replaces the bodies of these receipts by their leaf hashes, durably, and deletes the index, which the next query makes
/// anew. Checkpoints, signatures and proofs stay as they are, so the log still verifies and counts what it withholds.
/// Returns how many bodies were replaced.
///
/// # Errors
/// `NotFound` for the first id that no body in the log has, `State` for that of an outcome record, from which the state
/// of a batch is derived; nothing is changed then. `Busy` when another process keeps the journal from being cut: the
/// bodies are replaced then, and leave the file when the log is next closed by all.
pub fn withhold(log: impl Into<LogLocation>, ids: &[ReceiptId]) -> Result<usize, LogError> {
    let location = log.into().resolved()?;
    let mut store = location.open_existing()?;
    let path = location.shown();
    let mut by_batch: BTreeMap<u64, HashSet<ReceiptId>> = BTreeMap::new();
    for id in ids {
        let batch = find(store.as_ref(), path, *id)?;
        by_batch.entry(batch).or_default().insert(*id);
    }
    let mut withheld = 0;
    for (batch, ids) in &by_batch {
        let mut count = 0;
        store.rewrite_frame(*batch, &mut |bytes| {
            let (rewritten, replaced) =
                rewrite(bytes, ids).ok_or_else(|| LogError::corrupt(path, format!("batch {batch} cannot be read")))?;
            count = replaced;
            Ok(rewritten)
        })?;
        withheld += count;
    }
    index::remove(&location)?;
    Ok(withheld)
}

/// The batch that has the body with this id.
fn find(store: &dyn BatchStore, path: &Path, id: ReceiptId) -> Result<u64, LogError> {
    for batch in store.find_id(id)? {
        let bytes = store.frame(batch)?.unwrap_or_default();
        let frame =
            frame::decode(&bytes).map_err(|error| LogError::corrupt(path, format!("batch {batch}: {error}")))?;
        let record = frame.slots().find_map(|slot| record_of(&slot).filter(|record| record.0 == id));
        match record {
            Some((_, true)) => {
                let detail = format!("record `{id}` tells the outcome of a batch, which cannot be withheld");
                return Err(LogError::State { detail });
            }
            Some((_, false)) => return Ok(batch),
            None => {}
        }
    }
    Err(LogError::NotFound { what: format!("receipt `{id}`") })
}

/// The id of a record, and whether it is an outcome.
fn record_of(slot: &Slot<'_>) -> Option<(ReceiptId, bool)> {
    match slot {
        Slot::Body(body) => Record::parse(body).ok().map(|record| (record.id(), matches!(record, Record::Outcome(_)))),
        Slot::Withheld(_) => None,
    }
}

/// The frame without these bodies, and how many they were. `None` if the frame cannot be read.
fn rewrite(bytes: &[u8], ids: &HashSet<ReceiptId>) -> Option<(Vec<u8>, usize)> {
    let frame = frame::decode(bytes).ok()?;
    let chosen: Vec<bool> =
        frame.slots().map(|slot| record_of(&slot).is_some_and(|(id, _)| ids.contains(&id))).collect();
    let count = chosen.iter().filter(|chosen| **chosen).count();
    let rewritten = frame::withhold(&frame, frame.compression, |place| chosen.get(place).copied().unwrap_or(false))?;
    let same = frame::decode(&rewritten).ok()?.leaves() == frame.leaves();
    same.then_some((rewritten, count))
}
