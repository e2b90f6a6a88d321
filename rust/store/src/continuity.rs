//! What every store checks before it appends: that a batch continues its issuer's chain, and that an outcome may resolve
//! the batch that it names.

use chio_receipts::{Mode, OutcomeWord, ReceiptId, hex};

use crate::batch_store::{Head, NewBatch, OutcomeOf, State};
use crate::error::LogError;

/// Unsigned numbers of the format, whose bound is 2^53 − 1, as the signed ones of databases.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn superseded(issuer: &str, detail: impl Into<String>) -> LogError {
    LogError::Superseded { issuer: issuer.to_owned(), detail: detail.into() }
}

/// The issuer of batches that are appended together; all others must be of the same one.
pub(crate) fn issuer_of(batches: &[NewBatch]) -> Result<&str, LogError> {
    match batches.first() {
        Some(first) => Ok(&first.sealed.meta.issuer),
        None => Err(LogError::Seal { detail: "there are no batches to append".to_owned() }),
    }
}

/// Refuses another head than the one that the caller expects.
pub(crate) fn expect(issuer: &str, found: Option<&Head>, expected: Option<&Head>) -> Result<(), LogError> {
    if found == expected {
        return Ok(());
    }
    let found = found.map_or("none".to_owned(), |head| format!("epoch {} at seq {}", head.epoch, head.next_seq));
    Err(superseded(issuer, format!("its newest batch is not the one this process knows: {found}")))
}

/// Refuses a batch that is not the next one of `issuer`: the next place of the newest epoch, or the first of the one after.
pub(crate) fn continues(head: Option<&Head>, batch: &NewBatch, issuer: &str) -> Result<(), LogError> {
    let meta = &batch.sealed.meta;
    let follows = match head {
        None => {
            meta.epoch == 0
                && meta.first_seq == 0
                && meta.previous == [0; 32]
                && meta.running_count == u64::from(meta.count)
        }
        Some(head) => {
            let same_epoch = meta.epoch == head.epoch && meta.first_seq == head.next_seq;
            let next_epoch = meta.epoch == head.epoch + 1 && meta.first_seq == 0;
            (same_epoch || next_epoch)
                && meta.previous == head.checkpoint
                && meta.running_count == head.running_count + u64::from(meta.count)
        }
    };
    if follows && meta.issuer == issuer && meta.count > 0 {
        return Ok(());
    }
    Err(superseded(issuer, format!("epoch {} seq {} does not continue its chain", meta.epoch, meta.first_seq)))
}

/// The ids that a batch is found by.
pub(crate) struct Ids {
    pub(crate) min: ReceiptId,
    pub(crate) max: ReceiptId,
    /// The largest one of its issuer up to here: those of transactions lie below ids that are stored already.
    pub(crate) top: ReceiptId,
}

impl Ids {
    /// A batch whose bodies are all withheld stands where its issuer's largest id is.
    pub(crate) fn of(batch: &NewBatch, head: Option<&Head>) -> Self {
        let before = head.map_or_else(|| ReceiptId::from_bytes([0; 16]), |head| head.max_id);
        let meta = &batch.sealed.meta;
        let (min, max) = (meta.min_id.unwrap_or(before), meta.max_id.unwrap_or(before));
        Self { min, max, top: before.max(max) }
    }

    /// How much older the smallest id is than the largest, ms.
    pub(crate) fn span(&self) -> i64 {
        int(self.max.ms().saturating_sub(self.min.ms()))
    }
}

/// The smallest id that a batch can begin with, if it holds `id` and no batch spans more than `widest` ms.
pub(crate) fn lowest_start(id: ReceiptId, widest: i64) -> ReceiptId {
    ReceiptId::from_parts(id.ms().saturating_sub(widest.unsigned_abs()), id.tag(), 0)
}

/// Where the issuer's chain ends with `batch` at `place`.
pub(crate) fn head_after(place: u64, batch: &NewBatch, ids: &Ids) -> Head {
    let meta = &batch.sealed.meta;
    Head {
        batch: place,
        epoch: meta.epoch,
        next_seq: meta.first_seq + u64::from(meta.count),
        running_count: meta.running_count,
        checkpoint: meta.checkpoint_hash,
        key_id: meta.key_id,
        max_id: ids.top,
    }
}

/// The state of a batch before any outcome.
pub(crate) fn first_state(mode: &Mode) -> State {
    match mode {
        Mode::Recorded => State::Recorded,
        Mode::Attempt => State::Attempt,
        Mode::Transaction { .. } => State::Prepared,
    }
}

/// The state that an outcome gives; `None` for one that leaves a batch unresolved: what would tell is gone, and the record
/// stands as evidence of the search.
pub(crate) fn wanted(outcome: &OutcomeOf) -> Option<State> {
    match outcome.outcome {
        OutcomeWord::Committed => Some(State::Committed),
        OutcomeWord::RolledBack => Some(State::RolledBack),
        OutcomeWord::Unknown => None,
    }
}

/// Whether a batch in state `present` changes to `wanted`; refused unless it is prepared, or its outcome contradicted.
pub(crate) fn changes(present: State, wanted: State, outcome: &OutcomeOf) -> Result<bool, LogError> {
    let contradicted = outcome.contradicts.map(OutcomeWord::as_str);
    match present {
        _ if present == wanted => Ok(false),
        State::Prepared => Ok(true),
        State::Committed | State::RolledBack if contradicted == Some(present.as_str()) => Ok(true),
        _ => Err(LogError::State {
            detail: format!(
                "batch `{}` is `{}` and cannot become `{}`: only a prepared batch is resolved, and another outcome only \
                 by a record that says what it contradicts",
                hex::encode(&outcome.checkpoint),
                present.as_str(),
                wanted.as_str()
            ),
        }),
    }
}

/// The refusal of an outcome whose batch is not in the log.
pub(crate) fn no_subject(outcome: &OutcomeOf) -> LogError {
    let name = hex::encode(&outcome.checkpoint);
    LogError::State {
        detail: format!("no batch in this log has checkpoint `{name}`: an outcome names a batch of its own log"),
    }
}

/// The refusal of a batch that is none of a transaction's, though an outcome that came before names it.
pub(crate) fn not_prepared(checkpoint: &[u8; 32]) -> LogError {
    let name = hex::encode(checkpoint);
    LogError::State { detail: format!("batch `{name}` is not that of a transaction, and a stored outcome names it") }
}
