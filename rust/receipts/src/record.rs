//! Records as they are read: receipts and outcomes.

mod outcome;
mod receipt;
mod target;

use crate::id::ReceiptId;
use crate::scan::{Cursor, ScanError};

pub use outcome::Outcome;
pub use receipt::{Parents, Receipt};
pub use target::Target;

/// A body has at most so many bytes.
pub const MAX_BODY: usize = 1 << 20;

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // Nearly every record is a receipt; boxing it would cost an allocation each.
pub enum Record<'a> {
    /// A receipt.
    Receipt(Receipt<'a>),
    /// An outcome.
    Outcome(Outcome<'a>),
}

impl<'a> Record<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ScanError`] for anything that is not canonical, not of the schema, or beyond a limit.
    pub fn parse(body: &'a [u8]) -> Result<Self, ScanError> {
        if body.len() > MAX_BODY {
            return Err(ScanError { offset: MAX_BODY, message: "body is larger than 1 MiB" });
        }
        let text = std::str::from_utf8(body)
            .map_err(|error| ScanError { offset: error.valid_up_to(), message: "invalid UTF-8" })?;
        let mut cursor = Cursor::new(text);
        cursor.open()?;
        let record = if cursor.member(b",\"batch\":") {
            Self::Outcome(outcome::read(&mut cursor)?)
        } else {
            Self::Receipt(receipt::read(&mut cursor)?)
        };
        cursor.close()?;
        cursor.end()?;
        Ok(record)
    }

    /// Id of the record.
    pub fn id(&self) -> ReceiptId {
        match self {
            Self::Receipt(receipt) => receipt.id,
            Self::Outcome(outcome) => outcome.id,
        }
    }

    /// Position in the epoch.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Receipt(receipt) => receipt.seq,
            Self::Outcome(outcome) => outcome.seq,
        }
    }
}
