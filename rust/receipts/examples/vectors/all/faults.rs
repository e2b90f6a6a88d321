//! Exports that do not verify, most of them signed by a good key: what is wrong must be found behind the signature.

use chio_receipts::verify;
use chio_receipts::{Export, Fault, IdSource, KeyStatus, OutcomeWord, ProvenContent, Trust, TrustedKey};
use serde_json::{Value, json};

use super::batch::{Batch, canonical};
use super::exports::ATTESTATION;
use super::world::{How, START, World, export, signer, transaction, trust_value};

const ISSUER: &str = "worker@5f2d8a3c";

struct Cases {
    trust: Trust,
    cases: Vec<Value>,
}

impl Cases {
    fn add(&mut self, name: &str, export: &Export, fault: Fault) {
        let found = verify::receipt(export, &self.trust).map(|verified| verified.state);
        assert_eq!(found.as_ref().map_err(|error| error.fault), Err(fault), "{name}: {found:?}");
        self.add_document(name, serde_json::from_str(&export.to_json()).unwrap(), fault);
    }

    fn add_document(&mut self, name: &str, document: Value, fault: Fault) {
        self.cases.push(json!({ "name": name, "export": document, "fault": fault.as_str() }));
    }

    fn add_body(&mut self, name: &str, body: String, fault: Fault) {
        self.add(name, &Batch::new(&signer(1), ISSUER, &[body], json!({})).export(0), fault);
    }

    fn add_checkpoint(&mut self, name: &str, text: String) {
        let export = Batch::with_text(&signer(1), &[body(json!({}))], text).export(0);
        self.add(name, &export, Fault::Checkpoint);
    }
}

/// A good body with some members changed; null removes one.
pub fn body(changes: Value) -> String {
    let mut members = json!({
        "attempt": 1, "digest": "ab".repeat(32), "id": IdSource::new(ISSUER, 0).next(START).to_string(),
        "identity": "w", "kind": "consume", "request": "chio-kafka-t-3-17", "rule": "r", "scope": "events:consume:t",
        "seq": 0, "target": { "offset": 17, "partition": 3, "topic": "t" }, "time": START, "v": 1, "verdict": "allow",
    });
    for (name, value) in changes.as_object().unwrap() {
        members[name] = value.clone();
    }
    members.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    canonical(&members)
}

/// All cases.
pub fn cases() -> Value {
    let trust = Trust {
        keys: vec![
            TrustedKey::active(signer(1).public_key(), &[ISSUER, "other@*"]),
            TrustedKey {
                not_before: Some(START as u64),
                not_after: Some(START as u64 + 1000),
                ..TrustedKey::active(signer(2).public_key(), &["*"])
            },
            TrustedKey { status: KeyStatus::Compromised, ..TrustedKey::active(signer(3).public_key(), &["*"]) },
        ],
    };
    let mut cases = Cases { trust, cases: Vec::new() };
    members(&mut cases);
    spellings(&mut cases);
    checkpoints(&mut cases);
    keys(&mut cases);
    places(&mut cases);
    outcomes(&mut cases);
    documents(&mut cases);
    json!({ "trust": trust_value(&cases.trust), "cases": cases.cases })
}

