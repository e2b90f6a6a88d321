//! How far the events of a partition have come.

use std::sync::atomic::Ordering;

use chio_rulings::{NOTHING, Progress};

#[test]
fn an_event_is_admitted_once_and_in_order() {
    let progress = Progress::new(1);
    assert!(progress.is_ahead(0) && progress.is_ahead(7));
    assert!(!progress.is_ahead(NOTHING), "no offset is below 0");
    progress.admit(7);
    assert!(!progress.is_ahead(7) && progress.is_ahead(8) && progress.is_ahead(20));
}

#[test]
fn the_floor_of_an_event_is_after_the_last_allowed_one_before_it() {
    let progress = Progress::new(1);
    let floors: Vec<i64> = [(3, false), (4, true), (5, false), (9, false), (10, true), (11, false)]
        .into_iter()
        .map(|(offset, is_allowed)| progress.pass(offset, is_allowed))
        .collect();
    assert_eq!(floors, [NOTHING, NOTHING, 5, 5, 5, 11]);
    assert_eq!(progress.position.load(Ordering::Acquire), 12);
    assert_eq!(progress.handed.load(Ordering::Acquire), 11);
}
