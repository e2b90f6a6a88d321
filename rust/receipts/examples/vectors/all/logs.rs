//! Whole logs: what verifying them finds, frame by frame.

use chio_receipts::{
    Compression, Fault, IdSource, KeyStatus, LastCheckpoint, LogVerifier, Mode, OutcomeWord, Trust, TrustedKey, frame,
    hex,
};
use serde_json::{Value, json};

use super::batch::Batch;
use super::exports::ATTESTATION;
use super::faults::body;
use super::world::{How, START, World, signer, transaction, trust_value};

pub const ISSUER: &str = "worker@5f2d8a3c";
const RESOLVER: &str = "resolver@5f2d8a3c";

/// Logs with what is found in them.
pub struct Cases(Vec<Value>);

impl Cases {
    /// Adds a log with the faults that must be found: (number of the frame, fault).
    pub fn add(&mut self, name: &str, trust: &Trust, frames: &[Vec<u8>], faults: &[(u64, Fault)]) {
        let mut verifier = LogVerifier::new(trust);
        verifier.feed_stream(&frames.concat());
        let report = verifier.finish();
        let found: Vec<(u64, Fault)> = report.findings.iter().map(|finding| (finding.frame, finding.fault)).collect();
        assert_eq!(found, faults, "{name}: {:?}", report.findings);
        let findings: Vec<Value> = found.iter().map(|(frame, fault)| json!([frame, fault.as_str()])).collect();
        let issuers: Vec<Value> = report
            .issuers
            .iter()
            .map(|issuer| {
                json!({
                    "issuer": issuer.issuer, "epoch": issuer.epoch, "batches": issuer.batches,
                    "running_count": issuer.running_count, "head": hex::encode(&issuer.head),
                })
            })
            .collect();
        self.0.push(json!({
            "name": name, "trust": trust_value(trust), "frames": frames.iter().map(|frame| hex::encode(frame)).collect::<Value>(),
            "findings": findings,
            "report": {
                "frames": report.frames, "receipts": report.receipts, "outcomes": report.outcomes,
                "outcomes_elsewhere": report.outcomes_elsewhere, "withheld": report.withheld,
                "transactions": report.transactions, "unresolved": report.unresolved, "issuers": issuers,
            },
        }));
    }
}

/// Trusts the worker and the resolver.
pub fn trust() -> Trust {
    Trust {
        keys: vec![
            TrustedKey::active(signer(1).public_key(), &["worker@*"]),
            TrustedKey::active(signer(2).public_key(), &["worker@*", "resolver@*"]),
        ],
    }
}

/// Two epochs of a worker with two keys, and a resolver between its batches.
fn good() -> Vec<Vec<u8>> {
    let (mut worker, mut resolver) = (World::new(ISSUER, 1), World::new(RESOLVER, 2));
    let mut frames = vec![worker.batch(3, &How::default())];
    frames.push(worker.batch(9, &How { mode: transaction(), attestation: Some(ATTESTATION), ..How::default() }));
    frames.push(resolver.batch(1, &How::default()));
    frames.push(worker.batch(2, &How { compression: Compression::Zlib, ..How::default() }));
    frames.push(resolver.outcome(ISSUER, worker.sealed[1].checkpoint_hash, OutcomeWord::Committed, None));
    worker.next_epoch(2);
    frames.push(worker.batch(4, &How { mode: Mode::Attempt, ..How::default() }));
    frames.push(worker.batch(1, &How { mode: transaction(), ..How::default() }));
    frames
}

/// All cases.
pub fn cases() -> Value {
    let mut cases = Cases(Vec::new());
    let frames = good();
    cases.add("good log of two issuers", &trust(), &frames, &[]);
    cases.add("empty log", &trust(), &[], &[]);
    missing(&mut cases, &frames);
    containers(&mut cases, &frames);
    forged(&mut cases);
    keys(&mut cases, &frames);
    outcomes(&mut cases);
    super::ids::add(&mut cases);
    let mut world = World::new(ISSUER, 1);
    let large = world.batch(500, &How { compression: Compression::Zlib, ..How::default() });
    cases.add("batch of 500, compressed", &trust(), &[large], &[]);
    super::blocks::add(&mut cases);
    json!({ "cases": cases.0 })
}

