//! Ed25519 over checkpoints.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::hash;

/// What precedes the checkpoint hash under the signature, so that no other use of the key passes for a checkpoint.
pub const SIGNATURE_PREFIX: &[u8; 24] = b"chio_fast checkpoint v1\n";

/// Name of a public key: the first 16 bytes of its BLAKE3 hash.
pub type KeyId = [u8; 16];

/// Holds a private key; zeroised when dropped, never printed.
pub struct Signer {
    key: SigningKey,
    key_id: KeyId,
}

impl Signer {
    /// The signer of a 32-byte Ed25519 seed (RFC 8032).
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        let key = SigningKey::from_bytes(seed);
        let key_id = key_id(&key.verifying_key().to_bytes());
        Self { key, key_id }
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Name of the public key.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Signs a checkpoint by its hash.
    pub fn sign(&self, checkpoint_hash: &[u8; 32]) -> [u8; 64] {
        self.key.sign(&message(checkpoint_hash)).to_bytes()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", crate::hex::encode(&self.key_id))
    }
}

/// Name of a public key.
pub fn key_id(public_key: &[u8; 32]) -> KeyId {
    hash::first_16(blake3::hash(public_key).as_bytes())
}

/// Whether `signature` is that of `public_key` over the checkpoint with this hash.
///
/// Strict (RFC 8032 with the choices of `verify_strict`): S < L, canonical A and R, neither of small order, and the
/// equation without cofactor.
pub fn holds(public_key: &[u8; 32], checkpoint_hash: &[u8; 32], signature: &[u8; 64]) -> bool {
    PublicKey::from_bytes(public_key).is_some_and(|key| key.verifies(checkpoint_hash, signature))
}

/// A public key that may verify: a canonical point that is not of small order.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a public key; `None` if no signature under it may count.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        (is_canonical_point(bytes) && !key.is_weak()).then_some(Self(key))
    }

    /// Whether `signature` is this key's over the checkpoint: S < L, canonical R that is not of small order,
    /// and the equation without cofactor.
    pub(crate) fn verifies(&self, checkpoint_hash: &[u8; 32], signature: &[u8; 64]) -> bool {
        let (r, _) = signature.split_at(32);
        let canonical = r.try_into().is_ok_and(is_canonical_point);
        canonical && self.0.verify_strict(&message(checkpoint_hash), &Signature::from_bytes(signature)).is_ok()
    }
}

fn message(checkpoint_hash: &[u8; 32]) -> [u8; 56] {
    let mut out = [0; 56];
    let (prefix, hash) = out.split_at_mut(SIGNATURE_PREFIX.len());
    prefix.copy_from_slice(SIGNATURE_PREFIX);
    hash.copy_from_slice(checkpoint_hash);
    out
}

/// Whether the encoded y is below the field's prime 2^255 − 19, and the sign bit of x is clear where x is 0 (y = ±1).
fn is_canonical_point(bytes: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = bytes;
    let y_last = last & 0x7f;
    if y_last == 0x7f && middle.iter().all(|byte| *byte == 0xff) && *first >= 0xed {
        return false;
    }
    let is_one = *first == 1 && y_last == 0 && middle.iter().all(|byte| *byte == 0);
    let is_minus_one = *first == 0xec && y_last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    !((is_one || is_minus_one) && last & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_does_not_print_its_seed() {
        let signer = Signer::from_seed(&Zeroizing::new([7; 32]));
        assert_eq!(format!("{signer:?}"), format!("Signer({})", crate::hex::encode(&signer.key_id())));
    }

    #[test]
    fn points_with_a_second_spelling_are_refused() {
        let mut p_plus_1 = [0xff; 32];
        (p_plus_1[0], p_plus_1[31]) = (0xee, 0x7f);
        assert!(!is_canonical_point(&p_plus_1));
        let mut minus_zero = [0; 32];
        (minus_zero[0], minus_zero[31]) = (1, 0x80);
        assert!(!is_canonical_point(&minus_zero));
        minus_zero[31] = 0;
        assert!(is_canonical_point(&minus_zero));
        assert!(PublicKey::from_bytes(&minus_zero).is_none(), "small order");
    }
}
