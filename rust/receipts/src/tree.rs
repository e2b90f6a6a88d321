//! The Merkle tree over a batch: shape and proofs as in RFC 6962 (RFC 9162 section 2.1), hashes keyed BLAKE3.
//!
//! `leaf = H(K_leaf, body padded with spaces to a multiple of 64 bytes)`, `node = H(K_node, left ‖ right)`. A body is
//! a JSON text that ends with `}`, so padding cannot make two bodies equal.

use std::borrow::Cow;

use crate::digest::pad;
use crate::hash::{self, Domain};
use crate::lanes::{BLOCK, Lanes};

/// A leaf or node.
pub type Hash = [u8; 32];

/// Leaf of one body, given without padding.
pub fn leaf(body: &[u8]) -> Hash {
    let mut padded = Cow::Borrowed(body);
    if !body.len().is_multiple_of(BLOCK) {
        pad(padded.to_mut(), 0, b' ');
    }
    hash::keyed(Domain::Leaf, &padded)
}

/// Appends the leaves of bodies that are padded already.
pub(crate) fn leaves_of_padded(bodies: &[&[u8]], out: &mut Vec<Hash>) {
    Lanes::new(Some(hash::key(Domain::Leaf))).each(bodies, out);
}

/// Inner node over two.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    hash::keyed(Domain::Node, [*left, *right].as_flattened())
}

/// Root over `leaves`; zeros for no leaf, which no batch has.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut level = Cow::Borrowed(leaves);
    while level.len() > 1 {
        level = Cow::Owned(parents(&level));
    }
    level.first().copied().unwrap_or_default()
}

/// Audit path of the leaf at `index`, from the leaf upwards; `None` if there is no such leaf.
pub fn proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut level, mut at, mut path) = (Cow::Borrowed(leaves), index, Vec::new());
    while level.len() > 1 {
        // The last node of an odd level has no sibling: it moves up unchanged.
        path.extend(level.get(at ^ 1));
        level = Cow::Owned(parents(&level));
        at /= 2;
    }
    Some(path)
}

/// The root that `path` leads to from `leaf` at `index` of `count`; `None` if the path's length does not fit.
pub fn root_of_proof(leaf: &Hash, index: u64, count: u64, path: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let (mut hash, mut at, mut last, mut path) = (*leaf, index, count - 1, path.iter());
    while last > 0 {
        if at % 2 == 1 {
            hash = node(path.next()?, &hash);
        } else if at < last {
            hash = node(&hash, path.next()?);
        }
        (at, last) = (at / 2, last / 2);
    }
    path.next().is_none().then_some(hash)
}

/// The level above: adjacent pairs hashed, an odd last node moved up unchanged.
fn parents(level: &[Hash]) -> Vec<Hash> {
    let mut above = Vec::with_capacity(level.len().div_ceil(2));
    Lanes::new(Some(hash::key(Domain::Node))).pairs(level, &mut above);
    if level.len() % 2 == 1 {
        above.extend(level.last());
    }
    above
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.
mod tests {
    use super::*;

    /// RFC 6962 section 2.1, word for word.
    fn recursive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => [0; 32],
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node(&recursive_root(left), &recursive_root(right))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|i| leaf(i.to_string().as_bytes())).collect()
    }

    #[test]
    fn shape_is_that_of_rfc_6962() {
        for count in 0..70 {
            assert_eq!(root(&leaves(count)), recursive_root(&leaves(count)), "{count}");
        }
    }

    #[test]
    fn every_proof_leads_to_the_root_and_fits_one_place_only() {
        for count in 1..35u64 {
            let leaves = leaves(count as usize);
            let root = root(&leaves);
            for index in 0..count {
                let path = proof(&leaves, index as usize).unwrap();
                let leaf = &leaves[index as usize];
                assert_eq!(root_of_proof(leaf, index, count, &path), Some(root));
                let shorter = &path[..path.len().saturating_sub(1)];
                assert!(path.is_empty() || root_of_proof(leaf, index, count, shorter).is_none());
                assert!(root_of_proof(leaf, index, count, &[path.clone(), vec![[0; 32]]].concat()).is_none());
                for other in (0..count).filter(|other| *other != index) {
                    assert_ne!(root_of_proof(leaf, other, count, &path), Some(root));
                }
            }
            assert!(proof(&leaves, count as usize).is_none());
            assert!(root_of_proof(&leaves[0], count, count, &[]).is_none());
        }
    }

    #[test]
    fn a_leaf_is_the_hash_of_the_body_padded_with_spaces() {
        for len in [1usize, 63, 64, 65, 127, 128, 129, 1024, 1025] {
            let body = vec![b'x'; len];
            let padded = [body.clone(), vec![b' '; len.next_multiple_of(64) - len]].concat();
            let mut out = Vec::new();
            leaves_of_padded(&[&padded], &mut out);
            assert_eq!(out, [leaf(&body)]);
            assert_eq!(leaf(&body), *blake3::keyed_hash(hash::key(Domain::Leaf), &padded).as_bytes());
        }
    }
}
