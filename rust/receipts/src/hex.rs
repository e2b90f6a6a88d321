//! Lower-case hexadecimal, the spelling of every hash and key.

use crate::digits;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Values of digits by byte.
const VALUES: [u8; 256] = digits::values(DIGITS);

/// Appends `bytes` in lower-case hexadecimal.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&pair(*byte));
    }
}

/// A hash in lower-case hexadecimal, as an array of pairs of digits.
pub(crate) fn pairs(hash: &[u8; 32]) -> [[u8; 2]; 32] {
    hash.map(pair)
}

/// Without branches and tables, so that the compiler makes vectors of many.
fn pair(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|value| value + if value < 10 { b'0' } else { b'a' - 10 })
}

/// `bytes` in lower-case hexadecimal.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default()
}

/// Reads exactly `N` bytes from lower-case hexadecimal; `None` for any other spelling or length.
pub fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    // Nobody can foretell whether a digit of a hash is a letter: to branch for each takes longer than all the rest.
    let (mut out, mut seen) = ([0; N], 0);
    for (byte, pair) in out.iter_mut().zip(text.as_chunks::<2>().0) {
        // INVARIANT (values): the table has an entry for every byte.
        #[allow(clippy::indexing_slicing)]
        let [high, low] = pair.map(|digit| VALUES[usize::from(digit)]);
        *byte = high << 4 | low;
        seen |= high | low;
    }
    (seen < 16).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_round_trips() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert_eq!(decode::<256>(text.as_bytes()).as_ref().map(|b| b.as_slice()), Some(all.as_slice()));
        assert_eq!(decode::<1>(b"AF"), None);
        assert_eq!(decode::<1>(b"afa"), None);
        assert_eq!(decode::<1>(b"a"), None);
        for wrong in (0..=255).filter(|byte| !DIGITS.contains(byte)) {
            assert_eq!(decode::<1>(&[wrong, b'0']), None);
            assert_eq!(decode::<2>(&[b'f', b'0', b'0', wrong]), None);
        }
    }
}