fn without(frames: &[Vec<u8>], gone: &[usize]) -> Vec<Vec<u8>> {
    frames.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, frame)| frame.clone()).collect()
}

fn missing(cases: &mut Cases, frames: &[Vec<u8>]) {
    use Fault::{Epoch, FirstSeq, Fork, Id, Previous, RunningCount, Truncated};
    let trust = trust();
    let dropped = [(2, FirstSeq), (2, RunningCount), (2, Previous)];
    cases.add("dropped batch", &trust, &without(frames, &[1]), &dropped);
    cases.add(
        "dropped first batch",
        &trust,
        &without(frames, &[0]),
        &[(0, FirstSeq), (0, RunningCount), (0, Previous)],
    );
    cases.add("last batch of an epoch dropped", &trust, &without(frames, &[3]), &[(4, RunningCount), (4, Previous)]);
    let no_epoch = without(frames, &[0, 1, 3]);
    cases.add("dropped epoch at the start", &trust, &no_epoch, &[(2, Epoch), (2, RunningCount), (2, Previous)]);
    let mut swapped = frames.to_vec();
    swapped.swap(0, 1);
    cases.add_found("reordered batches", &trust, &swapped, &[FirstSeq, RunningCount, Previous]);
    let mut twice = frames.to_vec();
    twice.insert(1, frames[0].clone());
    cases.add_found("batch twice", &trust, &twice, &[FirstSeq, RunningCount, Previous, Id]);

    let mut world = World::new(ISSUER, 1);
    let trunk = world.batch(2, &How::default());
    let fork = world.chain.clone();
    let left = world.batch(2, &How::default());
    let after_left = world.batch(1, &How::default());
    world.chain = fork;
    let right = world.batch(3, &How::default());
    cases.add_found("forked chain", &trust, &[trunk, left, right, after_left], &[FirstSeq, RunningCount, Fork, Id]);

    let mut world = World::new(ISSUER, 1);
    let first = world.batch(1, &How::default());
    world.next_epoch(1);
    world.batch(1, &How::default());
    world.next_epoch(1);
    let third = world.batch(1, &How::default());
    cases.add("missing epoch", &trust, &[first, third], &[(1, Epoch), (1, RunningCount), (1, Previous)]);

    let mut pinned = trust;
    let last = frame::meta(&frames[6]).unwrap().checkpoint_hash;
    pinned.keys[1].last_checkpoints = vec![LastCheckpoint { issuer: ISSUER.to_owned(), hash: last }];
    cases.add("known last checkpoint is there", &pinned, frames, &[]);
    cases.add("tail cut off before a known checkpoint", &pinned, &frames[..6], &[(6, Truncated)]);
    cases.add("empty log, but a checkpoint is known", &pinned, &[], &[(0, Truncated)]);
}

impl Cases {
    /// Adds a log in which exactly these kinds of faults are found, wherever they are.
    fn add_found(&mut self, name: &str, trust: &Trust, frames: &[Vec<u8>], kinds: &[Fault]) {
        let mut verifier = LogVerifier::new(trust);
        verifier.feed_stream(&frames.concat());
        let found: Vec<(u64, Fault)> =
            verifier.finish().findings.iter().map(|finding| (finding.frame, finding.fault)).collect();
        for kind in kinds {
            assert!(found.iter().any(|(_, fault)| fault == kind), "{name}: {kind} in {found:?}");
        }
        assert!(found.iter().all(|(_, fault)| kinds.contains(fault)), "{name}: {found:?}");
        self.add(name, trust, frames, &found);
    }
}

