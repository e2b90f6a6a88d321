//! Writing batches.

use std::path::Path;

use chio_receipts::id::tag;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::read;
use crate::batch_store::{Head, NewBatch, OutcomeOf, Rewrite, State};
use crate::continuity::{self, Ids, int};
use crate::error::LogError;

/// Why nothing was appended.
pub(super) enum AppendError {
    Sqlite(rusqlite::Error),
    Refused(LogError),
}

impl From<rusqlite::Error> for AppendError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> Self {
        Self::Refused(error)
    }
}

impl AppendError {
    pub(super) fn named(self, path: &Path) -> LogError {
        match self {
            Self::Sqlite(error) => LogError::from_sqlite(path, &error),
            Self::Refused(error) => error.at(path),
        }
    }
}

/// Records a start and returns the largest one recorded before.
pub(super) fn start(connection: &mut Connection, now: i64) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let earlier = transaction.query_row("SELECT started FROM log", [], |row| row.get(0))?;
    transaction.execute("UPDATE log SET started = max(started, ?1)", [now])?;
    transaction.commit()?;
    Ok(earlier)
}

/// Appends batches of one issuer in one transaction.
pub(super) fn append(
    connection: &mut Connection,
    expected: Option<&Head>,
    batches: &[NewBatch],
) -> Result<Head, AppendError> {
    let issuer = continuity::issuer_of(batches)?;
    // Takes the write lock first, so that what is compared cannot change before the commit.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut head = read::head(&transaction, issuer)?;
    continuity::expect(issuer, head.as_ref(), expected)?;
    for batch in batches {
        continuity::continues(head.as_ref(), batch, issuer)?;
        let next = insert(&transaction, head.as_ref(), batch)?;
        for outcome in &batch.outcomes {
            if !resolve(&transaction, next.batch, outcome)? {
                return Err(continuity::no_subject(outcome).into());
            }
        }
        head = Some(next);
    }
    transaction.commit()?;
    head.ok_or_else(|| continuity::superseded(issuer, "nothing was appended").into())
}

