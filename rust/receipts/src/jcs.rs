//! RFC 8785, the JSON Canonicalization Scheme.

use std::borrow::Cow;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string in canonical form: only `"`, `\` and control characters are escaped, as shortly as possible.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, tail) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        write_escape(out, *byte);
        rest = tail;
    }
    out.push(b'"');
}

/// Whether a byte cannot stand for itself within a JSON string.
pub(crate) const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes at the start of `bytes` stand for themselves within a JSON string.
#[inline]
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let escaped = escaped_in(u64::from_le_bytes(*word));
        if escaped != 0 {
            return 8 * index + escaped.trailing_zeros() as usize / 8;
        }
    }
    8 * words.len() + rest.iter().take_while(|byte| !is_escaped(**byte)).count()
}

/// Which of eight bytes need an escape: the lowest one has its high bit set and those below it have not. Above it others
/// may have theirs set too.
#[inline]
const fn escaped_in(word: u64) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte minus n borrows into its high bit exactly where it is below n, if no byte below it has borrowed; bytes above
    // 0x7f are masked out.
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    let quote = word ^ (LOW * b'"' as u64);
    let backslash = word ^ (LOW * b'\\' as u64);
    (control | (quote.wrapping_sub(LOW) & !quote) | (backslash.wrapping_sub(LOW) & !backslash)) & HIGH
}

/// The text that `spelled`, a canonical string without its quotes, stands for.
pub(crate) fn unescape(spelled: &str) -> Cow<'_, str> {
    if !spelled.contains('\\') {
        return Cow::Borrowed(spelled);
    }
    let quoted = format!("\"{spelled}\"");
    Cow::Owned(Parser { json: quoted.as_bytes(), at: 0 }.string().unwrap_or_default())
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            let digit = |bits: u8| HEX.get(usize::from(bits & 15)).copied().unwrap_or_default();
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// A text is not JSON that has a canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JcsError {
    /// Offset in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub message: &'static str,
}

impl std::fmt::Display for JcsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl std::error::Error for JcsError {}

/// Values nest at most so deep.
pub const MAX_DEPTH: usize = 64;

/// Integers have at most so many digits.
pub const MAX_DIGITS: usize = 1024;

/// The RFC 8785 form of a JSON text.
///
/// Strict: no duplicate member names, valid UTF-8 without lone surrogates, nothing after the value, nesting at most
/// [`MAX_DEPTH`]. Integers (numbers without fraction and exponent) beyond ±(2^53 − 1) are written in full instead of
/// being rounded to a double: within the domain of RFC 8785 nothing changes, beyond it two different integers stay
/// different.
///
/// # Errors
/// [`JcsError`] with the place of what is wrong.
pub fn canonicalize(json: &[u8]) -> Result<Vec<u8>, JcsError> {
    let mut parser = Parser { json, at: 0 };
    let mut out = Vec::with_capacity(json.len());
    parser.value(&mut out, 0)?;
    parser.skip_space();
    if parser.at < json.len() {
        return Err(parser.error("text after the value"));
    }
    Ok(out)
}

struct Parser<'a> {
    json: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn error(&self, message: &'static str) -> JcsError {
        JcsError { offset: self.at, message }
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips space, then takes `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), JcsError> {
        self.skip_space();
        match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(self.error("nested deeper than 64")),
            Some(b'{') => self.object(out, depth),
            Some(b'[') => self.array(out, depth),
            Some(b'"') => {
                let text = self.string()?;
                write_string(out, &text);
                Ok(())
            }
            Some(b't') => self.word(out, b"true"),
            Some(b'f') => self.word(out, b"false"),
            Some(b'n') => self.word(out, b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(out),
            Some(_) => Err(self.error("no JSON value")),
            None => Err(self.error("text ends where a value is due")),
        }
    }

    fn word(&mut self, out: &mut Vec<u8>, word: &'static [u8]) -> Result<(), JcsError> {
        if !self.json.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.error("no JSON value"));
        }
        self.at += word.len();
        out.extend_from_slice(word);
        Ok(())
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), JcsError> {
        self.at += 1;
        out.push(b'[');
        if !self.take(b']') {
            loop {
                self.value(out, depth + 1)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("expected `,` or `]`"));
                }
                out.push(b',');
            }
        }
        out.push(b']');
        Ok(())
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), JcsError> {
        self.at += 1;
        // Rendered members by name; RFC 8785 sorts names by their UTF-16 code units.
        let mut members: Vec<(Vec<u16>, Vec<u8>)> = Vec::new();
        if !self.take(b'}') {
            loop {
                self.skip_space();
                if self.peek() != Some(b'"') {
                    return Err(self.error("expected a member name in quotes"));
                }
                let name = self.string()?;
                let mut rendered = Vec::new();
                write_string(&mut rendered, &name);
                if !self.take(b':') {
                    return Err(self.error("expected `:`"));
                }
                rendered.push(b':');
                self.value(&mut rendered, depth + 1)?;
                members.push((name.encode_utf16().collect(), rendered));
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("expected `,` or `}`"));
                }
            }
        }
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        if members.array_windows().any(|[(a, _), (b, _)]| a == b) {
            return Err(self.error("duplicate member name in the object that ends"));
        }
        out.push(b'{');
        for (i, (_, rendered)) in members.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(rendered);
        }
        out.push(b'}');
        Ok(())
    }

    fn string(&mut self) -> Result<String, JcsError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| !is_escaped(byte)) {
                self.at += 1;
            }
            let plain = self.json.get(start..self.at).unwrap_or_default();
            match std::str::from_utf8(plain) {
                Ok(plain) => text.push_str(plain),
                Err(error) => {
                    self.at = start + error.valid_up_to();
                    return Err(self.error("invalid UTF-8"));
                }
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.error("control character in a string: write an escape")),
                None => return Err(self.error("string without end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JcsError> {
        self.at += 1;
        let short = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("unknown escape")),
        };
        self.at += 1;
        Ok(short)
    }

    /// `uXXXX`, or a surrogate pair of two escapes; the backslash is taken already.
    fn unicode_escape(&mut self) -> Result<char, JcsError> {
        let high = self.unit()?;
        if !(0xd800..0xe000).contains(&high) {
            return char::from_u32(high).ok_or(self.error("lone surrogate"));
        }
        let pair = self.json.get(self.at..).is_some_and(|rest| rest.starts_with(b"\\u"));
        if high >= 0xdc00 || !pair {
            return Err(self.error("lone surrogate"));
        }
        self.at += 1;
        let low = self.unit()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(self.error("lone surrogate"));
        }
        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(self.error("lone surrogate"))
    }

    /// Four hexadecimal digits after `u`.
    fn unit(&mut self) -> Result<u32, JcsError> {
        let digits = self.json.get(self.at + 1..self.at + 5).unwrap_or_default();
        if digits.len() != 4 {
            return Err(self.error("expected four hexadecimal digits"));
        }
        let mut unit = 0;
        for digit in digits {
            let Some(digit) = char::from(*digit).to_digit(16) else {
                return Err(self.error("expected four hexadecimal digits"));
            };
            unit = unit << 4 | digit;
        }
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<(), JcsError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            return Err(self.error("number with a leading zero"));
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text = self.json.get(start..self.at).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        if is_integer && text.len() > MAX_DIGITS {
            return Err(self.error("integer with more than 1024 digits"));
        }
        if is_integer {
            out.extend_from_slice(if text == "-0" { b"0" } else { text.as_bytes() });
            return Ok(());
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                out.extend_from_slice(ecmascript_number(number).as_bytes());
                Ok(())
            }
            _ => Err(self.error("number beyond the range of a double")),
        }
    }

    fn digits(&mut self) -> Result<usize, JcsError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("expected a digit")) } else { Ok(self.at - start) }
    }
}

