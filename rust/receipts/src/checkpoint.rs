//! The signed header of a batch.

use crate::chain::{Chain, Mode, SealContext};
use crate::hash::{self, Domain};
use crate::hex;
use crate::number;
use crate::text::{member, push_text};

/// What a checkpoint adds to chain and context.
pub(crate) struct BatchFacts {
    pub(crate) count: u32,
    pub(crate) root: [u8; 32],
    /// Hash of the attestation, if the batch has one.
    pub(crate) attestation: Option<[u8; 32]>,
}

/// Hash of a checkpoint's text.
pub fn hash(text: &[u8]) -> [u8; 32] {
    hash::keyed(Domain::Checkpoint, text)
}

/// Hash of an attestation's text, as it stands in the checkpoint.
pub fn attestation_hash(text: &[u8]) -> [u8; 32] {
    hash::keyed(Domain::Attestation, text)
}

/// Renders the checkpoint of a batch in canonical form.
pub(crate) fn render(chain: &Chain, context: &SealContext<'_>, batch: &BatchFacts) -> Vec<u8> {
    let mut out = Vec::with_capacity(640);
    out.push(b'{');
    if let Some(hash) = &batch.attestation {
        hex_member(&mut out, "attestation", hash);
    }
    number_member(&mut out, "count", u64::from(batch.count));
    if let Some(key) = context.digest_key {
        hex_member(&mut out, "digest_key", &crate::digest::key_id(key));
    }
    text_member(&mut out, "durability", context.durability.as_str());
    number_member(&mut out, "epoch", chain.epoch);
    number_member(&mut out, "first_seq", chain.next_seq);
    if let Mode::Transaction { group, .. } = &context.mode {
        text_member(&mut out, "group", group);
    }
    text_member(&mut out, "issuer", &chain.issuer);
    hex_member(&mut out, "key_id", &context.signer.key_id());
    text_member(&mut out, "mode", context.mode.as_str());
    hex_member(&mut out, "policy_version", &context.policy_version);
    hex_member(&mut out, "previous", &chain.previous);
    hex_member(&mut out, "root", &batch.root);
    number_member(&mut out, "running_count", chain.running_count + u64::from(batch.count));
    out.extend_from_slice(b"\"time\":");
    number::push(&mut out, u64::try_from(context.time).unwrap_or(0));
    if let Mode::Transaction { transactional_id, .. } = &context.mode {
        member(&mut out, "transactional_id", transactional_id);
    }
    out.extend_from_slice(b",\"v\":1}");
    out
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn hex_member(out: &mut Vec<u8>, key: &str, bytes: &[u8]) {
    name(out, key);
    out.push(b'"');
    hex::push(out, bytes);
    out.extend_from_slice(b"\",");
}

fn number_member(out: &mut Vec<u8>, key: &str, value: u64) {
    name(out, key);
    number::push(out, value);
    out.push(b',');
}

fn text_member(out: &mut Vec<u8>, key: &str, text: &str) {
    name(out, key);
    push_text(out, text);
    out.push(b',');
}
