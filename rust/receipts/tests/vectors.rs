//! The test vectors are those that the generator writes, and the verifier gives what they say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // A test fails by panicking.

#[path = "../examples/vectors/all/mod.rs"]
mod all;

#[test]
fn vectors_are_fresh() {
    for (name, text) in all::files() {
        let stored = std::fs::read_to_string(all::folder().join(name)).unwrap_or_default();
        assert!(stored == text, "tests/vectors/{name} is stale: cargo run -p chio-receipts --example vectors");
    }
}
