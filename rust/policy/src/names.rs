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

/// What a byte of a name is. The values are bits, so that one name's bytes can be judged together.
const PLAIN: u8 = 0;
const COLON: u8 = 1;
/// Part of a character that only [`visible`] can judge.
const WIDE: u8 = 2;
const REFUSED: u8 = 4;

/// The class of every byte: one look-up per byte judges an ASCII name.
const CLASSES: [u8; 256] = classes();

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time, where an index out of range is a build error")]
const fn classes() -> [u8; 256] {
    let mut table = [WIDE; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b':' => COLON,
            b'*' => REFUSED,
            0x21..=0x7e => PLAIN,
            _ => REFUSED,
        };
        byte += 1;
    }
    table
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(REFUSED)
}

/// Whether a text whose bytes have these classes is made of visible characters.
fn is_visible(classes: u8, text: &str) -> bool {
    classes & REFUSED == 0 && (classes & WIDE == 0 || text.chars().all(visible))
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

/// One segment of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub text: &'a [u8],
    /// Its hash in the table of the policy that is asked.
    pub hash: u64,
}

/// The segments of a request: the identity at position 0, then those of the scope.
pub(crate) struct Keys<'a> {
    keys: [Key<'a>; MAX_SEGMENTS + 1],
    count: usize,
}

impl<'a> Keys<'a> {
    pub const fn new() -> Self {
        Self { keys: [Key { text: &[], hash: 0 }; MAX_SEGMENTS + 1], count: 0 }
    }

    /// Splits a request's scope in place and hashes the segments; `None` if it is malformed. A scope that is too long
    /// costs one comparison.
    pub fn fill(&mut self, identity: &'a str, scope: &'a str, hash: impl Fn(&[u8]) -> u64) -> Option<()> {
        if scope.len() > MAX_SCOPE {
            return None;
        }
        self.push(identity.as_bytes(), &hash)?;
        let bytes = scope.as_bytes();
        let mut start = 0;
        let mut classes = PLAIN;
        for (position, byte) in bytes.iter().enumerate() {
            let class = class(*byte);
            classes |= class;
            if class == COLON {
                self.push(bytes.get(start..position)?, &hash)?;
                start = position + 1;
            }
        }
        self.push(bytes.get(start..)?, &hash)?;
        is_visible(classes, scope).then_some(())
    }

    fn push(&mut self, text: &'a [u8], hash: impl Fn(&[u8]) -> u64) -> Option<()> {
        if text.is_empty() {
            return None;
        }
        *self.keys.get_mut(self.count)? = Key { text, hash: hash(text) };
        self.count += 1;
        Some(())
    }

    /// The identity and the segments of the scope.
    pub fn as_slice(&self) -> &[Key<'a>] {
        self.keys.get(..self.count).unwrap_or_default()
    }
}

/// Whether the identity of a request is well-formed.
pub(crate) fn is_identity(text: &str) -> bool {
    let fits = (1..=MAX_IDENTITY).contains(&text.len());
    fits && is_visible(text.bytes().fold(PLAIN, |classes, byte| classes | class(byte)), text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn scope(text: &str) -> Option<Vec<String>> {
        let mut keys = Keys::new();
        keys.fill("i", text, |_| 0)?;
        Some(keys.as_slice().iter().skip(1).map(|key| String::from_utf8(key.text.to_vec()).unwrap()).collect())
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
