//! The receipt log: durable, signed batches of receipts in one SQLite file, written by one sealer thread per process.
//!
//! | room | holds |
//! |---|---|
//! | [`Log`], [`LogOptions`], [`Issue`] | writing: claim, epoch, issuing, waiting for durability |
//! | [`keys`] | seeds on disk, the trust file, rotation |
//! | [`BatchStore`], [`SqliteStore`] | where frames live; another store implements the trait and runs its suite |
//! | [`LogError`] | everything that can go wrong, with what to do |

mod attempts;
mod batch_store;
mod claim;
mod database;
mod error;
mod fork;
pub mod keys;
mod log;
mod options;
mod place;
mod queue;
mod recent;
mod registry;
mod sealer;
mod shared;
mod sqlite;
mod stats;

pub use batch_store::{BatchInfo, BatchStore, Head, NewBatch, OutcomeOf, State};
pub use error::LogError;
pub use log::Log;
pub use options::{BatchSpec, LogOptions};
pub use queue::Issue;
pub use recent::SealedReceipt;
pub use sqlite::SqliteStore;
pub use stats::LogStats;
