//! The receipt log: durable, signed batches of receipts in one SQLite file or one PostgreSQL schema, written by one sealer
//! thread per process.
//!
//! | room | holds |
//! |---|---|
//! | [`LogLocation`] | where a log is: a file, or a database by its URL |
//! | [`Log`], [`LogOptions`], [`Issue`] | writing: claim, epoch, issuing, waiting for durability |
//! | [`LogReader`], [`Filter`], [`ReceiptChain`] | reading: look-up, queries, chains, exports, verification |
//! | [`import`] | taking over what other logs exported |
//! | [`withhold`] | replacing bodies by their leaf hashes |
//! | [`keys`] | seeds on disk, the trust file, rotation |
//! | [`BatchStore`], [`SqliteStore`], `PostgresStore` | where frames live; another store implements the trait and runs its suite |
//! | [`LogError`] | everything that can go wrong, with what to do |

mod attempts;
mod batch_store;
mod chain;
mod claim;
mod continuity;
mod database;
mod error;
mod filter;
mod fork;
mod import;
mod index;
pub mod keys;
mod location;
mod log;
mod options;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
mod prepared;
mod queue;
mod reader;
mod recent;
mod registry;
mod sealer;
mod shared;
mod sqlite;
mod stats;
mod withhold;

pub use batch_store::{BatchInfo, BatchStore, Head, NewBatch, OutcomeOf, Rewrite, State};
pub use chain::{ChainLink, ChainReceipt, Direction, LinkKind, ReceiptChain};
pub use error::LogError;
pub use filter::{Filter, Order, Position};
pub use import::{Imported, import};
pub use location::LogLocation;
pub use log::Log;
pub use options::{BatchSpec, LogOptions};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresStore, PostgresUrl};
pub use prepared::PreparedBatch;
pub use queue::Issue;
pub use reader::{LogReader, Page, StoredReceipt};
pub use recent::{SealedReceipt, SignedCheckpoint};
pub use sqlite::SqliteStore;
pub use stats::LogStats;
pub use withhold::withhold;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
