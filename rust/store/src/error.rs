//! The one error type of the receipt log.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::place::is_writable;

/// Why the receipt log refuses or fails, with what to do about it.
///
/// It is `Clone` because a failure of the sealer is sticky: every later call returns the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named for what the sentence of their variant says")]
pub enum LogError {
    /// There is no receipt log at this path.
    Missing { path: PathBuf },
    /// The file is not a receipt log: another SQLite database, or no database at all.
    Foreign { path: PathBuf },
    /// The file was written by a newer version of this library.
    Newer { path: PathBuf, found: i64, known: i64 },
    /// What is stored contradicts itself.
    Corrupt { path: PathBuf, detail: String },
    /// The file, its directory or its file system does not allow writing.
    ReadOnly { path: PathBuf },
    /// There is no room left for another batch.
    Full { path: PathBuf },
    /// The file lies on a file system whose locks and syncs cannot be relied upon.
    NetworkFileSystem { path: PathBuf, kind: String },
    /// Another process (or another log of this process) holds the issuer's name.
    Claimed { issuer: String, holder: String },
    /// Somebody else appended under this issuer's name: the claim was circumvented.
    Superseded { issuer: String, detail: String },
    /// The issuer's last checkpoint was signed with another key.
    KeyMismatch { issuer: String, stored: String, given: String },
    /// A seed or trust file cannot be used.
    Key { place: String, detail: String },
    /// The options contradict those with which this process already opened the log, or are out of range.
    Options { detail: String },
    /// The log was opened before a `fork` and is used in the child.
    Forked { path: PathBuf },
    /// The log was closed.
    Closed { path: PathBuf },
    /// Another process held the write lock for longer than the busy timeout.
    Busy { path: PathBuf },
    /// A batch could not be sealed.
    Seal { detail: String },
    /// A batch's state does not allow this outcome.
    State { detail: String },
    /// No such receipt or batch in this log.
    NotFound { what: String },
    /// A query is malformed.
    Query { detail: String },
    /// The database server cannot be reached, or went away and did not come back in time.
    Unavailable { path: PathBuf, detail: String },
    /// The database server refuses what the log needs.
    Server { path: PathBuf, detail: String },
    /// Frames of another log cannot be taken over.
    Import { path: PathBuf, detail: String },
    /// The operating system failed otherwise.
    Io { path: PathBuf, detail: String },
}

