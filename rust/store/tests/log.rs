//! What the log promises to those who write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // Tests fail by panicking.

use chio_store::testing::Sample;
use chio_store::{Log, LogOptions};

const VERSION: [u8; 32] = [1; 32];

#[test]
fn issued_receipts_become_durable() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(&dir.path().join("log"), &LogOptions::default()).unwrap();
    let sample = Sample::new("agents", "orders", 0);
    let last = log
        .issue(VERSION, |issue| {
            for offset in 0..10 {
                sample.consume(issue, 1_700_000_000_000, offset, b"value").unwrap();
            }
        })
        .unwrap();
    assert_eq!(last, 10);
    assert!(log.wait_durable(last, None).unwrap());
    assert_eq!(log.sealed(1..11).iter().map(|s| s.unwrap().attempt).collect::<Vec<_>>(), [1; 10]);
    log.close().unwrap();
}
