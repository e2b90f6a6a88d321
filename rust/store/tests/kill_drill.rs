//! Kill -9 during appends, at the volume of a test run; `examples/kill_drill.rs` is the same with more kills.
#![allow(clippy::unwrap_used)] // A test fails by panicking.

use std::path::Path;
use std::process::Command;

use chio_store::testing::drill;

/// Without the usual harness, because this program is also the process that is killed.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, path, seed] = arguments.as_slice()
        && mode == "--worker"
    {
        drill::worker(Path::new(path), seed.parse().unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    let report = drill::run(&directory.path().join("log"), 15, 7, &start);
    assert!(report.acknowledged > 0 && report.epochs > 1, "the drill drilled nothing: {report:?}");
    println!("kill -9 drill: {report:?}");
}

fn start(path: &Path, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--worker").arg(path).arg(seed.to_string());
    command
}
