//! The lexical level of RFC 8259: whitespace, strings, numbers and literals of one text.

use super::special::special;
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
    /// A number with fraction or exponent, within double: where it is, because few of them are ever read.
    Double(usize, usize),
}

/// A position in a text. The text is valid UTF-8; the caller has seen to it.
///
/// Methods on the common path are inlined, and those off it take the cursor by value and give the new position back, so
/// that the compiler can keep it in a register.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t> {
    pub text: &'t [u8],
    pub at: usize,
}

const NOT_JSON: ErrorCode = ErrorCode::NotJson;

/// Integers with at most this many digits fit i64.
const SAFE_DIGITS: usize = 18;

/// A whole part and an exponent with at most this many digits are within double: 10^200 × 10^99 < 10^308.
const SAFE_WHOLE: usize = 200;
const SAFE_EXPONENT: usize = 2;

impl<'t> Cursor<'t> {
    pub(super) const fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte; 0 at the end, which no rule of the grammar accepts either.
    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that is not whitespace, which stays next; 0 at the end.
    #[inline(always)]
    pub(super) fn skip_space(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Whether nothing but whitespace follows.
    pub(super) fn at_end(&mut self) -> bool {
        self.skip_space();
        self.at >= self.text.len()
    }

    #[inline(always)]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), ErrorCode> {
        if self.skip_space() != byte {
            return Err(NOT_JSON);
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn literal(&mut self, word: &[u8]) -> Result<(), ErrorCode> {
        let end = self.at + word.len();
        if self.text.get(self.at..end) != Some(word) {
            return Err(NOT_JSON);
        }
        self.at = end;
        Ok(())
    }

    /// A string; the cursor is at its opening quote.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Span, ErrorCode> {
        let start = self.at + 1;
        self.at = special(self.text, start);
        let mut escaped = false;
        if self.peek() != b'"' {
            self.at = self.escapes()?;
            escaped = true;
        }
        let end = self.at;
        self.at += 1;
        Ok(Span { start, end, escaped })
    }

    /// Where the quote is that ends a string; the cursor is at its first character that is not plain.
    #[inline(never)]
    fn escapes(mut self) -> Result<usize, ErrorCode> {
        while self.peek() == b'\\' {
            self.escape()?;
            self.at = special(self.text, self.at);
        }
        if self.peek() == b'"' { Ok(self.at) } else { Err(NOT_JSON) }
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
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<Number, ErrorCode> {
        let start = self.at;
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        let first = self.peek();
        let whole = self.at;
        // Wraps only for numbers that are too long to be looked at here.
        let mut magnitude = 0_u64;
        while let digit @ b'0'..=b'9' = self.peek() {
            magnitude = magnitude.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - whole;
        if digits == 0 || (digits > 1 && first == b'0') {
            return Err(NOT_JSON);
        }
        if matches!(self.peek(), b'.' | b'e' | b'E') {
            self.at = self.fraction(start, digits)?;
            return Ok(Number::Double(start, self.at));
        }
        if digits > SAFE_DIGITS {
            return self.long_integer(start);
        }
        let magnitude = magnitude as i64;
        Ok(Number::Int(if negative { -magnitude } else { magnitude }))
    }

    /// The integer from `start` to the cursor.
    #[inline(never)]
    fn long_integer(self, start: usize) -> Result<Number, ErrorCode> {
        let digits = digits(self.text, start, self.at)?;
        digits
            .parse()
            .map(Number::Int)
            .or_else(|_| digits.parse().map(Number::Uint))
            .or(Err(ErrorCode::NumberOutOfRange))
    }

    /// Where fraction and exponent end of the number that began at `start` with `whole` digits.
    #[inline(never)]
    fn fraction(mut self, start: usize, whole: usize) -> Result<usize, ErrorCode> {
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        let mut exponent = 0;
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            exponent = self.digits()?;
        }
        if (whole > SAFE_WHOLE || exponent > SAFE_EXPONENT) && !double(self.text, start, self.at)?.is_finite() {
            return Err(ErrorCode::NumberOutOfRange);
        }
        Ok(self.at)
    }

    /// Skips digits; says how many.
    fn digits(&mut self) -> Result<usize, ErrorCode> {
        let start = self.at;
        while let b'0'..=b'9' = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(NOT_JSON) } else { Ok(self.at - start) }
    }
}

/// The value of the number in `text` from `start` to `end`.
pub(super) fn double(text: &[u8], start: usize, end: usize) -> Result<f64, ErrorCode> {
    digits(text, start, end)?.parse().or(Err(NOT_JSON))
}

fn digits(text: &[u8], start: usize, end: usize) -> Result<&str, ErrorCode> {
    text.get(start..end).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(ErrorCode::Internal)
}

/// Appends the characters of a string token that holds escapes, unescaped.
pub(super) fn unescape(text: &[u8], span: Span, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    let body = text.get(..span.end).ok_or(ErrorCode::Internal)?;
    let mut cursor = Cursor { text: body, at: span.start };
    while cursor.at < body.len() {
        let byte = cursor.peek();
        cursor.at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let kind = cursor.peek();
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
