//! Filling the index from the frames.

use std::collections::HashMap;

use chio_receipts::frame::{self, Slot};
use chio_receipts::record::{Receipt, Record, Target};
use chio_receipts::{Kind, OutcomeWord, Text, Verdict};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{Frames, Index, schema};
use crate::batch_store::{BatchInfo, State};
use crate::continuity::int;
use crate::error::LogError;
use crate::filter::Position;

/// Batches that are listed in one go.
const LISTED: usize = 256;

/// Bytes of frames that one transaction indexes: enough to be fast, little enough to lose and to keep others waiting.
const PORTION: usize = 32 << 20;

/// Names that are remembered while filling.
const NAMES: usize = 100_000;

impl Index {
    /// Indexes what was appended up to now. What is appended meanwhile is left for the next time, so that it ends.
    pub(crate) fn catch_up(&self, log: &dyn Frames) -> Result<(), LogError> {
        let mut names = Names::default();
        let mut done = self.progress(log)?;
        loop {
            let listed = log.batches(done + 1, LISTED)?;
            if listed.is_empty() {
                return self.database.run(|c| c.execute_batch(schema::INDEXES));
            }
            let mut rest = listed.as_slice();
            while let Some(portion) = next_portion(&mut rest) {
                // Read before the index is locked: one connection is used at a time.
                let frames: Vec<Vec<u8>> =
                    portion.iter().map(|info| log.frame(info.batch)).collect::<Result<_, _>>()?;
                done = self.add(log, done, portion, &frames, &mut names)?;
                rest = listed.get(listed.partition_point(|info| info.batch <= done)..).unwrap_or_default();
            }
        }
    }

    /// The newest batch that is indexed. An index that does not fit the log (one that was restored from an older copy) is
    /// emptied.
    fn progress(&self, log: &dyn Frames) -> Result<u64, LogError> {
        let (batch, checkpoint): (i64, [u8; 32]) = self
            .database
            .run(|c| c.query_row("SELECT batch, checkpoint FROM progress", [], |row| Ok((row.get(0)?, row.get(1)?))))?;
        let batch = batch.unsigned_abs();
        let fits = batch == 0
            || log.batches(batch, 1)?.iter().any(|info| info.batch == batch && info.checkpoint == checkpoint);
        if fits {
            return Ok(batch);
        }
        self.database.run(|c| {
            c.execute_batch(
                "BEGIN IMMEDIATE; DELETE FROM receipt; DELETE FROM parent; DELETE FROM batch; DELETE FROM name;
                 UPDATE progress SET batch = 0, checkpoint = zeroblob(32); COMMIT",
            )
        })?;
        Ok(0)
    }

    /// Adds batches after `done`, unless another process has; returns the newest one that is indexed then.
    fn add(
        &self,
        log: &dyn Frames,
        done: u64,
        batches: &[BatchInfo],
        frames: &[Vec<u8>],
        names: &mut Names,
    ) -> Result<u64, LogError> {
        let path = self.database.path();
        self.database.work(|connection| {
            let to_error = |error: rusqlite::Error| LogError::from_sqlite(path, &error);
            let damaged = |info: &BatchInfo, error: &dyn std::fmt::Display| {
                LogError::corrupt(log.shown(), format!("batch {}: {error}", info.batch))
            };
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(to_error)?;
            let found: i64 =
                transaction.query_row("SELECT batch FROM progress", [], |row| row.get(0)).map_err(to_error)?;
            if found.unsigned_abs() != done {
                names.0.clear();
                return Ok(found.unsigned_abs());
            }
            let mut last = done;
            for (info, bytes) in batches.iter().zip(frames) {
                let frame = frame::decode(bytes).map_err(|error| damaged(info, &error))?;
                insert_batch(&transaction, info, names).map_err(to_error)?;
                for (place, slot) in frame.slots().enumerate() {
                    let Slot::Body(body) = slot else { continue };
                    let record = Record::parse(body).map_err(|error| damaged(info, &error))?;
                    let position = Position::new(info.batch, place);
                    insert_record(&transaction, position, &record, names).map_err(to_error)?;
                }
                last = info.batch;
                transaction
                    .prepare_cached("UPDATE progress SET batch = ?1, checkpoint = ?2")
                    .and_then(|mut update| update.execute((int(last), info.checkpoint)))
                    .map_err(to_error)?;
            }
            transaction.commit().map_err(to_error)?;
            Ok(last)
        })
    }
}

