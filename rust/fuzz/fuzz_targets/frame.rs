//! Any bytes decode to a frame or are refused.
#![no_main]

use chio_receipts::frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = frame::decode(bytes);
    let _ = frame::meta(bytes);
});
