//! What a query asks for, and the places that it pages through.

use std::fmt;
use std::str::FromStr;

use chio_receipts::{Kind, ReceiptId, Verdict};

use crate::batch_store::State;
use crate::error::LogError;

/// Bits of a position that say the place within the batch; a batch has at most 2^20 records.
const PLACE_BITS: u32 = 20;

/// Where a record lies in the log: batch and place. Positions order the log and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

impl Position {
    /// The place `place` (from 0) of batch `batch` (from 1).
    pub(crate) fn new(batch: u64, place: usize) -> Self {
        let batch = i64::try_from(batch).unwrap_or(i64::MAX >> PLACE_BITS);
        Self(batch << PLACE_BITS | (place as i64 & ((1 << PLACE_BITS) - 1)))
    }

    pub(crate) fn from_row(value: i64) -> Self {
        Self(value.max(0))
    }

    pub(crate) fn row(self) -> i64 {
        self.0
    }

    /// Position of the batch in the log, from 1.
    pub fn batch(self) -> u64 {
        (self.0 >> PLACE_BITS).unsigned_abs()
    }

    /// Place of the record in its batch, from 0.
    pub fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)).unsigned_abs() as usize
    }
}

/// Spelled `{batch}.{place}`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.batch(), self.place())
    }
}

impl FromStr for Position {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        let refuse = || LogError::Query {
            detail: format!("`{}` is no position: write `batch.place`, such as `17.3`", text.escape_debug()),
        };
        let (batch, place) = text.split_once('.').ok_or_else(refuse)?;
        let batch: u64 = batch.parse().map_err(|_| refuse())?;
        let place: usize = place.parse().map_err(|_| refuse())?;
        if batch >= 1 << (63 - PLACE_BITS) || place >= 1 << PLACE_BITS {
            return Err(refuse());
        }
        Ok(Self::new(batch, place))
    }
}

/// In which order a query pages through the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// From the beginning on.
    #[default]
    OldestFirst,
    /// From the end back.
    NewestFirst,
}

/// What a query asks for; every field that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// What the receipt is about.
    pub kind: Option<Kind>,
    /// What was decided.
    pub verdict: Option<Verdict>,
    /// Who acted.
    pub identity: Option<String>,
    /// The permission that was asked for: exact, or `prefix*`.
    pub scope: Option<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Topic of the event.
    pub topic: Option<String>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its offset.
    pub offset: Option<i64>,
    /// The tool.
    pub tool: Option<String>,
    /// Time of the decision, Unix ms: at or after.
    pub from: Option<i64>,
    /// Time of the decision, Unix ms: before.
    pub until: Option<i64>,
    /// What became of it.
    pub state: Option<State>,
    /// Version of the policy under which it was decided.
    pub policy_version: Option<[u8; 32]>,
    /// Correlation text of the application.
    pub correlation: Option<String>,
    /// The issuer's full name.
    pub issuer: Option<String>,
    /// One of its parents.
    pub parent: Option<ReceiptId>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by panicking.
mod tests {
    use super::*;

    #[test]
    fn positions_order_like_batch_and_place_and_have_one_spelling() {
        assert!(Position::new(1, (1 << 20) - 1) < Position::new(2, 0));
        let position: Position = "17.3".parse().unwrap();
        assert_eq!((position.batch(), position.place(), position.to_string()), (17, 3, "17.3".to_owned()));
        for text in ["", "17", "17.", ".3", "-1.0", "1.1048576", "9223372036854775807.0", "1.2.3"] {
            assert_eq!(text.parse::<Position>().map_err(|error| error.code()), Err("query"), "{text}");
        }
    }
}
