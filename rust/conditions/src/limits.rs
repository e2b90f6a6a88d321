//! The limits of conditions and of the JSON that they read.

/// What a condition may cost; the `cel` crate has no limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text in bytes.
    pub length: usize,
    /// Nesting of the text: brackets, unary operators and conditional operators within each other.
    pub nesting: usize,
    /// Comprehensions within each other.
    pub comprehension_depth: usize,
    /// Steps that the comprehensions of one condition may take on one event.
    pub steps: u64,
    /// Nesting of a JSON text that a condition reads.
    pub json_nesting: usize,
}

/// The limits that every condition is held to.
pub const LIMITS: Limits =
    Limits { length: 4096, nesting: 32, comprehension_depth: 2, steps: 1_000_000, json_nesting: 64 };
