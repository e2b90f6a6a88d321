//! Lower-case hexadecimal, the spelling of every hash and key.

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const PAIRS: [[u8; 2]; 256] = pairs();

/// Appends `bytes` in lower-case hexadecimal.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        // INVARIANT (pairs): the table has an entry for every byte.
        #[allow(clippy::indexing_slicing)]
        out.extend_from_slice(&PAIRS[usize::from(*byte)]);
    }
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
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[allow(clippy::indexing_slicing)] // Evaluated by the compiler, which refuses an index out of range.
const fn pairs() -> [[u8; 2]; 256] {
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
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
        assert_eq!(decode::<1>(b"g0"), None);
    }
}
