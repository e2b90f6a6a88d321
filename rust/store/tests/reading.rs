//! What the log promises to those who read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::sync::Arc;

use chio_receipts::verify::{State as Exported, receipt as verify_receipt};
use chio_receipts::{Compression, Kind, Mode, OutcomeWord, ReceiptId, Trust, TrustedKey, Verdict};
use chio_store::testing::Sample;
use chio_store::{BatchSpec, Filter, LogOptions, LogReader, Order, Position, State, keys};
use common::steps::{STEP, Step, count, issue, outcome, step};
use common::{NOW, Place, VERSION, consume};

#[test]
fn every_filter_selects_what_it_says() {
    let place = Place::new();
    let log = place.open();
    let first = step(&log, &STEP, 0);
    step(&log, &Step { verdict: Verdict::Deny, scope: "events:consume:orders-eu", ..STEP }, 1);
    step(&log, &Step { identity: "billing", topic: "payments", correlation: Some("trace-1"), ..STEP }, 2);
    step(&log, &Step { kind: Kind::Invoke, scope: "tools:search", topic: "search", parents: &[first], ..STEP }, 3);
    issue(&log, &BatchSpec::recorded([9; 32]), &STEP, 4);
    issue(&log, &BatchSpec { mode: Mode::Attempt, ..BatchSpec::recorded(VERSION) }, &STEP, 5);

    let reader = place.reader();
    let text = |text: &str| Some(text.to_owned());
    let all = Filter::default;
    let cases = [
        (all(), 6),
        (Filter { kind: Some(Kind::Invoke), ..all() }, 1),
        (Filter { kind: Some(Kind::Rollback), ..all() }, 0),
        (Filter { verdict: Some(Verdict::Deny), ..all() }, 1),
        (Filter { verdict: Some(Verdict::Allow), ..all() }, 5),
        (Filter { identity: text("billing"), ..all() }, 1),
        (Filter { identity: text("nobody"), ..all() }, 0),
        (Filter { scope: text("events:consume:orders"), ..all() }, 4),
        (Filter { scope: text("events:consume:orders*"), ..all() }, 5),
        (Filter { scope: text("*"), ..all() }, 6),
        (Filter { scope: text("tools:*"), ..all() }, 1),
        (Filter { rule: text("r1"), ..all() }, 6),
        (Filter { rule: text("r2"), ..all() }, 0),
        (Filter { topic: text("orders"), ..all() }, 4),
        (Filter { topic: text("orders"), partition: Some(0), offset: Some(4), ..all() }, 1),
        (Filter { topic: text("orders"), partition: Some(1), ..all() }, 0),
        (Filter { tool: text("search"), ..all() }, 1),
        (Filter { from: Some(NOW + 2), until: Some(NOW + 4), ..all() }, 2),
        (Filter { state: Some(State::Attempt), ..all() }, 1),
        (Filter { state: Some(State::Recorded), verdict: Some(Verdict::Deny), ..all() }, 1),
        (Filter { policy_version: Some([9; 32]), ..all() }, 1),
        (Filter { correlation: text("trace-1"), ..all() }, 1),
        (Filter { issuer: text(log.issuer()), ..all() }, 6),
        (Filter { issuer: text("somebody"), ..all() }, 0),
        (Filter { parent: Some(first), ..all() }, 1),
    ];
    for (filter, expected) in cases {
        assert_eq!(count(&reader, filter.clone()), expected, "{filter:?}");
    }
    let star = reader.query(&Filter { scope: text("a*b"), ..all() }, Order::OldestFirst, None, 1);
    assert_eq!(star.unwrap_err().code(), "query");
}

