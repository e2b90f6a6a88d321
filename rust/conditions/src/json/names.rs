//! Member names of the objects that are open, to find a name that comes twice.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use super::cursor::{Span, unescape};
use super::plan::Child;
use crate::ErrorCode;

/// Objects with more members than this are looked up by hash.
const LINEAR: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Name {
    /// Length and ends of the name: different for most different names, equal for equal ones.
    fingerprint: u64,
    start: usize,
    end: usize,
    in_arena: bool,
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

    pub(super) fn open(&mut self) -> Open {
        self.objects += 1;
        Open { names: self.open.len(), arena: self.arena.len(), serial: self.objects }
    }

    pub(super) fn close(&mut self, object: Open) {
        self.open.truncate(object.names);
        self.arena.truncate(object.arena);
    }

    /// Adds a name to the innermost object.
    ///
    /// # Errors
    /// `DuplicateMember` when the object has it already.
    #[inline]
    pub(super) fn add(&mut self, object: Open, text: &[u8], span: Span) -> Result<(), ErrorCode> {
        let (start, end, in_arena) = if span.escaped {
            let start = self.arena.len();
            unescape(text, span, &mut self.arena)?;
            (start, self.arena.len(), true)
        } else {
            (span.start, span.end, false)
        };
        let bytes = if in_arena { self.arena.get(start..end) } else { text.get(start..end) };
        let bytes = bytes.ok_or(ErrorCode::Internal)?;
        let name = Name { fingerprint: fingerprint(bytes), start, end, in_arena };
        let siblings = self.open.get(object.names..).ok_or(ErrorCode::Internal)?;
        let twice = if siblings.len() < LINEAR {
            self.repeats(siblings, text, &name, bytes)
        } else {
            let hash = self.hash(object, bytes);
            if siblings.len() == LINEAR {
                let hashes: [Option<u64>; LINEAR] =
                    std::array::from_fn(|i| siblings.get(i).map(|name| self.hash(object, self.bytes(text, name))));
                self.seen.extend(hashes.into_iter().flatten());
            }
            // Equal hashes are not yet equal names; the seed makes them too rare to matter for the time.
            let siblings = self.open.get(object.names..).ok_or(ErrorCode::Internal)?;
            let known = self.seen.contains(&hash) && self.repeats(siblings, text, &name, bytes);
            self.seen.insert(hash);
            known
        };
        if twice {
            return Err(ErrorCode::DuplicateMember);
        }
        self.open.push(name);
        Ok(())
    }

    /// The member of `wanted` that the name added last is.
    #[inline]
    pub(super) fn wanted<'p>(&self, text: &[u8], wanted: &'p [Child]) -> Option<&'p Child> {
        let name = self.open.last()?;
        wanted.iter().find(|child| child.fingerprint == name.fingerprint && *child.name == *self.bytes(text, name))
    }

    #[inline]
    fn repeats(&self, siblings: &[Name], text: &[u8], name: &Name, bytes: &[u8]) -> bool {
        siblings.iter().any(|other| other.fingerprint == name.fingerprint && self.bytes(text, other) == bytes)
    }

    fn hash(&self, object: Open, bytes: &[u8]) -> u64 {
        self.seed.hash_one((object.serial, bytes))
    }

    fn bytes<'a>(&'a self, text: &'a [u8], name: &Name) -> &'a [u8] {
        let source = if name.in_arena { &self.arena } else { text };
        source.get(name.start..name.end).unwrap_or_default()
    }
}

/// Equal for equal names, and different for most names that differ.
#[inline]
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let length = bytes.len() as u64;
    let ends = if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
    } else {
        bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    ends ^ length.rotate_right(8)
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
