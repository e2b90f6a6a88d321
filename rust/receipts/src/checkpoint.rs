//! The signed header of a batch.

use crate::chain::{Chain, Mode, SealContext};
use crate::hash::{self, Domain};
use crate::hex;
use crate::number;
use crate::pending::MAX_COUNT;
use crate::scan::{Cursor, ScanError};
use crate::sign::KeyId;
use crate::text::{member, push_text};
use crate::words::Durability;

/// A checkpoint has at most so many bytes: four texts of 1 KiB, escaped, and what has a fixed length.
pub const MAX_CHECKPOINT: usize = 32 << 10;

/// A checkpoint as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Hash of the attestation, if the batch has one.
    pub attestation: Option<[u8; 32]>,
    /// Number of records.
    pub count: u32,
    /// Name of the key of the digests, if they are keyed.
    pub digest_key: Option<[u8; 16]>,
    /// What a durable write meant.
    pub durability: Durability,
    /// Epoch of the issuer.
    pub epoch: u64,
    /// Position of the first record in the epoch.
    pub first_seq: u64,
    /// The issuer.
    pub issuer: String,
    /// Name of the key that signed.
    pub key_id: KeyId,
    /// What the batch stands for.
    pub mode: Mode,
    /// Version of the policy.
    pub policy_version: [u8; 32],
    /// Hash of the issuer's checkpoint before this one; zeros for the first.
    pub previous: [u8; 32],
    /// Root of the tree.
    pub root: [u8; 32],
    /// Records of the issuer up to and including this batch, over all epochs.
    pub running_count: u64,
    /// Time of sealing, Unix ms.
    pub time: u64,
}

impl Checkpoint {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`ScanError`] for anything that is not canonical, not of the schema, or beyond a limit.
    pub fn parse(text: &[u8]) -> Result<Self, ScanError> {
        if text.len() > MAX_CHECKPOINT {
            return Err(ScanError { offset: MAX_CHECKPOINT, message: "checkpoint is larger than 32 KiB" });
        }
        let text = std::str::from_utf8(text)
            .map_err(|error| ScanError { offset: error.valid_up_to(), message: "invalid UTF-8" })?;
        let mut cursor = Cursor::new(text);
        cursor.open()?;
        let checkpoint = parse_members(&mut cursor)?;
        cursor.close()?;
        cursor.end()?;
        Ok(checkpoint)
    }
}

/// The members after `{`, in canonical order.
fn parse_members(cursor: &mut Cursor<'_>) -> Result<Checkpoint, ScanError> {
    let attestation = cursor.member(b",\"attestation\":").then(|| cursor.hex()).transpose()?;
    cursor.need(b",\"count\":", "expected `count`")?;
    let count = cursor.positive()?;
    let digest_key = cursor.member(b",\"digest_key\":").then(|| cursor.hex()).transpose()?;
    cursor.need(b",\"durability\":", "expected `durability`")?;
    let durability = cursor.word(Durability::from_word)?;
    cursor.need(b",\"epoch\":", "expected `epoch`")?;
    let epoch = cursor.integer()?;
    cursor.need(b",\"first_seq\":", "expected `first_seq`")?;
    let first_seq = cursor.integer()?;
    let group = cursor.member(b",\"group\":").then(|| cursor.some_text()).transpose()?;
    cursor.need(b",\"issuer\":", "expected `issuer`")?;
    let issuer = cursor.some_text()?.decode().into_owned();
    cursor.need(b",\"key_id\":", "expected `key_id`")?;
    let key_id = cursor.hex()?;
    cursor.need(b",\"mode\":", "expected `mode`")?;
    let mode = cursor.text()?.spelled();
    cursor.need(b",\"policy_version\":", "expected `policy_version`")?;
    let policy_version = cursor.hex()?;
    cursor.need(b",\"previous\":", "expected `previous`")?;
    let previous = cursor.hex()?;
    cursor.need(b",\"root\":", "expected `root`")?;
    let root = cursor.hex()?;
    cursor.need(b",\"running_count\":", "expected `running_count`")?;
    let running_count = cursor.integer()?;
    cursor.need(b",\"time\":", "expected `time`")?;
    let time = cursor.integer()?;
    let transactional_id = cursor.member(b",\"transactional_id\":").then(|| cursor.some_text()).transpose()?;
    cursor.need(b",\"v\":1", "expected `v` of 1")?;
    let mode = match (mode, group, transactional_id) {
        ("recorded", None, None) => Mode::Recorded,
        ("attempt", None, None) => Mode::Attempt,
        ("transaction", Some(group), Some(id)) => {
            Mode::Transaction { group: group.decode().into_owned(), transactional_id: id.decode().into_owned() }
        }
        _ => return cursor.error("group and transactional_id stand exactly in checkpoints of mode `transaction`"),
    };
    let count = match u32::try_from(count) {
        Ok(count) if count as usize <= MAX_COUNT && u64::from(count) <= running_count => count,
        _ => return cursor.error("count is larger than a batch or than running_count"),
    };
    Ok(Checkpoint {
        attestation,
        count,
        digest_key,
        durability,
        epoch,
        first_seq,
        issuer,
        key_id,
        mode,
        policy_version,
        previous,
        root,
        running_count,
        time,
    })
}

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
