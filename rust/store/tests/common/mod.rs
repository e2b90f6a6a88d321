//! What the tests of the log share.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // Not every test uses all of it; tests fail by panicking.

pub mod steps;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chio_receipts::ReceiptId;
use chio_receipts::trust::{Trust, TrustedKey};
use chio_receipts::verify::Report;
use chio_store::testing::Sample;
use chio_store::{Log, LogOptions, LogReader};

pub const VERSION: [u8; 32] = [1; 32];
pub const NOW: i64 = 1_700_000_000_000;

/// A directory of its own for one log.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub fn beside(&self, suffix: &str) -> PathBuf {
        self.directory.path().join(format!("log{suffix}"))
    }

    pub fn open(&self) -> Arc<Log> {
        self.open_with(&LogOptions::default())
    }

    pub fn open_with(&self, options: &LogOptions) -> Arc<Log> {
        Log::open(&self.log(), options).unwrap()
    }

    pub fn reader(&self) -> LogReader {
        LogReader::open(&self.log()).unwrap()
    }

    /// Verifies the whole log with the key beside it.
    pub fn verify(&self) -> Report {
        let signer = chio_store::keys::load(&self.beside("-key")).unwrap();
        verify(&self.log(), &Trust { keys: vec![TrustedKey::active(signer.public_key(), &["*"])] })
    }
}

pub fn verify(log: &Path, trust: &Trust) -> Report {
    let report = LogReader::open(log).unwrap().verify(trust, &mut |_| {}).unwrap();
    assert_eq!(report.found, 0, "{report:?}");
    report
}

/// Issues consume receipts for these offsets and waits until they are durable; returns ids and attempts.
pub fn consume(
    log: &Log,
    sample: &Sample,
    offsets: impl IntoIterator<Item = i64>,
    value: &[u8],
) -> Vec<(ReceiptId, u32)> {
    let mut issued = Vec::new();
    let last = log
        .issue(VERSION, |issue| {
            for offset in offsets {
                issued.push(sample.consume(issue, NOW, offset, value).unwrap());
            }
        })
        .unwrap();
    log.seal();
    assert!(log.wait_durable(last, None).unwrap());
    issued.iter().map(|(id, ordinal)| (*id, log.sealed(*ordinal..ordinal + 1)[0].unwrap().attempt)).collect()
}

pub fn attempts(log: &Log, sample: &Sample, offsets: impl IntoIterator<Item = i64>, value: &[u8]) -> Vec<u32> {
    consume(log, sample, offsets, value).into_iter().map(|(_, attempt)| attempt).collect()
}
