//! Writes the test vectors of the receipt format: `cargo run -p chio-receipts --example vectors`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A generator that goes wrong must stop.

mod all;

fn main() {
    let folder = all::folder();
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in all::files() {
        std::fs::write(folder.join(name), text).unwrap();
        println!("wrote tests/vectors/{name}");
    }
}
