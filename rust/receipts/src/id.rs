//! Receipt ids: 128 bits, ascending in the order in which an issuer gives them, with one spelling.

use std::fmt;
use std::str::FromStr;

use crate::digits::{self, NO_DIGIT};
use crate::hash;

/// Every spelled id starts with this.
const PREFIX: &str = "rcpt_";
/// Crockford's base 32, lower case: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 26 characters of 5 bits hold 128 bits; the first character holds only 3.
const DIGITS: usize = 26;
/// Length of a spelled id in bytes.
pub const SPELLED_LEN: usize = PREFIX.len() + DIGITS;
/// Digit values by byte.
const VALUES: [u8; 256] = digits::values(ALPHABET);
const LOW_48: u64 = (1 << 48) - 1;

/// Id of a record: 48-bit Unix time in ms · 32-bit tag of issuer and epoch · 48-bit counter.
///
/// Spelled `rcpt_` and 26 lower-case Crockford base 32 digits, most significant first; no other spelling decodes.
/// Ids sort as numbers and as text in the same order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptId(u128);

/// A text is not a receipt id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a receipt id: write `rcpt_` and 26 lower-case Crockford base 32 digits, the first at most `7`")
    }
}

impl std::error::Error for ParseIdError {}

impl ReceiptId {
    /// Puts the three parts together; each is cut to its width.
    pub const fn from_parts(ms: u64, tag: u32, counter: u64) -> Self {
        Self(((ms & LOW_48) as u128) << 80 | (tag as u128) << 48 | (counter & LOW_48) as u128)
    }

    /// The id with this value.
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The id as a number; those of one issuer and epoch ascend as they are given.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The id as 16 bytes, most significant first, so that bytes sort like ids.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id of 16 bytes as [`ReceiptId::to_bytes`] gives them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Time of issue, Unix ms.
    pub const fn ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// Tag of issuer and epoch, see [`tag`].
    pub const fn tag(self) -> u32 {
        (self.0 >> 48) as u32
    }

    /// Position among the ids that this issuer gave in this epoch.
    pub const fn counter(self) -> u64 {
        self.0 as u64 & LOW_48
    }

    /// The spelled id.
    pub fn spelled(self) -> [u8; SPELLED_LEN] {
        let mut out = [0; SPELLED_LEN];
        let (prefix, digits) = out.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        // Two 64-bit halves, because shifting a 128-bit number 26 times costs three times as much.
        let (mut high, mut low) = ((self.0 >> 65) as u64, self.0 as u64);
        let carried = (self.0 >> 60) as u64 & 31;
        let (upper, lower) = digits.split_at_mut(14);
        for digit in lower.iter_mut().rev() {
            *digit = spell(low);
            low >>= 5;
        }
        if let Some((last, rest)) = upper.split_last_mut() {
            *last = spell(carried);
            for digit in rest.iter_mut().rev() {
                *digit = spell(high);
                high >>= 5;
            }
        }
        out
    }

    /// Reads a spelled id.
    ///
    /// # Errors
    /// [`ParseIdError`] for anything but the one spelling.
    pub fn parse(text: &[u8]) -> Result<Self, ParseIdError> {
        let digits = text.strip_prefix(PREFIX.as_bytes()).ok_or(ParseIdError)?;
        if digits.len() != DIGITS || digits.first().is_none_or(|first| *first > b'7') {
            return Err(ParseIdError);
        }
        let mut value = 0u128;
        for digit in digits {
            let digit = VALUES.get(usize::from(*digit)).copied().unwrap_or(NO_DIGIT);
            if digit == NO_DIGIT {
                return Err(ParseIdError);
            }
            value = value << 5 | u128::from(digit);
        }
        Ok(Self(value))
    }
}

impl FromStr for ReceiptId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.spelled()).unwrap_or_default())
    }
}

