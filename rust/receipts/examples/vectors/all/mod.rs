//! Every file of test vectors, built from fixed seeds. Nothing here depends on time, machine or order of execution.

mod batch;
mod blocks;
mod exports;
mod faults;
mod ids;
mod logs;
mod primitives;
mod signatures;
mod world;

use std::path::PathBuf;

use serde_json::{Value, json};

/// Where the vectors live.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// Name and text of every file.
pub fn files() -> Vec<(&'static str, String)> {
    let text = |comment: &str, members: Value| {
        let mut document = json!({ "comment": comment });
        for (name, value) in members.as_object().unwrap() {
            document[name] = value.clone();
        }
        let mut text = serde_json::to_string_pretty(&document).unwrap();
        text.push('\n');
        text
    };
    vec![
        ("ids.json", text("Spellings of receipt ids and the tags in them.", primitives::ids())),
        ("jcs.json", text("RFC 8785 forms; `invalid` texts have none.", primitives::jcs())),
        ("digests.json", text("Encoded contents and their digests.", primitives::digests())),
        ("keys.json", text("Domain keys, partition keys, request keys, key ids.", primitives::keys())),
        ("trees.json", text("Roots and proofs over the leaves of the texts `0`, `1`, …", primitives::trees())),
        ("signatures.json", text("Edge cases of Ed25519; both verifiers agree on each.", signatures::cases())),
        ("exports.json", text("Exports that verify, with the state that they show.", exports::cases())),
        ("faults.json", text("Exports that do not verify, with the fault.", faults::cases())),
        ("logs.json", text("Whole logs: frames in hexadecimal, and what verifying finds.", logs::cases())),
    ]
}
