//! The index over receipts: derived from the frames, in a file of its own beside the log.
//!
//! It is filled when it is asked, so it never contends with the sealer. Whatever is wrong with it (missing, damaged, of
//! another version, of another log) is mended by making it anew. Where no file can be written, and for a log in a database,
//! it lives in memory.

mod fill;
mod query;
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::batch_store::BatchInfo;
use crate::database::{Database, Recipe};
use crate::error::LogError;
use crate::location::LogLocation;
use crate::place::beside;

/// How long one process waits for another that fills the same index.
const BUSY: Duration = Duration::from_secs(60);

/// The index of one log.
#[derive(Debug)]
pub(crate) struct Index {
    database: Database,
}

/// What the index reads of the log.
pub(crate) trait Frames {
    /// What messages call the log.
    fn shown(&self) -> &Path;
    /// At most `limit` batches from position `from` on.
    fn batches(&self, from: u64, limit: usize) -> Result<Vec<BatchInfo>, LogError>;
    /// The frame of a batch that was listed.
    fn frame(&self, batch: u64) -> Result<Vec<u8>, LogError>;
}

impl Index {
    /// The index beside the log at `location`, made anew if it cannot be used. That of a database is in memory.
    pub(crate) fn open(location: &LogLocation, log_id: &str) -> Result<Self, LogError> {
        let Some(log) = location.path() else { return Self::in_memory(location.shown(), log_id) };
        let path = index_path(log);
        let make = || Ok(Self { database: Database::open(&path, recipe(log_id))? });
        match make() {
            Err(LogError::Corrupt { .. } | LogError::Foreign { .. } | LogError::Newer { .. }) => {
                remove(location)?;
                make()
            }
            Err(LogError::ReadOnly { .. } | LogError::Io { .. }) => Self::in_memory(log, log_id),
            other => other,
        }
    }

    fn in_memory(log: &Path, log_id: &str) -> Result<Self, LogError> {
        let id = log_id.to_owned();
        let recipe = move |path: &Path| {
            let connection = Connection::open_in_memory().map_err(|error| LogError::from_sqlite(path, &error))?;
            prepare(&connection, &id).map_err(|error| LogError::from_sqlite(path, &error))?;
            Ok(connection)
        };
        Ok(Self { database: Database::in_memory(&index_path(log), Box::new(recipe))? })
    }
}

/// Deletes the index of the log at `location`, if it has a file; the next query makes it anew.
pub(crate) fn remove(location: &LogLocation) -> Result<(), LogError> {
    let Some(log) = location.path() else { return Ok(()) };
    let path = index_path(log);
    for suffix in ["", "-wal", "-shm"] {
        let file = beside(&path, suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(LogError::from_io(&file, &error)),
            _ => {}
        }
    }
    Ok(())
}

fn index_path(log: &Path) -> PathBuf {
    beside(log, "-index")
}

fn recipe(log_id: &str) -> Recipe {
    let id = log_id.to_owned();
    Box::new(move |path| {
        let to_error = |error: rusqlite::Error| LogError::from_sqlite(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(to_error)?;
        if connection.is_readonly("main").map_err(to_error)? {
            return Err(LogError::ReadOnly { path: path.to_path_buf() });
        }
        connection.busy_timeout(BUSY).map_err(to_error)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(to_error)?;
        prepare(&connection, &id).map_err(to_error)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(to_error)?;
        let of: String = connection.query_row("SELECT log FROM progress", [], |row| row.get(0)).map_err(to_error)?;
        if found != schema::VERSION || of != id {
            return Err(LogError::Newer { path: path.to_path_buf(), found, known: schema::VERSION });
        }
        Ok(connection)
    })
}

/// Makes the tables of an empty file. Losing the newest rows costs a look at the newest frames, so nothing is synced here.
fn prepare(connection: &Connection, log_id: &str) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    let transaction = rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)?;
    let application: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(schema::TABLES)?;
        transaction.execute("INSERT INTO progress VALUES (?1, 0, zeroblob(32))", [log_id])?;
        transaction.pragma_update(None, "application_id", schema::APPLICATION)?;
        transaction.pragma_update(None, "user_version", schema::VERSION)?;
        transaction.commit()
    } else if application == schema::APPLICATION {
        transaction.commit()
    } else {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        Err(rusqlite::Error::SqliteFailure(code, Some("the index is another database".to_owned())))
    }
}
