//! Time per decision over the number of scopes. Every timed decision is compared with the expected verdict.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a panic is how a benchmark fails")]

use chio_policy::{EventView, Kind, Policy, Request, Scratch, Verdict};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Requests per iteration, in an order that has nothing to do with the document's.
const REQUESTS: usize = 1000;

/// A policy of `count` scopes over identities that hold 100 each: nine literal ones, then one with a wildcard.
fn policy(count: usize) -> Policy {
    let mut text = String::from("chio: policy/v1\nidentities:\n");
    for scope in 0..count {
        if scope % 100 == 0 {
            writeln!(text, "  agents-{}:\n    capabilities:", scope / 100).unwrap();
        }
        let last = if scope % 10 == 9 { "\"*\"" } else { "read" };
        writeln!(text, "      - 'events:consume:topic-{scope}:{}'", last.trim_matches('"')).unwrap();
    }
    Policy::from_yaml(&text, "bench").unwrap()
}

/// Requests that the policy allows, one in ten that it denies.
fn requests(count: usize) -> Vec<(String, String, Verdict)> {
    let mut state = 1u64;
    (0..REQUESTS)
        .map(|number| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let scope = (state >> 33) as usize % count;
            let denied = number % 10 == 0;
            let last = if denied && scope % 10 == 9 {
                "a:b"
            } else if denied {
                "write"
            } else {
                "read"
            };
            let verdict = if denied { Verdict::Deny } else { Verdict::Allow };
            (format!("agents-{}", scope / 100), format!("events:consume:topic-{scope}:{last}"), verdict)
        })
        .collect()
}

fn request<'a>(identity: &'a str, scope: &'a str, event: Option<&'a EventView<'a>>) -> Request<'a> {
    Request { identity, scope, kind: Kind::Consume, now: 1, event, tool: None, arguments: None, output: None }
}

fn statics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    for count in SIZES {
        let policy = policy(count);
        let requests = requests(count);
        let mut scratch = Scratch::new();
        group.bench_function(BenchmarkId::new("static", count), |bencher| {
            bencher.iter(|| {
                for (identity, scope, verdict) in &requests {
                    let decision = policy.decide(black_box(&request(identity, scope, None)), &mut scratch);
                    assert_eq!(decision.verdict, *verdict);
                }
            });
        });
    }
    group.finish();
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_route");
    let text = r#"
chio: policy/v1
identities: {a: {capabilities: ["events:consume:*"]}}
rules:
  - {id: windowed, effect: deny, identities: [a], scopes: ["events:consume:late"], not_before: 2026-01-01T00:00:00Z}
  - {id: large, effect: deny, identities: [a], scopes: ["events:consume:orders"], when: event.value.amount > 1000}
"#;
    let policy = Policy::from_yaml(text, "bench").unwrap();
    let value = format!(
        r#"{{"order": "{}", "customer": "c-1234", "amount": 17, "note": "{}"}}"#,
        "x".repeat(60),
        "y".repeat(80)
    );
    let event =
        EventView { topic: "orders", partition: Some(0), value: Some(value.as_bytes()), ..EventView::default() };
    let mut scratch = Scratch::new();
    for (name, scope) in [("static", "any"), ("window", "late"), ("condition", "orders")] {
        let scope = format!("events:consume:{scope}");
        let route = policy.route("a", &scope);
        let request = request("a", &scope, Some(&event));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let decision = policy.decide_route(black_box(&route), black_box(&request), &mut scratch);
                assert_eq!(decision.verdict, Verdict::Allow);
                assert!(decision.errors.is_empty());
            });
        });
    }
    group.finish();
}

/// A policy of 100,000 rules, each with a condition, two identities and two scopes.
fn compile(criterion: &mut Criterion) {
    let mut text = String::from("chio: policy/v1\nrules:\n");
    for rule in 0..100_000 {
        writeln!(text, "- {{id: r{rule}, effect: allow, identities: [a{}, 'b*'], scopes: ['s:{rule}:*', 't{rule}*:**'], when: event.value.n > {}}}", rule % 100, rule % 1000).unwrap();
    }
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    group.bench_function("100000", |bencher| {
        bencher.iter(|| assert_eq!(Policy::from_yaml(&text, "bench").unwrap().rule_count(), 100_000));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1)).without_plots();
    targets = statics, routes, compile
}
criterion_main!(benches);