/// Appends batches of any issuers in one transaction.
pub(super) fn import(connection: &mut Connection, batches: &[NewBatch]) -> Result<(), AppendError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for batch in batches {
        let meta = &batch.sealed.meta;
        let head = read::head(&transaction, &meta.issuer)?;
        continuity::continues(head.as_ref(), batch, &meta.issuer)?;
        let place = insert(&transaction, head.as_ref(), batch)?.batch;
        for outcome in &batch.outcomes {
            if !resolve(&transaction, place, outcome)? {
                keep_early(&transaction, place, outcome)?;
            }
        }
        apply_early(&transaction, place, &meta.checkpoint_hash)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Keeps an outcome whose batch is not there yet. The last record counts, as it does for a batch that is there.
fn keep_early(transaction: &Transaction<'_>, place: u64, outcome: &OutcomeOf) -> Result<(), AppendError> {
    let Some(wanted) = continuity::wanted(outcome) else { return Ok(()) };
    let earlier: Option<String> = transaction
        .query_row("SELECT state FROM early_outcome WHERE checkpoint = ?1", [outcome.checkpoint], |row| row.get(0))
        .optional()?;
    if let Some(earlier) = earlier.as_deref().and_then(State::from_word)
        && !continuity::changes(earlier, wanted, outcome)?
    {
        return Ok(());
    }
    transaction.execute(
        "INSERT OR REPLACE INTO early_outcome (checkpoint, state, batch) VALUES (?1, ?2, ?3)",
        (outcome.checkpoint, wanted.as_str(), int(place)),
    )?;
    Ok(())
}

/// Applies the outcome that came before the prepared batch at `place`, if one did.
fn apply_early(transaction: &Transaction<'_>, place: u64, checkpoint: &[u8; 32]) -> Result<(), AppendError> {
    let early: Option<(String, i64)> = transaction
        .query_row("DELETE FROM early_outcome WHERE checkpoint = ?1 RETURNING state, batch", [checkpoint], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((state, by)) = early else { return Ok(()) };
    let prepared = transaction.execute(
        "UPDATE batch SET state = ?2 WHERE batch = ?1 AND state = ?3",
        (int(place), state, State::Prepared.as_str()),
    )?;
    if prepared == 0 {
        return Err(continuity::not_prepared(checkpoint).into());
    }
    transaction.execute("INSERT INTO outcome (subject, batch) VALUES (?1, ?2)", (int(place), by))?;
    Ok(())
}

fn issuer_row(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
    let known = transaction
        .prepare_cached("SELECT issuer FROM issuer WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    match known {
        Some(issuer) => Ok(issuer),
        None => {
            transaction.execute("INSERT INTO issuer (name) VALUES (?1)", [name])?;
            Ok(transaction.last_insert_rowid())
        }
    }
}

/// Writes a batch at the next place of the log, and returns the head that it is.
fn insert(transaction: &Transaction<'_>, head: Option<&Head>, batch: &NewBatch) -> Result<Head, AppendError> {
    let meta = &batch.sealed.meta;
    let issuer = issuer_row(transaction, &meta.issuer)?;
    let place = 1 + read::last(transaction)?;
    let ids = Ids::of(batch, head);
    let place_row = int(place);
    transaction
        .prepare_cached(
            "INSERT INTO batch (batch, issuer, epoch, first_seq, count, running_count, tag, min_id, max_id, top_id,
                                key_id, policy_version, previous, checkpoint, time, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(rusqlite::params![
            place_row,
            issuer,
            int(meta.epoch),
            int(meta.first_seq),
            meta.count,
            int(meta.running_count),
            tag(&meta.issuer, meta.epoch),
            ids.min.to_bytes(),
            ids.max.to_bytes(),
            ids.top.to_bytes(),
            meta.key_id,
            meta.policy_version,
            meta.previous,
            meta.checkpoint_hash,
            meta.time,
            continuity::first_state(&meta.mode).as_str(),
        ])?;
    transaction
        .prepare_cached("INSERT INTO frame (batch, bytes) VALUES (?1, ?2)")?
        .execute((place_row, &batch.sealed.frame))?;
    transaction.prepare_cached("UPDATE log SET widest = ?1 WHERE widest < ?1")?.execute([ids.span()])?;
    for covered in &meta.coverage {
        let partition = covered.partition.0;
        transaction
            .prepare_cached("INSERT INTO coverage (partition, first, last, batch) VALUES (?1, ?2, ?3, ?4)")?
            .execute((partition, covered.first, covered.last, place_row))?;
        transaction
            .prepare_cached(
                "INSERT INTO partition (partition, highest, widest) VALUES (?1, ?2, ?3)
                 ON CONFLICT (partition) DO UPDATE
                 SET highest = max(highest, excluded.highest), widest = max(widest, excluded.widest)",
            )?
            .execute((partition, covered.last, covered.last.saturating_sub(covered.first)))?;
    }
    Ok(continuity::head_after(place, batch, &ids))
}

/// Applies an outcome record of the batch at `place` to the batch that it names, by compare-and-set. False when the log
/// does not hold that one.
fn resolve(transaction: &Transaction<'_>, place: u64, outcome: &OutcomeOf) -> Result<bool, AppendError> {
    let Some(wanted) = continuity::wanted(outcome) else { return Ok(true) };
    let subject: Option<(i64, String)> = transaction
        .prepare_cached("SELECT batch, state FROM batch WHERE checkpoint = ?1")?
        .query_row([outcome.checkpoint], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((subject, state)) = subject else { return Ok(false) };
    let present = State::from_word(&state).ok_or_else(|| unknown_state(&state))?;
    if continuity::changes(present, wanted, outcome)? {
        transaction
            .prepare_cached("UPDATE batch SET state = ?2 WHERE batch = ?1")?
            .execute((subject, wanted.as_str()))?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO outcome (subject, batch) VALUES (?1, ?2)")?
            .execute((subject, int(place)))?;
    }
    Ok(true)
}

fn unknown_state(state: &str) -> AppendError {
    LogError::corrupt(Path::new(""), format!("there is a batch in state `{state}`")).into()
}

/// Replaces a frame, and leaves nothing of the former one in the file or its journal.
pub(super) fn rewrite_frame(
    connection: &mut Connection,
    path: &Path,
    batch: u64,
    rewrite: Rewrite<'_>,
) -> Result<(), AppendError> {
    connection.pragma_update(None, "secure_delete", true)?;
    let replaced = replace_frame(connection, batch, rewrite);
    connection.pragma_update(None, "secure_delete", false)?;
    replaced?;
    // Until readers let the journal go, it still holds the former frame, which is worth an error.
    let is_held: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_held {
        return Err(AppendError::Refused(LogError::Busy { path: path.to_path_buf() }));
    }
    Ok(())
}

fn replace_frame(connection: &mut Connection, batch: u64, rewrite: Rewrite<'_>) -> Result<(), AppendError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let former: Option<Vec<u8>> =
        transaction.query_row("SELECT bytes FROM frame WHERE batch = ?1", [int(batch)], |row| row.get(0)).optional()?;
    let Some(former) = former else {
        return Err(AppendError::Refused(LogError::NotFound { what: format!("batch {batch}") }));
    };
    let frame = rewrite(&former).map_err(AppendError::Refused)?;
    transaction.execute("UPDATE frame SET bytes = ?2 WHERE batch = ?1", (int(batch), frame))?;
    transaction.commit()?;
    Ok(())
}
