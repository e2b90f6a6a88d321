//! The test vectors are those that the generator writes, and this verifier gives what they say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // A test fails by panicking.

#[path = "../examples/vectors/all/mod.rs"]
mod all;

use std::collections::HashSet;

use chio_receipts::{
    Compression, Export, LogVerifier, Proven, ProvenContent, ReceiptId, Trust, frame, hex, jcs, sign, verify,
};
use serde_json::Value;

fn load(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(all::folder().join(name)).unwrap()).unwrap()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn trust(value: &Value) -> Trust {
    Trust::from_json(value.to_string().as_bytes()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(text(value).as_bytes()).unwrap()
}

#[test]
fn vectors_are_fresh() {
    for (name, text) in all::files() {
        let stored = std::fs::read_to_string(all::folder().join(name)).unwrap_or_default();
        assert!(stored == text, "tests/vectors/{name} is stale: cargo run -p chio-receipts --example vectors");
    }
}

#[test]
fn good_exports_verify_with_their_state() {
    let vectors = load("exports.json");
    for case in array(&vectors["cases"]) {
        let trust = trust(case.get("trust").unwrap_or(&vectors["trust"]));
        let export = Export::from_json(case["export"].to_string().as_bytes()).unwrap();
        let verified = verify::receipt(&export, &trust).unwrap();
        assert_eq!(verified.state.as_str(), case["state"], "{}", case["name"]);
        assert_eq!(verified.id.map(|id| id.to_string()).as_deref(), case["id"].as_str());
    }
}

#[test]
fn bad_exports_are_refused_for_the_stated_fault() {
    let vectors = load("faults.json");
    let trust = trust(&vectors["trust"]);
    for case in array(&vectors["cases"]) {
        let fault = match Export::from_json(case["export"].to_string().as_bytes()) {
            Ok(export) => verify::receipt(&export, &trust).unwrap_err().fault.as_str(),
            Err(_) => "document",
        };
        assert_eq!(fault, case["fault"], "{}", case["name"]);
    }
}

#[test]
fn logs_have_the_stated_findings() {
    for case in array(&load("logs.json")["cases"]) {
        let trust = trust(&case["trust"]);
        let mut verifier = LogVerifier::new(&trust);
        let stream: Vec<u8> = array(&case["frames"]).iter().flat_map(|frame| unhex(text(frame))).collect();
        verifier.feed_stream(&stream);
        let report = verifier.finish();
        let found: Vec<Value> =
            report.findings.iter().map(|found| serde_json::json!([found.frame, found.fault.as_str()])).collect();
        assert_eq!(Value::from(found), case["findings"], "{}", case["name"]);
        assert_eq!(report.receipts, case["report"]["receipts"], "{}", case["name"]);
    }
}

#[test]
fn signature_edge_cases() {
    for case in array(&load("signatures.json")["cases"]) {
        let holds =
            sign::holds(&bytes(&case["public_key"]), &bytes(&case["checkpoint_hash"]), &bytes(&case["signature"]));
        assert_eq!(holds, case["valid"], "{}", case["name"]);
    }
}

#[test]
fn ids_and_texts_that_are_malformed_are_refused() {
    for case in array(&load("ids.json")["invalid"]) {
        assert!(text(case).parse::<ReceiptId>().is_err(), "{case}");
    }
    for case in array(&load("jcs.json")["invalid"]) {
        assert!(jcs::canonicalize(text(case).as_bytes()).is_err(), "{case}");
    }
}

/// Every bit of every part of a proven record, flipped: gives how many flips were refused.
fn flips(export: &Export, trust: &Trust, pick: impl Fn(&mut Export) -> &mut Proven) -> usize {
    let mut refused = 0;
    let mut check = |changed: Option<Export>, part: &str, bit: usize| {
        // What is no text any more has no place in an export.
        if let Some(changed) = changed {
            assert!(verify::receipt(&changed, trust).is_err(), "bit {bit} of {part}");
        }
        refused += 1;
    };
    let flip_text = |text: &str, bit: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    };
    let with = |change: &dyn Fn(&mut Proven)| {
        let mut changed = export.clone();
        change(pick(&mut changed));
        changed
    };
    let original = pick(&mut export.clone()).clone();
    match &original.content {
        ProvenContent::Body(body) => {
            for bit in 0..body.len() * 8 {
                let body = flip_text(body, bit).map(ProvenContent::Body);
                check(body.map(|body| with(&|proven| proven.content = body.clone())), "body", bit);
            }
        }
        ProvenContent::Leaf(leaf) => {
            for bit in 0..256 {
                let mut leaf = *leaf;
                leaf[bit / 8] ^= 1 << (bit % 8);
                check(Some(with(&|proven| proven.content = ProvenContent::Leaf(leaf))), "leaf", bit);
            }
        }
    }
    for bit in 0..original.checkpoint.len() * 8 {
        let text = flip_text(&original.checkpoint, bit);
        check(text.map(|text| with(&|proven| proven.checkpoint = text.clone())), "checkpoint", bit);
    }
    for bit in 0..512 {
        check(Some(with(&|proven| proven.signature[bit / 8] ^= 1 << (bit % 8))), "signature", bit);
    }
    for bit in 0..original.proof.len() * 256 {
        let changed = with(&|proven| proven.proof[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8));
        check(Some(changed), "proof", bit);
    }
    for bit in 0..64 {
        check(Some(with(&|proven| proven.index ^= 1 << bit)), "index", bit);
    }
    refused
}

