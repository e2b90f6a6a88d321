//! What the log promises to those who write.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::slice;
use std::time::Duration;

use chio_receipts::{Compression, Draft, Mode, OutcomeDraft, OutcomeWord, PushError, Shown, frame};
use chio_store::testing::Sample;
use chio_store::{BatchSpec, Filter, Log, LogOptions, Order, State};
use common::{NOW, Place, VERSION, attempts, consume};
use proptest::prelude::*;

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
fn attempts_count_the_same_event_and_no_other() {
    let place = Place::new();
    let log = place.open();
    let (orders, other) = (Sample::new("agents", "orders", 0), Sample::new("agents", "orders", 1));
    assert_eq!(attempts(&log, &orders, [5, 6, 7], b"v"), [1, 1, 1]);
    // Again within one batch, and across batches.
    assert_eq!(attempts(&log, &orders, [6, 6, 8, 8], b"v"), [2, 3, 1, 2]);
    // Another value at the same place is another request; so is the same offset elsewhere or for somebody else.
    assert_eq!(attempts(&log, &orders, [6], b"other"), [1]);
    assert_eq!(attempts(&log, &other, [6], b"v"), [1]);
    assert_eq!(attempts(&log, &Sample::new("billing", "orders", 0), [6], b"v"), [1]);
    // A gap below the highest offset was never seen.
    assert_eq!(attempts(&log, &orders, [3, 6], b"v"), [1, 4]);
    log.close().unwrap();
    // A new process learns them from the log, and so does one that gets the partition back.
    let log = place.open();
    assert_eq!(attempts(&log, &orders, [8, 9, 7], b"v"), [3, 1, 2]);
    log.partition_assigned(orders.target.partition_key().unwrap());
    assert_eq!(attempts(&log, &orders, 5..10, b"v"), [2, 5, 3, 4, 2]);
    log.close().unwrap();
    place.verify();
}

#[test]
fn a_replay_of_a_whole_partition_counts_every_attempt() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { max_batch: 97, ..LogOptions::default() });
    let sample = Sample::new("agents", "orders", 0);
    for attempt in 1..=3 {
        assert_eq!(attempts(&log, &sample, 0..5_000, b"v"), vec![attempt; 5_000]);
    }
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
    for round in 0..20 {
        let last = issue(round * 100);
        // One call may pass the bound by what it pushes, so at most one round is unsealed before the next.
        assert!(last - log.durable() <= 200);
    }
    assert!(log.stats().waits > 0);
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
fn a_transaction_is_one_batch_and_its_outcome_resolves_it() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { max_batch: 3, ..LogOptions::default() });
    let sample = Sample::new("agents", "orders", 0);
    let spec = BatchSpec {
        policy_version: VERSION,
        mode: Mode::Transaction { group: "g".to_owned(), transactional_id: "g-1".to_owned() },
        attestation: Some(br#"{"offsets":{"orders-0":[0,10]}}"#.to_vec()),
    };
    let last = log
        .issue_batches(slice::from_ref(&spec), |_, issue| {
            for offset in 0..10 {
                sample.consume(issue, NOW, offset, b"v").unwrap();
            }
            Ok(())
        })
        .unwrap()[0];
    log.wait_durable(last, None).unwrap();
    let sealed = log.sealed(last..last + 1)[0].unwrap();
    let reader = place.reader();
    let batch = &reader.batches(sealed.batch, 1).unwrap()[0];
    assert_eq!((batch.count, batch.state, batch.checkpoint), (10, State::Prepared, sealed.checkpoint));

    let issuer = log.issuer().to_owned();
    let last = log
        .issue_batches(&[BatchSpec::recorded(VERSION)], |_, issue| {
            let id = issue.next_id(NOW);
            let shown = Shown { topic: "chio-checkpoints", partition: Some(0), offset: Some(7), ..Shown::default() };
            let outcome = OutcomeWord::Committed;
            let (batch, contradicts) = (sealed.checkpoint, None);
            let draft = OutcomeDraft { id, time: NOW, batch, issuer: &issuer, outcome, shown, contradicts };
            issue.push_outcome(&draft).map(|_| ())
        })
        .unwrap()[0];
    log.wait_durable(last, None).unwrap();
    let batch = &reader.batches(sealed.batch, 1).unwrap()[0];
    assert_eq!((batch.state, batch.resolved_by), (State::Committed, Some(sealed.batch + 1)));
    let report = place.verify();
    assert_eq!((report.transactions, report.unresolved, report.outcomes), (1, 0, 1));
}

