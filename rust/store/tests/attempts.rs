//! Which attempt at its request a receipt is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use chio_store::LogOptions;
use chio_store::testing::Sample;
use common::{NOW, Place, VERSION, attempts};
use proptest::prelude::*;

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
