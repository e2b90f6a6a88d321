//! Reading frames: total, and allocating only what the input has paid for.

use std::borrow::Cow;
use std::fmt;
use std::io::Read as _;

use super::{HEADER_LEN, MAGIC, WITHHELD};
use crate::chain::Compression;
use crate::checkpoint::{self, Checkpoint};
use crate::lanes::BLOCK;
use crate::pending::MAX_COUNT;
use crate::scan::ScanError;
use crate::tree::Hash;

/// zlib cannot expand by more (RFC 1951: 258 bytes from 2 bits, and the headers).
const ZLIB_MAX_EXPANSION: usize = 1032;
/// An LZ4 block cannot expand by more: a byte adds at most 255 to the length of a match.
const LZ4_MAX_EXPANSION: usize = 255;
/// What bodies are padded with.
const PADDING: [u8; BLOCK] = [b' '; BLOCK];
/// Bytes of the fields before the signature.
const FIELDS_LEN: usize = 32;

/// A batch as it is read. Nothing is verified yet but the container and the checkpoint's form.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Its text.
    pub checkpoint_text: &'a [u8],
    /// Signature over the checkpoint.
    pub signature: [u8; 64],
    /// The attestation's text, if there is one.
    pub attestation: Option<&'a [u8]>,
    /// How the records are stored.
    pub compression: Compression,
    /// The table of lengths and the padded bodies, decompressed.
    records: Cow<'a, [u8]>,
}

/// A frame without its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Text of the checkpoint.
    pub checkpoint_text: &'a [u8],
    /// Signature over the checkpoint.
    pub signature: [u8; 64],
    /// The attestation's text, if there is one.
    pub attestation: Option<&'a [u8]>,
}

/// One place of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// A body, without padding.
    Body(&'a [u8]),
    /// The leaf of a body that is withheld.
    Withheld(Hash),
}

/// Bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The container is malformed.
    Container(&'static str),
    /// The checkpoint cannot be read.
    Checkpoint(ScanError),
    /// A record cannot be read.
    Record(ScanError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(what) => f.write_str(what),
            Self::Checkpoint(error) => write!(f, "checkpoint: {error}"),
            Self::Record(error) => write!(f, "record: {error}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The length fields of a header.
struct Header {
    compression: Compression,
    total: usize,
    count: usize,
    stored: usize,
    raw: usize,
    checkpoint: usize,
    attestation: usize,
}

/// Length of the frame that begins with these [`HEADER_LEN`] bytes, for who reads a stream piece by piece.
///
/// # Errors
/// [`FrameError`] if they are no header.
pub fn length(start: &[u8]) -> Result<usize, FrameError> {
    header(start).map(|header| header.total)
}

/// Cuts the first frame off a stream of frames: (frame, rest), or `None` at its end.
///
/// # Errors
/// [`FrameError`] if no whole frame comes next.
#[allow(clippy::type_complexity)] // The pair of a split reads best in place.
pub fn split(stream: &[u8]) -> Result<Option<(&[u8], &[u8])>, FrameError> {
    if stream.is_empty() {
        return Ok(None);
    }
    let header = header(stream)?;
    stream.split_at_checked(header.total).map(Some).ok_or(FrameError::Container("stream ends within a frame"))
}

/// Reads what a frame says about its records, without reading those.
///
/// # Errors
/// [`FrameError::Container`] if the container is malformed.
pub fn signed(bytes: &[u8]) -> Result<Signed<'_>, FrameError> {
    parts(bytes).map(|(_, _, signed)| signed)
}

/// Reads one frame, which must be all of `bytes`.
///
/// # Errors
/// [`FrameError`] if the container or the checkpoint is malformed.
pub fn decode(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let wrong = FrameError::Container;
    let (header, stored, Signed { checkpoint_text, signature, attestation }) = parts(bytes)?;
    let records = match header.compression {
        Compression::None if header.raw == header.stored => Cow::Borrowed(stored),
        Compression::None => return Err(wrong("records that are not compressed have two lengths")),
        Compression::Zlib => Cow::Owned(inflate(stored, header.raw)?),
        Compression::Lz4 => Cow::Owned(expand(stored, header.raw)?),
    };
    let checkpoint = Checkpoint::parse(checkpoint_text).map_err(FrameError::Checkpoint)?;
    if checkpoint.count as usize != header.count {
        return Err(wrong("frame and checkpoint count differently"));
    }
    check_records(&records, header.count)?;
    Ok(Frame { checkpoint, checkpoint_text, signature, attestation, compression: header.compression, records })
}

/// The header of a frame, its stored records, and the rest.
fn parts(bytes: &[u8]) -> Result<(Header, &[u8], Signed<'_>), FrameError> {
    let wrong = FrameError::Container;
    let header = header(bytes)?;
    if header.total != bytes.len() {
        return Err(wrong("frame is longer or shorter than it says"));
    }
    let lens = [FIELDS_LEN, 64, header.stored, header.checkpoint, header.attestation];
    let mut rest = bytes;
    let mut parts = [&[] as &[u8]; 5];
    for (part, len) in parts.iter_mut().zip(lens) {
        (*part, rest) = rest.split_at_checked(len).ok_or(wrong("parts are longer than the frame"))?;
    }
    if !rest.is_empty() {
        return Err(wrong("parts are shorter than the frame"));
    }
    let [_, signature, stored, checkpoint_text, attestation] = parts;
    let signature = signature.try_into().map_err(|_| wrong("signature has not 64 bytes"))?;
    let attestation = (!attestation.is_empty()).then_some(attestation);
    Ok((header, stored, Signed { checkpoint_text, signature, attestation }))
}

fn header(bytes: &[u8]) -> Result<Header, FrameError> {
    let wrong = FrameError::Container;
    let fields = bytes.get(..HEADER_LEN).ok_or(wrong("shorter than the header of a frame"))?;
    let (slots, _) = fields.as_chunks::<4>();
    let [magic, compression, lengths @ ..] = slots else { return Err(wrong("no header")) };
    if magic != MAGIC {
        return Err(wrong("not a frame: it does not start with `CHF1`"));
    }
    let compression = Compression::from_code(u32::from_le_bytes(*compression)).ok_or(wrong("unknown compression"))?;
    let mut lengths = lengths.iter().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let mut next = || lengths.next().unwrap_or(0);
    let header = Header {
        compression,
        total: next(),
        count: next(),
        stored: next(),
        raw: next(),
        checkpoint: next(),
        attestation: next(),
    };
    if header.count == 0 || header.count > MAX_COUNT {
        return Err(wrong("a frame has 1 to 1,048,576 records"));
    }
    if header.total < HEADER_LEN {
        return Err(wrong("parts are longer than the frame"));
    }
    Ok(header)
}

const TOO_LONG: FrameError = FrameError::Container("records cannot expand to the length that the frame says");
const DAMAGED: FrameError = FrameError::Container("compressed records are damaged");

/// Decompresses an LZ4 block to exactly `raw` bytes; the claim is believed only as far as LZ4 can expand what is there.
fn expand(stored: &[u8], raw: usize) -> Result<Vec<u8>, FrameError> {
    if raw / LZ4_MAX_EXPANSION > stored.len() {
        return Err(TOO_LONG);
    }
    let mut out = vec![0; raw];
    match lz4_flex::block::decompress_into(stored, &mut out) {
        Ok(len) if len == raw => Ok(out),
        _ => Err(DAMAGED),
    }
}

/// Decompresses zlib to exactly `raw` bytes; the claim is believed only as far as zlib can expand what is there.
fn inflate(stored: &[u8], raw: usize) -> Result<Vec<u8>, FrameError> {
    if raw / ZLIB_MAX_EXPANSION > stored.len() {
        return Err(TOO_LONG);
    }
    let mut out = Vec::with_capacity(raw);
    let mut decoder = flate2::bufread::ZlibDecoder::new(stored);
    let read = decoder.by_ref().take(raw as u64 + 1).read_to_end(&mut out);
    if read.is_err() || out.len() != raw || !decoder.into_inner().is_empty() {
        return Err(DAMAGED);
    }
    Ok(out)
}

/// Checks that the table accounts for every byte and that padding is spaces.
fn check_records(records: &[u8], count: usize) -> Result<(), FrameError> {
    let wrong = FrameError::Container;
    let (table, mut rest) = records.split_at_checked(4 * count).ok_or(wrong("table of lengths is cut off"))?;
    for entry in table.as_chunks::<4>().0 {
        let entry = u32::from_le_bytes(*entry);
        let padded = padded_len(entry).ok_or(wrong("empty or oversized body"))?;
        let (bytes, tail) = rest.split_at_checked(padded).ok_or(wrong("records are cut off"))?;
        let padding = if entry == WITHHELD { &[] } else { bytes.get(entry as usize..).unwrap_or_default() };
        if PADDING.get(..padding.len()) != Some(padding) {
            return Err(wrong("a body is not padded with spaces"));
        }
        rest = tail;
    }
    if rest.is_empty() { Ok(()) } else { Err(wrong("bytes after the last record")) }
}

/// How many bytes an entry of the table stands for.
fn padded_len(entry: u32) -> Option<usize> {
    match entry {
        WITHHELD => Some(32),
        0 | WITHHELD.. => None,
        len => Some((len as usize).next_multiple_of(BLOCK)),
    }
}

impl<'a> Frame<'a> {
    /// Hash of the checkpoint; the next one names it.
    pub fn checkpoint_hash(&self) -> [u8; 32] {
        checkpoint::hash(self.checkpoint_text)
    }

    /// The places of the batch in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        self.padded().map(|(entry, bytes)| match bytes.try_into() {
            Ok(leaf) if entry == WITHHELD => Slot::Withheld(leaf),
            _ => Slot::Body(bytes.get(..entry as usize).unwrap_or_default()),
        })
    }

    /// The body or leaf at `place`.
    pub fn slot(&self, place: usize) -> Option<Slot<'_>> {
        self.slots().nth(place)
    }

    /// Length of the records before compression.
    pub(crate) fn records_len(&self) -> usize {
        self.records.len()
    }

    /// (entry of the table, padded body or leaf) of each place.
    pub(crate) fn padded(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let (table, mut rest) = self.records.split_at_checked(4 * self.checkpoint.count as usize).unwrap_or_default();
        table.as_chunks::<4>().0.iter().map_while(move |entry| {
            let entry = u32::from_le_bytes(*entry);
            let (bytes, tail) = rest.split_at_checked(padded_len(entry)?)?;
            rest = tail;
            Some((entry, bytes))
        })
    }

    /// The leaves of the batch in order.
    pub fn leaves(&self) -> Vec<Hash> {
        let bodies: Vec<&[u8]> = self.padded().filter(|(entry, _)| *entry != WITHHELD).map(|(_, body)| body).collect();
        let mut hashed = Vec::with_capacity(bodies.len());
        crate::tree::leaves_of_padded(&bodies, &mut hashed);
        if hashed.len() == self.checkpoint.count as usize {
            return hashed;
        }
        let mut hashed = hashed.into_iter();
        let leaf = |(entry, bytes): (u32, &[u8])| match bytes.try_into() {
            Ok(leaf) if entry == WITHHELD => leaf,
            _ => hashed.next().unwrap_or_default(),
        };
        self.padded().map(leaf).collect()
    }
}
