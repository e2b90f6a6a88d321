//! The engine alone, on one core: decide, digest, receipt, tree, signature; the sum, and the parts beside it.

#![allow(missing_docs, reason = "the macros of criterion write undocumented functions")]

use chio_benches::{Engine, VALUE_BYTES, policy, value};
use chio_receipts::{frame, tree};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SCOPES: usize = 10;
const BATCHES: [usize; 5] = [1, 10, 100, 500, 1_000];
const PARTS_BATCH: usize = 500;

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    for (name, condition) in [("merkle", None), ("merkle-condition", Some("event.value.risk < 0"))] {
        for batch in BATCHES {
            let mut engine = Engine::new(policy(SCOPES, condition), batch);
            check(&mut engine, batch);
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(name, batch), |bencher| bencher.iter(|| engine.run()));
        }
    }
    let mut engine = Engine::new(policy(SCOPES, None), 1);
    group.throughput(Throughput::Elements(100));
    group.bench_function(BenchmarkId::new("individual", 100), |bencher| {
        bencher.iter(|| (0..100).map(|_| engine.run().meta.count).sum::<u32>());
    });
    group.finish();
}

/// A sealed batch holds one receipt per value, and its leaves lead to the root that is signed.
fn check(engine: &mut Engine, batch: usize) {
    let sealed = engine.run();
    assert_eq!(sealed.meta.count as usize, batch);
    assert!(frame::meta(&sealed.frame).is_ok_and(|meta| meta.checkpoint_hash == sealed.checkpoint_hash));
}

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parts");
    group.throughput(Throughput::Elements(PARTS_BATCH as u64));
    let mut engine = Engine::new(policy(SCOPES, None), PARTS_BATCH);
    group.bench_function("decide", |bencher| bencher.iter(|| engine.decide()));
    group.bench_function("issue", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                engine.push(true);
                spent += start.elapsed();
                black_box(engine.seal());
            }
            spent
        });
    });
    for (name, with_content) in [("seal", true), ("seal-without-digest", false)] {
        let mut engine = Engine::new(policy(SCOPES, None), PARTS_BATCH);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    engine.push(with_content);
                    let start = Instant::now();
                    black_box(engine.seal());
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    let leaves: Vec<tree::Hash> = (0..PARTS_BATCH).map(|number| tree::leaf(&value(number))).collect();
    group.bench_function("tree", |bencher| bencher.iter(|| tree::root(black_box(&leaves))));
    let engine = Engine::new(policy(SCOPES, None), 1);
    group.bench_function("signature", |bencher| bencher.iter(|| engine.sign(black_box(&[9; 32]))));
    group.finish();
}

/// A workload that has nothing to do with this project, so that ratios can be taken within one run.
fn reference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reference");
    let value = vec![b'x'; VALUE_BYTES];
    group.bench_function("blake3-200-bytes", |bencher| bencher.iter(|| blake3::hash(black_box(&value))));
    group.finish();
}

criterion_group!(benches, whole, parts, reference);
criterion_main!(benches);
