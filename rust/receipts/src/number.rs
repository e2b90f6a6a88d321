//! Integers in records: a JSON number up to 2^53 − 1, beyond it a decimal string, as RFC 8785 advises.

/// The largest integer that every JSON reader keeps exact.
pub const MAX_SAFE: u64 = (1 << 53) - 1;

/// Appends `number` in its canonical form.
pub(crate) fn push(out: &mut Vec<u8>, number: u64) {
    with_text(number, |text| out.extend_from_slice(text));
}

/// Calls `f` with the canonical form of `number`.
pub(crate) fn with_text<R>(number: u64, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    if number <= MAX_SAFE { f(digits) } else { f(&[b"\"", digits, b"\""].concat()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_two_to_the_53_are_strings() {
        let text = |number| {
            let mut out = Vec::new();
            push(&mut out, number);
            String::from_utf8(out).unwrap_or_default()
        };
        assert_eq!(text(0), "0");
        assert_eq!(text(MAX_SAFE), "9007199254740991");
        assert_eq!(text(MAX_SAFE + 1), "\"9007199254740992\"");
        assert_eq!(text(u64::MAX), "\"18446744073709551615\"");
    }
}
