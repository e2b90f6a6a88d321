//! A cursor that accepts canonical JSON only, in the order of the schema.
//!
//! Records have a fixed set of members whose canonical order is known. So nothing is decoded and encoded again:
//! whatever the cursor accepts has exactly one spelling, and it is the one that was read.

use std::borrow::Cow;
use std::fmt;

use crate::hex;
use crate::id::{ReceiptId, SPELLED_LEN};
use crate::jcs;
use crate::number::MAX_SAFE;
use crate::text::MAX_TEXT;

/// A record or checkpoint is not what the format says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanError {
    /// Offset in bytes.
    pub offset: usize,
    /// What was expected there.
    pub message: &'static str,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl std::error::Error for ScanError {}

/// A text within a record, as it is spelled there, without the quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// The spelling, escapes and all.
    pub fn spelled(&self) -> &'a str {
        self.0
    }

    /// The text itself.
    pub fn decode(&self) -> Cow<'a, str> {
        jcs::unescape(self.0)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// Reads one canonical JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Whether the object that is open has no member yet.
    first: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, first: true }
    }

    pub(crate) fn error<T>(&self, message: &'static str) -> Result<T, ScanError> {
        Err(ScanError { offset: self.at, message })
    }

    /// What is not read yet.
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// What was read since `start`.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Where the cursor is, in bytes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Takes `literal` if it comes next.
    #[inline(always)]
    pub(crate) fn take(&mut self, literal: &[u8]) -> bool {
        let found = self.rest().starts_with(literal);
        if found {
            self.at += literal.len();
        }
        found
    }

    /// `{`.
    #[inline]
    pub(crate) fn open(&mut self) -> Result<(), ScanError> {
        if !self.take(b"{") {
            return self.error("expected `{`");
        }
        self.first = true;
        Ok(())
    }

    /// Takes the member's name if it comes next. `quoted` is the name in quotes with its colon, preceded by a comma.
    ///
    /// Always inlined: where its length is known, a name is compared without a call.
    #[inline(always)]
    pub(crate) fn member(&mut self, quoted: &'static [u8]) -> bool {
        let found = if self.first { self.take(quoted.get(1..).unwrap_or_default()) } else { self.take(quoted) };
        self.first &= !found;
        found
    }

    /// Takes the member's name, which must come next.
    #[inline(always)]
    pub(crate) fn need(&mut self, quoted: &'static [u8], missing: &'static str) -> Result<(), ScanError> {
        if self.member(quoted) { Ok(()) } else { self.error(missing) }
    }

    /// `}`; the enclosing object, if any, has a member then.
    #[inline]
    pub(crate) fn close(&mut self) -> Result<(), ScanError> {
        if self.first {
            return self.error("object without members");
        }
        if !self.take(b"}") {
            return self.error("unknown, repeated or misplaced member");
        }
        Ok(())
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), ScanError> {
        if self.rest().is_empty() { Ok(()) } else { self.error("text after the end") }
    }

    /// A string of at most [`MAX_TEXT`] bytes.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<Text<'a>, ScanError> {
        self.text_within(MAX_TEXT)
    }

    /// A string of at most `limit` bytes before escaping.
    #[inline]
    pub(crate) fn text_within(&mut self, limit: usize) -> Result<Text<'a>, ScanError> {
        if !self.take(b"\"") {
            return self.error("expected a string");
        }
        let start = self.at;
        let mut escaped = 0;
        loop {
            self.at += jcs::plain_len(self.rest());
            match self.rest() {
                [b'"', ..] => break,
                [b'\\', ..] => {
                    let len = self.escape()?;
                    escaped += len - 1;
                    self.at += len;
                }
                [] => return self.error("string without end"),
                _ => return self.error("control character in a string"),
            }
        }
        let spelled = self.since(start);
        if spelled.len() - escaped > limit {
            return self.error("string is too long");
        }
        self.at += 1;
        Ok(Text(spelled))
    }

    /// Length of the escape that comes next, if it is the canonical one of its character.
    fn escape(&self) -> Result<usize, ScanError> {
        match self.rest() {
            [_, b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r', ..] => Ok(2),
            [_, b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..] => Ok(6),
            [_, b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => Ok(6),
            _ => self.error("escape that is not canonical"),
        }
    }

    /// A string that is not empty.
    #[inline]
    pub(crate) fn some_text(&mut self) -> Result<Text<'a>, ScanError> {
        let text = self.text()?;
        if text.0.is_empty() { self.error("empty string: leave the member out") } else { Ok(text) }
    }

    /// An integer: a number up to 2^53 − 1, beyond it a string of digits up to 2^64 − 1.
    #[inline]
    pub(crate) fn integer(&mut self) -> Result<u64, ScanError> {
        let quoted = self.take(b"\"");
        let rest = self.rest();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut value = Some(0u64);
        for digit in rest.iter().take(digits) {
            value = value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        }
        let leading_zero = digits > 1 && rest.first() == Some(&b'0');
        let Some(value) = value.filter(|value| digits > 0 && !leading_zero && quoted == (*value > MAX_SAFE)) else {
            return self.error("expected a canonical integer");
        };
        self.at += digits;
        if quoted && !self.take(b"\"") {
            return self.error("expected a canonical integer");
        }
        Ok(value)
    }

    /// An integer of at least 1.
    #[inline]
    pub(crate) fn positive(&mut self) -> Result<u64, ScanError> {
        match self.integer()? {
            0 => self.error("zero: leave the member out"),
            value => Ok(value),
        }
    }

    /// A string of exactly `N` bytes in lower-case hexadecimal.
    #[inline]
    pub(crate) fn hex<const N: usize>(&mut self) -> Result<[u8; N], ScanError> {
        let digits = self.rest().get(1..=2 * N).unwrap_or_default();
        let quoted = self.rest().first() == Some(&b'"') && self.rest().get(2 * N + 1) == Some(&b'"');
        match hex::decode(digits) {
            Some(bytes) if quoted => {
                self.at += 2 * N + 2;
                Ok(bytes)
            }
            _ => self.error("expected lower-case hexadecimal of the right length"),
        }
    }

    /// A receipt id.
    #[inline]
    pub(crate) fn id(&mut self) -> Result<ReceiptId, ScanError> {
        let spelled = self.rest().get(1..=SPELLED_LEN).unwrap_or_default();
        let quoted = self.rest().first() == Some(&b'"') && self.rest().get(SPELLED_LEN + 1) == Some(&b'"');
        match ReceiptId::parse(spelled) {
            Ok(id) if quoted => {
                self.at += SPELLED_LEN + 2;
                Ok(id)
            }
            _ => self.error("expected a receipt id"),
        }
    }

    /// A word of a closed vocabulary.
    #[inline]
    pub(crate) fn word<T>(&mut self, from_word: impl Fn(&str) -> Option<T>) -> Result<T, ScanError> {
        let before = self.clone();
        match from_word(self.text()?.0) {
            Some(word) => Ok(word),
            None => before.error("word that the format does not know"),
        }
    }

    /// `[item,…]` with 1 to `limit` items; gives their number.
    #[inline]
    pub(crate) fn list(
        &mut self,
        limit: usize,
        mut item: impl FnMut(&mut Self) -> Result<(), ScanError>,
    ) -> Result<usize, ScanError> {
        if !self.take(b"[") {
            return self.error("expected `[`");
        }
        let mut count = 0;
        loop {
            if count == limit {
                return self.error("list is too long");
            }
            item(self)?;
            count += 1;
            if self.take(b"]") {
                return Ok(count);
            }
            if !self.take(b",") {
                return self.error("expected `,` or `]`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(text: &str) -> Option<u64> {
        let mut cursor = Cursor::new(text);
        cursor.integer().ok().filter(|_| cursor.end().is_ok())
    }

    #[test]
    fn integers_have_one_spelling() {
        for (text, value) in [
            ("0", Some(0)),
            ("9007199254740991", Some(MAX_SAFE)),
            ("9007199254740992", None),
            ("\"9007199254740992\"", Some(MAX_SAFE + 1)),
            ("\"9007199254740991\"", None),
            ("\"18446744073709551615\"", Some(u64::MAX)),
            ("\"18446744073709551616\"", None),
            ("\"9999999999999999999\"", Some(9_999_999_999_999_999_999)),
            ("\"99999999999999999999\"", None),
            ("\"018446744073709551615\"", None),
            ("01", None),
            ("-1", None),
            ("1.0", None),
            ("1e2", None),
            ("", None),
            ("\"\"", None),
        ] {
            assert_eq!(integer(text), value, "{text}");
        }
    }

    #[test]
    fn strings_have_one_spelling() {
        for (text, accepted) in [
            (r#""plain é 🦀""#, true),
            (r#""\"\\\b\t\n\f\r\u0000\u001f\u000b""#, true),
            (r#""\/""#, false),
            (r#""\u0041""#, false),
            (r#""\u0008""#, false),
            (r#""\u000a""#, false),
            (r#""\u000B""#, false),
            (r#""\u001F""#, false),
            (r#""\ud83e\udd80""#, false),
            ("\"\t\"", false),
            ("\"open", false),
        ] {
            let mut cursor = Cursor::new(text);
            assert_eq!(cursor.text().is_ok() && cursor.end().is_ok(), accepted, "{text}");
        }
    }

    #[test]
    fn the_limit_of_strings_counts_bytes_before_escaping() {
        let text = |spelled: String| Cursor::new(&format!("\"{spelled}\"")).text().is_ok();
        assert!(text("x".repeat(MAX_TEXT)) && !text("x".repeat(MAX_TEXT + 1)));
        assert!(text("\\u0001".repeat(MAX_TEXT)) && !text("\\u0001".repeat(MAX_TEXT + 1)));
        assert!(text("é".repeat(MAX_TEXT / 2)) && !text(format!("{}x", "é".repeat(MAX_TEXT / 2))));
    }
}