/// Splits off as many batches as one transaction indexes; one at least, none when none are left.
fn next_portion<'a>(rest: &mut &'a [BatchInfo]) -> Option<&'a [BatchInfo]> {
    let mut bytes = 0;
    let fitting = rest.iter().take_while(|info| {
        bytes += info.bytes as usize;
        bytes <= PORTION
    });
    let count = fitting.count().max(1);
    let (portion, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(portion)
}

/// The state is the one that the log shows: an imported outcome may stand before the batch that it resolves.
fn insert_batch(transaction: &Transaction<'_>, info: &BatchInfo, names: &mut Names) -> rusqlite::Result<()> {
    let issuer = names.get(transaction, &info.issuer)?;
    transaction.prepare_cached("INSERT INTO batch VALUES (?1, ?2, ?3, ?4, ?5)")?.execute((
        int(info.batch),
        issuer,
        info.policy_version,
        info.checkpoint,
        info.state.as_str(),
    ))?;
    Ok(())
}

fn insert_record(
    transaction: &Transaction<'_>,
    position: Position,
    record: &Record<'_>,
    names: &mut Names,
) -> rusqlite::Result<()> {
    match record {
        Record::Receipt(receipt) => insert_receipt(transaction, position, receipt, names),
        Record::Outcome(outcome) => {
            let state = match outcome.outcome {
                OutcomeWord::Committed => State::Committed,
                OutcomeWord::RolledBack => State::RolledBack,
                OutcomeWord::Unknown => return Ok(()),
            };
            transaction
                .prepare_cached("UPDATE batch SET state = ?2 WHERE checkpoint = ?1")?
                .execute((outcome.batch, state.as_str()))?;
            Ok(())
        }
    }
}

fn insert_receipt(
    transaction: &Transaction<'_>,
    position: Position,
    receipt: &Receipt<'_>,
    names: &mut Names,
) -> rusqlite::Result<()> {
    let mut name = |text: Option<Text<'_>>| text.map(|text| names.get(transaction, &text.decode())).transpose();
    let identity = name(Some(receipt.identity))?;
    let scope = name(receipt.scope)?;
    let rule = name(receipt.rule)?;
    let (mut topic, mut tool, mut partition, mut offset) = (None, None, None, None);
    match receipt.target {
        Target::None => {}
        Target::Tool(text) => tool = name(Some(text))?,
        Target::Event { topic: text, partition: number, offset: at, .. } => {
            topic = name(Some(text))?;
            partition = number.map(int);
            offset = at.map(int);
        }
    }
    transaction
        .prepare_cached("INSERT INTO receipt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?
        .execute(rusqlite::params![
            position.row(),
            kind_number(receipt.kind),
            receipt.verdict.map(verdict_number),
            int(receipt.time),
            identity,
            scope,
            rule,
            topic,
            partition,
            offset,
            tool,
            receipt.correlation.map(|text| text.decode()),
        ])?;
    for parent in receipt.parents.iter() {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO parent VALUES (?1, ?2)")?
            .execute((parent.to_bytes(), position.row()))?;
    }
    Ok(())
}

/// Place of a kind among all.
pub(super) fn kind_number(kind: Kind) -> i64 {
    Kind::ALL.iter().position(|known| *known == kind).unwrap_or_default() as i64
}

/// Place of a verdict among all; `allow` is 0, which the partial index over verdicts leaves out.
pub(super) fn verdict_number(verdict: Verdict) -> i64 {
    Verdict::ALL.iter().position(|known| *known == verdict).unwrap_or_default() as i64
}

/// Numbers of names that were seen while filling.
#[derive(Debug, Default)]
struct Names(HashMap<String, i64, foldhash::fast::RandomState>);

impl Names {
    fn get(&mut self, connection: &Connection, text: &str) -> rusqlite::Result<i64> {
        if let Some(name) = self.0.get(text) {
            return Ok(*name);
        }
        if self.0.len() >= NAMES {
            self.0.clear();
        }
        let known = connection
            .prepare_cached("SELECT name FROM name WHERE text = ?1")?
            .query_row([text], |row| row.get(0))
            .optional()?;
        let name = match known {
            Some(name) => name,
            None => {
                connection.prepare_cached("INSERT INTO name (text) VALUES (?1)")?.execute([text])?;
                connection.last_insert_rowid()
            }
        };
        self.0.insert(text.to_owned(), name);
        Ok(name)
    }
}
