//! A decision allocates nothing where no condition is involved, and neither does one over a route.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use chio_policy::{Decision, Kind, Policy, Request, Scratch, Verdict};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread, so that the test harness does not disturb the count.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, which is the same one.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(decide: impl FnOnce() -> Decision) -> (Decision, usize) {
    let before = ALLOCATIONS.with(Cell::get);
    let decision = decide();
    (decision, ALLOCATIONS.with(Cell::get) - before)
}

#[test]
fn static_decisions_allocate_nothing() {
    let text = "
chio: policy/v1
identities: {a: {capabilities: ['s:*', 't:**']}}
rules:
  - {id: guarded, effect: allow, identities: ['a*'], scopes: ['u:x*:y'], guards: [g]}
  - {id: windowed, effect: delay, identities: ['*'], scopes: ['t:late'], expires_at: 2030-01-01T00:00:00Z}
";
    let policy = Policy::from_yaml(text, "test").unwrap();
    let mut scratch = Scratch::new();
    for (scope, verdict) in [
        ("s:x", Verdict::Allow),
        ("t:x:y:z", Verdict::Allow),
        ("u:xx:y", Verdict::Allow),
        ("t:late", Verdict::Delay),
        ("nothing:of:this", Verdict::Deny),
    ] {
        let request = Request { scope, ..empty() };
        let (decision, count) = counted(|| policy.decide(&request, &mut scratch));
        assert_eq!((decision.verdict, count), (verdict, 0), "{scope}");
        let route = policy.route("a", scope);
        let (decision, count) = counted(|| policy.decide_route(&route, &request, &mut scratch));
        assert_eq!((decision.verdict, count), (verdict, 0), "{scope} by route");
    }
    assert!(counted(|| policy.decide(&Request { scope: "", ..empty() }, &mut scratch)).1 > 0, "the counter counts");
}

fn empty<'a>() -> Request<'a> {
    Request {
        identity: "a",
        scope: "",
        kind: Kind::Consume,
        now: 0,
        event: None,
        tool: None,
        arguments: None,
        output: None,
    }
}
