//! What a digest is taken over: the content, encoded so that every border and every absence counts.
//!
//! ```text
//! event      = 0x01 ‖ optional(key) ‖ u32 number of headers ‖ { sized(name) ‖ optional(value) } ‖ optional(value)
//! arguments  = 0x02 ‖ sized(RFC 8785 form)
//! sized(b)   = u64 length ‖ b                     (integers are little endian)
//! optional(b)= 0x00 if absent, else 0x01 ‖ sized(b)
//! digest     = BLAKE3(encoding padded with zero bytes to a multiple of 64), keyed if the log has a digest key
//! ```
//! The encoding says where it ends, so the padding adds nothing that could be confused; whole blocks hash in SIMD lanes.

use crate::lanes::BLOCK;

/// First byte of an encoded event.
const EVENT: u8 = 1;
/// First byte of encoded arguments.
const ARGUMENTS: u8 = 2;

/// Appends an encoded event, padded to whole blocks from where it starts.
pub(crate) fn encode_event(
    out: &mut Vec<u8>,
    key: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
    value: Option<&[u8]>,
) {
    let start = out.len();
    let len = |part: Option<&[u8]>| part.map_or(1, |bytes| 9 + bytes.len());
    let headers_len: usize = headers.iter().map(|(name, value)| 8 + name.len() + len(*value)).sum();
    out.reserve(5 + len(key) + headers_len + len(value) + BLOCK);
    out.push(EVENT);
    push_optional(out, key);
    out.extend_from_slice(&(headers.len() as u32).to_le_bytes());
    for (name, value) in headers {
        push_sized(out, name.as_bytes());
        push_optional(out, *value);
    }
    push_optional(out, value);
    pad(out, start, 0);
}

/// Appends encoded arguments, given in RFC 8785 form, padded to whole blocks from where they start.
pub(crate) fn encode_arguments(out: &mut Vec<u8>, canonical: &[u8]) {
    let start = out.len();
    out.push(ARGUMENTS);
    push_sized(out, canonical);
    pad(out, start, 0);
}

/// Digest of an encoded content.
pub(crate) fn of_encoding(encoded: &[u8], key: Option<&[u8; 32]>) -> [u8; 32] {
    *key.map_or_else(|| blake3::hash(encoded), |key| blake3::keyed_hash(key, encoded)).as_bytes()
}

/// Digest of an event, as it stands in its consume and produce receipts.
pub fn event(
    key: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
    value: Option<&[u8]>,
    digest_key: Option<&[u8; 32]>,
) -> [u8; 32] {
    let mut encoded = Vec::new();
    encode_event(&mut encoded, key, headers, value);
    of_encoding(&encoded, digest_key)
}

/// Digest of a tool call's arguments or result, given as JSON text.
///
/// # Errors
/// [`crate::jcs::JcsError`] if it is no JSON.
pub fn arguments(json: &[u8], digest_key: Option<&[u8; 32]>) -> Result<[u8; 32], crate::jcs::JcsError> {
    let mut encoded = Vec::new();
    encode_arguments(&mut encoded, &crate::jcs::canonicalize(json)?);
    Ok(of_encoding(&encoded, digest_key))
}

/// Name of a digest key as it stands in checkpoints; the key itself does not show.
pub fn key_id(digest_key: &[u8; 32]) -> [u8; 16] {
    crate::hash::first_16(&crate::hash::keyed(crate::hash::Domain::DigestKey, digest_key))
}

/// Fills up to a whole number of blocks from `start`.
pub(crate) fn pad(out: &mut Vec<u8>, start: usize, with: u8) {
    let len = (out.len() - start).next_multiple_of(BLOCK);
    out.resize(start + len, with);
}

fn push_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn push_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            push_sized(out, bytes);
        }
    }
}