/// Flips every bit of the exports whose number leaves `rest` when divided by 2: two tests share the work.
fn flips_of_exports(rest: usize) {
    let vectors = load("exports.json");
    let mut refused = 0;
    for case in array(&vectors["cases"]).iter().skip(rest).step_by(2) {
        let trust = trust(case.get("trust").unwrap_or(&vectors["trust"]));
        let export = Export::from_json(case["export"].to_string().as_bytes()).unwrap();
        refused += flips(&export, &trust, |export| &mut export.receipt);
        if export.outcome.is_some() {
            refused += flips(&export, &trust, |export| export.outcome.as_mut().unwrap());
        }
    }
    println!("{refused} flips refused");
    assert!(refused > 300_000, "{refused}");
}

#[test]
fn every_single_bit_flip_of_even_exports_is_refused() {
    flips_of_exports(0);
}

#[test]
fn every_single_bit_flip_of_odd_exports_is_refused() {
    flips_of_exports(1);
}

#[test]
fn every_single_bit_flip_of_a_frame_is_found() {
    let mut done = HashSet::new();
    for case in array(&load("logs.json")["cases"]).iter().filter(|case| array(&case["findings"]).is_empty()) {
        let trust = trust(&case["trust"]);
        let Some(frame) = array(&case["frames"]).first().map(|frame| unhex(text(frame))) else { continue };
        // A frame of 500 has too many bits for all of them to be tried.
        if frame.len() > 8192 || !done.insert(frame.clone()) {
            continue;
        }
        // Compressed data may have spare bits, or spell the same records otherwise; nothing else gets through.
        let same = |changed: &[u8]| {
            let (Ok(changed), Ok(frame)) = (frame::decode(changed), frame::decode(&frame)) else { return false };
            frame.compression != Compression::None
                && changed.slots().eq(frame.slots())
                && (changed.checkpoint_text, changed.signature, changed.attestation)
                    == (frame.checkpoint_text, frame.signature, frame.attestation)
        };
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut verifier = LogVerifier::new(&trust);
            verifier.feed(&changed);
            assert!(!verifier.finish().is_ok() || same(&changed), "{}: bit {bit}", case["name"]);
        }
    }
    assert!(done.len() >= 4, "{}", done.len());
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| hex::decode::<1>(pair).unwrap()[0]).collect()
}
