//! Verifying a log, receipt by receipt, on one core.

#![allow(missing_docs, reason = "the macros of criterion write undocumented functions")]

use chio_benches::{Engine, policy};
use chio_receipts::trust::{Trust, TrustedKey};
use chio_receipts::verify::LogVerifier;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BATCHES: usize = 200;

fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    group.sample_size(20);
    for batch in [1, 500] {
        let mut engine = Engine::new(policy(10, None), batch);
        let frames: Vec<Vec<u8>> = (0..BATCHES).map(|_| engine.run().frame).collect();
        let trust = Trust { keys: vec![TrustedKey::active(engine.public_key(), &["*"])] };
        let receipts = (BATCHES * batch) as u64;
        group.throughput(Throughput::Elements(receipts));
        group.bench_function(BenchmarkId::new("log", batch), |bencher| {
            bencher.iter(|| {
                let mut verifier = LogVerifier::new(&trust);
                for frame in &frames {
                    verifier.feed(frame);
                }
                let report = verifier.finish();
                assert!(report.findings.is_empty());
                assert_eq!(report.receipts, receipts);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, log);
criterion_main!(benches);
