//! How the batches of one issuer follow each other.

use std::collections::{HashMap, HashSet};

use super::ids::EpochIds;
use super::report::IssuerReport;
use crate::checkpoint::Checkpoint;
use crate::hex;
use crate::sign::KeyId;
use crate::trust::{KeyStatus, TrustedKey};
use crate::verify::keys::ended;
use crate::verify::{Fault, VerifyError};

/// Where a log that is continued holds the end of an issuer's chain. The ids that it holds of the epoch are not told: what
/// repeats one of them is found when the whole log is verified.
#[derive(Clone, Debug)]
pub struct ChainEnd {
    /// Epoch of the newest batch.
    pub epoch: u64,
    /// Position of the next record in it.
    pub next_seq: u64,
    /// Records over all epochs.
    pub running_count: u64,
    /// Hash of the newest checkpoint.
    pub checkpoint: [u8; 32],
    /// The key that signed it.
    pub key_id: KeyId,
    /// The keys whose last checkpoints, as the trust file knows them, the chain has passed.
    pub passed: Vec<KeyId>,
}

/// Where the chain of one issuer stands.
pub(super) struct IssuerState {
    epoch: u64,
    next_seq: u64,
    running_count: u64,
    head: [u8; 32],
    /// Key of the current epoch; `None` before the first batch.
    key_id: Option<KeyId>,
    batches: u64,
    /// Ids of the current epoch.
    pub(super) ids: EpochIds,
    /// The checkpoint that follows each one: two different followers are a fork.
    followers: HashMap<[u8; 32], [u8; 32]>,
    /// Checkpoints of the chain.
    seen: HashSet<[u8; 32]>,
    /// Keys that signed, and whether the chain has reached their last checkpoint.
    keys: Vec<(KeyId, bool)>,
}

impl IssuerState {
    /// The state before the first batch that is seen: the chain's beginning, or, in a part of a log, whatever this
    /// batch says that it follows.
    pub(super) fn before(first: &Checkpoint, partial: bool) -> Self {
        let (epoch, next_seq, running_count, head) = if partial {
            let before = first.running_count.saturating_sub(u64::from(first.count));
            (first.epoch, first.first_seq, before, first.previous)
        } else {
            (0, 0, 0, [0; 32])
        };
        Self {
            epoch,
            next_seq,
            running_count,
            head,
            key_id: None,
            batches: 0,
            ids: EpochIds::default(),
            followers: HashMap::new(),
            seen: HashSet::new(),
            keys: Vec::new(),
        }
    }

    /// The state at the end of a chain that a log holds.
    pub(super) fn at(end: ChainEnd) -> Self {
        Self {
            epoch: end.epoch,
            next_seq: end.next_seq,
            running_count: end.running_count,
            head: end.checkpoint,
            key_id: Some(end.key_id),
            batches: 0,
            ids: EpochIds::default(),
            followers: HashMap::new(),
            seen: HashSet::from([end.checkpoint]),
            keys: end.passed.into_iter().map(|key| (key, true)).collect(),
        }
    }

    /// Checks the next batch, of which key and signature are good, and takes it as the new end of the chain.
    pub(super) fn follow(&mut self, next: &Checkpoint, hash: &[u8; 32], key: &TrustedKey) -> Vec<VerifyError> {
        let mut faults = Vec::new();
        let mut fault = |fault, detail: String| faults.push(VerifyError::new(fault, detail));
        let same_epoch = next.epoch == self.epoch;
        let next_epoch = Some(next.epoch) == self.epoch.checked_add(1) && self.key_id.is_some();
        if !same_epoch && !next_epoch {
            fault(Fault::Epoch, format!("epoch {} follows epoch {}", next.epoch, self.epoch));
        }
        if same_epoch && self.key_id.is_some_and(|key_id| key_id != next.key_id) {
            fault(Fault::KeyChange, format!("the key changes to `{}` within the epoch", hex::encode(&next.key_id)));
        }
        let first_seq = if same_epoch { self.next_seq } else { 0 };
        if next.first_seq != first_seq {
            fault(Fault::FirstSeq, format!("`first_seq` is {}, expected {first_seq}", next.first_seq));
        }
        let running_count = self.running_count.saturating_add(u64::from(next.count));
        if next.running_count != running_count {
            fault(Fault::RunningCount, format!("`running_count` is {}, expected {running_count}", next.running_count));
        }
        let follows = next.previous == self.head;
        let known = self.followers.get(&next.previous);
        if !follows {
            let name = hex::encode(&next.previous);
            match known {
                Some(follower) if follower != hash => {
                    fault(Fault::Fork, format!("checkpoint `{name}` has another successor already"));
                }
                Some(_) => fault(Fault::Previous, "this batch stands in the log twice".to_owned()),
                None => fault(Fault::Previous, format!("follows checkpoint `{name}`, which is not the last one")),
            }
        }
        // A fork or repetition is no continuation: what follows is held against the chain that was there first.
        if follows || known.is_none() {
            self.advance(next, hash);
        }
        faults.extend(self.note_key(key, &next.issuer, hash));
        faults
    }

    fn advance(&mut self, next: &Checkpoint, hash: &[u8; 32]) {
        if next.epoch != self.epoch {
            self.ids = EpochIds::default();
        }
        self.followers.insert(next.previous, *hash);
        self.seen.insert(*hash);
        self.epoch = next.epoch;
        self.next_seq = next.first_seq.saturating_add(u64::from(next.count));
        self.running_count = next.running_count;
        self.head = *hash;
        self.key_id = Some(next.key_id);
        self.batches += 1;
    }

    /// Notes that `key` signed the checkpoint with this hash; a fault if it was at its end before.
    fn note_key(&mut self, key: &TrustedKey, issuer: &str, hash: &[u8; 32]) -> Option<VerifyError> {
        let key_id = key.key_id();
        let last = key.last_checkpoint(issuer);
        let index = self.keys.iter().position(|(known, _)| *known == key_id).unwrap_or_else(|| {
            self.keys.push((key_id, false));
            self.keys.len() - 1
        });
        let (_, passed) = self.keys.get_mut(index)?;
        let before = *passed;
        *passed |= last == Some(hash);
        let lost = key.status == KeyStatus::Compromised && last.is_none();
        if before || lost { ended(key) } else { None }
    }

    /// Whether the chain has reached the last checkpoint that is known of this key.
    pub(super) fn passed(&self, key_id: &KeyId) -> bool {
        self.keys.iter().any(|(known, passed)| known == key_id && *passed)
    }

    /// Whether this key signed any batch.
    pub(super) fn signed_by(&self, key_id: &KeyId) -> bool {
        self.keys.iter().any(|(known, _)| known == key_id)
    }

    /// Whether the chain has a checkpoint with this hash.
    pub(super) fn knows(&self, hash: &[u8; 32]) -> bool {
        self.seen.contains(hash)
    }

    pub(super) fn report(self, issuer: String) -> IssuerReport {
        IssuerReport {
            issuer,
            epoch: self.epoch,
            batches: self.batches,
            running_count: self.running_count,
            head: self.head,
        }
    }
}