/// Bodies in canonical form that are not of the schema.
fn members(cases: &mut Cases) {
    let good = Batch::new(&signer(1), ISSUER, &[body(json!({}))], json!({})).export(0);
    assert!(verify::receipt(&good, &cases.trust).is_ok(), "the base of all cases is good");
    let id = IdSource::new(ISSUER, 0).next(START).to_string();
    let guard = json!({ "name": "pii", "verdict": "allow" });
    let changed = [
        ("unknown member", json!({ "colour": "red" })),
        ("unknown member at the end", json!({ "zzz": 1 })),
        ("version 2", json!({ "v": 2 })),
        ("version as text", json!({ "v": "1" })),
        ("no version", json!({ "v": null })),
        ("no id", json!({ "id": null })),
        ("id in capitals", json!({ "id": id.to_uppercase() })),
        ("no identity", json!({ "identity": null })),
        ("no seq", json!({ "seq": null })),
        ("no time", json!({ "time": null })),
        ("no kind", json!({ "kind": null })),
        ("unknown kind", json!({ "kind": "observe" })),
        ("unknown verdict", json!({ "verdict": "maybe" })),
        ("decision without verdict", json!({ "verdict": null })),
        ("decision without scope", json!({ "scope": null })),
        ("negative time", json!({ "time": -1 })),
        ("time with a fraction", json!({ "time": 1.5 })),
        ("time as text", json!({ "time": "1790000000000" })),
        ("time as true", json!({ "time": true })),
        ("2^53 as a number", json!({ "time": 9_007_199_254_740_992_u64 })),
        ("2^64 as text", json!({ "time": "18446744073709551616" })),
        ("attempt 0", json!({ "attempt": 0 })),
        ("empty rule", json!({ "rule": "" })),
        ("empty scope", json!({ "scope": "" })),
        ("text of 1025 bytes", json!({ "rule": "x".repeat(1025) })),
        ("text of 1026 bytes in 513 characters", json!({ "rule": "é".repeat(513) })),
        ("short digest", json!({ "digest": "ab".repeat(31) })),
        ("digest in capitals", json!({ "digest": "AB".repeat(32) })),
        ("17 parents", json!({ "parents": vec![id.clone(); 17] })),
        ("no parents in the list", json!({ "parents": [] })),
        ("parent that is no id", json!({ "parents": ["rcpt_x"] })),
        ("parents_rejected 0", json!({ "parents_rejected": 0 })),
        ("17 guards", json!({ "guards": vec![guard.clone(); 17] })),
        ("guards omitted without a full list", json!({ "guards": [guard], "guards_omitted": 1 })),
        ("errors omitted without a list", json!({ "errors_omitted": 1 })),
        ("guard with an unknown member", json!({ "guards": [{ "name": "pii", "took": 1, "verdict": "allow" }] })),
        ("guard without verdict", json!({ "guards": [{ "name": "pii" }] })),
        ("error without code", json!({ "errors": [{ "rule": "r" }] })),
        ("unknown evidence", json!({ "evidence": "later" })),
        ("request that does not follow", json!({ "request": "chio-kafka-t-3-18" })),
        ("request without a place", json!({ "target": { "topic": "t" } })),
        ("place without a request", json!({ "request": null })),
        (
            "partition of 32 bits",
            json!({ "request": "chio-kafka-t-2147483648-17", "target": { "offset": 17, "partition": 2_147_483_648_u64, "topic": "t" } }),
        ),
        ("topic of 513 bytes", json!({ "request": null, "target": { "topic": "t".repeat(513) } })),
        ("tool as target of consume", json!({ "request": null, "target": { "tool": "t" } })),
        ("event as target of invoke", json!({ "kind": "invoke" })),
        ("target with an unknown member", json!({ "request": null, "target": { "tool": "t", "topic": "t" } })),
        ("empty target", json!({ "request": null, "target": {} })),
        ("target as text", json!({ "request": null, "target": "t" })),
        ("duration of a decision", json!({ "duration_ms": 1 })),
        ("error of a decision", json!({ "error": "x" })),
        ("rollback of a decision", json!({ "rollback": id.clone() })),
        ("rollback that names nothing", json!({ "kind": "rollback", "verdict": null })),
        ("effect with a verdict", json!({ "kind": "effect", "request": null, "target": { "tool": "t" } })),
        ("outcome as a kind of receipt", json!({ "kind": "outcome" })),
        ("array in place of text", json!({ "identity": ["w"] })),
        ("null member", json!({ "rule": [null] })),
    ];
    for (name, changes) in changed {
        cases.add_body(name, body(changes), Fault::Record);
    }
}

