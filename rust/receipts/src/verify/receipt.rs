//! Verifying one receipt from its export.

use super::keys::{Keys, check_attestation, ended};
use super::{Fault, VerifyError};
use crate::chain::Mode;
use crate::checkpoint::{self, Checkpoint};
use crate::export::{Export, Proven, ProvenContent};
use crate::id;
use crate::record::Record;
use crate::trust::{KeyStatus, Trust};
use crate::words::OutcomeWord;
use crate::{ReceiptId, tree};

/// What is known of a receipt that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its id; `None` if the body is withheld.
    pub id: Option<ReceiptId>,
    /// Position in the issuer's epoch.
    pub seq: u64,
    /// The checkpoint that commits to it.
    pub checkpoint: Checkpoint,
    /// Hash of that checkpoint.
    pub checkpoint_hash: [u8; 32],
    /// What it stands for.
    pub state: State,
}

/// What a verified receipt stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A decision that took effect as it was made.
    Recorded,
    /// Evidence of an attempt.
    Attempt,
    /// Its transaction committed.
    Committed,
    /// Its transaction did not commit.
    RolledBack,
    /// Authentic, outcome unknown.
    Unknown,
}

impl State {
    /// The word, the same in both verifiers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Attempt => "attempt",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Unknown => "unknown",
        }
    }
}

/// Verifies one receipt.
///
/// # Errors
/// [`VerifyError`] with the first fault: checkpoint, key, signature, attestation, record, place, proof, then the same
/// for the outcome.
pub fn receipt(export: &Export, trust: &Trust) -> Result<Verified, VerifyError> {
    let keys = Keys::new(trust);
    let (checkpoint, record) = proven(&export.receipt, &keys)?;
    let checkpoint_hash = checkpoint::hash(export.receipt.checkpoint.as_bytes());
    let state = match (&checkpoint.mode, &export.outcome) {
        (Mode::Recorded, None) => State::Recorded,
        (Mode::Attempt, None) => State::Attempt,
        (Mode::Transaction { .. }, None) => State::Unknown,
        (Mode::Transaction { .. }, Some(outcome)) => state_of(outcome, &checkpoint.issuer, &checkpoint_hash, &keys)?,
        _ => return Err(VerifyError::new(Fault::Outcome, "only a transaction's batch has an outcome")),
    };
    Ok(Verified {
        id: record.map(|record| record.id()),
        seq: checkpoint.first_seq.saturating_add(export.receipt.index),
        checkpoint,
        checkpoint_hash,
        state,
    })
}

/// Verifies the outcome of the batch with this checkpoint.
fn state_of(outcome: &Proven, issuer: &str, batch: &[u8; 32], keys: &Keys<'_>) -> Result<State, VerifyError> {
    let (_, record) = proven(outcome, keys)?;
    let wrong = |detail: &str| Err(VerifyError::new(Fault::Outcome, detail));
    let Some(Record::Outcome(outcome)) = record else { return wrong("the outcome is not an outcome record") };
    if outcome.batch != *batch || outcome.issuer.decode() != issuer {
        return wrong("the outcome is that of another batch");
    }
    Ok(match outcome.outcome {
        OutcomeWord::Committed => State::Committed,
        OutcomeWord::RolledBack => State::RolledBack,
        OutcomeWord::Unknown => State::Unknown,
    })
}

/// Verifies that a record is part of a batch that a trusted key signed.
fn proven<'a>(proven: &'a Proven, keys: &Keys<'_>) -> Result<(Checkpoint, Option<Record<'a>>), VerifyError> {
    let checkpoint =
        Checkpoint::parse(proven.checkpoint.as_bytes()).map_err(|error| VerifyError::new(Fault::Checkpoint, error))?;
    let hash = checkpoint::hash(proven.checkpoint.as_bytes());
    let key = keys.check(&checkpoint, &hash, &proven.signature)?;
    // Times can be forged with a stolen key: of a single checkpoint, only the one that is known from elsewhere counts.
    if key.status == KeyStatus::Compromised
        && key.last_checkpoint(&checkpoint.issuer) != Some(&hash)
        && let Some(fault) = ended(key)
    {
        return Err(fault);
    }
    check_attestation(&checkpoint, proven.attestation.as_deref().map(str::as_bytes), false)?;
    let (leaf, record) = match &proven.content {
        ProvenContent::Leaf(leaf) => (*leaf, None),
        ProvenContent::Body(body) => {
            let record = Record::parse(body.as_bytes()).map_err(|error| VerifyError::new(Fault::Record, error))?;
            (tree::leaf(body.as_bytes()), Some(record))
        }
    };
    if let Some(record) = &record {
        if Some(record.seq()) != checkpoint.first_seq.checked_add(proven.index) {
            return Err(VerifyError::new(Fault::Seq, "`seq` is not `first_seq` + `index`"));
        }
        if record.id().tag() != id::tag(&checkpoint.issuer, checkpoint.epoch) {
            return Err(VerifyError::new(Fault::Id, "the id is of another issuer or epoch"));
        }
    }
    let root = tree::root_of_proof(&leaf, proven.index, u64::from(checkpoint.count), &proven.proof);
    if root != Some(checkpoint.root) {
        return Err(VerifyError::new(
            Fault::Proof,
            "the proof does not lead from this record at this index to the root",
        ));
    }
    Ok((checkpoint, record))
}