/// The shortest digits that read back as the same double and are nearest to it; of two that are as near, the even ones.
///
/// Rust gives the upper of those two, so that what it gives only tells how many digits there are.
fn shortest(number: f64) -> String {
    let shortest = format!("{number:e}");
    let fraction = shortest.split_once('e').map_or(0, |(mantissa, _)| mantissa.len().saturating_sub(2));
    let nearest = format!("{number:.fraction$e}");
    if nearest.parse() == Ok(number) { nearest } else { shortest }
}

/// A finite double as ECMAScript writes it (ECMA-262, Number::toString), which RFC 8785 prescribes.
fn ecmascript_number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = shortest(number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let len = digits.len() as i32;
    let sign = if number < 0.0 { "-" } else { "" };
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let split = |at: i32| digits.split_at_checked(usize::try_from(at).unwrap_or(0)).unwrap_or((&digits, ""));
    match point {
        _ if len <= point && point <= 21 => format!("{sign}{digits}{}", zeros(point - len)),
        1..=21 => format!("{sign}{}.{}", split(point).0, split(point).1),
        -5..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = split(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{sign}{first}{dot}{rest}e{}{}", if point > 0 { "+" } else { "-" }, (point - 1).abs())
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn plain_bytes_are_counted_up_to_the_first_that_needs_an_escape() {
        for byte in 0..=255 {
            for place in 0..20 {
                let mut text = [[b'a', 0x7f, 0x80, 0xff, b' ', b'!', b'#', b'['][place % 8]; 24];
                text[place] = byte;
                let naive = text.iter().take_while(|byte| !is_escaped(**byte)).count();
                assert_eq!(plain_len(&text), naive, "{byte} at {place}");
                // What comes after the first one does not matter, whatever it borrows.
                text[place + 1..].fill(0);
                assert_eq!(plain_len(&text), naive.min(place + 1), "{byte} at {place}");
            }
        }
    }
}