/// Bodies of the schema that are spelled otherwise.
fn spellings(cases: &mut Cases) {
    let good = body(json!({ "rule": "a\u{1f}b\"/é" }));
    let respelled = [
        ("space after a colon", good.replace("\"v\":1", "\"v\": 1")),
        ("newline at the end", format!("{good}\n")),
        ("byte order mark", format!("\u{feff}{good}")),
        ("members out of order", good.replace("\"seq\":0,", "").replace("\"v\":1", "\"v\":1,\"seq\":0")),
        ("member twice", good.replace("\"v\":1", "\"v\":1,\"v\":1")),
        ("first member twice", good.replace("{\"attempt\":1,", "{\"attempt\":1,\"attempt\":1,")),
        ("escaped slash", good.replace("/é", "\\/é")),
        ("escaped letter", good.replace("/é", "/\\u00e9")),
        ("escape in capitals", good.replace("\\u001f", "\\u001F")),
        ("raw control character", good.replace("\\u001f", "\u{1f}")),
        ("long escape of a quote", good.replace("\\\"", "\\u0022")),
        ("escaped member name", good.replace("\"rule\"", "\"rul\\u0065\"")),
        ("number with exponent", good.replace("\"seq\":0", "\"seq\":0e0")),
        ("number with a zero fraction", good.replace("\"seq\":0", "\"seq\":0.0")),
        ("negative zero", good.replace("\"seq\":0", "\"seq\":-0")),
        ("leading zero", good.replace("\"seq\":0", "\"seq\":00")),
        ("big integer spelled as text below 2^53", good.replace("\"seq\":0", "\"seq\":\"0\"")),
        ("not a number", good.replace("\"seq\":0", "\"seq\":NaN")),
        ("second value", format!("{good}{good}")),
        ("cut off", good[..good.len() - 1].to_owned()),
        ("array", format!("[{good}]")),
        ("empty", String::new()),
        ("empty object", "{}".to_owned()),
    ];
    for (name, text) in respelled {
        assert_ne!(text, good, "{name}");
        cases.add_body(name, text, Fault::Record);
    }
}

fn checkpoints(cases: &mut Cases) {
    let bodies = [body(json!({}))];
    let good = Batch::new(&signer(1), ISSUER, &bodies, json!({})).checkpoint;
    let changed = [
        ("checkpoint with an unknown member", json!({ "colour": "red" })),
        ("checkpoint of version 2", json!({ "v": 2 })),
        ("checkpoint without root", json!({ "root": null })),
        ("checkpoint without previous", json!({ "previous": null })),
        ("checkpoint with an empty issuer", json!({ "issuer": "" })),
        ("checkpoint of unknown mode", json!({ "mode": "best-effort" })),
        ("transaction without a group", json!({ "mode": "transaction", "transactional_id": "t" })),
        ("transaction without an id", json!({ "mode": "transaction", "group": "g" })),
        ("recorded with a group", json!({ "group": "g" })),
        ("unknown durability", json!({ "durability": "eventually" })),
        ("count of 0", json!({ "count": 0 })),
        ("count above a batch", json!({ "count": 1_048_577, "running_count": 2_000_000 })),
        ("count above running_count", json!({ "count": 2, "running_count": 1 })),
        ("key_id of 31 digits", json!({ "key_id": "a".repeat(31) })),
    ];
    for (name, changes) in changed {
        cases.add_checkpoint(name, Batch::new(&signer(1), ISSUER, &bodies, changes).checkpoint);
    }
    cases.add_checkpoint("checkpoint with a space", good.replace("\"v\":1", "\"v\": 1"));
    cases.add_checkpoint("checkpoint with a member twice", good.replace("\"v\":1", "\"v\":1,\"v\":1"));
    cases.add_checkpoint("checkpoint with text after it", format!("{good} "));
    cases.add_checkpoint("empty checkpoint", String::new());
}

