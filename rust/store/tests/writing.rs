//! What the log promises to those who write.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::time::Duration;

use chio_receipts::{Compression, frame};
use chio_store::testing::Sample;
use chio_store::{Filter, Log, LogOptions, Order};
use common::{NOW, Place, VERSION, consume};

/// Issues one receipt and does not wait for it.
fn one(log: &Log, version: [u8; 32], offset: i64) -> u64 {
    let sample = Sample::new("agents", "orders", 0);
    log.issue(version, |issue| {
        sample.consume(issue, NOW, offset, b"v").unwrap();
    })
    .unwrap()
}

#[test]
fn issued_receipts_become_durable_and_verify() {
    let place = Place::new();
    let log = place.open();
    assert_eq!(log.created_key(), Some(place.beside("-key").canonicalize().unwrap().as_path()));
    consume(&log, &Sample::new("agents", "orders", 0), 0..10, b"value");
    assert_eq!((log.issued(), log.durable()), (10, 10));
    log.close().unwrap();
    assert_eq!(place.verify().receipts, 10);
}

#[test]
fn what_nobody_waits_for_is_sealed_after_the_linger_and_at_the_close() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { linger: Duration::from_millis(1), ..LogOptions::default() });
    let last = one(&log, VERSION, 0);
    while log.durable() < last {
        std::thread::yield_now();
    }
    log.close().unwrap();
    let log = place.open_with(&LogOptions { linger: Duration::from_secs(60), ..LogOptions::default() });
    one(&log, VERSION, 1);
    log.close().unwrap();
    assert_eq!(place.verify().receipts, 2);
}

#[test]
fn every_start_is_an_epoch_that_continues_the_chain() {
    let place = Place::new();
    let sample = Sample::new("agents", "orders", 0);
    for epoch in 0..3 {
        let log = place.open();
        assert_eq!(log.epoch(), epoch);
        consume(&log, &sample, [epoch as i64], b"v");
        log.close().unwrap();
    }
    // A start that leaves no batch does not use its epoch up.
    place.open().close().unwrap();
    assert_eq!(place.open().epoch(), 3);
    let report = place.verify();
    assert_eq!((report.receipts, report.issuers.len(), report.issuers[0].running_count), (3, 1, 3));
}

#[test]
fn a_batch_holds_receipts_of_one_policy_version() {
    let place = Place::new();
    let log = place.open();
    for (offset, version) in [(0, [1; 32]), (1, [1; 32]), (2, [2; 32]), (3, [1; 32])] {
        one(&log, version, offset);
    }
    log.close().unwrap();
    let versions: Vec<_> =
        place.reader().batches(1, 10).unwrap().iter().map(|b| (b.policy_version[0], b.count)).collect();
    assert_eq!(versions, [(1, 2), (2, 1), (1, 1)]);
    assert_eq!(place.verify().receipts, 4);
}

#[test]
fn individual_mode_signs_every_receipt_by_itself() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { max_batch: 1, ..LogOptions::default() });
    consume(&log, &Sample::new("agents", "orders", 0), 0..20, b"v");
    log.close().unwrap();
    assert_eq!(place.verify().frames, 20);
}

#[test]
fn issuing_waits_while_too_much_is_unsealed() {
    let place = Place::new();
    let options = LogOptions { max_unsealed: 100, linger: Duration::from_secs(60), ..LogOptions::default() };
    let log = place.open_with(&options);
    let sample = Sample::new("agents", "orders", 0);
    let issue = |first: i64| {
        log.issue(VERSION, |issue| {
            for offset in first..first + 100 {
                sample.consume(issue, NOW, offset, b"v").unwrap();
            }
        })
        .unwrap()
    };
    assert!(log.has_room());
    for round in 0..20 {
        let last = issue(round * 100);
        assert!(!log.has_room());
        // One call may pass the bound by what it pushes, so at most one round is unsealed before the next.
        assert!(last - log.durable() <= 200);
    }
    assert!(log.stats().waits > 0);
    assert!(log.wait_durable(log.seal(), None).unwrap());
    assert!(log.has_room());
    log.close().unwrap();
    assert_eq!(place.verify().receipts, 2000);
}

#[test]
fn threads_share_one_log_and_every_receipt_is_there_once() {
    let place = Place::new();
    let log = place.open();
    std::thread::scope(|scope| {
        for partition in 0..4 {
            let log = &log;
            scope.spawn(move || {
                let sample = Sample::new("agents", "orders", partition);
                for round in 0..20 {
                    consume(log, &sample, round * 50..round * 50 + 50, b"v");
                }
            });
        }
    });
    log.close().unwrap();
    assert_eq!(place.verify().receipts, 4000);
}

