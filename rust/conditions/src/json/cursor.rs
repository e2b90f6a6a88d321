//! The lexical level of RFC 8259: whitespace, strings, numbers and literals of one text.

use crate::ErrorCode;

/// A string token: where its characters are, without the quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
    /// Whether the characters hold escapes.
    pub escaped: bool,
}

/// A number as CEL types it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Uint(u64),
    Double(f64),
}

/// A position in a text. The text is valid UTF-8; the caller has seen to it.
pub(super) struct Cursor<'t> {
    pub text: &'t [u8],
    pub at: usize,
}

const NOT_JSON: ErrorCode = ErrorCode::NotJson;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

impl<'t> Cursor<'t> {
    pub(super) const fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next character that is not whitespace, which stays next.
    #[inline]
    pub(super) fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek() {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), ErrorCode> {
        if self.skip_space() != Some(byte) {
            return Err(NOT_JSON);
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn literal(&mut self, word: &[u8]) -> Result<(), ErrorCode> {
        let end = self.at + word.len();
        if self.text.get(self.at..end) != Some(word) {
            return Err(NOT_JSON);
        }
        self.at = end;
        Ok(())
    }

    /// A string; the cursor is at its opening quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Span, ErrorCode> {
        let start = self.at + 1;
        self.at = start;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Span { start, end, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// Skips eight characters at a time as long as none of them ends a string, escapes, or is a control character.
    #[inline]
    fn skip_plain(&mut self) {
        while let Some(chunk) = self.text.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (LOW_BITS * b'"' as u64);
            let backslash = word ^ (LOW_BITS * b'\\' as u64);
            // The classic test for a zero byte; for control characters, for a byte below 0x20. Borrows can only add
            // false alarms above a true one, so the lowest flag is exact.
            let special = (quote.wrapping_sub(LOW_BITS) & !quote)
                | (backslash.wrapping_sub(LOW_BITS) & !backslash)
                | (word.wrapping_sub(LOW_BITS * 0x20) & !word);
            let special = special & HIGH_BITS;
            if special != 0 {
                self.at += (special.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
    }

    /// An escape; the cursor is at its backslash.
    fn escape(&mut self) -> Result<(), ErrorCode> {
        let kind = self.text.get(self.at + 1).copied().ok_or(NOT_JSON)?;
        self.at += 2;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => self.code_point().map(|_| ()),
            _ => Err(NOT_JSON),
        }
    }

    /// What `\u` introduces, surrogate pairs joined; the cursor is behind the first `u`.
    fn code_point(&mut self) -> Result<char, ErrorCode> {
        let first = self.hex4()?;
        if !(0xD800..0xE000).contains(&first) {
            return char::from_u32(first).ok_or(ErrorCode::NotUtf8);
        }
        if self.text.get(self.at..self.at + 2) != Some(b"\\u") || first >= 0xDC00 {
            return Err(ErrorCode::NotUtf8);
        }
        self.at += 2;
        let second = self.hex4()?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(ErrorCode::NotUtf8);
        }
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or(ErrorCode::NotUtf8)
    }

    fn hex4(&mut self) -> Result<u32, ErrorCode> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(NOT_JSON)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, digit| {
            let digit = (*digit as char).to_digit(16).ok_or(NOT_JSON)?;
            Ok(value * 16 + digit)
        })
    }

    /// A number; the cursor is at its first character. A number without fraction and exponent is an integer.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number, ErrorCode> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let first_digit = self.at;
        let mut magnitude = Some(0_u64);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            magnitude = magnitude.and_then(|m| m.checked_mul(10)).and_then(|m| m.checked_add(u64::from(digit - b'0')));
            self.at += 1;
        }
        let digits = self.at - first_digit;
        if digits == 0 || (digits > 1 && self.text.get(first_digit) == Some(&b'0')) {
            return Err(NOT_JSON);
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.double(start);
        }
        integer(negative, magnitude.ok_or(ErrorCode::NumberOutOfRange)?)
    }

    /// Fraction and exponent of the number that began at `start`.
    fn double(&mut self, start: usize) -> Result<Number, ErrorCode> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let digits = self.text.get(start..self.at).and_then(|digits| std::str::from_utf8(digits).ok());
        let value: f64 = digits.and_then(|digits| digits.parse().ok()).ok_or(NOT_JSON)?;
        if value.is_finite() { Ok(Number::Double(value)) } else { Err(ErrorCode::NumberOutOfRange) }
    }

    fn digits(&mut self) -> Result<(), ErrorCode> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(NOT_JSON) } else { Ok(()) }
    }
}

fn integer(negative: bool, magnitude: u64) -> Result<Number, ErrorCode> {
    if negative {
        let value = 0_i64.checked_sub_unsigned(magnitude).ok_or(ErrorCode::NumberOutOfRange)?;
        return Ok(Number::Int(value));
    }
    Ok(i64::try_from(magnitude).map_or(Number::Uint(magnitude), Number::Int))
}

/// Appends the characters of a string token that holds escapes, unescaped.
pub(super) fn unescape(text: &[u8], span: Span, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    let body = text.get(..span.end).ok_or(ErrorCode::Internal)?;
    let mut cursor = Cursor { text: body, at: span.start };
    while let Some(byte) = cursor.peek() {
        cursor.at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let kind = cursor.peek().ok_or(NOT_JSON)?;
        cursor.at += 1;
        match kind {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0C),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut buffer = [0; 4];
                out.extend_from_slice(cursor.code_point()?.encode_utf8(&mut buffer).as_bytes());
            }
            literal => out.push(literal),
        }
    }
    Ok(())
}
