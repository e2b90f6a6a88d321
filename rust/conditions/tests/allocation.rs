//! What evaluation allocates: nothing for conditions that say so, once the scratch space has grown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a failed test should panic

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use chio_conditions::{Attributes, ConditionSet, Env, EventView, Kind, Scratch};

/// Counts the allocations of each thread, so that tests that run beside each other do not see each other's.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VALUE: &[u8] = br#"{"order": "o-1", "amount": 1500, "rate": 0.25, "express": true, "note": "a\tb",
    "customer": {"id": "c-9", "tier": "gold", "\u0061ge": 44}, "items": [1, 2, 3], "void": null}"#;

/// Conditions that build nothing. Each answers true on the event.
const FREE: &[&str] = &[
    "true",
    "event.value.amount > 1000",
    "event.value.amount == 1500.0 && event.value.rate < 1.0",
    "event.value.order == 'o-1' && event.value.express",
    "event.value.note.contains('\\t')",
    "event.value.customer.tier in ['gold', 'silver'] && event.value.customer.age == 44",
    "has(event.value.customer.id) && !has(event.value.customer.name)",
    "event.value.void == null || event.value.amount / 0 == 1",
    "event.value.order.startsWith('o-') && event.value.order.matches('^o-[0-9]+$')",
    "event.value.items.all(item, item > 0) && 2 in event.value.items && size(event.value.items) == 3",
    "event.value.amount - event.value.items[0] * 2 == 1498",
    "event.headers['trace'] == 't-1' && event.key == 'k' && event.topic.endsWith('s')",
    "event.offset == 7 && event.partition == 1 && event.timestamp <= now && event.size > 10",
    "identity.name == 'agents' && identity.attributes.region == 'eu' && kind == 'consume'",
    "event.value.missing > 1 || true",
];

/// Conditions that build a string, list or map. Each answers true on the event.
const BUILDING: &[&str] = &[
    "event.value.order + '!' == 'o-1!'",
    "event.value.items.map(item, item * 2) == [2, 4, 6]",
    "event.value.items.filter(item, item > 1) == [2, 3]",
    "[event.value.amount, 1] == [1500, 1]",
    "{'amount': event.value.amount} == {'amount': 1500}",
    "string(event.value.amount) == '1500'",
    // What `+` gives depends on the event; it may join strings.
    "event.value.order + event.value.note == 'o-1a\\tb'",
];

/// Allocations of one evaluation after a few that let the scratch space grow.
fn allocations(text: &str) -> usize {
    let mut members = serde_json::Map::new();
    members.insert("region".to_owned(), "eu".into());
    let attributes = Attributes::from_json(&members);
    let headers = [("trace", Some(&b"t-1"[..]))];
    let event = EventView {
        topic: "orders",
        partition: Some(1),
        offset: Some(7),
        key: Some(b"k"),
        timestamp: Some(3),
        headers: &headers,
        value: Some(VALUE),
    };
    let env = Env {
        identity: "agents",
        attributes: &attributes,
        scope: "events:consume:orders",
        kind: Kind::Consume,
        now: 4,
        event: Some(&event),
        tool: None,
        arguments: None,
        output: None,
    };
    let set = ConditionSet::compile(&[text]).unwrap_or_else(|(_, error)| panic!("{text}: {error}"));
    let mut scratch = Scratch::new();
    let mut evaluate = || {
        scratch.reset();
        let before = ALLOCATIONS.get();
        let answer = set.eval(0, &env, &mut scratch);
        let allocated = ALLOCATIONS.get() - before;
        assert_eq!(answer, Ok(true), "{text}");
        allocated
    };
    for _ in 0..3 {
        evaluate();
    }
    evaluate()
}

fn claims_to_be_free(text: &str) -> bool {
    ConditionSet::compile(&[text]).expect(text).is_allocation_free(0)
}

#[test]
fn conditions_that_build_nothing_allocate_nothing() {
    for text in FREE {
        assert!(claims_to_be_free(text), "{text}");
        assert_eq!(allocations(text), 0, "{text}");
    }
}

#[test]
fn conditions_that_build_say_so() {
    for text in BUILDING {
        assert!(!claims_to_be_free(text), "{text}");
        assert!(allocations(text) > 0, "{text}");
    }
}
