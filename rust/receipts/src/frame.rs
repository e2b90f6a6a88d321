//! The frame: one batch as bytes. All integers are u32, little endian.
//!
//! ```text
//! at  len
//!  0    4  magic "CHF1"
//!  4    4  compression of the records: 0 none, 1 zlib, 2 LZ4 block
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

mod decode;
mod encode;
mod lz4;
mod meta;

pub use decode::{Frame, FrameError, Signed, Slot, decode, length, signed, split};
pub(crate) use encode::Writer;
pub use encode::withhold;
pub(crate) use meta::CoverageMap;
pub use meta::{Coverage, FrameMeta, meta};

/// First bytes of every frame.
pub const MAGIC: &[u8; 4] = b"CHF1";
/// Length of what precedes the records.
pub const HEADER_LEN: usize = 96;
/// In the table of lengths: the body is withheld, and its leaf stands in its place.
pub const WITHHELD: u32 = 1 << 31;

/// A frame is at most so long: what its length field can say.
pub const MAX_FRAME: u64 = u32::MAX as u64;