fn containers(cases: &mut Cases, frames: &[Vec<u8>]) {
    let trust = trust();
    let good = &frames[0];
    cases.add("stream ends within a frame", &trust, &[good[..good.len() - 1].to_vec()], &[(0, Fault::Frame)]);
    cases.add("stream that is no log", &trust, &[b"{\"v\":1}".to_vec()], &[(0, Fault::Frame)]);
    cases.add("rubbish after a frame", &trust, &[good.clone(), vec![0]], &[(1, Fault::Frame)]);
    let withheld =
        frame::withhold(&frame::decode(&frames[1]).unwrap(), Compression::Zlib, |place| place % 2 == 0).unwrap();
    let mut hidden = frames.to_vec();
    hidden[1] = withheld;
    cases.add("withheld bodies", &trust, &hidden, &[]);
    let all = frame::withhold(&frame::decode(good).unwrap(), Compression::None, |_| true).unwrap();
    cases.add("batch of which all is withheld", &trust, &[all], &[]);

    let mut change = |name: &str, fault, change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = good.clone();
        change(&mut changed);
        cases.add(name, &trust, &[changed], &[(0, fault)]);
    };
    change("signature changed", Fault::Signature, &|frame| frame[32] ^= 1);
    change("letter of a body changed", Fault::Root, &|frame| {
        let at = frame.windows(8).position(|window| window == b"research").unwrap();
        frame[at] = b'R';
    });
    change("padding that is not space", Fault::Frame, &|frame| {
        let len = u32::from_le_bytes(frame[96..100].try_into().unwrap()) as usize;
        frame[96 + 12 + len] = b'x';
    });
    change("checkpoint changed", Fault::Signature, &|frame| {
        let at = frame.windows(10).position(|window| window == b"\"epoch\":0,").unwrap();
        frame[at + 8] = b'1';
    });
    change("checkpoint respelled", Fault::Checkpoint, &|frame| {
        let at = frame.windows(8).position(|window| window == b"\"count\":").unwrap();
        frame[at + 1] = b'C';
    });
    change("count of 0", Fault::Frame, &|frame| frame[12] = 0);
    change("unknown compression", Fault::Frame, &|frame| frame[4] = 3);
    change("claims to be zlib", Fault::Frame, &|frame| frame[4] = 1);
    change("claims to be an LZ4 block", Fault::Frame, &|frame| frame[4] = 2);
    change("raw length of 4 GiB", Fault::Frame, &|frame| frame[20..24].copy_from_slice(&[0xff; 4]));
    change("body of length 0", Fault::Frame, &|frame| frame[96..100].copy_from_slice(&[0; 4]));
    change("records longer than the frame", Fault::Frame, &|frame| frame[16..20].copy_from_slice(&[0xff; 4]));

    let mut bare = Batch::new(&signer(1), ISSUER, &[body(json!({}))], json!({ "attestation": "ab".repeat(32) }));
    cases.add("attestation that the checkpoint names is missing", &trust, &[bare.frame()], &[(0, Fault::Attestation)]);
    bare.attestation = Some("{}".to_owned());
    cases.add("another attestation", &trust, &[bare.frame()], &[(0, Fault::Attestation)]);
}

