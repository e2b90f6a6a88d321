//! What became of the receipts that this process sealed last.

use std::collections::VecDeque;
use std::ops::Range;

/// Ordinals that are remembered.
const WINDOW: u64 = 1 << 20;

/// A receipt that this process issued and that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedReceipt {
    /// Position of its batch in the log.
    pub batch: u64,
    /// Hash of the batch's checkpoint.
    pub checkpoint: [u8; 32],
    /// Which attempt at its request it is; 0 where attempts are not counted.
    pub attempt: u32,
}

#[derive(Debug)]
struct Batch {
    /// Ordinals of its records.
    ordinals: Range<u64>,
    batch: u64,
    checkpoint: [u8; 32],
    attempts: Vec<u32>,
}

/// The last batches, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    batches: VecDeque<Batch>,
    kept: u64,
}

impl Recent {
    /// Remembers a batch whose first record has ordinal `first`; batches come in the order of their ordinals.
    pub(crate) fn push(&mut self, first: u64, batch: u64, checkpoint: [u8; 32], attempts: Vec<u32>) {
        let count = attempts.len() as u64;
        self.kept += count;
        self.batches.push_back(Batch { ordinals: first..first + count, batch, checkpoint, attempts });
        while self.kept > WINDOW && self.batches.len() > 1 {
            if let Some(oldest) = self.batches.pop_front() {
                self.kept -= oldest.attempts.len() as u64;
            }
        }
    }

    /// What is known of each ordinal, of as many as are remembered at most.
    pub(crate) fn get(&self, ordinals: Range<u64>) -> Vec<Option<SealedReceipt>> {
        ordinals.take(WINDOW as usize).map(|ordinal| self.one(ordinal)).collect()
    }

    fn one(&self, ordinal: u64) -> Option<SealedReceipt> {
        let at = self.batches.partition_point(|batch| batch.ordinals.end <= ordinal);
        let batch = self.batches.get(at)?;
        let index = usize::try_from(ordinal.checked_sub(batch.ordinals.start)?).ok()?;
        let attempt = *batch.attempts.get(index)?;
        Some(SealedReceipt { batch: batch.batch, checkpoint: batch.checkpoint, attempt })
    }
}
