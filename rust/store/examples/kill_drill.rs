//! The kill -9 drill at full volume: `cargo run --release -p chio-store --example kill_drill -- --kills 200 --seed 1`.
//!
//! Prints one line of counts as JSON; panics when the log has lost or torn anything.
#![allow(clippy::expect_used)] // A drill fails by panicking.

use std::path::{Path, PathBuf};
use std::process::Command;

use chio_store::testing::drill;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let number = |name: &str, default: u64| {
        value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic_usage(name, text)))
    };
    let seed = number("--seed", 1);
    if let Some(path) = value("--worker") {
        drill::worker(Path::new(path), seed);
    }
    let kills = u32::try_from(number("--kills", 200)).unwrap_or(u32::MAX);
    let directory = value("--directory").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("chio-kill-drill-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the directory for the log can be made");
    let report = drill::run(&directory.join("log"), kills, seed, &start);
    std::fs::remove_dir_all(&directory).expect("the log can be removed");
    println!(
        "{{\"drill\":\"store kill -9\",\"seed\":{seed},\"kills\":{},\"killed_before_any_acknowledgement\":{},\
         \"acknowledged\":{},\"stored\":{},\"batches\":{},\"epochs\":{},\"lost\":0,\"torn\":0}}",
        report.kills, report.early, report.acknowledged, report.stored, report.batches, report.epochs
    );
}

fn start(path: &Path, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg("--worker").arg(path).arg("--seed").arg(seed.to_string());
    command
}

fn panic_usage(name: &str, text: &str) -> u64 {
    eprintln!("`{name}` needs a number, not `{text}`; usage: kill_drill [--kills N] [--seed N] [--directory PATH]");
    std::process::exit(2)
}
