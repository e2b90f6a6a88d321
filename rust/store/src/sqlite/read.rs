//! Reading batches and what indexes them.

use std::ops::RangeInclusive;

use chio_receipts::{KeyId, PartitionKey, ReceiptId};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::batch_store::{BatchInfo, Head, State};
use crate::continuity::{self, int};
use crate::database::Database;
use crate::error::LogError;

/// Links of key rotations that are followed: more than any log has seen.
const MAX_ROTATIONS: u32 = 1000;

/// A number that is never negative.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<ReceiptId> {
    row.get(column).map(ReceiptId::from_bytes)
}

/// The newest batch of an issuer. Positions ascend with its epochs, so the newest is the last.
pub(super) fn head(connection: &Connection, issuer: &str) -> rusqlite::Result<Option<Head>> {
    connection
        .prepare_cached(
            "SELECT batch, epoch, first_seq, count, running_count, checkpoint, key_id, top_id FROM batch
             WHERE issuer = (SELECT issuer FROM issuer WHERE name = ?1)
             ORDER BY epoch DESC, first_seq DESC LIMIT 1",
        )?
        .query_row([issuer], |row| {
            Ok(Head {
                batch: unsigned(row, 0)?,
                epoch: unsigned(row, 1)?,
                next_seq: unsigned(row, 2)? + unsigned(row, 3)?,
                running_count: unsigned(row, 4)?,
                checkpoint: row.get(5)?,
                key_id: row.get(6)?,
                max_id: id(row, 7)?,
            })
        })
        .optional()
}

pub(super) fn frame(database: &Database, batch: u64) -> Result<Option<Vec<u8>>, LogError> {
    database.run(|c| {
        c.prepare_cached("SELECT bytes FROM frame WHERE batch = ?1")?
            .query_row([int(batch)], |row| row.get(0))
            .optional()
    })
}

const COLUMNS: &str = "SELECT batch.batch, issuer.name, epoch, first_seq, count, running_count, min_id, max_id, key_id,
           policy_version, previous, checkpoint, time, state, outcome.batch, length(frame.bytes)
    FROM batch JOIN issuer USING (issuer) JOIN frame USING (batch)
    LEFT JOIN outcome ON outcome.subject = batch.batch";

pub(super) fn scan(database: &Database, from: u64, limit: usize) -> Result<Vec<BatchInfo>, LogError> {
    database.run(|c| {
        // A limit that is a parameter alone would have SQLite plan the query anew whenever another one is bound.
        c.prepare_cached(&format!("{COLUMNS} WHERE batch.batch >= ?1 ORDER BY batch.batch LIMIT ?2 + 0"))?
            .query_map((int(from), int(limit as u64)), info)?
            .collect()
    })
}

/// The word stands in the query, so that the index over such batches serves it.
pub(super) fn prepared(database: &Database) -> Result<Vec<BatchInfo>, LogError> {
    database.run(|c| {
        c.prepare_cached(&format!("{COLUMNS} WHERE state = 'prepared' ORDER BY batch.batch"))?
            .query_map([], info)?
            .collect()
    })
}

/// The newest batch; 0 when there is none.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT coalesce(max(batch), 0) FROM batch")?.query_row([], |row| unsigned(row, 0))
}

fn info(row: &Row<'_>) -> rusqlite::Result<BatchInfo> {
    let state: String = row.get(13)?;
    let unknown = || rusqlite::Error::InvalidColumnType(13, format!("state `{state}`"), rusqlite::types::Type::Text);
    Ok(BatchInfo {
        batch: unsigned(row, 0)?,
        issuer: row.get(1)?,
        epoch: unsigned(row, 2)?,
        first_seq: unsigned(row, 3)?,
        count: unsigned(row, 4)?,
        running_count: unsigned(row, 5)?,
        min_id: id(row, 6)?,
        max_id: id(row, 7)?,
        key_id: row.get(8)?,
        policy_version: row.get(9)?,
        previous: row.get(10)?,
        checkpoint: row.get(11)?,
        time: row.get(12)?,
        state: State::from_word(&state).ok_or_else(unknown)?,
        resolved_by: row.get::<_, Option<i64>>(14)?.map(i64::unsigned_abs),
        bytes: unsigned(row, 15)?,
    })
}

/// Every issuer's name, in the order of their first batches.
pub(super) fn issuers(database: &Database) -> Result<Vec<String>, LogError> {
    database.run(|c| {
        c.prepare_cached("SELECT name FROM issuer ORDER BY issuer")?.query_map([], |row| row.get(0))?.collect()
    })
}

pub(super) fn find_checkpoint(database: &Database, hash: &[u8; 32]) -> Result<Option<u64>, LogError> {
    database.run(|c| {
        c.prepare_cached("SELECT batch FROM batch WHERE checkpoint = ?1")?
            .query_row([hash], |row| unsigned(row, 0))
            .optional()
    })
}

/// Batches of transactions hold ids from all the time that their events took, so ranges overlap; `widest` bounds how far
/// below an id the range that holds it can begin.
pub(super) fn find_id(database: &Database, id: ReceiptId) -> Result<Vec<u64>, LogError> {
    database.run(|c| {
        let widest = c.prepare_cached("SELECT widest FROM log")?.query_row([], |row| row.get(0))?;
        let lowest = continuity::lowest_start(id, widest).to_bytes();
        c.prepare_cached(
            "SELECT batch FROM batch WHERE tag = ?1 AND min_id BETWEEN ?2 AND ?3 AND max_id >= ?3 ORDER BY batch",
        )?
        .query_map((id.tag(), lowest, id.to_bytes()), |row| unsigned(row, 0))?
        .collect()
    })
}

pub(super) fn highest_offset(database: &Database, partition: &PartitionKey) -> Result<Option<i64>, LogError> {
    database.run(|c| {
        c.prepare_cached("SELECT highest FROM partition WHERE partition = ?1")?
            .query_row([partition.0], |row| row.get(0))
            .optional()
    })
}

/// Ranges that overlap `offsets` start at most `widest` below it.
pub(super) fn covering(
    database: &Database,
    partition: &PartitionKey,
    offsets: RangeInclusive<i64>,
) -> Result<Vec<u64>, LogError> {
    database.run(|c| {
        c.prepare_cached(
            "SELECT DISTINCT batch FROM coverage WHERE partition = ?1
             AND first >= ?2 - (SELECT widest FROM partition WHERE partition = ?1) AND first <= ?3 AND last >= ?2
             ORDER BY batch",
        )?
        .query_map((partition.0, offsets.start(), offsets.end()), |row| unsigned(row, 0))?
        .collect()
    })
}

pub(super) fn is_rotation(database: &Database, former: &KeyId, present: &KeyId) -> Result<bool, LogError> {
    database.run(|c| {
        c.query_row(
            "WITH RECURSIVE followed (key, depth) AS (
                 VALUES (?1, 0)
                 UNION
                 SELECT present, depth + 1 FROM rotation JOIN followed ON former = key WHERE depth < ?3
             )
             SELECT EXISTS (SELECT 1 FROM followed WHERE key = ?2 AND depth > 0)",
            (former, present, MAX_ROTATIONS),
            |row| row.get(0),
        )
    })
}
