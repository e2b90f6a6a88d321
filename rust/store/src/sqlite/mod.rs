//! The first store: one SQLite file.

mod append;
mod file;
mod read;
mod schema;

use std::ops::RangeInclusive;
use std::path::Path;

use chio_receipts::{Durability, KeyId, PartitionKey, ReceiptId};

use crate::batch_store::{BatchInfo, BatchStore, Head, NewBatch, Rewrite};
use crate::claim::FileClaim;
use crate::database::Database;
use crate::error::LogError;

/// Bytes per page. Frames are hundreds of kilobytes long, and larger pages mean fewer headers and checksums in the journal.
const PAGE: u32 = 8192;

/// Bytes of frames after which the journal is moved into the file.
const CHECKPOINT: u64 = 16 << 20;

/// Bytes of frames after which a move that readers keep from ending is insisted upon.
const INSIST: u64 = 128 << 20;

/// Bytes to which the journal file is cut after it was moved.
const JOURNAL_LIMIT: i64 = 64 << 20;

/// A receipt log in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    database: Database,
    /// Names claimed until the store is dropped.
    claims: Vec<FileClaim>,
    /// Bytes of frames appended since the journal was last moved into the file.
    journal: u64,
}

impl SqliteStore {
    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    /// Every [`LogError`] that names the file or its format.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, LogError> {
        Ok(Self::new(file::open_writable(path, durability)?))
    }

    /// Opens the file at `path` for reading; it may lie on a medium that cannot be written.
    ///
    /// # Errors
    /// `Missing`, `Foreign`, `Newer`, `Corrupt`, or what the operating system says.
    pub fn open_readable(path: &Path) -> Result<Self, LogError> {
        Ok(Self::new(file::open_readable(path)?))
    }

    fn new(database: Database) -> Self {
        Self { database, claims: Vec::new(), journal: 0 }
    }

    /// Limits the file to `pages` pages, so that tests can fill it.
    #[cfg(any(test, feature = "testing"))]
    pub fn limit_pages(&self, pages: u32) -> Result<(), LogError> {
        self.database.run(|c| c.pragma_update(None, "max_page_count", pages))
    }
}

impl BatchStore for SqliteStore {
    fn log_id(&self) -> Result<String, LogError> {
        file::log_id(&self.database)
    }

    fn claim(&mut self, name: &str) -> Result<Result<(), String>, LogError> {
        Ok(FileClaim::attempt(self.database.path(), name)?.map(|claim| self.claims.push(claim)))
    }

    fn head(&self, issuer: &str) -> Result<Option<Head>, LogError> {
        self.database.run(|c| read::head(c, issuer))
    }

    fn start(&mut self, now: i64) -> Result<i64, LogError> {
        self.database.run(|c| append::start(c, now))
    }

    fn append(&mut self, expected: Option<&Head>, batches: &[NewBatch]) -> Result<Head, LogError> {
        let head =
            self.database.work(|c| append::append(c, expected, batches).map_err(|e| e.named(self.database.path())))?;
        self.journal += batches.iter().map(|batch| batch.sealed.frame.len() as u64).sum::<u64>();
        Ok(head)
    }

    fn import(&mut self, batches: &[NewBatch]) -> Result<(), LogError> {
        self.database.work(|c| append::import(c, batches).map_err(|e| e.named(self.database.path())))?;
        self.journal += batches.iter().map(|batch| batch.sealed.frame.len() as u64).sum::<u64>();
        Ok(())
    }

    fn tidy(&mut self) -> Result<(), LogError> {
        if self.journal < CHECKPOINT {
            return Ok(());
        }
        // A passive move never waits. It is incomplete while another process reads or writes; then the journal grows until
        // the next one, and from a bound on the move waits for the others, whose transactions last milliseconds.
        let mode =
            if self.journal < INSIST { "PRAGMA wal_checkpoint(PASSIVE)" } else { "PRAGMA wal_checkpoint(RESTART)" };
        let complete = self.database.run(|c| {
            c.query_row(mode, [], |row| {
                let (busy, journal, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(!busy && journal == moved)
            })
        });
        match complete {
            Ok(true) => self.journal = 0,
            Ok(false) | Err(LogError::Busy { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn frame(&self, batch: u64) -> Result<Option<Vec<u8>>, LogError> {
        read::frame(&self.database, batch)
    }

    fn scan(&self, from: u64, limit: usize) -> Result<Vec<BatchInfo>, LogError> {
        read::scan(&self.database, from, limit)
    }

    fn prepared(&self) -> Result<Vec<BatchInfo>, LogError> {
        read::prepared(&self.database)
    }

    fn last_batch(&self) -> Result<u64, LogError> {
        self.database.run(|c| read::last(c))
    }

    fn find_checkpoint(&self, hash: &[u8; 32]) -> Result<Option<u64>, LogError> {
        read::find_checkpoint(&self.database, hash)
    }

    fn find_id(&self, id: ReceiptId) -> Result<Vec<u64>, LogError> {
        read::find_id(&self.database, id)
    }

    fn highest_offset(&self, partition: &PartitionKey) -> Result<Option<i64>, LogError> {
        read::highest_offset(&self.database, partition)
    }

    fn covering(&self, partition: &PartitionKey, offsets: RangeInclusive<i64>) -> Result<Vec<u64>, LogError> {
        read::covering(&self.database, partition, offsets)
    }

    fn rewrite_frame(&mut self, batch: u64, rewrite: Rewrite<'_>) -> Result<(), LogError> {
        let path = self.database.path();
        self.database.work(|c| append::rewrite_frame(c, path, batch, rewrite).map_err(|e| e.named(path)))
    }

    fn issuers(&self) -> Result<Vec<String>, LogError> {
        read::issuers(&self.database)
    }

    fn is_rotation(&self, former: &KeyId, present: &KeyId) -> Result<bool, LogError> {
        read::is_rotation(&self.database, former, present)
    }

    fn record_rotation(&mut self, former: &KeyId, present: &KeyId, now: i64) -> Result<(), LogError> {
        self.database.run(|c| {
            c.execute("INSERT OR REPLACE INTO rotation VALUES (?1, ?2, ?3)", (former, present, now)).map(|_| ())
        })
    }
}