#[test]
fn all_users_of_a_file_in_one_process_share_its_log() {
    let place = Place::new();
    let first = place.open_with(&LogOptions { identity: "consumer".to_owned(), ..LogOptions::default() });
    let second = place.open_with(&LogOptions { identity: "producer".to_owned(), ..LogOptions::default() });
    let link = place.beside("-link");
    std::os::unix::fs::symlink(place.log(), &link).unwrap();
    let third = Log::open(&link, &LogOptions::default()).unwrap();
    assert!(first.issuer() == second.issuer() && first.issuer() == third.issuer());
    let sample = Sample::new("agents", "orders", 0);
    consume(&first, &sample, [0], b"v");
    assert_eq!(third.durable(), 1);
    first.close().unwrap();
    first.close().unwrap();
    assert_eq!(first.issue(VERSION, |_| {}).unwrap_err().code(), "closed");
    consume(&second, &sample, [1], b"v");
    drop((second, third));
    let again = place.open_with(&LogOptions { identity: "consumer".to_owned(), ..LogOptions::default() });
    assert_eq!(again.epoch(), 1, "the last handle closed the log");
}

#[test]
fn options_that_contradict_those_of_the_first_user_are_refused() {
    let place = Place::new();
    let _log = place.open();
    for options in [
        LogOptions { max_batch: 7, ..LogOptions::default() },
        LogOptions { issuer: Some("other".to_owned()), ..LogOptions::default() },
        LogOptions { durability: chio_receipts::Durability::Relaxed, ..LogOptions::default() },
    ] {
        assert_eq!(Log::open(&place.log(), &options).unwrap_err().code(), "options");
    }
    for options in [
        LogOptions { max_batch: 0, ..LogOptions::default() },
        LogOptions { linger: Duration::from_secs(3600), ..LogOptions::default() },
        LogOptions { max_unsealed: 0, ..LogOptions::default() },
    ] {
        assert_eq!(Log::open(&Place::new().log(), &options).unwrap_err().code(), "options");
    }
}

#[test]
fn relaxed_durability_is_a_signed_field() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { durability: chio_receipts::Durability::Relaxed, ..LogOptions::default() });
    consume(&log, &Sample::new("agents", "orders", 0), [0], b"v");
    let bytes = place.reader().frame(1).unwrap();
    let frame = chio_receipts::frame::decode(&bytes).unwrap();
    assert_eq!(frame.checkpoint.durability, chio_receipts::Durability::Relaxed);
}

#[test]
fn waiting_for_what_was_not_issued_is_an_error_and_a_timeout_is_not() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { linger_waited: Duration::from_secs(50), ..LogOptions::default() });
    assert_eq!(log.wait_durable(1, None).unwrap_err().code(), "options");
    let last = one(&log, VERSION, 0);
    assert!(!log.wait_durable(last, Some(Duration::from_millis(1))).unwrap());
    log.seal();
    assert!(log.wait_durable(last, None).unwrap());
}

#[test]
fn a_log_holds_frames_of_all_compressions_and_reads_verifies_and_withholds_from_each() {
    let place = Place::new();
    let sample = Sample::new("agents", "orders", 0);
    let stored = [Compression::None, LogOptions::default().compression, Compression::Zlib, Compression::None];
    let mut ids = Vec::new();
    for (round, compression) in (0_i64..).zip(stored) {
        let log = place.open_with(&LogOptions { compression, ..LogOptions::default() });
        ids.push(consume(&log, &sample, round * 10..round * 10 + 10, b"v").into_iter().map(|(id, _)| id));
        log.close().unwrap();
    }
    let ids: Vec<_> = ids.into_iter().flatten().collect();
    let compressions = || {
        let connection = rusqlite::Connection::open(place.log()).unwrap();
        let mut frames = connection.prepare("SELECT bytes FROM frame ORDER BY batch").unwrap();
        let frames = frames.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        frames.map(|frame| frame::decode(&frame.unwrap()).unwrap().compression).collect::<Vec<_>>()
    };
    assert_eq!(compressions(), stored);
    assert_eq!(stored[1], Compression::Lz4, "new logs are written as the decision record says");
    assert_eq!(place.verify().receipts, 40);
    let page = place.reader().query(&Filter::default(), Order::OldestFirst, None, 100).unwrap();
    assert_eq!(page.receipts.iter().map(|receipt| receipt.id).collect::<Vec<_>>(), ids);

    let gone: Vec<_> = ids.iter().copied().skip(3).step_by(10).collect();
    assert_eq!(chio_store::withhold(&place.log(), &gone).unwrap(), 4);
    assert_eq!(compressions(), stored, "a frame stays stored as it was");
    let report = place.verify();
    assert_eq!((report.receipts, report.withheld), (36, 4));
    assert!(gone.iter().all(|id| place.reader().get(*id).is_err()));
    assert!(ids.iter().filter(|id| !gone.contains(id)).all(|id| place.reader().export(*id).is_ok()));
}
