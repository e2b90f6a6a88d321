//! What became of the receipts that this process sealed last.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use chio_receipts::{checkpoint, frame};

use crate::error::LogError;

/// Ordinals that are remembered.
const WINDOW: u64 = 1 << 20;

/// Transactions whose checkpoints are remembered: more than can be under way at once.
const TRANSACTIONS: usize = 1024;

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

/// A checkpoint of this issuer, as it is shown elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// Position of its batch in the log.
    pub batch: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// Its text, canonical JSON.
    pub text: String,
    /// The signature over it.
    pub signature: [u8; 64],
}

impl SignedCheckpoint {
    /// The checkpoint of the frame of `batch`.
    pub(crate) fn of(batch: u64, frame: &[u8]) -> Result<Self, LogError> {
        let damaged = |detail: String| LogError::corrupt(Path::new(""), format!("batch {batch}: {detail}"));
        let signed = frame::signed(frame).map_err(|error| damaged(error.to_string()))?;
        let text = String::from_utf8(signed.checkpoint_text.to_vec()).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { batch, hash: checkpoint::hash(text.as_bytes()), text, signature: signed.signature })
    }
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
    /// Ordinals and checkpoint of the last transactions, oldest first.
    transactions: VecDeque<(Range<u64>, SignedCheckpoint)>,
    head: Option<SignedCheckpoint>,
}

impl Recent {
    /// Nothing is remembered yet of what follows `head`.
    pub(crate) fn after(head: Option<SignedCheckpoint>) -> Self {
        Self { head, ..Self::default() }
    }

    /// Remembers a batch whose first record has ordinal `first`; batches come in the order of their ordinals.
    pub(crate) fn push(&mut self, first: u64, signed: SignedCheckpoint, is_transaction: bool, attempts: Vec<u32>) {
        let count = attempts.len() as u64;
        let ordinals = first..first + count;
        if is_transaction {
            if self.transactions.len() >= TRANSACTIONS {
                self.transactions.pop_front();
            }
            self.transactions.push_back((ordinals.clone(), signed.clone()));
        }
        self.kept += count;
        self.batches.push_back(Batch { ordinals, batch: signed.batch, checkpoint: signed.hash, attempts });
        self.head = Some(signed);
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

    /// The checkpoint of the transaction's batch that holds `ordinal`.
    pub(crate) fn checkpoint(&self, ordinal: u64) -> Option<SignedCheckpoint> {
        let at = self.transactions.partition_point(|(ordinals, _)| ordinals.end <= ordinal);
        let (ordinals, signed) = self.transactions.get(at)?;
        ordinals.contains(&ordinal).then(|| signed.clone())
    }

    /// The newest checkpoint of all.
    pub(crate) fn head(&self) -> Option<SignedCheckpoint> {
        self.head.clone()
    }

    fn one(&self, ordinal: u64) -> Option<SealedReceipt> {
        let at = self.batches.partition_point(|batch| batch.ordinals.end <= ordinal);
        let batch = self.batches.get(at)?;
        let index = usize::try_from(ordinal.checked_sub(batch.ordinals.start)?).ok()?;
        let attempt = *batch.attempts.get(index)?;
        Some(SealedReceipt { batch: batch.batch, checkpoint: batch.checkpoint, attempt })
    }
}
