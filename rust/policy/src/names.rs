//! The grammar of names: identities, scopes and their segments.
//!
//! A name is made of visible characters: anything of Unicode but white space, control characters and the invisible
//! format characters that make two different names look alike. `*` is for patterns only. `:` separates the segments of
//! a scope and is an ordinary character of an identity, so that `spiffe://host/agent` is one.
//! Names compare byte by byte; there is no case folding and no Unicode normalisation.

/// Length of a scope or a scope pattern, in bytes.
pub(crate) const MAX_SCOPE: usize = 512;
/// Segments of a scope.
pub(crate) const MAX_SEGMENTS: usize = 16;
/// Length of an identity, in bytes.
pub(crate) const MAX_IDENTITY: usize = 255;
/// Length of the id of a rule and of the name of a guard, in bytes.
pub(crate) const MAX_ID: usize = 128;

/// What a byte of a name is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Colon,
    /// Part of a character that only [`visible`] can judge.
    Wide,
    Refused,
}

/// The class of every byte: one look-up per byte judges an ASCII name.
const CLASSES: [Class; 256] = classes();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time, where an index out of range is a build error")]
const fn classes() -> [Class; 256] {
    let mut table = [Class::Wide; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b':' => Class::Colon,
            b'*' => Class::Refused,
            0x21..=0x7e => Class::Plain,
            _ => Class::Refused,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Refused)
}

/// Whether a character may stand in a name.
pub(crate) fn visible(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}');
    !(invisible || c.is_control() || c.is_whitespace() || c == '*')
}

/// The segments of a request: the identity at position 0, then those of the scope.
pub(crate) struct Segments<'a> {
    texts: [&'a [u8]; MAX_SEGMENTS + 1],
    count: usize,
}

impl<'a> Segments<'a> {
    /// Splits a request's scope; `None` if it is malformed. A scope that is too long costs one comparison.
    pub fn of(identity: &'a str, scope: &'a str) -> Option<Self> {
        if scope.len() > MAX_SCOPE {
            return None;
        }
        let mut segments = Self { texts: [&[]; MAX_SEGMENTS + 1], count: 0 };
        segments.push(identity.as_bytes())?;
        let bytes = scope.as_bytes();
        let mut start = 0;
        let mut wide = false;
        for (position, byte) in bytes.iter().enumerate() {
            match class(*byte) {
                Class::Plain => {}
                Class::Colon => {
                    segments.push(bytes.get(start..position)?)?;
                    start = position + 1;
                }
                Class::Wide => wide = true,
                Class::Refused => return None,
            }
        }
        segments.push(bytes.get(start..)?)?;
        (!wide || scope.chars().all(visible)).then_some(segments)
    }

    fn push(&mut self, text: &'a [u8]) -> Option<()> {
        if text.is_empty() {
            return None;
        }
        *self.texts.get_mut(self.count)? = text;
        self.count += 1;
        Some(())
    }

    /// The identity and the segments of the scope.
    pub fn as_slice(&self) -> &[&'a [u8]] {
        self.texts.get(..self.count).unwrap_or_default()
    }
}

/// Whether the identity of a request is well-formed.
pub(crate) fn is_identity(text: &str) -> bool {
    if text.is_empty() || text.len() > MAX_IDENTITY {
        return false;
    }
    let mut wide = false;
    for byte in text.bytes() {
        match class(byte) {
            Class::Plain | Class::Colon => {}
            Class::Wide => wide = true,
            Class::Refused => return false,
        }
    }
    !wide || text.chars().all(visible)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn scope(text: &str) -> Option<Vec<String>> {
        let segments = Segments::of("i", text)?;
        Some(segments.as_slice().iter().skip(1).map(|s| String::from_utf8(s.to_vec()).unwrap()).collect())
    }

    #[test]
    fn a_scope_is_split_at_colons() {
        assert_eq!(scope("events:consume:a.b-c_d").unwrap(), ["events", "consume", "a.b-c_d"]);
        assert_eq!(scope("tools:süß").unwrap(), ["tools", "süß"]);
    }

    #[test]
    fn malformed_scopes_are_refused() {
        let long = "a".repeat(MAX_SCOPE + 1);
        let many = vec!["a"; MAX_SEGMENTS + 1].join(":");
        let hidden = ["a:\u{200b}b", "a:\u{202e}b", "a:\u{feff}", "a:\u{a0}b", "a:\u{85}"];
        let plain = ["", ":", "a:", ":a", "a::b", "a b", "a:*", "a*", "a\n", "a\0", &long, &many];
        for text in plain.into_iter().chain(hidden) {
            assert!(scope(text).is_none(), "{text:?}");
        }
        assert!(scope(&"a".repeat(MAX_SCOPE)).is_some());
        assert!(scope(&vec!["a"; MAX_SEGMENTS].join(":")).is_some());
    }

    #[test]
    fn identities_may_hold_colons_but_nothing_invisible() {
        for text in ["a", "spiffe://host/agent", "agent@host", "größe", &"a".repeat(MAX_IDENTITY)] {
            assert!(is_identity(text), "{text:?}");
        }
        for text in ["", "a b", "a*", "*", "a\u{200d}", "\t", &"a".repeat(MAX_IDENTITY + 1)] {
            assert!(!is_identity(text), "{text:?}");
        }
    }
}
