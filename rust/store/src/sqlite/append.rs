//! Writing batches.

use std::path::Path;

use chio_receipts::{Mode, OutcomeWord, hex};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::read;
use crate::batch_store::{Head, NewBatch, OutcomeOf, Rewrite, State};
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

impl AppendError {
    pub(super) fn named(self, path: &Path) -> LogError {
        match self {
            Self::Sqlite(error) => LogError::from_sqlite(path, &error),
            Self::Refused(error) => error.at(path),
        }
    }
}

/// Unsigned numbers of the format, whose bound is 2^53 − 1, as SQLite's signed ones.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
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
    let Some(first) = batches.first() else {
        return Err(AppendError::Refused(LogError::Seal { detail: "there are no batches to append".to_owned() }));
    };
    let issuer_name = &first.sealed.meta.issuer;
    // Takes the write lock first, so that what is compared cannot change before the commit.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut head = read::head(&transaction, issuer_name)?;
    if head.as_ref() != expected {
        let found = head.map_or("none".to_owned(), |head| format!("epoch {} at seq {}", head.epoch, head.next_seq));
        return Err(superseded(issuer_name, format!("its newest batch is not the one this process knows: {found}")));
    }
    let issuer = issuer_row(&transaction, issuer_name)?;
    let mut place: u64 = transaction
        .query_row("SELECT coalesce(max(batch), 0) FROM batch", [], |row| row.get::<_, i64>(0))?
        .unsigned_abs();
    for batch in batches {
        continues(head.as_ref(), batch, issuer_name)?;
        place += 1;
        head = Some(insert(&transaction, place, issuer, batch)?);
        for outcome in &batch.outcomes {
            resolve(&transaction, place, outcome)?;
        }
    }
    transaction.commit()?;
    head.ok_or_else(|| superseded(issuer_name, "nothing was appended".to_owned()))
}

fn superseded(issuer: &str, detail: String) -> AppendError {
    AppendError::Refused(LogError::Superseded { issuer: issuer.to_owned(), detail })
}

/// Whether `batch` is the next one of its issuer: the next place of the newest epoch, or the first of the one after it.
fn continues(head: Option<&Head>, batch: &NewBatch, issuer: &str) -> Result<(), AppendError> {
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
                && meta.min_id.is_some_and(|id| id > head.max_id)
        }
    };
    if follows && meta.issuer == issuer && meta.count > 0 {
        return Ok(());
    }
    Err(superseded(issuer, format!("epoch {} seq {} does not continue its chain", meta.epoch, meta.first_seq)))
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

fn insert(transaction: &Transaction<'_>, place: u64, issuer: i64, batch: &NewBatch) -> Result<Head, AppendError> {
    let meta = &batch.sealed.meta;
    let (Some(min_id), Some(max_id)) = (meta.min_id, meta.max_id) else {
        return Err(AppendError::Refused(LogError::Seal { detail: "a new batch withholds its records".to_owned() }));
    };
    let state = match meta.mode {
        Mode::Recorded => State::Recorded,
        Mode::Attempt => State::Attempt,
        Mode::Transaction { .. } => State::Prepared,
    };
    let place_row = int(place);
    transaction
        .prepare_cached(
            "INSERT INTO batch (batch, issuer, epoch, first_seq, count, running_count, tag, min_id, max_id, key_id,
                                policy_version, previous, checkpoint, time, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(rusqlite::params![
            place_row,
            issuer,
            int(meta.epoch),
            int(meta.first_seq),
            meta.count,
            int(meta.running_count),
            min_id.tag(),
            min_id.to_bytes(),
            max_id.to_bytes(),
            meta.key_id,
            meta.policy_version,
            meta.previous,
            meta.checkpoint_hash,
            meta.time,
            state.as_str(),
        ])?;
    transaction
        .prepare_cached("INSERT INTO frame (batch, bytes) VALUES (?1, ?2)")?
        .execute((place_row, &batch.sealed.frame))?;
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
    Ok(Head {
        batch: place,
        epoch: meta.epoch,
        next_seq: meta.first_seq + u64::from(meta.count),
        running_count: meta.running_count,
        checkpoint: meta.checkpoint_hash,
        key_id: meta.key_id,
        max_id,
    })
}

/// Applies an outcome record of the batch at `place` to the batch that it names, by compare-and-set.
fn resolve(transaction: &Transaction<'_>, place: u64, outcome: &OutcomeOf) -> Result<(), AppendError> {
    let wanted = match outcome.outcome {
        OutcomeWord::Committed => State::Committed,
        OutcomeWord::RolledBack => State::RolledBack,
        // What would tell is gone: the record stands as evidence of the search, the batch stays unresolved.
        OutcomeWord::Unknown => return Ok(()),
    };
    let name = hex::encode(&outcome.checkpoint);
    let refuse = |detail: String| Err(AppendError::Refused(LogError::State { detail }));
    let subject: Option<(i64, String)> = transaction
        .prepare_cached("SELECT batch, state FROM batch WHERE checkpoint = ?1")?
        .query_row([outcome.checkpoint], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((subject, state)) = subject else {
        return refuse(format!(
            "no batch in this log has checkpoint `{name}`: an outcome names a batch of its own log"
        ));
    };
    let contradicted = outcome.contradicts.map(OutcomeWord::as_str);
    match State::from_word(&state) {
        Some(state) if state == wanted => return Ok(()),
        Some(State::Prepared) => {}
        Some(State::Committed | State::RolledBack) if contradicted == Some(state.as_str()) => {}
        _ => {
            return refuse(format!(
                "batch `{name}` is `{state}` and cannot become `{}`: only a prepared batch is resolved, and another outcome \
                 only by a record that says what it contradicts",
                wanted.as_str()
            ));
        }
    }
    transaction.prepare_cached("UPDATE batch SET state = ?2 WHERE batch = ?1")?.execute((subject, wanted.as_str()))?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO outcome (subject, batch) VALUES (?1, ?2)")?
        .execute((subject, int(place)))?;
    Ok(())
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