impl fmt::Debug for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tag that every id of this issuer and epoch carries, so that a verifier sees an id under a foreign issuer.
pub fn tag(issuer: &str, epoch: u64) -> u32 {
    let hash = hash::parts(hash::Domain::IdTag, &[issuer.as_bytes(), &epoch.to_le_bytes()]);
    let [a, b, c, d, ..] = hash;
    u32::from_le_bytes([a, b, c, d])
}

/// Gives the ids of one issuer in one epoch: strictly ascending, never stepping back with the clock.
#[derive(Debug)]
pub struct IdSource {
    tag: u32,
    counter: u64,
    last_ms: u64,
}

impl IdSource {
    /// A source for `epoch` of `issuer`.
    pub fn new(issuer: &str, epoch: u64) -> Self {
        Self { tag: tag(issuer, epoch), counter: 0, last_ms: 0 }
    }

    /// Raises the time below which no id is given, Unix ms: the time of the issuer's last receipt of the epoch before.
    #[must_use]
    pub fn not_before(mut self, ms: i64) -> Self {
        self.last_ms = self.last_ms.max(clamp_ms(ms));
        self
    }

    /// The next id at `now_ms` (Unix ms); a clock that stepped back is not followed.
    pub fn next(&mut self, now_ms: i64) -> ReceiptId {
        self.last_ms = self.last_ms.max(clamp_ms(now_ms));
        let id = ReceiptId::from_parts(self.last_ms, self.tag, self.counter);
        self.counter += 1;
        id
    }
}

/// Unix ms within the 48 bits that an id has for it.
fn clamp_ms(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).min(LOW_48)
}

/// The digit of the low five bits.
fn spell(bits: u64) -> u8 {
    ALPHABET.get((bits & 31) as usize).copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by panicking.
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spelling_has_known_values() {
        assert_eq!(ReceiptId::from_u128(0).to_string(), "rcpt_00000000000000000000000000");
        assert_eq!(ReceiptId::from_u128(u128::MAX).to_string(), "rcpt_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(ReceiptId::from_u128(32).to_string(), "rcpt_00000000000000000000000010");
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "rcpt_",
            "rcpt_0000000000000000000000000",
            "rcpt_000000000000000000000000000",
            "rcpt_80000000000000000000000000",
            "rcpt_0000000000000000000000000A",
            "rcpt_0000000000000000000000000i",
            "rcpt_0000000000000000000000000l",
            "rcpt_0000000000000000000000000o",
            "rcpt_0000000000000000000000000u",
            "RCPT_00000000000000000000000000",
            " rcpt_00000000000000000000000000",
            "rcpt_0000000000000000000000000é",
        ] {
            assert_eq!(text.parse::<ReceiptId>(), Err(ParseIdError), "{text}");
        }
    }

    #[test]
    fn ids_ascend_when_the_clock_steps_back() {
        let mut ids = IdSource::new("a@b", 3).not_before(50);
        let given: Vec<_> = [100, 90, -5, i64::MAX, 7].into_iter().map(|now| ids.next(now)).collect();
        assert!(given.is_sorted_by(|a, b| a < b), "{given:?}");
        assert!(given.iter().all(|id| id.tag() == tag("a@b", 3) && id.ms() >= 100));
        assert_eq!(given.iter().map(|id| id.counter()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn tags_differ_between_issuers_and_epochs() {
        assert_ne!(tag("a", 0), tag("a", 1));
        assert_ne!(tag("a", 0), tag("b", 0));
    }

    proptest! {
        #[test]
        fn spelling_round_trips_and_sorts_like_numbers(a: u128, b: u128) {
            let (a, b) = (ReceiptId::from_u128(a), ReceiptId::from_u128(b));
            prop_assert_eq!(a.to_string().parse::<ReceiptId>(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(ReceiptId::from_parts(a.ms(), a.tag(), a.counter()), a);
        }

        #[test]
        fn decoding_is_the_inverse_of_spelling(text in "rcpt_[0-9a-zA-Z]{26}") {
            if let Ok(id) = text.parse::<ReceiptId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
