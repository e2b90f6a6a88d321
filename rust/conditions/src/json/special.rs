//! Where the plain part of a string ends: the innermost loop of the scanner.

/// Where the first quote, backslash or control character from `at` on is, or the end of the text.
#[inline(always)]
pub(super) fn special(text: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        let flags = flags(chunk);
        if flags != 0 {
            return at + (flags.trailing_zeros() / FLAG_BITS) as usize;
        }
        at += BLOCK;
    }
    tail(text, at)
}

/// The same for the last few characters, one by one.
#[inline(never)]
fn tail(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

#[cfg(target_arch = "x86_64")]
use sse2::{BLOCK, FLAG_BITS, flags};
#[cfg(not(target_arch = "x86_64"))]
use word::{BLOCK, FLAG_BITS, flags};

/// Sixteen characters at a time.
#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    pub(super) const BLOCK: usize = 16;
    pub(super) const FLAG_BITS: u32 = 1;

    /// A flag for each special character, the first one lowest.
    #[inline(always)]
    pub(super) fn flags(chunk: &[u8; BLOCK]) -> u32 {
        // SAFETY: every x86_64 has SSE2, and the load takes 16 bytes at any alignment.
        unsafe {
            let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
            _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)).cast_unsigned()
        }
    }
}

/// Eight characters at a time, on any machine.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod word {
    pub(super) const BLOCK: usize = 8;
    pub(super) const FLAG_BITS: u32 = 8;

    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

    /// A flag for each special character, the first one lowest; above it there may be false ones.
    #[inline(always)]
    pub(super) fn flags(chunk: &[u8; BLOCK]) -> u64 {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (LOW_BITS * b'"' as u64);
        let backslash = word ^ (LOW_BITS * b'\\' as u64);
        // The classic test for a zero byte; for control characters, for a byte below 0x20. Borrows can only add false
        // flags above a true one.
        let special = (quote.wrapping_sub(LOW_BITS) & !quote)
            | (backslash.wrapping_sub(LOW_BITS) & !backslash)
            | (word.wrapping_sub(LOW_BITS * 0x20) & !word);
        special & HIGH_BITS
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)] // a failed test should panic
mod tests {
    use super::*;

    /// Every byte at every place of a text, behind plain characters and before others.
    #[test]
    fn every_special_character_is_found_at_every_place() {
        for byte in 0..=u8::MAX {
            let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
            for place in 0..40 {
                let mut text = vec![b'a'; 40];
                text[place] = byte;
                assert_eq!(special(&text, 0), if is_special { place } else { 40 }, "{byte:#x} at {place}");
                text[place..].fill(byte);
                assert_eq!(special(&text, place / 2), if is_special { place } else { 40 }, "{byte:#x} from {place}");
            }
        }
    }

    #[test]
    fn words_find_the_same_first_character_as_blocks() {
        for byte in 0..=u8::MAX {
            for place in 0..word::BLOCK {
                for after in [b' ', b'"', b'!', 0x80, 0xFF, byte.wrapping_add(1)] {
                    let mut chunk = [b'a'; word::BLOCK];
                    chunk[place..].fill(after);
                    chunk[place] = byte;
                    let flags = word::flags(&chunk);
                    let first =
                        if flags == 0 { word::BLOCK } else { (flags.trailing_zeros() / word::FLAG_BITS) as usize };
                    assert_eq!(first, tail(&chunk, 0), "{chunk:?}");
                }
            }
        }
    }
}