/// Batches that a good key signed over bad contents.
fn forged(cases: &mut Cases) {
    let trust = trust();
    let mut ids = IdSource::new(ISSUER, 0);
    let ids: Vec<String> = (0..4).map(|i| ids.next(START + i).to_string()).collect();
    let at = |seq: u64, id: &str| body(json!({ "id": id, "seq": seq }));
    let sign = |bodies: &[String], changes| Batch::new(&signer(1), ISSUER, bodies, changes);
    let mut add =
        |name: &str, batch: &Batch, faults: &[(u64, Fault)]| cases.add(name, &trust, &[batch.frame()], faults);

    add("made by hand", &sign(&[at(0, &ids[0]), at(1, &ids[1])], json!({})), &[]);
    add("dropped receipt: a gap in seq", &sign(&[at(0, &ids[0]), at(2, &ids[2])], json!({})), &[(0, Fault::Seq)]);
    add(
        "receipts in another order",
        &sign(&[at(1, &ids[1]), at(0, &ids[0])], json!({})),
        &[(0, Fault::Seq), (0, Fault::Seq), (0, Fault::Id)],
    );
    add("the same id twice", &sign(&[at(0, &ids[0]), at(1, &ids[0])], json!({})), &[(0, Fault::Id)]);
    add(
        "id of another epoch",
        &sign(&[at(0, &IdSource::new(ISSUER, 1).next(START).to_string())], json!({})),
        &[(0, Fault::Id)],
    );
    add(
        "record that is not canonical",
        &sign(&[at(0, &ids[0]), format!("{} ", at(1, &ids[1]))], json!({})),
        &[(0, Fault::Record)],
    );
    add(
        "first_seq that does not start at 0",
        &sign(&[at(5, &ids[0])], json!({ "first_seq": 5 })),
        &[(0, Fault::FirstSeq)],
    );
    add(
        "running_count too large",
        &sign(&[at(0, &ids[0])], json!({ "running_count": 2 })),
        &[(0, Fault::RunningCount)],
    );
    add(
        "previous of a first batch",
        &sign(&[at(0, &ids[0])], json!({ "previous": "01".repeat(32) })),
        &[(0, Fault::Previous)],
    );
    let late = body(json!({ "id": IdSource::new(ISSUER, 1).next(START).to_string() }));
    add("first epoch is not 0", &sign(&[late], json!({ "epoch": 1 })), &[(0, Fault::Epoch)]);
    let counted = sign(&[at(0, &ids[0])], json!({ "count": 2, "running_count": 2 }));
    add("checkpoint that counts more than there is", &counted, &[(0, Fault::Frame)]);

    let first = sign(&[at(0, &ids[0])], json!({}));
    let next = |changes: Value| {
        let mut all = json!({ "previous": hex::encode(&first.hash()), "first_seq": 1, "running_count": 2 });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    let mut follow = |name: &str, batch: Batch, faults: &[(u64, Fault)]| {
        cases.add(name, &trust, &[first.frame(), batch.frame()], faults);
    };
    follow("two batches made by hand", sign(&[at(1, &ids[1])], next(json!({}))), &[]);
    follow("id of the batch before", sign(&[at(1, &ids[0])], next(json!({}))), &[(1, Fault::Id)]);
    follow("gap in first_seq", sign(&[at(2, &ids[2])], next(json!({ "first_seq": 2 }))), &[(1, Fault::FirstSeq)]);
    follow(
        "running_count that stands still",
        sign(&[at(1, &ids[1])], next(json!({ "running_count": 1 }))),
        &[(1, Fault::RunningCount)],
    );
    let changed = Batch::new(&signer(2), ISSUER, &[at(1, &ids[1])], next(json!({})));
    follow("key change within an epoch", changed, &[(1, Fault::KeyChange)]);
}

fn keys(cases: &mut Cases, frames: &[Vec<u8>]) {
    use Fault::{KeyCompromised, KeyIssuer, KeyRetired, KeyTime, KeyUnknown};
    let hash = |frame: &[u8]| frame::meta(frame).unwrap().checkpoint_hash;
    let mut changed = |name: &str, frames: &[Vec<u8>], kinds: &[Fault], change: &dyn Fn(&mut Trust)| {
        let mut trust = trust();
        change(&mut trust);
        cases.add_found(name, &trust, frames, kinds);
    };
    let first = &frames[..1];
    changed("unknown key", first, &[KeyUnknown], &|trust| {
        trust.keys.remove(0);
    });
    changed("key of another issuer", first, &[KeyIssuer], &|trust| {
        trust.keys[0].issuers = vec!["resolver@*".to_owned()]
    });
    changed("key before its time", first, &[KeyTime], &|trust| trust.keys[0].not_before = Some(START as u64 + 60_000));
    changed("compromised key after its time", first, &[KeyTime], &|trust| {
        trust.keys[0].status = KeyStatus::Compromised;
        trust.keys[0].not_after = Some(START as u64);
    });
    changed("compromised key without a known checkpoint", first, &[KeyCompromised], &|trust| {
        trust.keys[0].status = KeyStatus::Compromised;
    });
    let last = |index: usize| vec![LastCheckpoint { issuer: ISSUER.to_owned(), hash: hash(&frames[index]) }];
    changed("compromised key up to its last checkpoint", frames, &[], &|trust| {
        trust.keys[0].status = KeyStatus::Compromised;
        trust.keys[0].last_checkpoints = last(3);
    });
    changed("compromised key after its last checkpoint", frames, &[KeyCompromised], &|trust| {
        trust.keys[0].status = KeyStatus::Compromised;
        trust.keys[0].last_checkpoints = last(1);
    });
    changed(
        "log that does not lead to the last checkpoint before a compromise",
        &frames[..2],
        &[KeyCompromised],
        &|trust| {
            trust.keys[0].status = KeyStatus::Compromised;
            trust.keys[0].last_checkpoints = last(3);
        },
    );
    changed("retired key up to its last checkpoint", frames, &[], &|trust| {
        trust.keys[0].status = KeyStatus::Retired;
        trust.keys[0].last_checkpoints = last(3);
    });
    changed("retired key after its last checkpoint", frames, &[KeyRetired], &|trust| {
        trust.keys[0].status = KeyStatus::Retired;
        trust.keys[0].last_checkpoints = last(0);
    });
}

fn outcomes(cases: &mut Cases) {
    use OutcomeWord::{Committed, RolledBack, Unknown};
    let trust = trust();
    let (mut worker, mut resolver) = (World::new(ISSUER, 1), World::new(RESOLVER, 2));
    let batch = worker.batch(2, &How { mode: transaction(), ..How::default() });
    let plain = worker.batch(1, &How::default());
    let (hash, plain_hash) = (worker.sealed[0].checkpoint_hash, worker.sealed[1].checkpoint_hash);
    type Resolved<'a> = (&'a str, [u8; 32], OutcomeWord, Option<OutcomeWord>);
    type Log<'a> = (&'a str, Vec<Resolved<'a>>, &'a [(u64, Fault)]);
    let logs: [Log<'_>; 7] = [
        ("rolled back", vec![(ISSUER, hash, RolledBack, None)], &[]),
        ("unknown, then committed", vec![(ISSUER, hash, Unknown, None), (ISSUER, hash, Committed, Some(Unknown))], &[]),
        ("committed twice", vec![(ISSUER, hash, Committed, None), (ISSUER, hash, Committed, None)], &[]),
        (
            "contradiction that is not said",
            vec![(ISSUER, hash, Committed, None), (ISSUER, hash, RolledBack, None)],
            &[(3, Fault::Outcome)],
        ),
        (
            "outcome of a batch that is no transaction",
            vec![(ISSUER, plain_hash, Committed, None)],
            &[(2, Fault::Outcome)],
        ),
        ("outcome under another issuer's name", vec![("worker@1", hash, Committed, None)], &[(2, Fault::Outcome)]),
        ("outcome of a batch elsewhere", vec![("worker@1", [9; 32], Committed, None)], &[]),
    ];
    for (name, outcomes, faults) in logs {
        let mut frames = vec![batch.clone(), plain.clone()];
        for (issuer, hash, word, contradicts) in outcomes {
            frames.push(resolver.outcome(issuer, hash, word, contradicts));
        }
        resolver = World::new(RESOLVER, 2);
        cases.add(name, &trust, &frames, faults);
    }
    // As an import may bring them.
    for (name, issuer, hash, faults) in [
        ("outcome before its batch", ISSUER, hash, vec![]),
        ("outcome before its batch, under another issuer's name", "worker@1", hash, vec![(1, Fault::Outcome)]),
        ("outcome before a batch that is no transaction", ISSUER, plain_hash, vec![(2, Fault::Outcome)]),
    ] {
        let early = resolver.outcome(issuer, hash, Committed, None);
        resolver = World::new(RESOLVER, 2);
        cases.add(name, &trust, &[early, batch.clone(), plain.clone()], &faults);
    }
}