#[test]
fn pages_neither_repeat_nor_hide_anything_while_writes_go_on() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { max_batch: 7, ..LogOptions::default() });
    let sample = Sample::new("agents", "orders", 0);
    let mut ids: Vec<_> = consume(&log, &sample, 0..100, b"v").into_iter().map(|(id, _)| id).collect();
    let reader = place.reader();
    let filter = Filter { topic: Some("orders".to_owned()), ..Filter::default() };
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let start = ids.len();
        let (mut found, mut after, mut offset) = (Vec::new(), None, ids.len() as i64);
        loop {
            let page = reader.query(&filter, order, after, 13).unwrap();
            found.extend(page.receipts.iter().map(|receipt| receipt.id));
            // The next page is asked for by its spelling, as a client does.
            after = page.next.map(|next| next.to_string().parse::<Position>().unwrap());
            if after.is_none() {
                break;
            }
            if offset < start as i64 + 50 {
                ids.extend(consume(&log, &sample, offset..offset + 10, b"v").into_iter().map(|(id, _)| id));
                offset += 10;
            }
        }
        match order {
            Order::OldestFirst => assert_eq!(found, ids),
            Order::NewestFirst => assert!(found.iter().rev().eq(&ids[..start])),
        }
    }
}

#[test]
fn a_receipt_is_found_by_its_id_and_verifies_from_its_export() {
    let place = Place::new();
    let log = place.open_with(&LogOptions { max_batch: 33, ..LogOptions::default() });
    let issued = consume(&log, &Sample::new("agents", "orders", 0), 0..200, b"v");
    let reader = place.reader();
    let trust = Trust { keys: vec![TrustedKey::active(log.public_key(), &[log.issuer()])] };
    for (id, _) in issued.iter().step_by(17) {
        let stored = reader.get(*id).unwrap();
        assert!(stored.body.contains(&id.to_string()) && stored.batch.state == State::Recorded);
        let verified = verify_receipt(&reader.export(*id).unwrap(), &trust).unwrap();
        assert_eq!((verified.id, verified.state), (Some(*id), Exported::Recorded));
    }
    let unknown = ReceiptId::from_u128(issued[0].0.as_u128() + 5000);
    assert_eq!(reader.get(unknown).unwrap_err().code(), "not_found");
    let mut stream = Vec::new();
    assert_eq!(reader.export_stream(2..=3, &mut stream).unwrap(), 2);
    let mut verifier = chio_receipts::LogVerifier::new(&trust).partial();
    verifier.feed_stream(&stream);
    let report = verifier.finish();
    assert_eq!((report.found, report.receipts), (0, 66));
}

#[test]
fn an_export_carries_the_outcome_of_its_transaction() {
    let place = Place::new();
    let log = place.open();
    let mode = Mode::Transaction { group: "g".to_owned(), transactional_id: "g-1".to_owned() };
    let id = issue(&log, &BatchSpec { mode, ..BatchSpec::recorded(VERSION) }, &STEP, 0);
    let reader = place.reader();
    let trust = Trust { keys: vec![TrustedKey::active(log.public_key(), &["*"])] };
    let state = |reader: &LogReader| verify_receipt(&reader.export(id).unwrap(), &trust).unwrap().state;
    assert_eq!(state(&reader), Exported::Unknown);
    assert_eq!(count(&reader, Filter { state: Some(State::Prepared), ..Filter::default() }), 1);
    let batch = reader.get(id).unwrap().batch.checkpoint;
    outcome(&log, batch, OutcomeWord::RolledBack);
    assert_eq!(state(&reader), Exported::RolledBack);
    // The index derives the state from the signed records alone, also when it is made anew.
    for _ in 0..2 {
        assert_eq!(count(&reader, Filter { state: Some(State::RolledBack), ..Filter::default() }), 1);
        assert_eq!(count(&reader, Filter { state: Some(State::Prepared), ..Filter::default() }), 0);
        reader.rebuild_index().unwrap();
    }
}

