//! Batches of transactions: issued together, with ids given before, and resolved by an outcome.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::slice;

use chio_receipts::{Draft, Mode, OutcomeDraft, OutcomeWord, PushError, Shown};
use chio_store::testing::Sample;
use chio_store::{BatchSpec, LogOptions, State};
use common::{NOW, Place, VERSION, consume};

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
