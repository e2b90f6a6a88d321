//! Reading batches and what indexes them.

use std::ops::RangeInclusive;

use chio_receipts::{KeyId, PartitionKey, ReceiptId};
use tokio_postgres::Row;

use super::connection::{Failure, Session};
use crate::batch_store::{BatchInfo, Head, State};
use crate::continuity::{self, int};

/// Links of key rotations that are followed: more than any log has seen.
const MAX_ROTATIONS: i64 = 1000;

/// A number that is never negative.
fn unsigned(row: &Row, column: usize) -> u64 {
    row.get::<_, i64>(column).unsigned_abs()
}

/// Bytes of a fixed length.
fn bytes<const N: usize>(session: &Session, row: &Row, column: usize) -> Result<[u8; N], Failure> {
    let stored: &[u8] = row.get(column);
    stored.try_into().map_err(|_| session.corrupt(format!("a value of {} bytes stands where {N} belong", stored.len())))
}

/// The state with this word.
pub(super) fn state(session: &Session, word: &str) -> Result<State, Failure> {
    State::from_word(word).ok_or_else(|| session.corrupt(format!("there is a batch in state `{word}`")))
}

pub(super) async fn log_id(session: &mut Session) -> Result<String, Failure> {
    Ok(session.one("SELECT id FROM log", &[]).await?.get(0))
}

/// The newest batch of an issuer.
pub(super) async fn head(session: &mut Session, issuer: &str) -> Result<Option<Head>, Failure> {
    let row = session
        .row(
            "SELECT batch, epoch, first_seq, count, running_count, checkpoint, key_id, top_id FROM batch
             WHERE issuer = (SELECT issuer FROM issuer WHERE name = $1)
             ORDER BY epoch DESC, first_seq DESC LIMIT 1",
            &[&issuer],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Head {
        batch: unsigned(&row, 0),
        epoch: unsigned(&row, 1),
        next_seq: unsigned(&row, 2) + unsigned(&row, 3),
        running_count: unsigned(&row, 4),
        checkpoint: bytes(session, &row, 5)?,
        key_id: bytes(session, &row, 6)?,
        max_id: ReceiptId::from_bytes(bytes(session, &row, 7)?),
    }))
}

pub(super) async fn frame(session: &mut Session, batch: u64) -> Result<Option<Vec<u8>>, Failure> {
    Ok(session.row("SELECT frame FROM batch WHERE batch = $1", &[&int(batch)]).await?.map(|row| row.get(0)))
}

/// What a listing shows of each batch.
macro_rules! listing {
    ($condition:literal) => {
        concat!(
            "SELECT batch.batch, issuer.name, epoch, first_seq, count, running_count, min_id, max_id, key_id,
                    policy_version, previous, checkpoint, time, state, outcome.batch, octet_length(frame)
             FROM batch JOIN issuer USING (issuer) LEFT JOIN outcome ON outcome.subject = batch.batch ",
            $condition
        )
    };
}

pub(super) async fn scan(session: &mut Session, from: u64, limit: usize) -> Result<Vec<BatchInfo>, Failure> {
    let listed = listing!("WHERE batch.batch >= $1 ORDER BY batch.batch LIMIT $2");
    let rows = session.rows(listed, &[&int(from), &int(limit as u64)]).await?;
    rows.iter().map(|row| info(session, row)).collect()
}

pub(super) async fn prepared(session: &mut Session) -> Result<Vec<BatchInfo>, Failure> {
    let rows = session.rows(listing!("WHERE state = 'prepared' ORDER BY batch.batch"), &[]).await?;
    rows.iter().map(|row| info(session, row)).collect()
}