#[test]
fn what_was_consumed_of_a_partition_is_found_by_its_offsets() {
    let place = Place::new();
    let log = place.open();
    let (sample, other) = (Sample::new("agents", "orders", 0), Sample::new("others", "orders", 0));
    consume(&log, &sample, 0..10, b"v");
    consume(&log, &other, 0..20, b"v");
    let again = consume(&log, &sample, [4], b"v");
    let reader = place.reader();
    let key = sample.target.partition_key().unwrap();
    assert_eq!(reader.highest_offset(&key).unwrap(), Some(9));
    let found = reader.consumed(&key, &(3..=4)).unwrap();
    let requests: Vec<_> =
        found.iter().map(|receipt| receipt.body.contains("\"request\":\"chio-kafka-orders-0-4\"")).collect();
    assert_eq!(requests, [false, true, true]);
    assert_eq!(found.last().map(|receipt| receipt.id), again.last().map(|(id, _)| *id));
    assert_eq!(reader.consumed(&key, &(10..=u64::MAX)).unwrap(), []);
}

#[test]
fn a_withheld_body_is_gone_and_the_log_still_verifies() {
    let place = Place::new();
    // The file is searched for a text, which compression would hide.
    let log = place.open_with(&LogOptions { compression: Compression::None, ..LogOptions::default() });
    let sample = Sample::new("very-private-person", "orders", 0);
    let ids: Vec<_> = consume(&log, &sample, 0..20, b"v").into_iter().map(|(id, _)| id).collect();
    let reader = place.reader();
    assert_eq!(count(&reader, Filter::default()), 20);
    assert_eq!(chio_store::withhold(&place.log(), &[ids[3], ReceiptId::from_u128(1)]).unwrap_err().code(), "not_found");
    assert_eq!(chio_store::withhold(&place.log(), &ids[3..5]).unwrap(), 2);
    log.close().unwrap();
    let reader = place.reader();
    assert_eq!(reader.get(ids[3]).unwrap_err().code(), "not_found");
    assert_eq!(count(&reader, Filter::default()), 18);
    assert!(reader.export(ids[5]).is_ok());
    let report = place.verify();
    assert_eq!((report.receipts, report.withheld), (18, 2));
    drop(reader);
    let spelled = ids[3].to_string();
    for suffix in ["", "-wal", "-index", "-index-wal"] {
        let bytes = std::fs::read(place.beside(suffix)).unwrap_or_default();
        assert!(!bytes.windows(spelled.len()).any(|window| window == spelled.as_bytes()), "log{suffix}");
    }
}

#[test]
fn what_tells_the_state_of_a_batch_cannot_be_withheld() {
    let place = Place::new();
    let log = place.open();
    let mode = Mode::Transaction { group: "g".to_owned(), transactional_id: "g-1".to_owned() };
    let receipt = issue(&log, &BatchSpec { mode, ..BatchSpec::recorded(VERSION) }, &STEP, 0);
    let told = outcome(&log, place.reader().get(receipt).unwrap().batch.checkpoint, OutcomeWord::Committed);
    assert_eq!(chio_store::withhold(&place.log(), &[receipt, told]).unwrap_err().code(), "state");
    assert!(place.reader().get(receipt).is_ok(), "nothing is withheld if one cannot be");
    let states = |reader: &LogReader| count(reader, Filter { state: Some(State::Committed), ..Filter::default() });
    assert_eq!(states(&place.reader()), 1);
    place.verify();
}

#[test]
fn a_signer_from_the_environment_signs_what_the_trust_file_says() {
    let place = Place::new();
    keys::create(&place.beside("-elsewhere")).unwrap();
    let text = std::fs::read_to_string(place.beside("-elsewhere")).unwrap();
    // SAFETY: no other thread of this test reads the environment through C meanwhile; the name is this test's own.
    unsafe { std::env::set_var("CHIO_TEST_SIGNING_KEY", text.trim()) };
    let signer = Arc::new(keys::from_env("CHIO_TEST_SIGNING_KEY").unwrap());
    let log = place.open_with(&LogOptions { signer: Some(signer.clone()), ..LogOptions::default() });
    consume(&log, &Sample::new("agents", "orders", 0), 0..3, b"v");
    log.close().unwrap();
    let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &["*"])] };
    common::verify(&place.log(), &trust);
    assert!(!place.beside("-key").exists());
}
