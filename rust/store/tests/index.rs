//! The index over receipts is derived: it equals one that is made anew, and is made anew when it cannot be used.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use chio_receipts::{Kind, Mode, OutcomeWord, Verdict};
use chio_store::testing::Sample;
use chio_store::{BatchSpec, Filter, LogReader, Order, State};
use common::steps::{STEP, Step, count, issue, outcome, step};
use common::{Place, VERSION, consume};

#[test]
fn an_index_that_grew_equals_one_that_is_made_anew() {
    let place = Place::new();
    let log = place.open();
    let reader = place.reader();
    let mode = Mode::Transaction { group: "g".to_owned(), transactional_id: "g-1".to_owned() };
    let mut withheld = Vec::new();
    for round in 0..12 {
        let parent = step(&log, &STEP, round);
        let denied = Step { verdict: Verdict::Deny, correlation: Some("trace"), parents: &[parent], ..STEP };
        withheld.push(issue(&log, &BatchSpec::recorded([round as u8 + 1; 32]), &denied, round));
        let spec = BatchSpec { mode: mode.clone(), ..BatchSpec::recorded(VERSION) };
        let id = issue(&log, &spec, &Step { kind: Kind::Produce, identity: "billing", ..STEP }, round);
        let batch = reader.get(id).unwrap().batch.checkpoint;
        match round % 4 {
            0 => drop(outcome(&log, batch, OutcomeWord::Committed)),
            1 => drop(outcome(&log, batch, OutcomeWord::RolledBack)),
            2 => drop(outcome(&log, batch, OutcomeWord::Unknown)),
            _ => {}
        }
        assert!(count(&reader, Filter::default()) > 0, "the index grows with every round");
    }
    let everything = |reader: &LogReader| {
        let of_state = |state| Filter { state, ..Filter::default() };
        let filters = [
            of_state(None),
            of_state(Some(State::Prepared)),
            of_state(Some(State::Committed)),
            of_state(Some(State::RolledBack)),
            Filter { correlation: Some("trace".to_owned()), verdict: Some(Verdict::Deny), ..Filter::default() },
            Filter { policy_version: Some([3; 32]), ..Filter::default() },
        ];
        let pages: Vec<_> = filters
            .iter()
            .flat_map(|filter| [Order::OldestFirst, Order::NewestFirst].map(|order| (filter, order)))
            .map(|(filter, order)| reader.query(filter, order, None, 1000).unwrap().receipts)
            .collect();
        assert!(pages.iter().all(|page| !page.is_empty()));
        pages
    };
    let grown = everything(&reader);
    reader.rebuild_index().unwrap();
    assert_eq!(everything(&reader), grown);
    // Also over batches of which nothing is left to index.
    chio_store::withhold(&place.log(), &withheld[4..]).unwrap();
    let left = |reader: &LogReader| reader.query(&Filter::default(), Order::OldestFirst, None, 1000).unwrap().receipts;
    let expected: Vec<_> = grown[0].iter().filter(|receipt| !withheld[4..].contains(&receipt.id)).cloned().collect();
    let seen: Vec<_> = left(&place.reader()).into_iter().map(|receipt| receipt.id).collect();
    assert_eq!(seen, expected.iter().map(|receipt| receipt.id).collect::<Vec<_>>());
    place.verify();
}

#[test]
fn an_index_that_cannot_be_used_is_made_anew() {
    let place = Place::new();
    let log = place.open();
    consume(&log, &Sample::new("agents", "orders", 0), 0..50, b"v");
    assert_eq!(count(&place.reader(), Filter::default()), 50);
    let index = place.beside("-index");
    let whole = std::fs::read(&index).unwrap();
    std::fs::write(&index, b"not an index, but long enough to look like some file").unwrap();
    assert_eq!(count(&place.reader(), Filter::default()), 50);
    std::fs::write(&index, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(count(&place.reader(), Filter::default()), 50);
    let mut damaged = std::fs::read(&index).unwrap();
    damaged[4096..].fill(0x55);
    std::fs::write(&index, damaged).unwrap();
    assert_eq!(count(&place.reader(), Filter::default()), 50);
    rusqlite::Connection::open(&index).unwrap().pragma_update(None, "user_version", 7).unwrap();
    assert_eq!(count(&place.reader(), Filter::default()), 50);
    std::fs::remove_file(&index).unwrap();
    assert_eq!(count(&place.reader(), Filter::default()), 50);
    // An index of another log, as after a restored backup.
    let other = Place::new();
    consume(&other.open(), &Sample::new("agents", "orders", 0), 0..3, b"v");
    assert_eq!(count(&other.reader(), Filter::default()), 3);
    std::fs::copy(other.beside("-index"), &index).unwrap();
    assert_eq!(count(&place.reader(), Filter::default()), 50);
}
