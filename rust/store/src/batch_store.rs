//! What the sealer and the readers ask of a store; SQLite is the first one.

use std::ops::RangeInclusive;

use chio_receipts::{KeyId, OutcomeWord, PartitionKey, ReceiptId, Sealed};

use crate::error::LogError;

/// Where an issuer's chain ends in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Position of the issuer's newest batch in the log.
    pub batch: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Position of the next record in that epoch.
    pub next_seq: u64,
    /// Records of the issuer over all epochs.
    pub running_count: u64,
    /// Hash of its newest checkpoint.
    pub checkpoint: [u8; 32],
    /// Which key signed that.
    pub key_id: KeyId,
    /// The largest id it has given to a stored record.
    pub max_id: ReceiptId,
}

/// What became of the receipts of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// They took effect as they were made.
    Recorded,
    /// They say what was attempted; nothing more will be known.
    Attempt,
    /// Their transaction is not resolved yet.
    Prepared,
    /// Their transaction was committed.
    Committed,
    /// Their transaction was rolled back.
    RolledBack,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Recorded, Self::Attempt, Self::Prepared, Self::Committed, Self::RolledBack];

    /// The word in tables and exports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Attempt => "attempt",
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A batch as the store lists it, without its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInfo {
    /// Position in the log, from 1, without gaps.
    pub batch: u64,
    /// Who signed it.
    pub issuer: String,
    /// The issuer's epoch.
    pub epoch: u64,
    /// Position of its first record in the epoch.
    pub first_seq: u64,
    /// Records in it.
    pub count: u64,
    /// Records of the issuer up to its end, over all epochs.
    pub running_count: u64,
    /// Smallest id.
    pub min_id: ReceiptId,
    /// Largest id.
    pub max_id: ReceiptId,
    /// Which key signed it.
    pub key_id: KeyId,
    /// Policy under which its receipts were decided.
    pub policy_version: [u8; 32],
    /// Hash of the issuer's checkpoint before it; zeros for the first.
    pub previous: [u8; 32],
    /// Hash of its own.
    pub checkpoint: [u8; 32],
    /// Time of sealing, Unix ms.
    pub time: i64,
    /// What became of its receipts.
    pub state: State,
    /// The batch that holds the outcome, where one is recorded.
    pub resolved_by: Option<u64>,
    /// Bytes of the stored frame.
    pub bytes: u64,
}

/// What an outcome record says about another batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeOf {
    /// Hash of the checkpoint whose batch is resolved.
    pub checkpoint: [u8; 32],
    /// What became of it.
    pub outcome: OutcomeWord,
    /// The outcome recorded before, where Kafka contradicts it.
    pub contradicts: Option<OutcomeWord>,
}

/// A sealed batch on its way into the store.
#[derive(Debug)]
pub struct NewBatch {
    /// Frame and what indexes it.
    pub sealed: Sealed,
    /// The outcome records among its records, in order.
    pub outcomes: Vec<OutcomeOf>,
}

/// Makes another frame of a stored one.
pub type Rewrite<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Vec<u8>, LogError>;

/// A durable store of batches.
///
/// One frame per batch is the truth. `testing::suite` holds every implementation to the promises below.
pub trait BatchStore: std::fmt::Debug + Send + Sync {
    /// The log's random id.
    fn log_id(&self) -> Result<String, LogError>;

    /// Claims an issuer's name (without the log's id) until the store is dropped or the process ends, however it ends. The
    /// inner `Err` says who holds it.
    fn claim(&mut self, name: &str) -> Result<Result<(), String>, LogError>;

    /// Where the chain of `issuer` ends; `None` before its first batch.
    fn head(&self, issuer: &str) -> Result<Option<Head>, LogError>;

    /// Records that an issuer starts at `now` (Unix ms) and returns the largest start time recorded before, durably.
    ///
    /// Ids carry their time, so that ids above all earlier starts cannot collide with ids that a crash kept from the log.
    fn start(&mut self, now: i64) -> Result<i64, LogError>;

    /// Appends batches of one issuer, all or none, durable on return, and returns the new head.
    ///
    /// # Errors
    /// `Superseded` when `expected` is not the issuer's head any more or the batches do not continue it: nothing is
    /// appended then. `State` when an outcome record names no prepared batch, or one with another outcome that it does
    /// not declare to contradict. Saying the same outcome again changes nothing.
    fn append(&mut self, expected: Option<&Head>, batches: &[NewBatch]) -> Result<Head, LogError>;

    /// Appends batches that were sealed elsewhere, of any issuers, all or none, durable on return.
    ///
    /// An outcome record may come before the batch that it names, and is applied when that one comes.
    ///
    /// # Errors
    /// `Superseded` when a batch does not continue its issuer's chain; `State` when an outcome contradicts what is stored.
    fn import(&mut self, batches: &[NewBatch]) -> Result<(), LogError>;

    /// Does what keeps later appends fast and the files small; called when nobody waits for the store.
    fn tidy(&mut self) -> Result<(), LogError>;

    /// The frame of a batch.
    fn frame(&self, batch: u64) -> Result<Option<Vec<u8>>, LogError>;

    /// At most `limit` batches from position `from` on, in order.
    fn scan(&self, from: u64, limit: usize) -> Result<Vec<BatchInfo>, LogError>;

    /// Every batch in state `prepared`, in order.
    fn prepared(&self) -> Result<Vec<BatchInfo>, LogError>;

    /// Position of the newest batch; 0 when there is none.
    fn last_batch(&self) -> Result<u64, LogError>;

    /// Position of the batch whose checkpoint has this hash.
    fn find_checkpoint(&self, hash: &[u8; 32]) -> Result<Option<u64>, LogError>;

    /// Positions of the batches whose ids include this one's place: one, but for colliding tags.
    fn find_id(&self, id: ReceiptId) -> Result<Vec<u64>, LogError>;

    /// The highest offset of a partition that any consume receipt names.
    fn highest_offset(&self, partition: &PartitionKey) -> Result<Option<i64>, LogError>;

    /// Positions of the batches whose consume receipts of a partition cover any of `offsets`, in order.
    fn covering(&self, partition: &PartitionKey, offsets: RangeInclusive<i64>) -> Result<Vec<u64>, LogError>;

    /// Replaces the frame of a batch by what `rewrite` makes of it, atomically, and removes the former one from the store's
    /// files as far as the store commands them. The caller sees to it that the frame says the same with more bodies
    /// withheld.
    fn rewrite_frame(&mut self, batch: u64, rewrite: Rewrite<'_>) -> Result<(), LogError>;

    /// Every issuer's name, in the order of their first batches.
    fn issuers(&self) -> Result<Vec<String>, LogError>;

    /// Whether an operator recorded that key `former` is followed by `present`, directly or by way of others.
    fn is_rotation(&self, former: &KeyId, present: &KeyId) -> Result<bool, LogError>;

    /// Records that key `former` is followed by `present`; `now` is Unix ms.
    fn record_rotation(&mut self, former: &KeyId, present: &KeyId, now: i64) -> Result<(), LogError>;
}
