//! Where a receipt log is: a file, or a database by its URL.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use chio_receipts::Durability;

use crate::batch_store::BatchStore;
use crate::error::LogError;
use crate::place::{file_id, resolve};
#[cfg(feature = "postgres")]
use crate::postgres::{PostgresStore, PostgresUrl};
use crate::sqlite::SqliteStore;

/// Beginnings of a text that is a URL of PostgreSQL.
const POSTGRES: [&str; 2] = ["postgresql:", "postgres:"];

/// Where a receipt log is. Shown without password.
#[derive(Debug, Clone)]
pub enum LogLocation {
    /// A file.
    File(PathBuf),
    /// A schema of a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresUrl>),
}

impl LogLocation {
    /// The location that a text names: a URL `postgresql://…`, else the path of a file.
    ///
    /// # Errors
    /// `Options` for a URL that cannot be used.
    pub fn parse(text: &OsStr) -> Result<Self, LogError> {
        match text.to_str().filter(|text| POSTGRES.iter().any(|scheme| text.starts_with(scheme))) {
            None => Ok(Self::File(PathBuf::from(text))),
            #[cfg(feature = "postgres")]
            Some(url) => PostgresUrl::parse(url).map(|url| Self::Postgres(Box::new(url))),
            #[cfg(not(feature = "postgres"))]
            Some(_) => Err(LogError::Options {
                detail: "this build cannot open a log by URL: build chio-store with the feature `postgres`".to_owned(),
            }),
        }
    }

    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// What messages call it: the path, or the URL without its password.
    pub fn shown(&self) -> &Path {
        match self {
            Self::File(path) => path,
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => url.shown(),
        }
    }

    /// The same place with the links of a path resolved.
    pub(crate) fn resolved(&self) -> Result<Self, LogError> {
        match self {
            Self::File(path) => resolve(path).map(Self::File),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(Self::Postgres(url.clone())),
        }
    }

    /// Opens the log for writing, and creates it when there is none.
    pub(crate) fn open_or_create(&self, durability: Durability) -> Result<Box<dyn BatchStore>, LogError> {
        Ok(match self {
            Self::File(path) => Box::new(SqliteStore::open(path, durability)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Box::new(PostgresStore::open(url, durability)?),
        })
    }

    /// Opens the log for writing if it is there.
    pub(crate) fn open_existing(&self) -> Result<Box<dyn BatchStore>, LogError> {
        if let Self::File(path) = self
            && file_id(path)?.is_none()
        {
            return Err(LogError::Missing { path: path.clone() });
        }
        #[cfg(feature = "postgres")]
        if let Self::Postgres(url) = self {
            drop(PostgresStore::open_readable(url)?);
        }
        self.open_or_create(Durability::Full)
    }

    /// Opens the log for reading.
    pub(crate) fn open_readable(&self) -> Result<Box<dyn BatchStore>, LogError> {
        Ok(match self {
            Self::File(path) => Box::new(SqliteStore::open_readable(path)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Box::new(PostgresStore::open_readable(url)?),
        })
    }
}

impl fmt::Display for LogLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().display().fmt(f)
    }
}

impl From<&Path> for LogLocation {
    fn from(path: &Path) -> Self {
        Self::File(path.to_path_buf())
    }
}

impl From<&PathBuf> for LogLocation {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&LogLocation> for LogLocation {
    fn from(location: &LogLocation) -> Self {
        location.clone()
    }
}
