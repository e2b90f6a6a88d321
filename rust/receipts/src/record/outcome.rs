//! The outcome: its members, and reading them.

use super::target::partition;
use crate::id::ReceiptId;
use crate::scan::{Cursor, ScanError, Text};
use crate::words::OutcomeWord;

/// What became of a transaction's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Id of the record.
    pub id: ReceiptId,
    /// Position in the epoch of the issuer that resolved.
    pub seq: u64,
    /// Unix ms.
    pub time: u64,
    /// Hash of the checkpoint whose batch is resolved.
    pub batch: [u8; 32],
    /// Issuer of that batch.
    pub issuer: Text<'a>,
    /// What became of it.
    pub outcome: OutcomeWord,
    /// The outcome recorded before, where Kafka contradicts it.
    pub contradicts: Option<OutcomeWord>,
    /// JSON object: where Kafka shows it.
    pub shown: Option<&'a str>,
}

/// The members of an outcome after `{"batch":`, in canonical order.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Outcome<'a>, ScanError> {
    let batch = cursor.hex()?;
    let contradicts = cursor.member(b",\"contradicts\":").then(|| cursor.word(OutcomeWord::from_word)).transpose()?;
    cursor.need(b",\"id\":", "expected `id`")?;
    let id = cursor.id()?;
    cursor.need(b",\"issuer\":", "expected `issuer`")?;
    let issuer = cursor.some_text()?;
    cursor.need(b",\"kind\":\"outcome\"", "expected `kind` of `outcome`")?;
    cursor.need(b",\"outcome\":", "expected `outcome`")?;
    let outcome = cursor.word(OutcomeWord::from_word)?;
    cursor.need(b",\"seq\":", "expected `seq`")?;
    let seq = cursor.integer()?;
    let shown = cursor.member(b",\"shown\":").then(|| shown(cursor)).transpose()?;
    cursor.need(b",\"time\":", "expected `time`")?;
    let time = cursor.integer()?;
    cursor.need(b",\"v\":1", "expected `v` of 1")?;
    if contradicts == Some(outcome) {
        return cursor.error("an outcome cannot contradict itself");
    }
    Ok(Outcome { id, seq, time, batch, issuer, outcome, contradicts, shown })
}

fn shown<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, ScanError> {
    let start = cursor.at();
    cursor.open()?;
    if cursor.member(b",\"cluster\":") {
        cursor.some_text()?;
    }
    if cursor.member(b",\"from\":") {
        cursor.integer()?;
    }
    if cursor.member(b",\"offset\":") {
        cursor.integer()?;
    }
    if cursor.member(b",\"partition\":") {
        partition(cursor)?;
    }
    if cursor.member(b",\"topic\":") {
        cursor.some_text()?;
    }
    if cursor.member(b",\"until\":") {
        cursor.integer()?;
    }
    cursor.close()?;
    Ok(cursor.since(start))
}
