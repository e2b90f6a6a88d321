//! The JSON scanner and the strict reference accept the same texts and read the same values.
#![no_main]

use chio_conditions::json::extract;
use libfuzzer_sys::fuzz_target;

#[path = "../../conditions/tests/strict/mod.rs"]
mod strict;

const PATHS: [&[&str]; 4] = [&[], &["a"], &["a", "b"], &["amount"]];

fuzz_target!(|text: &[u8]| {
    let reference = strict::parse(text);
    for path in PATHS {
        match (extract(text, path), &reference) {
            (Err(_), None) => {}
            (Ok(found), Some(reference)) => match (found, strict::at(reference, path)) {
                (Some(found), Some(expected)) => assert!(strict::same(&found, expected), "{found} is not {expected}"),
                (found, expected) => assert_eq!(found.as_ref(), expected),
            },
            (scanned, reference) => panic!("scanner {scanned:?}, reference {reference:?}"),
        }
    }
});
