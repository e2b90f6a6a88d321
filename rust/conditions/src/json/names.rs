//! Member names of the objects that are open, to find a name that comes twice.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use super::cursor::{Span, unescape};
use crate::ErrorCode;

/// Objects with more members than this are looked up by hash.
const LINEAR: usize = 16;

/// Length and ends of a name: equal for equal names, different for most that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of the name in `text` from `start` to `end`.
    #[inline(always)]
    pub(super) fn new(text: &[u8], start: usize, end: usize) -> Self {
        let length = end.saturating_sub(start);
        let first = word(text, start);
        let ends = match length {
            0 => 0,
            1..8 => first << (64 - 8 * length),
            _ => first ^ word(text, end - 8).rotate_left(29),
        };
        Self(ends ^ length as u64)
    }

    /// One bit of 64. Where none of several names has the bit of this one, this one is not among them.
    #[inline(always)]
    pub(super) const fn bit(self) -> u64 {
        // The upper bits of the product depend on all bits of the fingerprint.
        1 << (self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58)
    }
}

/// The eight bytes of `text` from `at` on, as far as there are so many.
#[inline(always)]
fn word(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => last_word(text, at),
    }
}

#[inline(never)]
fn last_word(text: &[u8], at: usize) -> u64 {
    text.get(at..).unwrap_or_default().iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A name of an open object.
#[derive(Clone, Copy, Debug)]
struct Name {
    fingerprint: Fingerprint,
    /// Where it is in the text; behind the end of the text, in the arena.
    start: usize,
    end: usize,
}

/// The names of all open objects, innermost last. Reused from text to text.
#[derive(Debug, Default)]
pub(super) struct Names {
    open: Vec<Name>,
    /// Names that were written with escapes, unescaped.
    arena: Vec<u8>,
    /// Seeded hashes of (object, name) for the objects with many members.
    seen: HashSet<u64, BuildHasherDefault<Identity>>,
    seed: foldhash::fast::RandomState,
    objects: u64,
}

/// An object that is open: where its names begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    names: usize,
    arena: usize,
    serial: u64,
    /// The bits of its names.
    bits: u64,
}

impl Open {
    /// No object.
    pub(super) const NONE: Self = Self { names: 0, arena: 0, serial: 0, bits: 0 };
}

impl Names {
    /// Forgets everything, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.arena.clear();
        if !self.seen.is_empty() {
            self.seen.clear();
        }
        self.objects = 0;
    }

    #[inline(always)]
    pub(super) fn open(&mut self) -> Open {
        self.objects += 1;
        Open { names: self.open.len(), arena: self.arena.len(), serial: self.objects, bits: 0 }
    }

    #[inline(always)]
    pub(super) fn close(&mut self, object: Open) {
        self.open.truncate(object.names);
        self.arena.truncate(object.arena);
    }

    /// Adds a name to the innermost object.
    ///
    /// # Errors
    /// `DuplicateMember` when the object has it already.
    #[inline(always)]
    pub(super) fn add(&mut self, object: &mut Open, text: &[u8], span: Span) -> Result<Fingerprint, ErrorCode> {
        let name = if span.escaped {
            let start = text.len() + self.arena.len();
            let fingerprint = self.unescape(text, span)?;
            Name { fingerprint, start, end: text.len() + self.arena.len() }
        } else {
            let fingerprint = Fingerprint::new(text, span.start, span.end);
            Name { fingerprint, start: span.start, end: span.end }
        };
        let bit = name.fingerprint.bit();
        if object.bits & bit != 0 || self.open.len() - object.names >= LINEAR {
            self.check(*object, text, name)?;
        }
        object.bits |= bit;
        self.open.push(name);
        Ok(name.fingerprint)
    }

    /// Whether the name added last is `wanted`.
    #[inline(always)]
    pub(super) fn last_is(&self, text: &[u8], wanted: &[u8]) -> bool {
        self.open.last().is_some_and(|name| self.bytes(text, name) == wanted)
    }

    /// Appends a name to the arena.
    #[inline(never)]
    fn unescape(&mut self, text: &[u8], span: Span) -> Result<Fingerprint, ErrorCode> {
        let start = self.arena.len();
        unescape(text, span, &mut self.arena)?;
        Ok(Fingerprint::new(&self.arena, start, self.arena.len()))
    }

    /// Compares a name with those that its object has: one by one while they are few, by hash when they are many.
    #[inline(never)]
    fn check(&mut self, object: Open, text: &[u8], name: Name) -> Result<(), ErrorCode> {
        let siblings = self.open.get(object.names..).unwrap_or_default();
        let few = siblings.len() < LINEAR;
        if siblings.len() == LINEAR {
            let hashes: [Option<u64>; LINEAR] =
                std::array::from_fn(|i| siblings.get(i).map(|name| self.hash(object, self.bytes(text, name))));
            self.seen.extend(hashes.into_iter().flatten());
        }
        // Equal hashes are not yet equal names; the seed makes them too rare to matter for the time.
        let possible = few || {
            let hash = self.hash(object, self.bytes(text, &name));
            !self.seen.insert(hash)
        };
        let bytes = self.bytes(text, &name);
        let same = |other: &Name| other.fingerprint == name.fingerprint && self.bytes(text, other) == bytes;
        let twice = possible && self.open.iter().skip(object.names).any(same);
        if twice { Err(ErrorCode::DuplicateMember) } else { Ok(()) }
    }

    fn hash(&self, object: Open, bytes: &[u8]) -> u64 {
        self.seed.hash_one((object.serial, bytes))
    }

    #[inline(always)]
    fn bytes<'a>(&'a self, text: &'a [u8], name: &Name) -> &'a [u8] {
        let bytes = match name.start.checked_sub(text.len()) {
            Some(start) => self.arena.get(start..name.end.saturating_sub(text.len())),
            None => text.get(name.start..name.end),
        };
        bytes.unwrap_or_default()
    }
}

/// The hashes are hashed already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
