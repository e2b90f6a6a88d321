//! BLAKE3 of many short messages at a time, one in each SIMD lane.
//!
//! `blake3::platform` is the crate's hidden interface to its own SIMD kernels; the version is pinned, and tests hold
//! this module to the ordinary call on every length. Only messages of whole blocks within one chunk fit it, which is
//! why the format pads bodies and encoded contents to multiples of 64 bytes; all others take the ordinary call.

use std::sync::LazyLock;

use blake3::IncrementCounter;
use blake3::platform::Platform;

/// Bytes of a BLAKE3 block.
pub(crate) const BLOCK: usize = 64;
/// Blocks of a BLAKE3 chunk: the longest message that is hashed in a lane.
const CHUNK_BLOCKS: usize = 16;
/// Messages hashed in one call: as many as the widest kernel has lanes.
const LANES: usize = 16;
/// Calls are filled up to a multiple of this. The AVX-512 and AVX2 kernels of blake3 1.8.7 read up to 48 bytes past the
/// first of four or two inputs, because in the crate's own calls the other inputs follow there; with eight they do not.
const STEP: usize = 8;
/// Fewer messages than this take the ordinary call, which costs less than filling up.
const FEW: usize = 3;

// Flags of the BLAKE3 specification, table 3.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const ROOT: u8 = 8;
const KEYED_HASH: u8 = 16;
/// Initial chaining value of the unkeyed hash (BLAKE3 specification, table 1).
const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

static PLATFORM: LazyLock<Platform> = LazyLock::new(Platform::detect);

/// A hash function: BLAKE3 with or without a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    key: Option<[u8; 32]>,
    words: [u32; 8],
    flags: u8,
}

impl Lanes {
    /// BLAKE3 with this key, or unkeyed.
    pub(crate) fn new(key: Option<&[u8; 32]>) -> Self {
        let Some(key) = key else { return Self { key: None, words: IV, flags: 0 } };
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { key: Some(*key), words, flags: KEYED_HASH }
    }

    /// The ordinary call.
    pub(crate) fn one(&self, message: &[u8]) -> [u8; 32] {
        *match &self.key {
            None => blake3::hash(message),
            Some(key) => blake3::keyed_hash(key, message),
        }
        .as_bytes()
    }

    /// The hashes of `messages`, in their order, appended to `out`.
    pub(crate) fn each(&self, messages: &[&[u8]], out: &mut Vec<[u8; 32]>) {
        let first = out.len();
        out.resize(first + messages.len(), [0; 32]);
        let Some(out) = out.get_mut(first..) else { return };
        // Messages of equal length share a call, so they are gathered by length until a call is full.
        let mut gathered = [[0u32; LANES]; CHUNK_BLOCKS + 1];
        let mut counts = [0usize; CHUNK_BLOCKS + 1];
        for (index, message) in messages.iter().enumerate() {
            let blocks = message.len() / BLOCK;
            let (Some(group), Some(count), true) =
                (gathered.get_mut(blocks), counts.get_mut(blocks), message.len() % BLOCK == 0 && blocks > 0)
            else {
                if let Some(hash) = out.get_mut(index) {
                    *hash = self.one(message);
                }
                continue;
            };
            if let Some(slot) = group.get_mut(*count) {
                *slot = index as u32;
            }
            *count += 1;
            if *count == LANES {
                self.group(blocks, messages, group, out);
                *count = 0;
            }
        }
        for (blocks, (group, count)) in gathered.iter().zip(counts).enumerate() {
            self.group(blocks, messages, group.get(..count).unwrap_or_default(), out);
        }
    }

    /// Hashes the messages at `indices`, all of `blocks` blocks.
    fn group(&self, blocks: usize, messages: &[&[u8]], indices: &[u32], out: &mut [[u8; 32]]) {
        macro_rules! by_length {
            ($($count:literal)+) => {
                match blocks {
                    $($count => self.call::<{ $count * BLOCK }>(messages, indices, out),)+
                    _ => {}
                }
            };
        }
        if !indices.is_empty() {
            by_length!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
        }
    }

    fn call<const LEN: usize>(&self, messages: &[&[u8]], indices: &[u32], out: &mut [[u8; 32]]) {
        let mut inputs: [&[u8; LEN]; LANES] = [&[0; LEN]; LANES];
        for (input, index) in inputs.iter_mut().zip(indices) {
            // INVARIANT (gathered): `each` puts an index into the group of its message's length only.
            if let Some(message) = messages.get(*index as usize).and_then(|message| message.first_chunk()) {
                *input = message;
            }
        }
        let mut hashes = [[0; 32]; LANES];
        self.kernel(&inputs, indices.len(), &mut hashes);
        for (hash, index) in hashes.iter().zip(indices) {
            if let Some(slot) = out.get_mut(*index as usize) {
                *slot = *hash;
            }
        }
    }

