//! Which parts of the environment a condition reads, so that the caller prepares only those.

use std::ops::{BitOr, BitOrAssign};

/// A set of parts of the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reads(u16);

impl Reads {
    /// Nothing beyond identity name, scope and kind.
    pub const NONE: Self = Self(0);
    /// Anything of `event`.
    pub const EVENT: Self = Self(1);
    /// Anything of `output`.
    pub const OUTPUT: Self = Self(1 << 1);
    /// `event.value` or `output.value`: JSON is parsed.
    pub const VALUE: Self = Self(1 << 2);
    /// `event.headers` or `output.headers`.
    pub const HEADERS: Self = Self(1 << 3);
    /// `event.key` or `output.key`.
    pub const KEY: Self = Self(1 << 4);
    /// `now`: the decision is good for a short time only.
    pub const NOW: Self = Self(1 << 5);
    /// `arguments`: JSON is parsed.
    pub const ARGUMENTS: Self = Self(1 << 6);
    /// `tool`.
    pub const TOOL: Self = Self(1 << 7);
    /// `identity.attributes`.
    pub const ATTRIBUTES: Self = Self(1 << 8);
    /// `event.offset` or `event.timestamp`: what differs between any two events of a partition.
    pub const POSITION: Self = Self(1 << 9);

    /// Whether every part of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set and `other` have a part in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Reads {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Reads {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