fn info(session: &Session, row: &Row) -> Result<BatchInfo, Failure> {
    Ok(BatchInfo {
        batch: unsigned(row, 0),
        issuer: row.get(1),
        epoch: unsigned(row, 2),
        first_seq: unsigned(row, 3),
        count: unsigned(row, 4),
        running_count: unsigned(row, 5),
        min_id: ReceiptId::from_bytes(bytes(session, row, 6)?),
        max_id: ReceiptId::from_bytes(bytes(session, row, 7)?),
        key_id: bytes(session, row, 8)?,
        policy_version: bytes(session, row, 9)?,
        previous: bytes(session, row, 10)?,
        checkpoint: bytes(session, row, 11)?,
        time: row.get(12),
        state: state(session, row.get(13))?,
        resolved_by: row.get::<_, Option<i64>>(14).map(i64::unsigned_abs),
        bytes: u64::from(row.get::<_, i32>(15).unsigned_abs()),
    })
}

pub(super) async fn last_batch(session: &mut Session) -> Result<u64, Failure> {
    Ok(unsigned(&session.one("SELECT last FROM log", &[]).await?, 0))
}

/// Every issuer's name, in the order of their first batches.
pub(super) async fn issuers(session: &mut Session) -> Result<Vec<String>, Failure> {
    let rows = session.rows("SELECT name FROM issuer ORDER BY issuer", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(super) async fn find_checkpoint(session: &mut Session, hash: &[u8; 32]) -> Result<Option<u64>, Failure> {
    let row = session.row("SELECT batch FROM batch WHERE checkpoint = $1", &[&hash.as_slice()]).await?;
    Ok(row.map(|row| unsigned(&row, 0)))
}

/// Batches of transactions hold ids from all the time that their events took, so ranges overlap; `widest` bounds how far
/// below an id the range that holds it can begin.
pub(super) async fn find_id(session: &mut Session, id: ReceiptId) -> Result<Vec<u64>, Failure> {
    let widest = session.one("SELECT widest FROM log", &[]).await?.get(0);
    let lowest = continuity::lowest_start(id, widest).to_bytes();
    let rows = session
        .rows(
            "SELECT batch FROM batch WHERE tag = $1 AND min_id BETWEEN $2 AND $3 AND max_id >= $3 ORDER BY batch",
            &[&i64::from(id.tag()), &lowest.as_slice(), &id.to_bytes().as_slice()],
        )
        .await?;
    Ok(rows.iter().map(|row| unsigned(row, 0)).collect())
}

pub(super) async fn highest_offset(session: &mut Session, partition: &PartitionKey) -> Result<Option<i64>, Failure> {
    let sql = "SELECT highest FROM partition WHERE partition = $1";
    Ok(session.row(sql, &[&partition.0.as_slice()]).await?.map(|row| row.get(0)))
}

/// Ranges that overlap `offsets` start at most `widest` below it.
pub(super) async fn covering(
    session: &mut Session,
    partition: &PartitionKey,
    offsets: &RangeInclusive<i64>,
) -> Result<Vec<u64>, Failure> {
    let rows = session
        .rows(
            "SELECT DISTINCT batch FROM coverage WHERE partition = $1
             AND first >= $2 - (SELECT widest FROM partition WHERE partition = $1) AND first <= $3 AND last >= $2
             ORDER BY batch",
            &[&partition.0.as_slice(), offsets.start(), offsets.end()],
        )
        .await?;
    Ok(rows.iter().map(|row| unsigned(row, 0)).collect())
}

pub(super) async fn is_rotation(session: &mut Session, former: &KeyId, present: &KeyId) -> Result<bool, Failure> {
    let row = session
        .one(
            "WITH RECURSIVE followed (key, depth) AS (
                 VALUES ($1::bytea, 0::bigint)
                 UNION
                 SELECT present, depth + 1 FROM rotation JOIN followed ON former = key WHERE depth < $3
             )
             SELECT EXISTS (SELECT 1 FROM followed WHERE key = $2 AND depth > 0)",
            &[&former.as_slice(), &present.as_slice(), &MAX_ROTATIONS],
        )
        .await?;
    Ok(row.get(0))
}