fn keys(cases: &mut Cases) {
    let bodies = [body(json!({}))];
    let export = |seed, issuer, changes| Batch::new(&signer(seed), issuer, &bodies, changes).export(0);
    cases.add("key that is not in the trust file", &export(9, ISSUER, json!({})), Fault::KeyUnknown);
    cases.add("issuer that the key may not sign for", &export(1, "worker@5f2d8a3", json!({})), Fault::KeyIssuer);
    cases.add("issuer that only begins like an exact one", &export(1, "worker@5f2d8a3cc", json!({})), Fault::KeyIssuer);
    cases.add("before the key's window", &export(2, ISSUER, json!({ "time": START - 1 })), Fault::KeyTime);
    cases.add("after the key's window", &export(2, ISSUER, json!({ "time": START + 1001 })), Fault::KeyTime);
    cases.add("compromised key", &export(3, ISSUER, json!({})), Fault::KeyCompromised);
    let foreign_name = json!({ "key_id": chio_receipts::hex::encode(&signer(2).key_id()) });
    cases.add("signed by another key than it names", &export(1, ISSUER, foreign_name), Fault::Signature);
    let mut unsigned = export(1, ISSUER, json!({}));
    unsigned.receipt.signature = [0; 64];
    cases.add("no signature", &unsigned, Fault::Signature);
}

fn places(cases: &mut Cases) {
    let mut world = World::new(ISSUER, 1);
    let frame = world.batch(5, &How::default());
    let good = export(&frame, 2);
    let mut change = |name: &str, fault, change: &dyn Fn(&mut Export)| {
        let mut export = good.clone();
        change(&mut export);
        cases.add(name, &export, fault);
    };
    change("proof too short", Fault::Proof, &|export| export.receipt.proof.truncate(1));
    change("proof too long", Fault::Proof, &|export| export.receipt.proof.push([0; 32]));
    change("proof with a wrong hash", Fault::Proof, &|export| export.receipt.proof[0][31] ^= 1);
    change("no proof", Fault::Proof, &|export| export.receipt.proof.clear());
    change("another index", Fault::Seq, &|export| export.receipt.index = 3);
    change("largest index", Fault::Seq, &|export| export.receipt.index = u64::MAX);
    change("attestation that the checkpoint does not name", Fault::Attestation, &|export| {
        export.receipt.attestation = Some("{}".to_owned());
    });
    change("leaf of another body", Fault::Proof, &|export| export.receipt.content = ProvenContent::Leaf([1; 32]));
    let other = export(&frame, 3);
    change("body of another place", Fault::Seq, &|export| export.receipt.content = other.receipt.content.clone());

    let export = |changes, batch: Value| Batch::new(&signer(1), ISSUER, &[body(changes)], batch).export(0);
    cases.add("seq that is not first_seq + index", &export(json!({ "seq": 1 }), json!({})), Fault::Seq);
    cases.add("first_seq that does not fit", &export(json!({}), json!({ "first_seq": 9 })), Fault::Seq);
    cases.add("largest first_seq", &export(json!({}), json!({ "first_seq": u64::MAX.to_string() })), Fault::Seq);
    cases.add("id of another epoch", &export(json!({}), json!({ "epoch": 1 })), Fault::Id);
    let foreign = IdSource::new("other@1", 0).next(START).to_string();
    cases.add("id of another issuer", &export(json!({ "id": foreign }), json!({})), Fault::Id);
    cases.add("root of nothing", &export(json!({}), json!({ "root": "00".repeat(32) })), Fault::Proof);
    cases.add(
        "count larger than the proof",
        &export(json!({}), json!({ "count": 2, "running_count": 2 })),
        Fault::Proof,
    );

    let mut world = World::new(ISSUER, 1);
    let frame = world.batch(2, &How { mode: transaction(), attestation: Some(ATTESTATION), ..How::default() });
    let mut changed = super::world::export(&frame, 0);
    changed.receipt.attestation = changed.receipt.attestation.map(|text| text.replace("17", "18"));
    cases.add("another attestation than the checkpoint names", &changed, Fault::Attestation);
    let spaced = "{\"a\": 1}";
    let hash = chio_receipts::hex::encode(&chio_receipts::checkpoint::attestation_hash(spaced.as_bytes()));
    let mut export = Batch::new(&signer(1), ISSUER, &[body(json!({}))], json!({ "attestation": hash })).export(0);
    export.receipt.attestation = Some(spaced.to_owned());
    cases.add("attestation that is not canonical", &export, Fault::Attestation);
}

