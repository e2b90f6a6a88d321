//! Strict JSON (RFC 8259): validated to the last byte, read in one pass for the members that are needed.
//!
//! A text is refused when it is not valid UTF-8, names half of a surrogate pair, holds two members of one name in one
//! object (after unescaping), nests deeper than 64, holds an integer outside i64 and u64 or a number beyond double, or
//! goes on after its value. Numbers without fraction and exponent are integers: `int` where they fit i64, else `uint`.

mod cursor;
mod extract;
mod names;
mod plan;
mod scan;
mod special;
mod walk;

pub use extract::extract;
pub use plan::Plan;
pub use scan::Scan;

pub(crate) use scan::Slot;
pub(crate) use walk::{elements, members};

use crate::ErrorCode;

/// Whether `text` is acceptable JSON.
///
/// # Errors
/// The code of the first rule that it breaks.
pub fn validate(text: &[u8]) -> Result<(), ErrorCode> {
    Scan::default().scan(text, &Plan::default())
}
