//! Decisions alone: growth with the number of scopes, and what a condition on a 200-byte JSON value costs.

#![allow(missing_docs, reason = "the macros of criterion write undocumented functions")]
#![allow(clippy::indexing_slicing, reason = "a bench may stop at a wrong index")]

use chio_benches::{event, policy, request, scope, value};
use chio_policy::{Scratch, Verdict};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const ASKED: usize = 1_024;

/// Scopes all over the policy, so that no cache line serves two neighbouring questions.
fn asked(scopes: usize) -> Vec<String> {
    (0..ASKED).map(|number| scope(number * 7_919 % scopes)).collect()
}

fn without_condition(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for scopes in [10, 100, 1_000, 10_000, 100_000] {
        let (policy, asked, mut scratch) = (policy(scopes, None), asked(scopes), Scratch::new());
        let outside = scope(scopes);
        assert_eq!(policy.decide(&request(&outside, None), &mut scratch).verdict, Verdict::Deny);
        let mut number = 0;
        group.bench_function(BenchmarkId::new("static", scopes), |bencher| {
            bencher.iter(|| {
                number = (number + 1) % ASKED;
                scratch.reset();
                let decision = policy.decide(&request(black_box(&asked[number]), None), &mut scratch);
                assert_eq!(decision.verdict, Verdict::Allow);
                decision
            });
        });
    }
    group.finish();
}

fn with_condition(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for scopes in [10, 10_000] {
        let (policy, asked, mut scratch) =
            (policy(scopes, Some("event.value.risk < 10")), asked(scopes), Scratch::new());
        let values: Vec<Vec<u8>> = (0..ASKED).map(value).collect();
        let mut number = 0;
        group.bench_function(BenchmarkId::new("condition", scopes), |bencher| {
            bencher.iter(|| {
                number = (number + 1) % ASKED;
                let event = event(&values[number], &[]);
                scratch.reset();
                let decision = policy.decide(&request(black_box(&asked[number]), Some(&event)), &mut scratch);
                assert_eq!(decision.verdict == Verdict::Deny, number % 100 < 10);
                decision
            });
        });
    }
    group.finish();
}

criterion_group!(benches, without_condition, with_condition);
criterion_main!(benches);
