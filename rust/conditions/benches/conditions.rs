//! What a condition costs: the scan of the JSON, the evaluation, both together, and compilation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a wrong bench should panic

use chio_conditions::{Attributes, ConditionSet, Env, EventView, Kind, Scratch, json};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

/// 208 bytes, as an agent's order event may look.
const VALUE: &[u8] = br#"{"order_id":"ord-000123456","customer":{"id":"cus-99182","tier":"gold"},"amount":1500,"currency":"EUR","items":3,"country":"DE","channel":"web","express":false,"note":"leave at the door please, thanks!!xxxx"}"#;

fn env<'a>(attributes: &'a Attributes, event: &'a EventView<'a>) -> Env<'a> {
    Env {
        identity: "refund-agents",
        attributes,
        scope: "events:consume:orders",
        kind: Kind::Consume,
        now: 1_700_000_000_000,
        event: Some(event),
        tool: None,
        arguments: None,
        output: None,
    }
}

fn conditions(criterion: &mut Criterion) {
    let attributes = Attributes::new();
    let event = EventView {
        topic: "orders",
        partition: Some(0),
        offset: Some(1),
        timestamp: Some(1_700_000_000_000),
        value: Some(VALUE),
        ..EventView::default()
    };
    let env = env(&attributes, &event);
    let mut scratch = Scratch::new();

    let mut plan = json::Plan::default();
    for path in [&["amount"][..], &["currency"], &["customer", "tier"]] {
        plan.slot(path);
    }
    let mut scan = json::Scan::default();
    assert_eq!(VALUE.len(), 208);
    criterion.bench_function("scan: three fields of 208 bytes", |bench| {
        bench.iter(|| scan.scan(black_box(VALUE), &plan).unwrap());
    });
    criterion.bench_function("serde_json::Value of the same text", |bench| {
        bench.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(VALUE)).unwrap());
    });

    for (name, text) in [
        ("one comparison", "event.value.amount > 1000"),
        (
            "three fields",
            "event.value.amount > 1000 && event.value.currency == 'EUR' && event.value.customer.tier == 'gold'",
        ),
        ("in and matches", "event.value.country in ['AT', 'CH', 'DE'] && event.value.order_id.matches('^ord-[0-9]+$')"),
        ("no json", "event.topic == 'orders' && kind == 'consume'"),
    ] {
        let set = ConditionSet::compile(&[text]).expect(text);
        assert_eq!(set.eval(0, &env, &mut scratch), Ok(true), "{text}");
        criterion.bench_function(&format!("evaluate, scanned: {name}"), |bench| {
            bench.iter(|| set.eval(0, black_box(&env), &mut scratch).unwrap());
        });
        criterion.bench_function(&format!("scan and evaluate: {name}"), |bench| {
            bench.iter(|| {
                scratch.reset();
                set.eval(0, black_box(&env), &mut scratch).unwrap()
            });
        });
    }
    criterion.bench_function("compile: three fields", |bench| {
        let text = "event.value.amount > 1000 && event.value.currency == 'EUR' && event.value.customer.tier == 'gold'";
        bench.iter(|| ConditionSet::compile(black_box(&[text])).unwrap());
    });
}

criterion_group!(benches, conditions);
criterion_main!(benches);
