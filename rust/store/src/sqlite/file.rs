//! Opening and creating the log's file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use chio_receipts::Durability;

use super::schema;
use crate::database::Database;
use crate::error::LogError;
use crate::fork;
use crate::keys::fill_random;
use crate::place::{beside, file_id, refuse_network, sync_directory};

/// How often a writer asks for the lock that another process holds: 20 s in all, where one transaction lasts milliseconds.
const BUSY_TRIES: i32 = 40_000;

/// How long it sleeps in between. SQLite's own handler sleeps for up to 100 ms, and among processes that write all the time
/// the lock is free for less than that: a waiting one would starve.
const BUSY_SLEEP: Duration = Duration::from_micros(500);

fn wait_for_lock(tries: i32) -> bool {
    std::thread::sleep(BUSY_SLEEP);
    tries < BUSY_TRIES
}

/// Opens the log at `path` for writing, and creates it when there is none.
pub(super) fn open_writable(path: &Path, durability: Durability) -> Result<Database, LogError> {
    refuse_network(path)?;
    if file_id(path)?.is_none() {
        let _gate = fork::gate();
        create(path)?;
    }
    Database::open(path, Box::new(move |path| connect_writable(path, durability)))
}

fn connect_writable(path: &Path, durability: Durability) -> Result<Connection, LogError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    recognise(&connection, path)?;
    let to_error = |error: rusqlite::Error| LogError::from_sqlite(path, &error);
    // SQLite opens a file that it may not write as read-only without a word.
    if connection.is_readonly("main").map_err(to_error)? {
        return Err(LogError::ReadOnly { path: path.to_path_buf() });
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(to_error)?;
    if mode != "wal" {
        let detail = format!("the journal mode stays `{mode}`, `wal` is needed");
        return Err(LogError::Io { path: path.to_path_buf(), detail });
    }
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Relaxed => "NORMAL",
    };
    // The sealer moves the journal into the file between its batches: SQLite's own turn would come inside a commit.
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(to_error)?;
    connection.pragma_update(None, "journal_size_limit", super::JOURNAL_LIMIT).map_err(to_error)?;
    connection.pragma_update(None, "synchronous", synchronous).map_err(to_error)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(to_error)?;
    Ok(connection)
}

/// Opens the log at `path` for reading.
pub(super) fn open_readable(path: &Path) -> Result<Database, LogError> {
    if file_id(path)?.is_none() {
        return Err(LogError::Missing { path: path.to_path_buf() });
    }
    Database::open(path, Box::new(connect_readable))
}

/// On a medium that cannot be written, SQLite cannot keep its shared memory file, so a log without an unfinished journal
/// is opened as immutable there.
fn connect_readable(path: &Path) -> Result<Connection, LogError> {
    let usable = |connection: Connection| -> Result<Connection, LogError> {
        recognise(&connection, path)?;
        connection.pragma_update(None, "query_only", true).map_err(|error| LogError::from_sqlite(path, &error))?;
        Ok(connection)
    };
    match connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(usable) {
        Err(LogError::Io { .. } | LogError::ReadOnly { .. }) if !has_journal(path) => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            connect(&immutable(path), flags).map_err(|error| error.at(path)).and_then(usable)
        }
        other => other,
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, LogError> {
    let mut connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| LogError::from_sqlite(path, &error))?;
    connection.busy_handler(Some(wait_for_lock)).map_err(|error| LogError::from_sqlite(path, &error))?;
    Ok(connection)
}

fn has_journal(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0)
}

/// The URI that opens `path` as a file that nobody changes.
fn immutable(path: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri.push_str("?immutable=1");
    PathBuf::from(uri)
}

/// Refuses what is not a log, or one of a version that is not known here.
fn recognise(connection: &Connection, path: &Path) -> Result<(), LogError> {
    let number = |pragma: &str| -> Result<i64, LogError> {
        connection
            .pragma_query_value(None, pragma, |row| row.get(0))
            .map_err(|error| LogError::from_sqlite(path, &error))
    };
    if number("application_id")? != schema::APPLICATION {
        return Err(LogError::Foreign { path: path.to_path_buf() });
    }
    let found = number("user_version")?;
    if found > schema::VERSION {
        return Err(LogError::Newer { path: path.to_path_buf(), found, known: schema::VERSION });
    }
    Ok(())
}

/// Creates an empty log at `path`.
///
/// It is written under another name, synced, and linked into place, so that a crash leaves either no log or a whole one,
/// and of two processes that start together one wins and both use what it made.
fn create(path: &Path) -> Result<(), LogError> {
    let mut random = [0u8; 16];
    fill_random(&mut random).map_err(|error| LogError::from_io(path, &error))?;
    let log_id = chio_receipts::hex::encode(&random);
    let draft = beside(path, &format!("-new-{log_id}"));
    let made = write_new(&draft, &log_id).map_err(|error| error.at(path));
    let linked = made.and_then(|()| match std::fs::hard_link(&draft, path) {
        // Another process created it first: use that one.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(LogError::from_io(path, &error)),
        Ok(()) => Ok(()),
    });
    let _ = std::fs::remove_file(&draft);
    linked?;
    sync_directory(path)
}

/// Writes an empty log. Its first transaction has a rollback journal, whose commit syncs the file itself.
fn write_new(draft: &Path, log_id: &str) -> Result<(), LogError> {
    let mut connection = connect(draft, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let work = |connection: &mut Connection| -> rusqlite::Result<()> {
        connection.pragma_update(None, "page_size", super::PAGE)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(schema::TABLES)?;
        transaction.execute("INSERT INTO log (id) VALUES (?1)", [log_id])?;
        transaction.pragma_update(None, "application_id", schema::APPLICATION)?;
        transaction.pragma_update(None, "user_version", schema::VERSION)?;
        transaction.commit()?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
    };
    work(&mut connection).map_err(|error| LogError::from_sqlite(draft, &error))?;
    connection.close().map_err(|(_, error)| LogError::from_sqlite(draft, &error))
}

/// The log's random id.
pub(super) fn log_id(database: &Database) -> Result<String, LogError> {
    let id: Option<String> = database.run(|c| c.query_row("SELECT id FROM log", [], |row| row.get(0)).optional())?;
    id.ok_or_else(|| LogError::corrupt(database.path(), "the log's id is missing"))
}
