//! What a store indexes a batch by.

use super::decode::{FrameError, Slot, decode};
use crate::chain::Mode;
use crate::id::ReceiptId;
use crate::record::Record;
use crate::request::PartitionKey;
use crate::sign::KeyId;
use crate::words::{Durability, Kind};

/// What a store indexes a batch by; all of it is derived from the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// Issuer of the batch.
    pub issuer: String,
    /// Its epoch.
    pub epoch: u64,
    /// Position of the first record in the epoch.
    pub first_seq: u64,
    /// Number of records.
    pub count: u32,
    /// Records of the issuer up to and including this batch, over all epochs.
    pub running_count: u64,
    /// Lowest id; `None` if all bodies are withheld.
    pub min_id: Option<ReceiptId>,
    /// Highest id; `None` if all bodies are withheld.
    pub max_id: Option<ReceiptId>,
    /// Version of the policy.
    pub policy_version: [u8; 32],
    /// Hash of the issuer's checkpoint before this one.
    pub previous: [u8; 32],
    /// Hash of this checkpoint.
    pub checkpoint_hash: [u8; 32],
    /// What the batch stands for.
    pub mode: Mode,
    /// Time of sealing, Unix ms.
    pub time: i64,
    /// Name of the key that signed.
    pub key_id: KeyId,
    /// What a durable write meant.
    pub durability: Durability,
    /// Offsets of consume receipts, by partition in order of first appearance.
    pub coverage: Vec<Coverage>,
}

/// The lowest and highest offset of one partition that consume receipts of a batch are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The partition.
    pub partition: PartitionKey,
    /// Lowest offset.
    pub first: i64,
    /// Highest offset.
    pub last: i64,
}

/// Collects the coverage of a batch.
#[derive(Default)]
pub(crate) struct CoverageMap(Vec<Coverage>);

impl CoverageMap {
    pub(crate) fn add(&mut self, partition: PartitionKey, offset: i64) {
        // Batches hold few partitions, and neighbours are mostly of the same one.
        match self.0.iter_mut().rev().find(|known| known.partition == partition) {
            Some(known) => {
                known.first = known.first.min(offset);
                known.last = known.last.max(offset);
            }
            None => self.0.push(Coverage { partition, first: offset, last: offset }),
        }
    }

    pub(crate) fn finish(self) -> Vec<Coverage> {
        self.0
    }
}

/// What a store indexes a frame by. Nothing is verified but that the frame can be read.
///
/// # Errors
/// [`FrameError`] if the frame, its checkpoint or a record cannot be read.
pub fn meta(bytes: &[u8]) -> Result<FrameMeta, FrameError> {
    let frame = decode(bytes)?;
    let (mut coverage, mut min_id, mut max_id) = (CoverageMap::default(), None, None);
    for slot in frame.slots() {
        let Slot::Body(body) = slot else { continue };
        let record = Record::parse(body).map_err(FrameError::Record)?;
        let id = record.id();
        min_id = Some(min_id.map_or(id, |min: ReceiptId| min.min(id)));
        max_id = Some(max_id.map_or(id, |max: ReceiptId| max.max(id)));
        if let Record::Receipt(receipt) = record
            && receipt.kind == Kind::Consume
            && let (Some(partition), Some(offset)) = (receipt.partition_key(), receipt.offset())
            && let Ok(offset) = i64::try_from(offset)
        {
            coverage.add(partition, offset);
        }
    }
    let checkpoint = &frame.checkpoint;
    Ok(FrameMeta {
        issuer: checkpoint.issuer.clone(),
        epoch: checkpoint.epoch,
        first_seq: checkpoint.first_seq,
        count: checkpoint.count,
        running_count: checkpoint.running_count,
        min_id,
        max_id,
        policy_version: checkpoint.policy_version,
        previous: checkpoint.previous,
        checkpoint_hash: frame.checkpoint_hash(),
        mode: checkpoint.mode.clone(),
        time: i64::try_from(checkpoint.time).unwrap_or(i64::MAX),
        key_id: checkpoint.key_id,
        durability: checkpoint.durability,
        coverage: coverage.finish(),
    })
}