impl LogError {
    /// A stable word for the kind of failure, for bindings and `--json` output.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Foreign { .. } => "foreign",
            Self::Newer { .. } => "newer",
            Self::Corrupt { .. } => "corrupt",
            Self::ReadOnly { .. } => "read_only",
            Self::Full { .. } => "full",
            Self::NetworkFileSystem { .. } => "network_file_system",
            Self::Claimed { .. } => "claimed",
            Self::Superseded { .. } => "superseded",
            Self::KeyMismatch { .. } => "key_mismatch",
            Self::Key { .. } => "key",
            Self::Options { .. } => "options",
            Self::Forked { .. } => "forked",
            Self::Closed { .. } => "closed",
            Self::Busy { .. } => "busy",
            Self::Seal { .. } => "seal",
            Self::State { .. } => "state",
            Self::NotFound { .. } => "not_found",
            Self::Query { .. } => "query",
            Self::Unavailable { .. } => "unavailable",
            Self::Server { .. } => "server",
            Self::Import { .. } => "import",
            Self::Io { .. } => "io",
        }
    }

    /// An operating system error at `path`, sorted into the kinds that a user can act upon.
    pub(crate) fn from_io(path: &Path, error: &std::io::Error) -> Self {
        let path = path.to_path_buf();
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { path },
            Some(libc::EROFS | libc::EACCES | libc::EPERM) => Self::ReadOnly { path },
            Some(libc::ENOENT) => Self::Missing { path },
            _ => Self::Io { path, detail: error.to_string() },
        }
    }

    /// A SQLite error at `path`, sorted likewise.
    pub(crate) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::Full { path },
            Some(Code::ReadOnly | Code::PermissionDenied) => Self::ReadOnly { path },
            // SQLite cannot make the files that it needs beside the log.
            Some(Code::CannotOpen) if !is_writable(&path) => Self::ReadOnly { path },
            Some(Code::NotADatabase) => Self::Foreign { path },
            Some(Code::DatabaseCorrupt) => Self::Corrupt { path, detail: error.to_string() },
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy { path },
            _ => Self::Io { path, detail: error.to_string() },
        }
    }

    /// The same failure, of the file that the user named rather than of one that was used on the way.
    pub(crate) fn at(self, path: &Path) -> Self {
        let path = path.to_path_buf();
        match self {
            Self::Full { .. } => Self::Full { path },
            Self::ReadOnly { .. } => Self::ReadOnly { path },
            Self::Foreign { .. } => Self::Foreign { path },
            Self::Busy { .. } => Self::Busy { path },
            Self::Corrupt { detail, .. } => Self::Corrupt { path, detail },
            Self::Io { detail, .. } => Self::Io { path, detail },
            other => other,
        }
    }

    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), detail: detail.into() }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(
                f,
                "no receipt log at `{}`: check the path, or open it for writing once, which creates it",
                path.display()
            ),
            Self::Foreign { path } => {
                write!(f, "`{}` is not a receipt log: choose another path; nothing was changed", path.display())
            }
            Self::Newer { path, found, known } => {
                write!(
                    f,
                    "receipt log `{}` has format {found}, this version knows up to {known}: upgrade chio-fast",
                    path.display()
                )
            }
            Self::Corrupt { path, detail } => write!(
                f,
                "receipt log `{}` is damaged: {detail}; keep the file, copy it elsewhere, and start with a new one or a backup",
                path.display()
            ),
            Self::ReadOnly { path } => write!(
                f,
                "receipt log `{}` cannot be written: give this user write permission to the file and its directory",
                path.display()
            ),
            Self::Full { path } => {
                write!(f, "no room left to write `{}`: free space on its file system, then restart", path.display())
            }
            Self::NetworkFileSystem { path, kind } => write!(
                f,
                "`{}` is on a `{kind}` file system, whose locks and syncs cannot be relied upon: put the receipt log on a local disk",
                path.display()
            ),
            Self::Claimed { issuer, holder } => {
                write!(f, "issuer `{issuer}` is claimed by {holder}: stop it, or give this process another issuer name")
            }
            Self::Superseded { issuer, detail } => {
                write!(
                    f,
                    "somebody else appended as issuer `{issuer}`: {detail}; stop the other writer, then restart this one"
                )
            }
            Self::KeyMismatch { issuer, stored, given } => write!(
                f,
                "issuer `{issuer}` signed with key `{stored}`, and this key is `{given}`: use the former key, or record the change with `chio-fast key rotate`"
            ),
            Self::Key { place, detail } => write!(f, "key `{place}`: {detail}"),
            Self::Options { detail } | Self::State { detail } | Self::Query { detail } => f.write_str(detail),
            Self::Seal { detail } => write!(f, "batch cannot be sealed: {detail}"),
            Self::Forked { path } => write!(
                f,
                "receipt log `{}` was opened before a fork: open it again in the child process",
                path.display()
            ),
            Self::Closed { path } => write!(f, "receipt log `{}` is closed: open it again", path.display()),
            Self::Busy { path } => write!(
                f,
                "another process has held the write lock of `{}` for too long: find it with `fuser`, and keep backups and shells off the file",
                path.display()
            ),
            Self::NotFound { what } => write!(f, "no {what} in this receipt log"),
            Self::Unavailable { path, detail } => write!(
                f,
                "receipt log `{}` cannot be reached: {detail}; start the server or mend the network, then restart",
                path.display()
            ),
            Self::Server { path, detail } => write!(f, "receipt log `{}`: {detail}", path.display()),
            Self::Import { path, detail } => write!(f, "`{}` cannot be imported: {detail}", path.display()),
            Self::Io { path, detail } => write!(f, "`{}`: {detail}", path.display()),
        }
    }
}

impl std::error::Error for LogError {}
