//! The receipt log as a writer sees it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chio_receipts::{IdSource, PartitionKey, PushError};

use crate::error::LogError;
use crate::location::LogLocation;
use crate::options::{BatchSpec, LogOptions};
use crate::queue::Issue;
use crate::recent::{SealedReceipt, SignedCheckpoint};
use crate::registry;
use crate::shared::Shared;
use crate::stats::LogStats;

/// One user's handle on a receipt log that is open for writing.
///
/// All handles on one log in one process share the claim, the epoch and the sealer thread. The log closes when the last
/// handle closes. Every method may be called from any thread.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    closed: AtomicBool,
}

impl Log {
    /// Opens the log at a location for writing, creates it when there is none, claims an issuer's name and starts an epoch.
    ///
    /// # Errors
    /// Every [`LogError`] that names the log, its format, the claim or the key; `Options` when this process has the log
    /// open already with other options, or when a log in a database is given no signer.
    pub fn open(location: impl Into<LogLocation>, options: &LogOptions) -> Result<Arc<Self>, LogError> {
        options.check()?;
        let shared = registry::open(&location.into(), options)?;
        Ok(Arc::new(Self { shared, closed: AtomicBool::new(false) }))
    }

    /// Issues receipts of one policy version under one lock, and returns the ordinal of the last receipt that the log has
    /// issued by then. Waits first while too much is unsealed.
    ///
    /// # Errors
    /// The sealer's failure, if it has failed; `Closed`, `Forked`.
    pub fn issue(&self, policy_version: [u8; 32], drafts: impl FnOnce(&mut Issue<'_>)) -> Result<u64, LogError> {
        self.wait_for_room(None)?;
        self.issue_now(policy_version, drafts)
    }

    /// Like [`Log::issue`], but never waits: for callers that hold a lock which the wait must not hold, such as Python's,
    /// and that have seen [`Log::has_room`].
    ///
    /// # Errors
    /// As for [`Log::issue`].
    pub fn issue_now(&self, policy_version: [u8; 32], drafts: impl FnOnce(&mut Issue<'_>)) -> Result<u64, LogError> {
        self.usable()?;
        self.shared.issue(&BatchSpec::recorded(policy_version), drafts)
    }

    /// Issues the receipts of transactions or attempts as batches of their own, one for each of `specs`, sealed at once
    /// and appended in one durable write: all of them or none. `drafts` is called with the index of each spec. Returns the
    /// last ordinal of each batch. Never waits, see [`Log::issue_now`].
    ///
    /// A transaction's receipts are one batch, whatever `max_batch` says.
    ///
    /// # Errors
    /// As for [`Log::issue`]; `Seal` when a draft cannot become a receipt. Nothing is issued then.
    pub fn issue_batches(
        &self,
        specs: &[BatchSpec],
        drafts: impl FnMut(usize, &mut Issue<'_>) -> Result<(), PushError>,
    ) -> Result<Vec<u64>, LogError> {
        self.usable()?;
        self.shared.issue_batches(specs, drafts)
    }

    /// Gives ids for receipts that [`Log::issue_batches`] issues later, if ever.
    ///
    /// # Errors
    /// As for [`Log::issue`].
    pub fn give_ids(&self, give: impl FnOnce(&mut IdSource)) -> Result<(), LogError> {
        self.usable()?;
        self.shared.give_ids(give)
    }

    /// Whether [`Log::issue`] would go ahead, or fail, without waiting.
    pub fn has_room(&self) -> bool {
        !self.is_ours() || self.shared.has_room()
    }

    /// Waits until there is room, at most `timeout`; false if there is none by then.
    ///
    /// # Errors
    /// As for [`Log::issue`].
    pub fn wait_for_room(&self, timeout: Option<Duration>) -> Result<bool, LogError> {
        self.usable()?;
        self.shared.wait_for_room(timeout)
    }

    /// Ordinal of the last receipt issued; 0 before the first. In a forked child, of the last durable one.
    pub fn issued(&self) -> u64 {
        if self.is_ours() { self.shared.issued() } else { self.durable() }
    }

    /// Every receipt up to this ordinal is durable.
    pub fn durable(&self) -> u64 {
        self.shared.durable()
    }

    /// Asks for everything issued so far to be sealed now, and returns the ordinal to wait for; the wait is what a forked
    /// child is refused.
    pub fn seal(&self) -> u64 {
        if self.is_ours() { self.shared.seal() } else { self.durable() }
    }

    /// Waits until every receipt up to `ordinal` is durable, at most `timeout`; false if it is not by then.
    ///
    /// # Errors
    /// The sealer's failure, if it has failed and will not make this ordinal durable; `Options` for an ordinal that was
    /// not issued; `Closed`, `Forked`.
    pub fn wait_durable(&self, ordinal: u64, timeout: Option<Duration>) -> Result<bool, LogError> {
        self.usable()?;
        self.shared.wait_durable(ordinal, timeout)
    }

    /// To be called when a partition is assigned: another process may have had it, so what this one knows of its attempts
    /// counts no more.
    pub fn partition_assigned(&self, partition: PartitionKey) {
        if self.is_ours() {
            self.shared.forget(partition);
        }
    }

    /// What became of recently sealed receipts, by ordinal; `None` for those that are not durable yet or left the window
    /// of the last million, and in a forked child.
    pub fn sealed(&self, ordinals: Range<u64>) -> Vec<Option<SealedReceipt>> {
        if self.is_ours() { self.shared.sealed(ordinals) } else { ordinals.map(|_| None).collect() }
    }

    /// The checkpoint of the transaction's batch that holds the receipt with this ordinal.
    ///
    /// # Errors
    /// `NotFound` when it is not durable yet, is no transaction's, or is none of the recent ones; `Closed`, `Forked`.
    pub fn checkpoint(&self, ordinal: u64) -> Result<SignedCheckpoint, LogError> {
        self.usable()?;
        self.shared.checkpoint(ordinal).ok_or_else(|| LogError::NotFound {
            what: format!("recent transaction whose receipts hold ordinal {ordinal} and are durable"),
        })
    }

    /// The issuer's newest durable checkpoint, of whatever epoch; `None` before its first.
    ///
    /// # Errors
    /// `Closed`, `Forked`.
    pub fn head(&self) -> Result<Option<SignedCheckpoint>, LogError> {
        self.usable()?;
        Ok(self.shared.head())
    }

    /// The issuer's full name: configured or default name, `@`, the log's id.
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// The epoch that this process started.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Where the log is, with links resolved.
    pub fn location(&self) -> &LogLocation {
        &self.shared.location
    }

    /// Public key that verifies what this log signs.
    pub fn public_key(&self) -> [u8; 32] {
        self.shared.signer.public_key()
    }

    /// The key file that was created together with this log, if that happened: worth a line to the user.
    pub fn created_key(&self) -> Option<&Path> {
        self.shared.created_key.as_deref()
    }

    /// Counters for monitoring; nothing counts in a forked child.
    pub fn stats(&self) -> LogStats {
        if self.is_ours() { self.shared.stats() } else { LogStats::default() }
    }

    /// Makes everything issued durable and gives the handle back; the last one ends the sealer and gives up the claim.
    /// Closing twice does nothing.
    ///
    /// # Errors
    /// The sealer's failure: what was not durable is not in the log.
    pub fn close(&self) -> Result<(), LogError> {
        if !self.is_ours() || self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        registry::close(&self.shared)
    }

    fn shown(&self) -> PathBuf {
        self.shared.location.shown().to_path_buf()
    }

    /// Whether this is the process that opened the log. In a forked child a lock may be held by a thread that is not there,
    /// so none is taken.
    fn is_ours(&self) -> bool {
        self.shared.opened.is_current()
    }

    fn usable(&self) -> Result<(), LogError> {
        if !self.is_ours() {
            return Err(LogError::Forked { path: self.shown() });
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed { path: self.shown() });
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Whoever needs to know about a failure calls `close`, or has waited for its receipts.
        let _ = self.close();
    }
}
