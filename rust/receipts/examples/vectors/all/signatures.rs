//! Edge cases of Ed25519 (the cases of "Taming the many EdDSAs", Chalkias et al. 2020, over this format's message).

use chio_receipts::{hex, sign};
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::world::signer;

/// The group's order L, little endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn message(hash: &[u8; 32]) -> Vec<u8> {
    [sign::SIGNATURE_PREFIX.as_slice(), hash].concat()
}

/// H(R ‖ A ‖ M) as a scalar.
fn challenge(r: &[u8; 32], public: &[u8; 32], hash: &[u8; 32]) -> Scalar {
    let digest = Sha512::new().chain_update(r).chain_update(public).chain_update(message(hash)).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}

fn joined(r: &[u8; 32], s: &[u8; 32]) -> [u8; 64] {
    [*r, *s].concat().try_into().unwrap()
}

/// S + L: the same number modulo L, spelled differently.
fn plus_order(s: &[u8; 32]) -> [u8; 32] {
    let (mut out, mut carry) = ([0; 32], 0u16);
    for (out, (a, b)) in out.iter_mut().zip(s.iter().zip(ORDER)) {
        carry += u16::from(*a) + u16::from(b);
        *out = carry as u8;
        carry >>= 8;
    }
    out
}

/// The private scalar of a seed (RFC 8032 section 5.1.5).
fn scalar(seed: u8) -> Scalar {
    let digest = Sha512::digest([seed; 32]);
    let mut bytes: [u8; 32] = digest[..32].try_into().unwrap();
    bytes[0] &= 248;
    bytes[31] = bytes[31] & 127 | 64;
    Scalar::from_bytes_mod_order(bytes)
}

/// A signature under a point that is not of prime order; `want` says whether the equation without cofactor shall hold.
fn mixed_order(hash: &[u8; 32], want: bool) -> ([u8; 32], [u8; 64]) {
    let secret = scalar(1);
    let torsion = EIGHT_TORSION[1];
    let public = (ED25519_BASEPOINT_POINT * secret + torsion).compress().to_bytes();
    for nonce in 1u64.. {
        let nonce = Scalar::from(nonce);
        let r = (ED25519_BASEPOINT_POINT * nonce).compress().to_bytes();
        let k = challenge(&r, &public, hash);
        let holds = (torsion * k).compress() == EdwardsPoint::default().compress();
        if holds == want {
            return (public, joined(&r, &(nonce + k * secret).to_bytes()));
        }
    }
    unreachable!("one nonce in eight serves")
}

/// All cases.
pub fn cases() -> Value {
    let hash = [0x42; 32];
    let signer = signer(1);
    let public = signer.public_key();
    let good = signer.sign(&hash);
    let (r, s) = (good[..32].try_into().unwrap(), good[32..].try_into().unwrap());
    let identity = EdwardsPoint::default().compress().to_bytes();
    let mut identity_unreduced = [0xff; 32];
    (identity_unreduced[0], identity_unreduced[31]) = (0xee, 0x7f);
    let mut minus_zero = identity;
    minus_zero[31] |= 0x80;
    let zero = [0; 32];
    // With R the identity, S = k·a satisfies the equation.
    let with_r = |r: &[u8; 32]| joined(r, &(challenge(r, &public, &hash) * scalar(1)).to_bytes());
    let (mixed_good, mixed_good_signature) = mixed_order(&hash, true);
    let (mixed_bad, mixed_bad_signature) = mixed_order(&hash, false);
    let mut off_curve = [0; 32];
    off_curve[0] = (2..)
        .find(|y| CompressedEdwardsY([&[*y][..], &[0; 31]].concat().try_into().unwrap()).decompress().is_none())
        .unwrap();
    let mut cases = vec![
        ("valid", public, good, true),
        ("S + L", public, joined(&r, &plus_order(&s)), false),
        ("S = L", public, joined(&r, &ORDER), false),
        (
            "S with its top bits set",
            public,
            joined(&r, &{
                let mut s = s;
                s[31] |= 0xe0;
                s
            }),
            false,
        ),
        ("another message", public, signer.sign(&[0x43; 32]), false),
        ("R of small order that satisfies the equation", public, with_r(&identity), false),
        ("R of small order, not canonical", public, with_r(&identity_unreduced), false),
        ("R of small order, sign bit on zero", public, with_r(&minus_zero), false),
        ("A of small order that satisfies the equation", identity, joined(&identity, &zero), false),
        (
            "A of small order, signature with an R of large order",
            identity,
            joined(
                &(ED25519_BASEPOINT_POINT * Scalar::from(5u64)).compress().to_bytes(),
                &Scalar::from(5u64).to_bytes(),
            ),
            false,
        ),
        ("A not canonical", identity_unreduced, joined(&identity, &zero), false),
        ("A with sign bit on zero", minus_zero, joined(&identity, &zero), false),
        ("A not on the curve", off_curve, good, false),
        ("A of mixed order, equation without cofactor holds", mixed_good, mixed_good_signature, true),
        ("A of mixed order, only the equation with cofactor holds", mixed_bad, mixed_bad_signature, false),
        ("R not on the curve", public, joined(&off_curve, &s), false),
        ("all zeros", public, [0; 64], false),
    ];
    for point in EIGHT_TORSION {
        let point = point.compress().to_bytes();
        let r = (ED25519_BASEPOINT_POINT * Scalar::from(9u64)).compress().to_bytes();
        cases.push((
            "A one of the eight points of small order",
            point,
            joined(&r, &Scalar::from(9u64).to_bytes()),
            false,
        ));
    }
    let case = |(name, public, signature, valid): &(&str, [u8; 32], [u8; 64], bool)| {
        json!({
            "name": name, "public_key": hex::encode(public), "checkpoint_hash": hex::encode(&hash),
            "signature": hex::encode(signature), "valid": valid,
        })
    };
    json!({ "cases": cases.iter().map(case).collect::<Value>() })
}
