//! Writing frames.

use super::decode::{Frame, Slot};
use super::lz4;
use super::{HEADER_LEN, MAGIC, WITHHELD};
use crate::chain::Compression;
use crate::lanes::BLOCK;
use crate::tree;

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

    /// Adds a leaf in place of a body.
    pub(crate) fn withheld(&mut self, leaf: &tree::Hash) {
        self.out.extend_from_slice(leaf);
        self.lens.push(WITHHELD);
    }

    /// The bodies, padded; for frames without withheld ones.
    pub(crate) fn padded(&self) -> Vec<&[u8]> {
        let mut rest = self.out.get(HEADER_LEN + 4 * self.count as usize..).unwrap_or_default();
        let mut bodies = Vec::with_capacity(self.lens.len());
        for len in &self.lens {
            let Some((body, tail)) = rest.split_at_checked((*len as usize).next_multiple_of(BLOCK)) else { break };
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
        let raw_len = u32::try_from(self.out.len() - HEADER_LEN).ok()?;
        if let Some(compressed) = compress(compression, self.out.get(HEADER_LEN..)?, &self.lens)? {
            // A new buffer, so that a frame that waits for the disk does not hold the room of its uncompressed records.
            let mut out = Vec::with_capacity(HEADER_LEN + compressed.len() + checkpoint.len() + attestation.len());
            out.resize(HEADER_LEN, 0);
            out.extend_from_slice(&compressed);
            self.out = out;
        }
        let stored_len = self.out.len() - HEADER_LEN;
        self.out.extend_from_slice(checkpoint);
        self.out.extend_from_slice(attestation);
        let total = self.out.len();
        let (header, _) = self.out.split_first_chunk_mut::<HEADER_LEN>()?;
        let (fields, signed) = header.split_at_mut(32);
        signed.copy_from_slice(signature);
        let lens = [total, self.count as usize, stored_len, raw_len as usize, checkpoint.len(), attestation.len()];
        let (slots, _) = fields.as_chunks_mut::<4>();
        let [magic, code, lengths @ ..] = slots else { return None };
        *magic = *MAGIC;
        *code = compression.code().to_le_bytes();
        for (slot, len) in lengths.iter_mut().zip(lens) {
            *slot = u32::try_from(len).ok()?.to_le_bytes();
        }
        Some(self.out)
    }
}

/// The records as they are stored; `Some(None)` if they are stored as they are, `None` if they cannot be compressed.
fn compress(compression: Compression, records: &[u8], lens: &[u32]) -> Option<Option<Vec<u8>>> {
    match compression {
        Compression::None => Some(None),
        Compression::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, records).ok()?;
            encoder.finish().ok().map(Some)
        }
        Compression::Lz4 => Some(Some(lz4::compress(records, lens))),
    }
}

/// The frame with some bodies replaced by their leaves (retention, erasure). Root, checkpoint and signature stay.
///
/// `choose` is asked for the body at each place. `None` if the frame would be too large for its length fields, which
/// it cannot be if it was not before.
pub fn withhold(frame: &Frame<'_>, compression: Compression, mut choose: impl FnMut(usize) -> bool) -> Option<Vec<u8>> {
    let mut writer = Writer::new(frame.checkpoint.count, frame.records_len());
    for (place, slot) in frame.slots().enumerate() {
        match slot {
            Slot::Body(body) if choose(place) => writer.withheld(&tree::leaf(body)),
            Slot::Body(body) => writer.body(|out| out.extend_from_slice(body)),
            Slot::Withheld(leaf) => writer.withheld(&leaf),
        }
    }
    let attestation = frame.attestation.unwrap_or_default();
    writer.finish(compression, frame.checkpoint_text, attestation, &frame.signature)
}
