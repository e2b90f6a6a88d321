//! Patterns of scopes and identities: literal, `*`, `prefix*`, and `**` as the last segment of a scope.

use crate::error::shown;
use crate::names::{MAX_IDENTITY, MAX_SCOPE, MAX_SEGMENTS, visible};

/// What one segment of a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment<'a> {
    /// This text.
    Literal(&'a str),
    /// Any text that starts with this one, itself included.
    Prefix(&'a str),
    /// Any one segment.
    Any,
    /// One or more segments; last only.
    Rest,
}

/// Reads a scope pattern.
///
/// # Errors
/// What is wrong with it and what to write instead.
pub(crate) fn scope(text: &str) -> Result<Vec<Segment<'_>>, String> {
    let wrong = |what: String| format!("scope pattern `{}` {what}", shown(text));
    if text.is_empty() {
        return Err(wrong("is empty; write a pattern as `tools:search`".into()));
    }
    if text.len() > MAX_SCOPE {
        return Err(wrong(format!("has {} bytes; write at most {MAX_SCOPE}", text.len())));
    }
    let mut segments = Vec::with_capacity(4);
    let mut parts = text.split(':').peekable();
    while let Some(part) = parts.next() {
        let segment = if part == "**" {
            if parts.peek().is_some() {
                return Err(wrong("has `**` before its end; write `**` as the last segment only".into()));
            }
            Segment::Rest
        } else {
            one(part).map_err(wrong)?
        };
        segments.push(segment);
    }
    if segments.len() > MAX_SEGMENTS {
        return Err(wrong(format!("has {} segments; write at most {MAX_SEGMENTS}", segments.len())));
    }
    Ok(segments)
}

/// Reads an identity pattern: exact, `prefix*` or `*`.
///
/// # Errors
/// What is wrong with it and what to write instead.
pub(crate) fn identity(text: &str) -> Result<Segment<'_>, String> {
    if text.len() > MAX_IDENTITY {
        let shown = shown(text);
        return Err(format!("identity `{shown}` has {} bytes; write at most {MAX_IDENTITY}", text.len()));
    }
    one(text).map_err(|what| format!("identity `{}` {what}", shown(text)))
}

fn one(part: &str) -> Result<Segment<'_>, String> {
    if part == "*" {
        return Ok(Segment::Any);
    }
    let (body, prefix) = part.strip_suffix('*').map_or((part, false), |body| (body, true));
    if body.is_empty() {
        return Err("has an empty segment; write a name or `*` between two colons".into());
    }
    if body.contains('*') {
        return Err(format!("has a `*` inside `{}`; write `*` alone or at the end of a name", shown(part)));
    }
    if let Some(c) = body.chars().find(|c| !visible(*c)) {
        return Err(format!("has the character U+{:04X}; write visible characters without spaces", c as u32));
    }
    Ok(if prefix { Segment::Prefix(body) } else { Segment::Literal(body) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_segment_is_read() {
        assert_eq!(
            scope("a:*:b*:**").unwrap(),
            [Segment::Literal("a"), Segment::Any, Segment::Prefix("b"), Segment::Rest]
        );
        assert_eq!(scope("**").unwrap(), [Segment::Rest]);
        assert_eq!(identity("*").unwrap(), Segment::Any);
        assert_eq!(identity("a:b*").unwrap(), Segment::Prefix("a:b"));
    }

    #[test]
    fn nothing_else_is_a_pattern() {
        for text in ["", "a:", ":a", "a::b", "**:a", "a:**:b", "a**", "***", "*a", "a*b", "a:*b*", "a b", "a\u{200b}"] {
            assert!(scope(text).is_err(), "{text:?}");
        }
        for text in ["", "**", "*a", "a*b", "a b"] {
            assert!(identity(text).is_err(), "{text:?}");
        }
    }
}