fn outcomes(cases: &mut Cases) {
    let mut world = World::new(ISSUER, 1);
    let frame = world.batch(2, &How { mode: transaction(), ..How::default() });
    let recorded = world.batch(2, &How::default());
    let (batch, plain) = (world.sealed[0].checkpoint_hash, world.sealed[1].checkpoint_hash);
    let mut outcome =
        |issuer: &str, batch| export(&world.outcome(issuer, batch, OutcomeWord::Committed, None), 0).receipt;
    let with = |frame: &[u8], outcome| Export { outcome: Some(outcome), ..export(frame, 0) };
    cases.add("outcome of another batch", &with(&frame, outcome(ISSUER, plain)), Fault::Outcome);
    cases.add("outcome of another issuer's batch", &with(&frame, outcome("other@1", batch)), Fault::Outcome);
    cases.add("outcome of a batch that is no transaction", &with(&recorded, outcome(ISSUER, plain)), Fault::Outcome);
    let receipt = export(&recorded, 0).receipt;
    cases.add("receipt in place of an outcome", &with(&frame, receipt), Fault::Outcome);
    let mut forged = outcome(ISSUER, batch);
    forged.signature[0] ^= 1;
    cases.add("outcome with a forged signature", &with(&frame, forged), Fault::Signature);
    let mut hidden = outcome(ISSUER, batch);
    let ProvenContent::Body(body) = &hidden.content else { unreachable!() };
    let text = body.clone();
    hidden.content = ProvenContent::Leaf(chio_receipts::tree::leaf(text.as_bytes()));
    cases.add("withheld outcome", &with(&frame, hidden), Fault::Outcome);
    let respelled = [
        ("outcome with an unknown word", text.replace("\"committed\"", "\"probably\"")),
        ("outcome that contradicts itself", text.replace(",\"id\"", ",\"contradicts\":\"committed\",\"id\"")),
        ("outcome with a receipt's member", text.replace(",\"v\":1", ",\"v\":1,\"verdict\":\"allow\"")),
        ("outcome that is shown nowhere", text.replace("\"shown\":{", "\"shown\":{},\"was\":{")),
    ];
    for (name, text) in respelled {
        cases.add_body(name, text, Fault::Record);
    }
}

/// Documents that are no exports at all.
fn documents(cases: &mut Cases) {
    let export = Batch::new(&signer(1), ISSUER, &[body(json!({}))], json!({})).export(0);
    let good: Value = serde_json::from_str(&export.to_json()).unwrap();
    let change = |path: &str, value: Value| {
        let mut document = good.clone();
        match path.strip_prefix("receipt.") {
            Some(name) => document["receipt"][name] = value,
            None => document[path] = value,
        }
        document
    };
    let mut both = change("receipt.leaf", json!("00".repeat(32)));
    let changed = [
        ("document with an unknown member", change("colour", json!("red"))),
        ("document of version 2", change("v", json!(2))),
        ("document whose version is true", change("v", json!(true))),
        ("document without a receipt", json!({ "v": 1 })),
        ("receipt with an unknown member", change("receipt.colour", json!("red"))),
        ("body and leaf", both.take()),
        ("negative index", change("receipt.index", json!(-1))),
        ("index with a fraction", change("receipt.index", json!(0.0))),
        ("index of 2^64", change("receipt.index", json!(18_446_744_073_709_551_616.0))),
        ("index as text", change("receipt.index", json!("0"))),
        ("proof as text", change("receipt.proof", json!(""))),
        ("proof in capitals", change("receipt.proof", json!(["AB".repeat(32)]))),
        ("short signature", change("receipt.signature", json!("ab".repeat(63)))),
        ("checkpoint as an object", change("receipt.checkpoint", json!({}))),
        ("body as an object", change("receipt.body", json!({}))),
        ("document as an array", json!([good])),
        ("document as a number", json!(1)),
    ];
    for (name, document) in changed {
        assert!(Export::from_json(document.to_string().as_bytes()).is_err(), "{name}");
        cases.add_document(name, document, Fault::Document);
    }
}
