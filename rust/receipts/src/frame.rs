//! The frame: one batch as bytes. All integers are u32, little endian.
//!
//! ```text
//! at  len
//!  0    4  magic "CHF1"
//!  4    4  compression of the records: 0 none, 1 zlib
//!  8    4  length of the whole frame
//! 12    4  count: number of records
//! 16    4  length of the records as stored
//! 20    4  length of the records before compression
//! 24    4  length of the checkpoint
//! 28    4  length of the attestation, 0 if there is none
//! 32   64  signature
//! 96       records: count × length of the body, or 0x80000000 for a withheld one;
//!          then each body padded with spaces to a multiple of 64, or the 32 bytes of its leaf
//!          checkpoint (RFC 8785)
//!          attestation (RFC 8785)
//! ```
//! Frames follow each other without anything between them. Bodies are stored as the tree hashes them, so that
//! sealing and verifying hash them where they lie.

use crate::chain::{Compression, Mode};
use crate::id::ReceiptId;
use crate::request::PartitionKey;
use crate::sign::KeyId;
use crate::words::Durability;

/// First bytes of every frame.
pub const MAGIC: &[u8; 4] = b"CHF1";
/// Length of what precedes the records.
pub const HEADER_LEN: usize = 96;
/// In the table of lengths: the body is withheld, and its leaf stands in its place.
pub const WITHHELD: u32 = 1 << 31;

/// What a store indexes a batch by; all of it is derived from the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// Issuer of the batch.
    pub issuer: String,
    /// Its epoch.
    pub epoch: u64,
    /// Position of the first record in the epoch.
    pub first_seq: u64,
    /// Number of records.
    pub count: u32,
    /// Records of the issuer up to and including this batch, over all epochs.
    pub running_count: u64,
    /// Lowest id; `None` if all bodies are withheld.
    pub min_id: Option<ReceiptId>,
    /// Highest id; `None` if all bodies are withheld.
    pub max_id: Option<ReceiptId>,
    /// Version of the policy.
    pub policy_version: [u8; 32],
    /// Hash of the issuer's checkpoint before this one.
    pub previous: [u8; 32],
    /// Hash of this checkpoint.
    pub checkpoint_hash: [u8; 32],
    /// What the batch stands for.
    pub mode: Mode,
    /// Time of sealing, Unix ms.
    pub time: i64,
    /// Name of the key that signed.
    pub key_id: KeyId,
    /// What a durable write meant.
    pub durability: Durability,
    /// Offsets of consume receipts, by partition in order of first appearance.
    pub coverage: Vec<Coverage>,
}

/// The lowest and highest offset of one partition that consume receipts of a batch are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The partition.
    pub partition: PartitionKey,
    /// Lowest offset.
    pub first: i64,
    /// Highest offset.
    pub last: i64,
}

/// Collects the coverage of a batch.
#[derive(Default)]
pub(crate) struct CoverageMap(Vec<Coverage>);

impl CoverageMap {
    pub(crate) fn add(&mut self, partition: PartitionKey, offset: i64) {
        // Batches hold few partitions, and neighbours are mostly of the same one.
        match self.0.iter_mut().rev().find(|known| known.partition == partition) {
            Some(known) => {
                known.first = known.first.min(offset);
                known.last = known.last.max(offset);
            }
            None => self.0.push(Coverage { partition, first: offset, last: offset }),
        }
    }

    pub(crate) fn finish(self) -> Vec<Coverage> {
        self.0
    }
}

/// Writes a frame front to back; bodies are rendered where they will stay.
pub(crate) struct Writer {
    out: Vec<u8>,
    /// Length of each body, in the order of the records.
    lens: Vec<u32>,
    count: u32,
}

impl Writer {
    /// A frame for `count` records of about `bytes` bytes together.
    pub(crate) fn new(count: u32, bytes: usize) -> Self {
        let table = HEADER_LEN + 4 * count as usize;
        let mut out = Vec::with_capacity(table + bytes + 1024);
        out.resize(table, 0);
        Self { out, lens: Vec::with_capacity(count as usize), count }
    }

    /// Adds the body that `render` appends.
    pub(crate) fn body(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        render(&mut self.out);
        self.lens.push((self.out.len() - start) as u32);
        crate::digest::pad(&mut self.out, start, b' ');
    }

    /// The bodies, padded.
    pub(crate) fn padded(&self) -> Vec<&[u8]> {
        let mut rest = self.out.get(HEADER_LEN + 4 * self.count as usize..).unwrap_or_default();
        let mut bodies = Vec::with_capacity(self.lens.len());
        for len in &self.lens {
            let Some((body, tail)) = rest.split_at_checked((*len as usize).next_multiple_of(64)) else { break };
            bodies.push(body);
            rest = tail;
        }
        bodies
    }

    /// Completes the frame; `None` if it is larger than its length fields can say.
    pub(crate) fn finish(
        mut self,
        compression: Compression,
        checkpoint: &[u8],
        attestation: &[u8],
        signature: &[u8; 64],
    ) -> Option<Vec<u8>> {
        for (slot, len) in self.out.get_mut(HEADER_LEN..)?.as_chunks_mut::<4>().0.iter_mut().zip(&self.lens) {
            *slot = len.to_le_bytes();
        }
        let raw_len = self.out.len() - HEADER_LEN;
        if compression == Compression::Zlib {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, self.out.get(HEADER_LEN..)?).ok()?;
            let compressed = encoder.finish().ok()?;
            self.out.truncate(HEADER_LEN);
            self.out.extend_from_slice(&compressed);
        }
        let stored_len = self.out.len() - HEADER_LEN;
        self.out.extend_from_slice(checkpoint);
        self.out.extend_from_slice(attestation);
        let total = self.out.len();
        let (header, _) = self.out.split_first_chunk_mut::<HEADER_LEN>()?;
        let (fields, signed) = header.split_at_mut(32);
        signed.copy_from_slice(signature);
        let code = u32::from(compression == Compression::Zlib);
        let lens = [total, self.count as usize, stored_len, raw_len, checkpoint.len(), attestation.len()];
        let (slots, _) = fields.as_chunks_mut::<4>();
        let [magic, compression, lengths @ ..] = slots else { return None };
        *magic = *MAGIC;
        *compression = code.to_le_bytes();
        for (slot, len) in lengths.iter_mut().zip(lens) {
            *slot = u32::try_from(len).ok()?.to_le_bytes();
        }
        Some(self.out)
    }
}
