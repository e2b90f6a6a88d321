//! A SQLite connection that survives forks of its process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rusqlite::Connection;

use crate::error::LogError;
use crate::fork::{self, CloseBeforeFork, Generation};

/// Prepared statements kept per connection; more than there are.
const STATEMENTS: usize = 64;

/// How a connection is made, again after a fork.
pub(crate) type Recipe = Box<dyn Fn(&Path) -> Result<Connection, LogError> + Send + Sync>;

/// One connection to one file, for one user at a time.
pub(crate) struct Database {
    slot: Arc<Slot>,
    recipe: Recipe,
    path: PathBuf,
    opened: Generation,
}

/// Empty between a fork and the next operation.
#[derive(Debug)]
struct Slot(Mutex<Option<Connection>>);

impl CloseBeforeFork for Slot {
    fn close_before_fork(&self) {
        // Free, because the fork holds the gate and every operation holds it too while it has this lock.
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Database {
    /// Opens a connection to the file at `path`, to be closed and made again when the process forks.
    pub(crate) fn open(path: &Path, recipe: Recipe) -> Result<Self, LogError> {
        let opened = Generation::current();
        let gate = fork::gate();
        let connection = recipe(path)?;
        let database = Self::hold(connection, path, recipe, opened);
        let slot: Arc<dyn CloseBeforeFork> = Arc::clone(&database.slot) as _;
        let slot: Weak<dyn CloseBeforeFork> = Arc::downgrade(&slot);
        fork::close_before_fork(slot);
        drop(gate);
        Ok(database)
    }

    /// A database in memory, which has no file to let go of.
    pub(crate) fn in_memory(name: &Path, recipe: Recipe) -> Result<Self, LogError> {
        let opened = Generation::current();
        let connection = recipe(name)?;
        Ok(Self::hold(connection, name, recipe, opened))
    }

    fn hold(connection: Connection, path: &Path, recipe: Recipe, opened: Generation) -> Self {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Self { slot: Arc::new(Slot(Mutex::new(Some(connection)))), recipe, path: path.to_path_buf(), opened }
    }

    /// Runs `work` on the connection; an error of SQLite's is sorted and named for the file.
    pub(crate) fn run<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, LogError> {
        self.work(|connection| work(connection).map_err(|error| LogError::from_sqlite(&self.path, &error)))
    }

    /// Like [`Database::run`], for work that fails in ways of its own.
    pub(crate) fn work<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, LogError>) -> Result<T, LogError> {
        if !self.opened.is_current() {
            return Err(LogError::Forked { path: self.path.clone() });
        }
        let _gate = fork::gate();
        let mut slot = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match slot.as_mut() {
            Some(connection) => connection,
            None => {
                let connection = (self.recipe)(&self.path)?;
                connection.set_prepared_statement_cache_capacity(STATEMENTS);
                slot.insert(connection)
            }
        };
        work(connection)
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.opened.is_current() {
            // Closing counts as an operation: a fork in the middle of it would leave the child with half of SQLite's lists.
            let _gate = fork::gate();
            drop(self.slot.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}
