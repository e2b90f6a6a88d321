//! Changing the key of a log.

use chio_receipts::trust::{KeyStatus, LastCheckpoint, Trust, TrustedKey};
use chio_receipts::{KeyId, Signer};

use crate::batch_store::Head;
use crate::claim;
use crate::error::LogError;
use crate::location::LogLocation;
use crate::registry::{configured_name, own_issuers};
use crate::sealer::unix_ms;

/// One issuer whose key is followed by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The issuer's full name.
    pub issuer: String,
    /// The key that signed its last checkpoint.
    pub former: KeyId,
    /// Hash of that checkpoint: the last one that the former key stands for.
    pub last_checkpoint: [u8; 32],
}

/// Records in a log that the key of `present` follows whatever keys its own issuers signed with. It takes effect
/// when an issuer starts again, which is the start of an epoch. Doing it twice does no harm.
///
/// # Errors
/// `Claimed` when one of these issuers is running: what it signs afterwards would count for nothing, so stop it first.
pub fn rotate(log: impl Into<LogLocation>, present: &Signer) -> Result<Vec<Rotation>, LogError> {
    let mut store = log.into().resolved()?.open_existing()?;
    let present = present.key_id();
    let mut heads: Vec<(String, Head)> = Vec::new();
    for issuer in own_issuers(store.as_ref())? {
        if let Some(head) = store.head(&issuer)?.filter(|head| head.key_id != present) {
            heads.push((issuer, head));
        }
    }
    // Held as long as the store, so that none of them starts with its former key meanwhile.
    for (issuer, _) in &heads {
        claim::exact(store.as_mut(), configured_name(issuer))?;
    }
    let mut rotations = Vec::with_capacity(heads.len());
    for (issuer, _) in heads {
        // Read again under the claim: it may have gone on in between.
        let Some(head) = store.head(&issuer)? else { continue };
        store.record_rotation(&head.key_id, &present, unix_ms())?;
        rotations.push(Rotation { issuer, former: head.key_id, last_checkpoint: head.checkpoint });
    }
    Ok(rotations)
}

/// Enters a rotation into a trust file: the former keys are retired with their last checkpoints, the present one is active
/// for the same issuers. Keys that the trust file does not know are left to its owner.
pub fn retire(trust: &mut Trust, rotations: &[Rotation], present: &Signer) {
    let mut issuers: Vec<String> = Vec::new();
    for rotation in rotations {
        let Some(key) = trust.keys.iter_mut().find(|key| key.key_id() == rotation.former) else { continue };
        if key.status == KeyStatus::Active {
            key.status = KeyStatus::Retired;
        }
        key.last_checkpoints.retain(|last| last.issuer != rotation.issuer);
        key.last_checkpoints.push(LastCheckpoint { issuer: rotation.issuer.clone(), hash: rotation.last_checkpoint });
        issuers.extend(key.issuers.iter().cloned());
    }
    issuers.sort();
    issuers.dedup();
    let public_key = present.public_key();
    match trust.keys.iter_mut().find(|key| key.public_key == public_key) {
        Some(key) => {
            key.issuers.extend(issuers);
            key.issuers.sort();
            key.issuers.dedup();
        }
        None => {
            let issuers: Vec<&str> = issuers.iter().map(String::as_str).collect();
            trust.keys.push(TrustedKey::active(public_key, &issuers));
        }
    }
}
