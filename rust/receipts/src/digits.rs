//! Reading digits without branching: their values by byte, for any alphabet.

/// Marks a byte that is no digit.
pub(crate) const NO_DIGIT: u8 = 0xff;

/// Values of the digits of `alphabet` by byte; [`NO_DIGIT`] for all other bytes.
#[allow(clippy::indexing_slicing)] // Evaluated by the compiler, which refuses an index out of range.
pub(crate) const fn values(alphabet: &[u8]) -> [u8; 256] {
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table
}
