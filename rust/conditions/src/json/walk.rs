//! Reading arrays and objects of a text that was scanned: no second validation, no tree.

use std::borrow::Cow;

use super::cursor::{Cursor, Number, double, unescape};
use crate::ErrorCode;
use crate::datum::Datum;

const BROKEN: ErrorCode = ErrorCode::Internal;

/// The elements of an array, in order.
pub(crate) struct Elements<'a>(Cursor<'a>);

/// The members of an object, in order.
pub(crate) struct Members<'a>(Cursor<'a>);

/// The elements of the array whose text, with brackets, is `text`.
pub(crate) fn elements(text: &[u8]) -> Elements<'_> {
    Elements(Cursor { text, at: 1 })
}

/// The members of the object whose text, with braces, is `text`.
pub(crate) fn members(text: &[u8]) -> Members<'_> {
    Members(Cursor { text, at: 1 })
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Datum<'a>, ErrorCode>;

    fn next(&mut self) -> Option<Self::Item> {
        next_item(&mut self.0).then(|| value(&mut self.0))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(Cow<'a, str>, Datum<'a>), ErrorCode>;

    fn next(&mut self) -> Option<Self::Item> {
        next_item(&mut self.0).then(|| {
            let name = string(&mut self.0)?;
            self.0.expect(b':')?;
            Ok((name, value(&mut self.0)?))
        })
    }
}

/// Moves to the next element or member; false at the closing bracket.
fn next_item(cursor: &mut Cursor<'_>) -> bool {
    if cursor.skip_space() == b',' {
        cursor.at += 1;
    }
    !matches!(cursor.skip_space(), 0 | b']' | b'}')
}

fn value<'a>(cursor: &mut Cursor<'a>) -> Result<Datum<'a>, ErrorCode> {
    let first = cursor.skip_space();
    let start = cursor.at;
    match first {
        b'"' => string(cursor).map(Datum::Str),
        b't' => cursor.literal(b"true").map(|()| Datum::Bool(true)),
        b'f' => cursor.literal(b"false").map(|()| Datum::Bool(false)),
        b'n' => cursor.literal(b"null").map(|()| Datum::Null),
        b'[' => {
            skip_brackets(cursor)?;
            Ok(Datum::JsonList(cursor.text.get(start..cursor.at).ok_or(BROKEN)?))
        }
        b'{' => {
            skip_brackets(cursor)?;
            Ok(Datum::JsonMap(cursor.text.get(start..cursor.at).ok_or(BROKEN)?))
        }
        _ => Ok(match cursor.number()? {
            Number::Int(value) => Datum::Int(value),
            Number::Uint(value) => Datum::Uint(value),
            Number::Double(start, end) => Datum::Double(double(cursor.text, start, end)?),
        }),
    }
}

fn string<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, ErrorCode> {
    let span = cursor.string()?;
    if span.escaped {
        let mut out = Vec::with_capacity(span.end.saturating_sub(span.start));
        unescape(cursor.text, span, &mut out)?;
        return String::from_utf8(out).map(Cow::Owned).map_err(|_| BROKEN);
    }
    let bytes = cursor.text.get(span.start..span.end).ok_or(BROKEN)?;
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| BROKEN)
}

/// Skips an array or object; the cursor is at its opening bracket.
fn skip_brackets(cursor: &mut Cursor<'_>) -> Result<(), ErrorCode> {
    let mut depth = 0_usize;
    loop {
        match cursor.peek() {
            b'"' => {
                cursor.string()?;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1).ok_or(BROKEN)?,
            0 => return Err(BROKEN),
            _ => {}
        }
        cursor.at += 1;
        if depth == 0 {
            return Ok(());
        }
    }
}
