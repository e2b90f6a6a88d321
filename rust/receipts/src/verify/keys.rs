//! Whether a checkpoint is signed by a key that may sign it.

use std::collections::HashMap;

use super::{Fault, VerifyError};
use crate::checkpoint::{self, Checkpoint};
use crate::hex;
use crate::sign::{KeyId, PublicKey};
use crate::trust::{KeyStatus, Trust, TrustedKey};

/// The trust file with its keys unpacked.
pub(super) struct Keys<'a> {
    by_id: HashMap<KeyId, (&'a TrustedKey, Option<PublicKey>)>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(trust: &'a Trust) -> Self {
        let by_id =
            trust.keys.iter().map(|key| (key.key_id(), (key, PublicKey::from_bytes(&key.public_key)))).collect();
        Self { by_id }
    }

    /// Checks key, window and signature of a checkpoint; gives the key. Whether a key that is retired or compromised
    /// may have signed this one depends on where it stands, which the caller knows.
    pub(super) fn check(
        &self,
        checkpoint: &Checkpoint,
        hash: &[u8; 32],
        signature: &[u8; 64],
    ) -> Result<&'a TrustedKey, VerifyError> {
        let name = || hex::encode(&checkpoint.key_id);
        let Some((key, public)) = self.by_id.get(&checkpoint.key_id) else {
            return Err(VerifyError::new(Fault::KeyUnknown, format!("key `{}` is not in the trust file", name())));
        };
        if !key.may_sign_for(&checkpoint.issuer) {
            let detail = format!("key `{}` may not sign for issuer `{}`", name(), checkpoint.issuer);
            return Err(VerifyError::new(Fault::KeyIssuer, detail));
        }
        let early = key.not_before.is_some_and(|time| checkpoint.time < time);
        let late = key.not_after.is_some_and(|time| checkpoint.time > time);
        if early || late {
            let detail = format!("key `{}` may not sign at {} ms", name(), checkpoint.time);
            return Err(VerifyError::new(Fault::KeyTime, detail));
        }
        if !public.as_ref().is_some_and(|public| public.verifies(hash, signature)) {
            let detail = format!("not the signature of key `{}` over this checkpoint", name());
            return Err(VerifyError::new(Fault::Signature, detail));
        }
        Ok(*key)
    }
}

/// The fault of a checkpoint that follows the last one of its key, if its key is at its end.
pub(super) fn ended(key: &TrustedKey) -> Option<VerifyError> {
    let name = hex::encode(&key.key_id());
    match key.status {
        KeyStatus::Active => None,
        KeyStatus::Retired => {
            Some(VerifyError::new(Fault::KeyRetired, format!("key `{name}` was retired at an earlier checkpoint")))
        }
        KeyStatus::Compromised => Some(VerifyError::new(
            Fault::KeyCompromised,
            format!("key `{name}` is compromised, and nothing shows that this checkpoint was signed before"),
        )),
    }
}

/// Checks that the attestation is the one that the checkpoint names. `required`: it must be there if it is named.
pub(super) fn check_attestation(
    checkpoint: &Checkpoint,
    attestation: Option<&[u8]>,
    required: bool,
) -> Result<(), VerifyError> {
    let wrong = |detail: &str| Err(VerifyError::new(Fault::Attestation, detail));
    match (attestation, checkpoint.attestation) {
        (None, None) => Ok(()),
        (None, Some(_)) if required => wrong("the attestation that the checkpoint names is missing"),
        (None, Some(_)) => Ok(()),
        (Some(_), None) => wrong("the checkpoint names no attestation"),
        (Some(text), Some(hash)) => {
            if checkpoint::attestation_hash(text) != hash {
                return wrong("not the attestation that the checkpoint names");
            }
            match crate::jcs::canonicalize(text) {
                Ok(canonical) if canonical == text => Ok(()),
                _ => wrong("the attestation is not canonical"),
            }
        }
    }
}
