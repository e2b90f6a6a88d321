//! Compressing the records of a frame into one LZ4 block (the format of any LZ4 library's decoder).
//!
//! Bodies of one batch are nearly the same text, and what they share stands at the same place in most of them. So each is
//! held against an earlier one of the same length, place by place, where a general compressor would look for every few
//! bytes everywhere: a third of its work. Where that finds too little, the general one takes over.
//!
//! ```text
//! block    = { token ‖ more(literals) ‖ literals ‖ u16 distance ‖ more(match) } ‖ token ‖ more(literals) ‖ literals
//! token    = number of literals << 4 | (length of the match - 4), each at most 15
//! more(n)  = nothing if n < 15, else n - 15 as bytes of 255 and a last one below 255
//! ```
//! Distances are little endian and count back from where the match goes. The last match begins at least 12 bytes before the
//! end, and the last 5 bytes are literals.

use wide::u8x16;

use super::WITHHELD;
use crate::lanes::BLOCK;
use crate::tree;

/// Bytes that are compared at once.
const CHUNK: usize = 64;
/// The shortest match that is looked for.
const WORTH: usize = 8;
/// Bytes at the end of a block where no match may begin.
const TAIL: usize = 12;
/// Bytes at the end of a block that are literals.
const LAST_LITERALS: usize = 5;
/// Shortest match that the format can say.
const SHORTEST: usize = 4;
/// Largest distance that it can say.
const FARTHEST: usize = u16::MAX as usize;
/// How many earlier bodies are considered.
const RECENT: usize = 8;
/// More than this part of the records left over is too much.
const TOO_MUCH: usize = 3;
/// Bytes of a length in the table before the bodies.
const LENGTH: usize = 4;

/// The records of a frame, the table of `lens` first, as one block.
pub(super) fn compress(records: &[u8], lens: &[u32]) -> Vec<u8> {
    by_place(records, lens).unwrap_or_else(|| lz4_flex::block::compress(records))
}

/// The block, or `None` if it would be too long.
fn by_place(records: &[u8], lens: &[u32]) -> Option<Vec<u8>> {
    let mut block = Block { records, out: Vec::with_capacity(records.len() / TOO_MUCH + WORTH), done: 0 };
    let end = records.len().checked_sub(TAIL)?;
    let table = LENGTH * lens.len();
    block.compare(LENGTH, 0, table.min(end));
    let mut recent = [(0, 0); RECENT];
    let mut start = table;
    for (place, len) in lens.iter().enumerate() {
        let next =
            start + if *len == WITHHELD { size_of::<tree::Hash>() } else { (*len as usize).next_multiple_of(BLOCK) };
        // The latest of the same length, else the latest.
        let latest = |back: usize| recent.get(place.wrapping_sub(back) % RECENT).copied().unwrap_or_default();
        let alike = (1..=RECENT.min(place)).map(latest).find(|(_, other)| other == len);
        if place > 0 {
            let (source, _) = alike.unwrap_or_else(|| latest(1));
            block.compare(start, source, next.min(end));
        }
        if let Some(slot) = recent.get_mut(place % RECENT) {
            *slot = (start, *len);
        }
        if block.out.len() + (next - block.done) > block.out.capacity() {
            return None;
        }
        start = next;
    }
    block.finish()
}

/// A block that is being written.
struct Block<'a> {
    records: &'a [u8],
    out: Vec<u8>,
    /// Up to here the records are written; what follows will be literals or part of a match.
    done: usize,
}

impl Block<'_> {
    /// Writes what the bytes from `at` up to `end` share with those from `source` on, at the same places.
    fn compare(&mut self, at: usize, source: usize, end: usize) {
        let Some(distance) = at.checked_sub(source).filter(|distance| (1..=FARTHEST).contains(distance)) else {
            return;
        };
        let mut base = at;
        let (mut same, mut next) = (self.same(base, distance, end), self.same(base + CHUNK, distance, end));
        let mut here = at;
        while base < end {
            let ahead = worth(same, next) >> (here - base);
            if ahead == 0 {
                base += CHUNK;
                (same, next) = (next, self.same(base + CHUNK, distance, end));
                here = base;
                continue;
            }
            let start = here + ahead.trailing_zeros() as usize;
            here = start + WORTH;
            loop {
                if here >= base + CHUNK {
                    base += CHUNK;
                    (same, next) = (next, self.same(base + CHUNK, distance, end));
                }
                let more = (same >> (here - base)).trailing_ones() as usize;
                here += more;
                if here < base + CHUNK {
                    break;
                }
            }
            self.sequence(start, here - start, distance);
        }
    }

    /// Which bytes of the chunk at `base` are the same as those at a distance before them, the first one lowest; none from
    /// `end` on.
    fn same(&self, base: usize, distance: usize, end: usize) -> u64 {
        let chunk = |at: usize| self.records.get(at..)?.first_chunk::<CHUNK>();
        if base + CHUNK <= end
            && let (Some(here), Some(there)) = (chunk(base), chunk(base - distance))
        {
            return equal(here, there);
        }
        let byte = |at: usize| self.records.get(at);
        let bits = (base..end.min(base + CHUNK)).enumerate();
        bits.fold(0, |same, (bit, at)| same | u64::from(byte(at) == byte(at - distance)) << bit)
    }

    /// Writes the literals before a match, and the match.
    fn sequence(&mut self, at: usize, length: usize, distance: usize) {
        let (literals, beyond) = (self.records.get(self.done..at).unwrap_or_default(), length - SHORTEST);
        self.out.push(token(literals.len()) << 4 | token(beyond));
        push_more(&mut self.out, literals.len());
        self.out.extend_from_slice(literals);
        self.out.extend_from_slice(&(distance as u16).to_le_bytes());
        push_more(&mut self.out, beyond);
        self.done = at + length;
    }

    /// Writes the last literals; `None` if there are too few, which the limits of `compare` exclude.
    fn finish(mut self) -> Option<Vec<u8>> {
        let literals = self.records.get(self.done..).filter(|rest| rest.len() >= LAST_LITERALS)?;
        self.out.push(token(literals.len()) << 4);
        push_more(&mut self.out, literals.len());
        self.out.extend_from_slice(literals);
        Some(self.out)
    }
}