#[test]
fn batches_that_are_issued_together_become_durable_together_or_are_not_issued() {
    let place = Place::new();
    let log = place.open_with(&LogOptions::default());
    let sample = Sample::new("agents", "orders", 0);
    let spec = |version| BatchSpec { mode: Mode::Attempt, ..BatchSpec::recorded([version; 32]) };
    let specs = [spec(1), spec(2), spec(3)];
    let refused = log.issue_batches(&specs, |index, issue| {
        sample.consume(issue, NOW, index as i64, b"v").unwrap();
        if index < 2 { Ok(()) } else { Err(PushError::Full) }
    });
    assert_eq!(refused.unwrap_err().code(), "seal");
    assert_eq!((log.issued(), log.stats().unsealed_bytes), (0, 0));

    // Each is larger than what one durable write takes otherwise.
    let large = vec![b'v'; 9 << 20];
    let last = log.issue_batches(&specs, |index, issue| {
        sample.consume(issue, NOW, 2 * index as i64, &large).unwrap();
        sample.consume(issue, NOW, 2 * index as i64 + 1, b"v").unwrap();
        Ok(())
    });
    assert_eq!(last.unwrap(), [2, 4, 6]);
    log.wait_durable(6, None).unwrap();
    assert_eq!((log.stats().batches, log.stats().appends), (3, 1));
    let versions: Vec<_> = place.reader().batches(1, 9).unwrap().iter().map(|info| info.policy_version[0]).collect();
    assert_eq!(versions, [1, 2, 3]);
    place.verify();
}

#[test]
fn ids_that_were_given_early_are_sealed_late_and_found() {
    let place = Place::new();
    let log = place.open_with(&LogOptions::default());
    let sample = Sample::new("agents", "orders", 0);
    let mut early = None;
    log.give_ids(|ids| early = Some(ids.next(NOW))).unwrap();
    let early = early.unwrap();
    let recorded: Vec<_> = (0..20).flat_map(|offset| consume(&log, &sample, [offset], b"v")).collect();
    let spec = BatchSpec { mode: Mode::Attempt, ..BatchSpec::recorded(VERSION) };
    let last = log.issue_batches(&[spec], |_, issue| {
        issue.push(&Draft { offset: Some(90), ..Draft::new(early, NOW, &sample.template, &sample.target) }).map(|_| ())
    });
    log.wait_durable(last.unwrap()[0], None).unwrap();
    let reader = place.reader();
    for id in recorded.into_iter().map(|(id, _)| id).chain([early]) {
        assert_eq!(reader.get(id).unwrap().id, id);
    }
    place.verify();
    drop(log);
    // Ids of the next epoch are above all of them.
    let log = place.open_with(&LogOptions::default());
    let next = consume(&log, &sample, [91], b"v");
    assert!(next[0].0 > early);
    place.verify();
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

/// What a process does between two looks at the attempts.
#[derive(Debug, Clone)]
enum Act {
    /// Consumes these (offset, value) pairs in one batch.
    Consume(Vec<(i64, bool)>),
    /// Gets the partition assigned again.
    Assign,
    /// Ends, and another process starts.
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => proptest::collection::vec((0..12i64, any::<bool>()), 1..8).prop_map(Act::Consume),
        1 => Just(Act::Assign),
        1 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn attempts_equal_those_of_a_plain_count(acts in acts(), max_batch in 1..5usize) {
        let place = Place::new();
        let options = LogOptions { max_batch, ..LogOptions::default() };
        let sample = Sample::new("agents", "orders", 0);
        let mut log = place.open_with(&options);
        let mut counts = std::collections::HashMap::new();
        for act in acts {
            match act {
                Act::Assign => log.partition_assigned(sample.target.partition_key().unwrap()),
                Act::Restart => {
                    log.close().unwrap();
                    log = place.open_with(&options);
                }
                Act::Consume(events) => {
                    let mut ordinals = Vec::new();
                    let issued = log.issue(VERSION, |issue| {
                        for (offset, value) in &events {
                            let value: &[u8] = if *value { b"a" } else { b"b" };
                            ordinals.push(sample.consume(issue, NOW, *offset, value).unwrap().1);
                        }
                    });
                    log.seal();
                    log.wait_durable(issued.unwrap(), None).unwrap();
                    for (event, ordinal) in events.iter().zip(ordinals) {
                        let count = counts.entry(*event).or_insert(0);
                        *count += 1;
                        prop_assert_eq!(log.sealed(ordinal..ordinal + 1)[0].unwrap().attempt, *count);
                    }
                }
            }
        }
    }
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
