//! How receipts led to each other, as the log tells it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use chio_receipts::{Kind, Mode, ReceiptId};
use chio_store::{BatchSpec, Direction, LinkKind, Log};
use common::steps::{STEP, Step, issue, step};
use common::{Place, VERSION};

/// The documented chain: produced, consumed, tool called, produced, consumed.
fn choreography(log: &Log) -> [ReceiptId; 5] {
    let produced = step(log, &Step { kind: Kind::Produce, identity: "order-service", ..STEP }, 0);
    let consumed = step(log, &Step { identity: "payment-service", parents: &[produced], ..STEP }, 1);
    let called = step(log, &Step { kind: Kind::Invoke, topic: "charge", parents: &[consumed], ..STEP }, 2);
    let charged = Step { kind: Kind::Produce, topic: "payments", value: b"charged", parents: &[called], ..STEP };
    let charged = step(log, &charged, 3);
    let done = Step { topic: "payments", value: b"charged", parents: &[charged], ..STEP };
    [produced, consumed, called, charged, step(log, &done, 4)]
}

#[test]
fn chains_are_walked_both_ways_with_verified_links() {
    let place = Place::new();
    let log = place.open();
    let ids = choreography(&log);
    let reader = place.reader();
    for (start, direction, expected) in [
        (ids[0], Direction::Forward, ids.to_vec()),
        (ids[4], Direction::Backward, ids.iter().rev().copied().collect()),
        (ids[2], Direction::Forward, ids[2..].to_vec()),
    ] {
        let chain = reader.chain(start, direction, 100).unwrap();
        assert_eq!(chain.receipts.iter().map(|node| node.id).collect::<Vec<_>>(), expected);
        assert_eq!(chain.links.len(), expected.len() - 1);
        assert!(chain.links.iter().all(|link| link.kind == LinkKind::Verified) && !chain.truncated, "{chain:?}");
    }
    let short = reader.chain(ids[0], Direction::Forward, 3).unwrap();
    assert_eq!((short.receipts.len(), short.links.len(), short.truncated), (3, 2, true));
    assert_eq!(reader.chain(ReceiptId::from_u128(7), Direction::Forward, 9).unwrap_err().code(), "not_found");
}

#[test]
fn links_that_the_log_does_not_bear_out_are_asserted() {
    let place = Place::new();
    let log = place.open();
    let produced = step(&log, &Step { kind: Kind::Produce, ..STEP }, 0);
    let consumed = step(&log, &STEP, 1);
    let mode = Mode::Transaction { group: "g".to_owned(), transactional_id: "g-1".to_owned() };
    let prepared = Step { kind: Kind::Produce, ..STEP };
    let prepared = issue(&log, &BatchSpec { mode, ..BatchSpec::recorded(VERSION) }, &prepared, 2);
    let reader = place.reader();
    let elsewhere = ReceiptId::from_u128(12345);
    for (parent, step_of, kind) in [
        (produced, STEP, LinkKind::Verified),
        (produced, Step { value: b"other bytes", ..STEP }, LinkKind::Asserted),
        (produced, Step { topic: "another topic", ..STEP }, LinkKind::Asserted),
        (consumed, STEP, LinkKind::Asserted),
        (prepared, STEP, LinkKind::Asserted),
        (elsewhere, STEP, LinkKind::Asserted),
    ] {
        let child = step(&log, &Step { parents: &[parent], ..step_of }, 3);
        let chain = reader.chain(child, Direction::Backward, 10).unwrap();
        assert_eq!(chain.links.iter().map(|link| link.kind).collect::<Vec<_>>(), [kind]);
        assert_eq!(chain.receipts[1].receipt.is_some(), parent != elsewhere);
    }
}

#[test]
fn cycles_and_diamonds_end() {
    let place = Place::new();
    let log = place.open();
    // Ids can be foretold, so a hostile header can name a receipt that is yet to come.
    let first = step(&log, &STEP, 0);
    let foretold = |ahead: u64| ReceiptId::from_parts(first.ms() + ahead, first.tag(), first.counter() + ahead);
    let a = step(&log, &Step { parents: &[foretold(2), foretold(3)], ..STEP }, 1);
    let b = step(&log, &Step { parents: &[a], ..STEP }, 2);
    let c = step(&log, &Step { parents: &[a, b, a], ..STEP }, 3);
    assert_eq!([a, b, c], [foretold(1), foretold(2), foretold(3)]);
    let reader = place.reader();
    for direction in [Direction::Forward, Direction::Backward] {
        let chain = reader.chain(a, direction, 100).unwrap();
        assert_eq!(chain.receipts.len(), 3);
        assert_eq!(chain.links.len(), 5, "{chain:?}");
    }
}
