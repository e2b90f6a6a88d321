//! What the log promises to those who read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::slice;
use std::sync::Arc;

use chio_receipts::verify::{State as Verdictum, receipt as verify_receipt};
use chio_receipts::{
    Compression, Content, Draft, EventTarget, Kind, Mode, OutcomeDraft, OutcomeWord, ReceiptId, Shown, TargetTemplate,
    Template, TemplateFields, Trust, TrustedKey, Verdict,
};
use chio_store::testing::Sample;
use chio_store::{BatchSpec, Direction, Filter, LinkKind, Log, LogOptions, LogReader, Order, Position, State, keys};
use common::{NOW, Place, VERSION, consume};

/// What the receipts of these tests differ in.
struct Step<'a> {
    kind: Kind,
    identity: &'a str,
    scope: &'a str,
    verdict: Verdict,
    topic: &'a str,
    value: &'a [u8],
    parents: &'a [ReceiptId],
    correlation: Option<&'a str>,
}

const STEP: Step<'_> = Step {
    kind: Kind::Consume,
    identity: "agents",
    scope: "events:consume:orders",
    verdict: Verdict::Allow,
    topic: "orders",
    value: b"value",
    parents: &[],
    correlation: None,
};

fn issue(log: &Log, spec: &BatchSpec, step: &Step<'_>, offset: i64) -> ReceiptId {
    let template = Arc::new(Template::new(&TemplateFields {
        kind: step.kind,
        identity: step.identity,
        scope: step.scope,
        verdict: Some(step.verdict),
        rule: "r1",
        reason: "because",
        errors: &[],
        guards: &[],
    }));
    let event = |partition| EventTarget {
        cluster: "c",
        group: "g",
        identity: step.identity,
        topic: step.topic,
        topic_id: "",
        partition,
    };
    let target = Arc::new(match step.kind {
        Kind::Consume => TargetTemplate::event(&event(Some(0))),
        Kind::Produce => TargetTemplate::event(&event(None)),
        _ => TargetTemplate::tool(step.topic),
    });
    let mut id = None;
    let last = log
        .issue_batches(slice::from_ref(spec), |_, issue| {
            let next = issue.next_id(NOW + offset);
            let draft = Draft {
                offset: (step.kind == Kind::Consume).then_some(offset),
                content: match step.kind {
                    Kind::Invoke => Content::Arguments(b"{}"),
                    _ => Content::Event { key: None, headers: &[], value: Some(step.value) },
                },
                parents: step.parents,
                correlation: step.correlation,
                ..Draft::new(next, NOW + offset, &template, &target)
            };
            issue.push(&draft)?;
            id = Some(next);
            Ok(())
        })
        .unwrap()[0];
    log.wait_durable(last, None).unwrap();
    id.unwrap()
}

/// Records what became of the batch with this checkpoint; durable on return.
fn outcome(log: &Log, batch: [u8; 32], outcome: OutcomeWord) -> ReceiptId {
    let (issuer, mut told) = (log.issuer().to_owned(), None);
    let last = log
        .issue(VERSION, |issue| {
            let id = issue.next_id(NOW);
            let shown = Shown::default();
            let draft = OutcomeDraft { id, time: NOW, batch, issuer: &issuer, outcome, shown, contradicts: None };
            issue.push_outcome(&draft).unwrap();
            told = Some(id);
        })
        .unwrap();
    log.seal();
    log.wait_durable(last, None).unwrap();
    told.unwrap()
}

fn step(log: &Log, step: &Step<'_>, offset: i64) -> ReceiptId {
    issue(log, &BatchSpec::recorded(VERSION), step, offset)
}

fn count(reader: &LogReader, filter: Filter) -> usize {
    reader.query(&filter, Order::OldestFirst, None, 1000).unwrap().receipts.len()
}

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
        assert_eq!((verified.id, verified.state), (Some(*id), Verdictum::Recorded));
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
    assert_eq!(state(&reader), Verdictum::Unknown);
    assert_eq!(count(&reader, Filter { state: Some(State::Prepared), ..Filter::default() }), 1);
    let batch = reader.get(id).unwrap().batch.checkpoint;
    outcome(&log, batch, OutcomeWord::RolledBack);
    assert_eq!(state(&reader), Verdictum::RolledBack);
    // The index derives the state from the signed records alone, also when it is made anew.
    for _ in 0..2 {
        assert_eq!(count(&reader, Filter { state: Some(State::RolledBack), ..Filter::default() }), 1);
        assert_eq!(count(&reader, Filter { state: Some(State::Prepared), ..Filter::default() }), 0);
        reader.rebuild_index().unwrap();
    }
}

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
