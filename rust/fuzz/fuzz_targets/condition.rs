//! Any text compiles or is refused, and what compiles gives an answer or an error code on any event.
#![no_main]

use arbitrary::Arbitrary;
use chio_conditions::{Attributes, Condition, Env, EventView, Kind, Scratch};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    text: &'a str,
    kind: u8,
    key: Option<&'a [u8]>,
    header: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

fuzz_target!(|input: Input<'_>| {
    let Ok(condition) = Condition::compile(input.text) else { return };
    let attributes = Attributes::new();
    let headers = [("trace", input.header), ("a", input.key)];
    let event = EventView {
        topic: "orders",
        partition: Some(1),
        offset: Some(2),
        key: input.key,
        timestamp: Some(3),
        headers: &headers,
        value: input.value,
    };
    let kind = [Kind::Consume, Kind::Invoke, Kind::Produce][usize::from(input.kind % 3)];
    let env = Env {
        identity: "agent",
        attributes: &attributes,
        scope: "events:consume:orders",
        kind,
        now: 4,
        event: Some(&event),
        tool: Some("search"),
        arguments: input.value,
        output: Some(&event),
    };
    let mut scratch = Scratch::new();
    let first = condition.eval(&env, &mut scratch);
    // The answer does not depend on what the scratch space held before.
    assert_eq!(first, condition.eval(&env, &mut scratch));
    scratch.reset();
    assert_eq!(first, condition.eval(&env, &mut scratch));
});
