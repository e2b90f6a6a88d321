//! What a receipt costs, in batches of 500 with distinct values of 200 bytes: push, seal (and its parts, and with each
//! compression), and verifying a log.
//!
//! Every timed piece of work is checked once before it is timed. `cargo bench -p chio-receipts`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // A benchmark that goes wrong must stop.

use std::hint::black_box;
use std::sync::Arc;

use chio_receipts::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zeroize::Zeroizing;

const BATCH: u64 = 500;
const ISSUER: &str = "worker@5f2d8a3c";

struct Bench {
    signer: Signer,
    trust: Trust,
    template: Arc<Template>,
    target: Arc<TargetTemplate>,
    parent: ReceiptId,
    value: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let signer = Signer::from_seed(&Zeroizing::new([1; 32]));
        let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &["worker@*"])] };
        Self {
            trust,
            signer,
            template: Arc::new(Template::new(&TemplateFields {
                kind: Kind::Consume,
                identity: "research-agents",
                scope: "events:consume:research-tasks",
                verdict: Some(Verdict::Allow),
                rule: "capability:research-agents:events:consume:research-tasks",
                reason: "",
                errors: &[],
                guards: &[],
            })),
            target: Arc::new(TargetTemplate::event(&EventTarget {
                cluster: "5L6g3nShT-eMCtK--X86sw",
                group: "research",
                identity: "research-agents",
                topic: "research-tasks",
                topic_id: "Jm2zqT9PQ0mM9nQk2h3aXw",
                partition: Some(3),
            })),
            parent: ReceiptId::from_parts(1_790_000_000_000, 7, 9),
            value: (0..200).map(|i| b'a' + i % 26).collect(),
        }
    }

    fn fill(&self, pending: &mut Pending, ids: &mut IdSource, first: i64) {
        self.fill_with(pending, ids, first, BATCH);
    }

    fn fill_with(&self, pending: &mut Pending, ids: &mut IdSource, first: i64, count: u64) {
        let mut value = self.value.clone();
        for i in 0..count as i64 {
            value[..8].copy_from_slice(&(first + i).to_le_bytes());
            pending
                .push(&Draft {
                    offset: Some(first + i),
                    timestamp: Some(1_790_000_000_000 + i),
                    content: Content::Event { key: Some(b"customer-17"), headers: &[], value: Some(&value) },
                    parents: &[self.parent],
                    attempt: Attempt::Known(1),
                    ..Draft::new(ids.next(1_790_000_000_100 + i), 1_790_000_000_100 + i, &self.template, &self.target)
                })
                .unwrap();
        }
    }

    fn context(&self) -> SealContext<'_> {
        SealContext {
            signer: &self.signer,
            policy_version: [7; 32],
            mode: Mode::Recorded,
            durability: Durability::Full,
            time: 1_790_000_001_000,
            digest_key: None,
            attestation: None,
            compression: Compression::None,
        }
    }
}

fn receipts(c: &mut Criterion) {
    let bench = Bench::new();
    let mut group = c.benchmark_group("receipts");
    group.throughput(Throughput::Elements(BATCH));

    let mut pending = Pending::new();
    let mut ids = IdSource::new(ISSUER, 0);
    group.bench_function("push", |b| {
        b.iter(|| {
            pending.clear();
            bench.fill(&mut pending, &mut ids, 0);
            assert_eq!(pending.len() as u64, BATCH);
        });
    });

    let mut pending = Pending::new();
    let mut ids = IdSource::new(ISSUER, 0);
    let mut chain = Chain::start(ISSUER);
    let mut log = Vec::new();
    for batch in 0..100 {
        bench.fill(&mut pending, &mut ids, batch * BATCH as i64);
        log.extend(seal(&mut pending, &mut chain, &bench.context(), &mut |_| 1).unwrap().frame);
    }
    group.bench_function("push and seal", |b| {
        b.iter(|| {
            bench.fill(&mut pending, &mut ids, 0);
            let sealed = seal(&mut pending, &mut chain, &bench.context(), &mut |_| 1).unwrap();
            assert_eq!(u64::from(sealed.meta.count), BATCH);
            black_box(sealed);
        });
    });
    println!("bytes per receipt in the log: {}", log.len() as u64 / (100 * BATCH));

    for count in [BATCH, 4096] {
        group.throughput(Throughput::Elements(count));
        for compression in [Compression::None, Compression::Zlib, Compression::Lz4] {
            let context = SealContext { compression, ..bench.context() };
            let (mut offset, mut stored) = (0, 0);
            group.bench_function(format!("push and seal {count}, {compression:?}"), |b| {
                b.iter(|| {
                    bench.fill_with(&mut pending, &mut ids, offset, count);
                    offset += count as i64;
                    let sealed = seal(&mut pending, &mut chain, &context, &mut |_| 1).unwrap();
                    assert_eq!(u64::from(sealed.meta.count), count);
                    stored = sealed.frame.len() as u64;
                });
            });
            println!("bytes per receipt: {}", stored / count);
        }
    }
    group.throughput(Throughput::Elements(BATCH));

    let messages: Vec<Vec<u8>> = (0..BATCH as usize).map(|i| vec![i as u8; 640]).collect();
    group.bench_function("leaves of 640 bytes, one by one (the lanes are in seal)", |b| {
        b.iter(|| messages.iter().map(|body| tree::leaf(body)).fold(0, |sum, leaf| sum ^ leaf[0]));
    });

    group.throughput(Throughput::Elements(100 * BATCH));
    group.sample_size(20);
    group.bench_function("verify a log", |b| {
        b.iter(|| {
            let mut verifier = LogVerifier::new(&bench.trust);
            verifier.feed_stream(&log);
            let report = verifier.finish();
            assert!(report.is_ok() && report.receipts == 100 * BATCH, "{:?}", report.findings.first());
        });
    });
    group.finish();
}

criterion_group!(benches, receipts);
criterion_main!(benches);
