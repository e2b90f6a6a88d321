//! Texts within records: cut to their limit, written in canonical form.

use std::borrow::Cow;

use crate::jcs;

/// A text in a record has at most so many bytes of UTF-8 before escaping.
pub const MAX_TEXT: usize = 1024;

/// `text`, or, if it is longer than [`MAX_TEXT`], its beginning, `…` and 32 hexadecimal digits of its BLAKE3 hash.
///
/// Two long texts that differ stay different, and whoever has the original can show that it is the one.
pub fn clip(text: &str) -> Cow<'_, str> {
    clip_to(text, MAX_TEXT)
}

/// Like [`clip`] with another limit, in bytes (at least 64).
pub(crate) fn clip_to(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let hash = crate::hex::encode(&crate::hash::first_16(blake3::hash(text.as_bytes()).as_bytes()));
    let end = text.floor_char_boundary(limit - '…'.len_utf8() - hash.len());
    Cow::Owned(format!("{}…{hash}", text.get(..end).unwrap_or_default()))
}

/// Appends a text as a JSON string, cut to its limit.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    jcs::write_string(out, &clip(text));
}

/// Appends `,"name":"text"`, or nothing for an empty text.
pub(crate) fn member(out: &mut Vec<u8>, name: &str, text: &str) {
    if !text.is_empty() {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        push_text(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_the_limit_and_stay_different() {
        let (a, b) = ("é".repeat(600), format!("{}x", "é".repeat(600)));
        assert!(clip(&a).len() <= MAX_TEXT && clip(&a).len() > MAX_TEXT - 4);
        assert_ne!(clip(&a), clip(&b));
        assert_eq!(clip(&"x".repeat(MAX_TEXT)), "x".repeat(MAX_TEXT));
    }
}
