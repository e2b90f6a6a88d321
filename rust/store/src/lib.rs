//! The receipt log: batch store, issuer claim, sealer, index and queries.
#![allow(dead_code)]

mod claim;
mod error;
mod fork;
mod place;

pub use error::LogError;
