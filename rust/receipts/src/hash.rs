//! Domains of the format: one BLAKE3 key for each use, so that no value of one use passes for another.

use std::sync::LazyLock;

/// What a hash is for. Each has a key derived from a fixed string (`blake3::derive_key`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// Leaves of the tree: padded bodies.
    Leaf,
    /// Inner nodes of the tree.
    Node,
    /// Checkpoints.
    Checkpoint,
    /// Attestations of transactions.
    Attestation,
    /// Partition keys.
    Partition,
    /// Request keys.
    Request,
    /// Tags in ids.
    IdTag,
    /// Names of digest keys.
    DigestKey,
}

/// How many domains there are.
const DOMAINS: usize = 8;

/// The strings from which the keys are derived, in the order of [`Domain`].
const CONTEXTS: [&str; DOMAINS] = [
    "chio_fast receipts v1 leaf",
    "chio_fast receipts v1 node",
    "chio_fast receipts v1 checkpoint",
    "chio_fast receipts v1 attestation",
    "chio_fast receipts v1 partition key",
    "chio_fast receipts v1 request key",
    "chio_fast receipts v1 id tag",
    "chio_fast receipts v1 digest key id",
];

static KEYS: LazyLock<[[u8; 32]; DOMAINS]> = LazyLock::new(|| CONTEXTS.map(|context| blake3::derive_key(context, b"")));

/// The key of a domain.
pub(crate) fn key(domain: Domain) -> &'static [u8; 32] {
    // INVARIANT (domains): `DOMAINS` counts the variants of `Domain`, which number from 0.
    #[allow(clippy::indexing_slicing)]
    &KEYS[domain as usize]
}

/// Hash of `bytes` in a domain.
pub(crate) fn keyed(domain: Domain, bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key(domain), bytes).as_bytes()
}

/// Hash of several parts in a domain; each part is preceded by its length (u64, little endian), so that borders count.
pub(crate) fn parts(domain: Domain, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key(domain));
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The first 16 bytes of a hash.
pub(crate) fn first_16(hash: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(hash) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_has_a_key_of_its_own() {
        assert_eq!(Domain::DigestKey as usize, DOMAINS - 1);
        for (i, a) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(i + 1).all(|b| a != b));
        }
    }

    #[test]
    fn borders_between_parts_count() {
        assert_ne!(parts(Domain::Partition, &[b"ab", b"c"]), parts(Domain::Partition, &[b"a", b"bc"]));
        assert_ne!(parts(Domain::Partition, &[b"ab"]), parts(Domain::Partition, &[b"ab", b""]));
    }
}
