//! SQLite passes the cases that every store must pass.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

use chio_receipts::Durability;
use chio_store::testing::suite;
use chio_store::{BatchStore, SqliteStore};

#[test]
fn sqlite_keeps_the_promises_of_a_batch_store() {
    for durability in [Durability::Full, Durability::Relaxed] {
        let directory = tempfile::tempdir().unwrap();
        suite::run(&|name| -> Box<dyn BatchStore> {
            Box::new(SqliteStore::open(&directory.path().join(name), durability).unwrap())
        });
    }
}
