//! A store for several hosts: one schema of a PostgreSQL database.
//!
//! | file | holds |
//! |---|---|
//! | `url` | the URL: which server, database and schema; shown without its password |
//! | `tls` | how the URL wants its sessions protected |
//! | `certificates` | those of the server and of ours, and who checks them |
//! | `socket` | the way to one server |
//! | `connection` | one session: its beginning, statements, errors, time limits |
//! | `session` | the session of a store, made again when it is lost, with the claims that it held |
//! | `schema` | the tables, made on first use |
//! | `append`, `read` | what is asked of the tables |

mod append;
mod certificates;
mod connection;
mod read;
mod schema;
mod session;
mod socket;
mod tls;
mod url;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Mutex;

use chio_receipts::{Durability, KeyId, PartitionKey, ReceiptId};

use crate::batch_store::{BatchInfo, BatchStore, Head, NewBatch, Rewrite};
use crate::error::LogError;
use session::{Purpose, Sessions};
pub use url::PostgresUrl;

/// A receipt log in a PostgreSQL schema.
///
/// Claims are advisory locks of the one session that also appends: what is appended is appended by the holder. When the
/// session is lost, the next one takes them again, or the store fails for good.
pub struct PostgresStore {
    sessions: Sessions,
    url: PostgresUrl,
    log_id: String,
}

impl PostgresStore {
    /// Opens the log at `url` for writing, and makes its schema and tables when there are none.
    ///
    /// # Errors
    /// `Unavailable`; `Server` when the server acknowledges before it is durable, or refuses this role something; `Foreign`
    /// and `Newer` for what is in the schema.
    pub fn open(url: &PostgresUrl, durability: Durability) -> Result<Self, LogError> {
        Self::begin(url, Purpose::Write(durability))
    }

    /// Opens the log at `url` for reading; a standby will do.
    ///
    /// # Errors
    /// `Missing` when there is none, else as for [`PostgresStore::open`].
    pub fn open_readable(url: &PostgresUrl) -> Result<Self, LogError> {
        Self::begin(url, Purpose::Read)
    }

    fn begin(url: &PostgresUrl, purpose: Purpose) -> Result<Self, LogError> {
        let sessions = Sessions::open(url, purpose)?;
        let log_id = sessions.run(async |session, _| read::log_id(session).await)?;
        Ok(Self { sessions, url: url.clone(), log_id })
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("url", &self.url).finish_non_exhaustive()
    }
}

impl BatchStore for PostgresStore {
    fn log_id(&self) -> Result<String, LogError> {
        Ok(self.log_id.clone())
    }

    fn claim(&mut self, name: &str) -> Result<Result<(), String>, LogError> {
        let hash = blake3::hash(format!("{}\0{name}", self.log_id).as_bytes());
        let key = hash.as_bytes().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
        self.sessions.claim(name, key)
    }

    fn head(&self, issuer: &str) -> Result<Option<Head>, LogError> {
        self.sessions.run(async |session, _| read::head(session, issuer).await)
    }

    fn start(&mut self, now: i64) -> Result<i64, LogError> {
        self.sessions.run(async |session, _| append::start(session, now).await)
    }

    fn append(&mut self, expected: Option<&Head>, batches: &[NewBatch]) -> Result<Head, LogError> {
        self.sessions.run(async |session, again| append::append(session, expected, batches, again).await)
    }

    fn import(&mut self, batches: &[NewBatch]) -> Result<(), LogError> {
        self.sessions.run(async |session, again| append::import(session, batches, again).await)
    }

    /// The server tidies by itself.
    fn tidy(&mut self) -> Result<(), LogError> {
        Ok(())
    }

    fn frame(&self, batch: u64) -> Result<Option<Vec<u8>>, LogError> {
        self.sessions.run(async |session, _| read::frame(session, batch).await)
    }

    fn scan(&self, from: u64, limit: usize) -> Result<Vec<BatchInfo>, LogError> {
        self.sessions.run(async |session, _| read::scan(session, from, limit).await)
    }

    fn prepared(&self) -> Result<Vec<BatchInfo>, LogError> {
        self.sessions.run(async |session, _| read::prepared(session).await)
    }

    fn last_batch(&self) -> Result<u64, LogError> {
        self.sessions.run(async |session, _| read::last_batch(session).await)
    }

    fn find_checkpoint(&self, hash: &[u8; 32]) -> Result<Option<u64>, LogError> {
        self.sessions.run(async |session, _| read::find_checkpoint(session, hash).await)
    }

    fn find_id(&self, id: ReceiptId) -> Result<Vec<u64>, LogError> {
        self.sessions.run(async |session, _| read::find_id(session, id).await)
    }

    fn highest_offset(&self, partition: &PartitionKey) -> Result<Option<i64>, LogError> {
        self.sessions.run(async |session, _| read::highest_offset(session, partition).await)
    }

    fn covering(&self, partition: &PartitionKey, offsets: RangeInclusive<i64>) -> Result<Vec<u64>, LogError> {
        self.sessions.run(async |session, _| read::covering(session, partition, &offsets).await)
    }

    fn rewrite_frame(&mut self, batch: u64, rewrite: Rewrite<'_>) -> Result<(), LogError> {
        let rewrite = Mutex::new(rewrite);
        self.sessions.run(async |session, _| {
            append::rewrite_frame(session, batch, &mut |former| {
                rewrite.lock().unwrap_or_else(std::sync::PoisonError::into_inner)(former)
            })
            .await
        })
    }

    fn issuers(&self) -> Result<Vec<String>, LogError> {
        self.sessions.run(async |session, _| read::issuers(session).await)
    }

    fn is_rotation(&self, former: &KeyId, present: &KeyId) -> Result<bool, LogError> {
        self.sessions.run(async |session, _| read::is_rotation(session, former, present).await)
    }

    fn record_rotation(&mut self, former: &KeyId, present: &KeyId, now: i64) -> Result<(), LogError> {
        let sql = "INSERT INTO rotation VALUES ($1, $2, $3) ON CONFLICT (former, present) DO UPDATE SET time = $3";
        self.sessions.run(async |session, _| {
            session.execute(sql, &[&former.as_slice(), &present.as_slice(), &now]).await.map(|_| ())
        })
    }
}
