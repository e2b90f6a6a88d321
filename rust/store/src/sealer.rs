//! The thread that seals what is issued and makes it durable.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use chio_receipts::{AttemptQuery, Chain, Mode, SealContext, seal};

use crate::attempts::Attempts;
use crate::batch_store::{BatchStore, Head, NewBatch};
use crate::error::LogError;
use crate::queue::OpenBatch;
use crate::recent::SignedCheckpoint;
use crate::shared::{Appended, Shared, Work};

/// Owns the store and the chain; nobody else writes as this issuer.
pub(crate) struct Sealer {
    shared: Arc<Shared>,
    store: Box<dyn BatchStore>,
    chain: Chain,
    /// The issuer's newest stored batch.
    head: Option<Head>,
    attempts: Attempts,
}

impl Sealer {
    pub(crate) fn new(shared: Arc<Shared>, store: Box<dyn BatchStore>, chain: Chain, head: Option<Head>) -> Self {
        Self { shared, store, chain, head, attempts: Attempts::default() }
    }

    /// Seals until the log closes or something fails. After a failure nothing more is sealed: what was acknowledged is
    /// durable, what was not is not claimed to be.
    pub(crate) fn run(mut self) {
        let _guard = FailOnPanic(Arc::clone(&self.shared));
        while let Some(work) = self.shared.next_work() {
            if let Err(failure) = self.round(work) {
                self.shared.fail(failure);
                return;
            }
        }
    }

    /// 1 seals every batch taken; 2 appends them in one durable write; 3 publishes that they are durable; 4 tidies.
    ///
    /// A crash before 2 is complete leaves none of them in the log, and none was acknowledged. A crash after it leaves
    /// receipts that nobody waited for any more.
    fn round(&mut self, work: Work) -> Result<(), LogError> {
        for partition in &work.forgotten {
            self.attempts.forget(partition);
        }
        let mut drafts = work.batches;
        if drafts.is_empty() {
            return Ok(());
        }
        let sizes = drafts
            .iter()
            .fold((0, 0), |(count, bytes), batch| (count + batch.pending.len(), bytes + batch.pending.bytes()));
        let mut sealed = Vec::with_capacity(drafts.len());
        for batch in &mut drafts {
            sealed.push(self.seal(batch)?);
        }
        let head = self.store.append(self.head.as_ref(), &sealed)?;
        self.attempts.stored();
        let places = head.batch + 1 - sealed.len() as u64..;
        let mut appended = Vec::with_capacity(sealed.len());
        for (batch, (draft, new)) in places.zip(drafts.iter().zip(sealed)) {
            let sealed = new.sealed;
            appended.push(Appended {
                first: draft.first,
                checkpoint: SignedCheckpoint::of(batch, &sealed.frame)?,
                is_transaction: matches!(draft.spec.mode, Mode::Transaction { .. }),
                attempts: sealed.attempts,
                frame_bytes: sealed.frame.len() as u64,
            });
        }
        self.head = Some(head);
        self.shared.publish(appended, drafts, sizes);
        self.store.tidy()
    }

    fn seal(&mut self, batch: &mut OpenBatch) -> Result<NewBatch, LogError> {
        let options = &self.shared.options;
        let context = SealContext {
            signer: &self.shared.signer,
            policy_version: batch.spec.policy_version,
            mode: batch.spec.mode.clone(),
            durability: options.durability,
            time: unix_ms(),
            digest_key: options.digest_key.as_deref(),
            attestation: batch.spec.attestation.as_deref(),
            compression: options.compression,
        };
        let mut failure = None;
        let store = self.store.as_ref();
        let attempts = &mut self.attempts;
        let mut ask = |query: &AttemptQuery| match attempts.next(store, query) {
            Ok(attempt) => attempt,
            Err(error) => {
                failure.get_or_insert(error);
                0
            }
        };
        let sealed = seal(&mut batch.pending, &mut self.chain, &context, &mut ask);
        if let Some(failure) = failure {
            return Err(failure.at(self.shared.location.shown()));
        }
        let sealed = sealed.map_err(|error| LogError::Seal { detail: error.to_string() })?;
        Ok(NewBatch { sealed, outcomes: std::mem::take(&mut batch.outcomes) })
    }
}

/// A panic of the sealer must not leave anybody waiting for ever.
struct FailOnPanic(Arc<Shared>);

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(LogError::Seal { detail: "the sealer thread panicked; please report this".to_owned() });
        }
    }
}

/// Unix time in ms.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