/// Which bytes are equal, the first one lowest.
fn equal(one: &[u8; CHUNK], other: &[u8; CHUNK]) -> u64 {
    const LANES: usize = size_of::<u8x16>();
    let pairs = one.as_chunks::<LANES>().0.iter().zip(other.as_chunks::<LANES>().0);
    pairs.enumerate().fold(0, |equal, (place, (one, other))| {
        let lanes = u8x16::from(*one).simd_eq(u8x16::from(*other)).to_bitmask();
        equal | u64::from(lanes & 0xffff) << (LANES * place)
    })
}

/// Where [`WORTH`] bytes or more begin that are the same.
fn worth(same: u64, next: u64) -> u64 {
    let both = u128::from(next) << u64::BITS | u128::from(same);
    let two = both & both >> 1;
    let four = two & two >> 2;
    (four & four >> 4) as u64
}

/// A length as far as a token can say it.
fn token(length: usize) -> u8 {
    length.min(15) as u8
}

/// What a token cannot say of a length.
fn push_more(out: &mut Vec<u8>, length: usize) {
    if let Some(more) = length.checked_sub(15) {
        out.resize(out.len() + more / 255, 255);
        out.push((more % 255) as u8);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]
    use super::*;
    use proptest::prelude::*;

    fn records(bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<u32>) {
        let lens: Vec<u32> = bodies.iter().map(|body| body.len() as u32).collect();
        let mut records: Vec<u8> = lens.iter().flat_map(|len| len.to_le_bytes()).collect();
        for body in bodies {
            let start = records.len();
            records.extend_from_slice(body);
            crate::digest::pad(&mut records, start, b' ');
        }
        (records, lens)
    }

    fn assert_reads_back(bodies: &[Vec<u8>]) -> usize {
        let (records, lens) = records(bodies);
        let block = compress(&records, &lens);
        assert_eq!(lz4_flex::block::decompress(&block, records.len()).unwrap(), records);
        if let Some(block) = by_place(&records, &lens) {
            assert_eq!(lz4_flex::block::decompress(&block, records.len()).unwrap(), records);
        }
        block.len()
    }

    fn body(number: usize) -> Vec<u8> {
        let digest = blake3::hash(&number.to_le_bytes()).to_hex();
        format!(r#"{{"digest":"{digest}","identity":"agents","reason":"{}","seq":{number}}}"#, "x".repeat(300))
            .into_bytes()
    }

    #[test]
    fn bodies_that_share_their_text_take_little_more_than_what_they_do_not_share() {
        let bodies: Vec<_> = (0..1000).map(body).collect();
        let each = assert_reads_back(&bodies) as f64 / 1000.0;
        assert!(each < 90.0, "{each} bytes a record");
    }

    #[test]
    fn two_kinds_of_bodies_in_turn_are_each_held_against_their_own() {
        let other = |number| format!(r#"{{"id":{number:06},"text":"{}"}}"#, "y".repeat(200)).into_bytes();
        let bodies: Vec<_> =
            (100..900).map(|number| if number % 2 == 0 { body(number) } else { other(number) }).collect();
        let each = assert_reads_back(&bodies) as f64 / 800.0;
        assert!(each < 90.0, "{each} bytes a record");
    }

    #[test]
    fn what_has_nothing_in_common_reads_back() {
        let noise = |number: usize| {
            (0..number % 700).map(move |at| blake3::hash(&[at as u8, number as u8]).as_bytes()[at % 32])
        };
        assert_reads_back(&(0..300).map(|number| noise(number).collect()).collect::<Vec<_>>());
        assert_reads_back(&[]);
        assert_reads_back(&[vec![]]);
        assert_reads_back(&[vec![b'a'; 200_000], vec![b'a'; 200_000], body(7), vec![b'b'; 70_000], body(8)]);
    }

    proptest! {
        #[test]
        fn whatever_the_bodies_hold_reads_back(
            bodies in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![b' ', b'a', b'b']), 0..400), 0..40),
        ) {
            assert_reads_back(&bodies);
        }
    }
}