    /// The hashes of adjacent pairs of `level`, each pair as one message of one block.
    pub(crate) fn pairs(&self, level: &[[u8; 32]], out: &mut Vec<[u8; 32]>) {
        let (blocks, _) = level.as_flattened().as_chunks::<BLOCK>();
        for blocks in blocks.chunks(LANES) {
            let mut inputs: [&[u8; BLOCK]; LANES] = [&[0; BLOCK]; LANES];
            for (input, block) in inputs.iter_mut().zip(blocks) {
                *input = block;
            }
            let mut hashes = [[0; 32]; LANES];
            self.kernel(&inputs, blocks.len(), &mut hashes);
            out.extend_from_slice(hashes.get(..blocks.len()).unwrap_or_default());
        }
    }

    /// Hashes the first `count` inputs; what the others hold does not matter.
    fn kernel<const LEN: usize>(&self, inputs: &[&[u8; LEN]; LANES], count: usize, out: &mut [[u8; 32]; LANES]) {
        if count < FEW {
            for (hash, input) in out.iter_mut().zip(inputs).take(count) {
                *hash = self.one(*input);
            }
            return;
        }
        PLATFORM.hash_many(
            inputs.get(..count.next_multiple_of(STEP)).unwrap_or_default(),
            &self.words,
            0,
            IncrementCounter::No,
            self.flags,
            CHUNK_START,
            CHUNK_END | ROOT,
            out.as_flattened_mut(),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(key: Option<[u8; 32]>, messages: &[Vec<u8>]) {
        let lanes = Lanes::new(key.as_ref());
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let mut out = vec![[9; 32]];
        lanes.each(&slices, &mut out);
        let ordinary: Vec<[u8; 32]> = slices.iter().map(|message| lanes.one(message)).collect();
        assert_eq!(out.split_first(), Some((&[9; 32], ordinary.as_slice())));
    }

    #[test]
    fn lanes_equal_the_ordinary_call_at_every_length_and_fill() {
        for count in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33] {
            for len in (0..=20 * BLOCK).step_by(16) {
                let messages: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8 ^ len as u8; len]).collect();
                check(None, &messages);
                check(Some([count as u8; 32]), &messages);
            }
        }
    }

    /// A page that ends where nothing may be read.
    struct LastPage(*mut u8);

    const PAGE: usize = 4096;

    impl LastPage {
        fn new() -> Self {
            let access = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a fresh mapping of two pages, the second of which is taken away again.
            let start = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, access.0, access.1, -1, 0) };
            assert_ne!(start, libc::MAP_FAILED);
            let start: *mut u8 = start.cast();
            // SAFETY: within the mapping.
            assert_eq!(unsafe { libc::mprotect(start.add(PAGE).cast(), PAGE, libc::PROT_NONE) }, 0);
            Self(start)
        }

        /// The last `len` bytes.
        fn end(&self, len: usize) -> &[u8] {
            // SAFETY: the page is readable as a whole, and `len` is at most a page.
            unsafe { std::slice::from_raw_parts(self.0.add(PAGE - len), len) }
        }
    }

    impl Drop for LastPage {
        fn drop(&mut self) {
            // SAFETY: nothing borrows the mapping any more.
            unsafe { libc::munmap(self.0.cast(), 2 * PAGE) };
        }
    }

    #[test]
    fn nothing_is_read_past_a_message() {
        let page = LastPage::new();
        for len in (1..=CHUNK_BLOCKS).map(|blocks| blocks * BLOCK) {
            for count in 1..=LANES {
                let mut out = Vec::new();
                let lanes = Lanes::new(Some(&[7; 32]));
                lanes.each(&vec![page.end(len); count], &mut out);
                assert_eq!(out, vec![lanes.one(page.end(len)); count]);
            }
        }
    }

    #[test]
    fn pairs_equal_the_ordinary_call() {
        let lanes = Lanes::new(Some(&[3; 32]));
        for count in 0..70usize {
            let level: Vec<[u8; 32]> = (0..count).map(|i| [i as u8; 32]).collect();
            let mut out = Vec::new();
            lanes.pairs(&level, &mut out);
            let ordinary: Vec<[u8; 32]> = level.chunks_exact(2).map(|pair| lanes.one(pair.as_flattened())).collect();
            assert_eq!(out, ordinary);
        }
    }

    proptest! {
        #[test]
        fn mixed_lengths_keep_their_order(lens in prop::collection::vec(0usize..1300, 0..60), key: Option<[u8; 32]>) {
            let messages: Vec<Vec<u8>> = lens.iter().enumerate().map(|(i, len)| {
                let len = if i % 3 == 0 { *len } else { len.next_multiple_of(BLOCK) };
                vec![i as u8; len]
            }).collect();
            check(key, &messages);
        }
    }
}
