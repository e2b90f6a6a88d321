//! Exports that verify.

use chio_receipts::verify::{self, State};
use chio_receipts::{Export, KeyStatus, LastCheckpoint, OutcomeWord, ProvenContent, Trust, TrustedKey, frame, tree};
use serde_json::{Value, json};

use super::world::{How, START, World, export, signer, transaction, trust_value};
use chio_receipts::{Compression, Durability, Mode};

/// The attestation of a transaction, as the processor writes it.
pub const ATTESTATION: &str = "{\"ranges\": {\"research-tasks/3\": [0, 17]}, \"member\": \"billing-0\", \
     \"checkpoint\": {\"topic\": \"chio-checkpoints\", \"partition\": 2, \"high_watermark\": 31}}";

struct Cases {
    trust: Trust,
    cases: Vec<Value>,
}

impl Cases {
    fn add(&mut self, name: &str, export: &Export, state: State) {
        self.add_under(name, export, state, None);
    }

    fn add_under(&mut self, name: &str, export: &Export, state: State, trust: Option<&Trust>) {
        let verified = verify::receipt(export, trust.unwrap_or(&self.trust)).unwrap();
        assert_eq!(verified.state, state, "{name}");
        let mut case = json!({
            "name": name, "export": serde_json::from_str::<Value>(&export.to_json()).unwrap(), "state": state.as_str(),
            "id": verified.id.map(|id| id.to_string()), "seq": verified.seq, "issuer": verified.checkpoint.issuer,
        });
        if let Some(trust) = trust {
            case["trust"] = trust_value(trust);
        }
        self.cases.push(case);
    }
}

/// All cases.
pub fn cases() -> Value {
    let trust = Trust {
        keys: vec![
            TrustedKey::active(signer(1).public_key(), &["worker@5f2d8a3c", "other@*"]),
            TrustedKey::active(signer(2).public_key(), &["resolver@*"]),
        ],
    };
    let mut cases = Cases { trust, cases: Vec::new() };
    counts(&mut cases);
    lengths(&mut cases);
    modes(&mut cases);
    outcomes(&mut cases);
    withheld(&mut cases);
    keys(&mut cases);
    json!({ "trust": trust_value(&cases.trust), "cases": cases.cases })
}

fn counts(cases: &mut Cases) {
    let mut world = World::new("worker@5f2d8a3c", 1);
    for count in [1usize, 2, 3, 4, 5, 7, 8, 9, 16, 17, 500] {
        let frame = world.batch(count, &How::default());
        let mut places = if count <= 17 && count > 9 { (0..count).collect() } else { vec![0, count / 2, count - 1] };
        places.dedup();
        for place in places {
            cases.add(&format!("place {place} of {count}"), &export(&frame, place), State::Recorded);
        }
    }
}

fn lengths(cases: &mut Cases) {
    let mut world = World::new("worker@5f2d8a3c", 1);
    let lengths = [319, 320, 321, 383, 384, 385, 1023, 1024, 1025];
    for len in lengths {
        world.push_of_len(len);
    }
    let frame = world.seal(&How::default());
    for (place, len) in lengths.into_iter().enumerate() {
        let export = export(&frame, place);
        assert!(matches!(&export.receipt.content, ProvenContent::Body(body) if body.len() == len));
        cases.add(&format!("body of {len} bytes"), &export, State::Recorded);
    }
}

fn modes(cases: &mut Cases) {
    let mut world = World::new("other@ünï \"1\"", 1);
    let how = How { mode: Mode::Attempt, durability: Durability::Relaxed, ..How::default() };
    let frame = world.batch(2, &how);
    cases.add("mode attempt, relaxed durability, issuer by prefix", &export(&frame, 1), State::Attempt);
    let how = How { digest_key: Some([5; 32]), compression: Compression::Zlib, ..How::default() };
    let frame = world.batch(3, &how);
    cases.add("keyed digests, from a compressed frame", &export(&frame, 2), State::Recorded);
    let how = How { mode: transaction(), attestation: Some(ATTESTATION), ..How::default() };
    let frame = world.batch(3, &how);
    let mut shown = export(&frame, 1);
    cases.add("mode transaction with its attestation, no outcome", &shown, State::Unknown);
    shown.receipt.attestation = None;
    cases.add("mode transaction, attestation not shown", &shown, State::Unknown);
}

fn outcomes(cases: &mut Cases) {
    let mut world = World::new("worker@5f2d8a3c", 1);
    let mut resolver = World::new("resolver@5f2d8a3c", 2);
    let frame = world.batch(5, &How { mode: transaction(), ..How::default() });
    let batch = world.sealed[0].checkpoint_hash;
    let words = [
        (OutcomeWord::Committed, State::Committed, None),
        (OutcomeWord::RolledBack, State::RolledBack, None),
        (OutcomeWord::Unknown, State::Unknown, None),
        (OutcomeWord::Committed, State::Committed, Some(OutcomeWord::RolledBack)),
    ];
    for (word, state, contradicts) in words {
        let outcome = resolver.outcome("worker@5f2d8a3c", batch, word, contradicts);
        let mut export = export(&frame, 3);
        export.outcome = Some(super::world::export(&outcome, 0).receipt);
        let name = format!("outcome {}{}", word.as_str(), if contradicts.is_some() { ", contradicting" } else { "" });
        cases.add(&name, &export, state);
        cases.add(&format!("{name}: the record itself"), &super::world::export(&outcome, 0), State::Recorded);
    }
}

fn withheld(cases: &mut Cases) {
    let mut world = World::new("worker@5f2d8a3c", 1);
    let frame = world.batch(5, &How::default());
    let withheld = frame::withhold(&frame::decode(&frame).unwrap(), Compression::None, |place| place % 2 == 1).unwrap();
    let hidden = export(&withheld, 3);
    assert!(matches!(hidden.receipt.content, ProvenContent::Leaf(leaf) if leaf != tree::leaf(b"")));
    cases.add("withheld body", &hidden, State::Recorded);
    cases.add("body beside withheld ones", &export(&withheld, 2), State::Recorded);
}

fn keys(cases: &mut Cases) {
    let mut world = World::new("worker@5f2d8a3c", 1);
    let frame = world.batch(2, &How::default());
    let mut key = TrustedKey::active(signer(1).public_key(), &["worker@*"]);
    let time = START as u64 + 3;
    key.not_before = Some(time);
    key.not_after = Some(time);
    key.status = KeyStatus::Retired;
    let trust = Trust { keys: vec![key.clone()] };
    cases.add_under("retired key, exactly within its window", &export(&frame, 0), State::Recorded, Some(&trust));
    key.status = KeyStatus::Compromised;
    key.last_checkpoints =
        vec![LastCheckpoint { issuer: "worker@5f2d8a3c".to_owned(), hash: world.sealed[0].checkpoint_hash }];
    let trust = Trust { keys: vec![key] };
    let name = "compromised key, the very checkpoint that is known from elsewhere";
    cases.add_under(name, &export(&frame, 0), State::Recorded, Some(&trust));
}
