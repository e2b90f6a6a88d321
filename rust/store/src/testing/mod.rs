//! What other stores, tests and drills share (feature `testing`).
//!
//! | room | holds |
//! |---|---|
//! | [`Sample`] | receipts that look like real ones |
//! | [`suite`] | the named cases that every [`crate::BatchStore`] must pass |
//! | [`drill`] | kill -9 during appends |
//! | `postgres` | a database server of one's own |

// This module is test code: it fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod drill;
mod issuer;
#[cfg(feature = "postgres")]
pub mod postgres;
mod sample;
pub mod suite;

pub use sample::Sample;
