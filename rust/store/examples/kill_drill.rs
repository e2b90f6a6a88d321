//! The kill -9 drill at full volume: `cargo run --release -p chio-store --example kill_drill -- --kills 200 --seed 1`. With
//! the feature `postgres` and `--postgres` it drills a log in a database, whose server is killed too.
//!
//! Prints one line of counts as JSON; panics when the log has lost or torn anything.
#![allow(clippy::expect_used)] // A drill fails by panicking.

use std::path::{Path, PathBuf};
use std::process::Command;

use chio_store::LogLocation;
use chio_store::testing::drill::{self, DrillReport, Drilled};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let number = |name: &str, default: u64| {
        value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic_usage(name, text)))
    };
    let seed = number("--seed", 1);
    if let Some(location) = value("--worker") {
        let location = LogLocation::parse(location.as_ref()).expect("the location of a log");
        drill::worker(&location, value("--key").map(Path::new), seed);
    }
    let kills = u32::try_from(number("--kills", 200)).unwrap_or(u32::MAX);
    let directory = value("--directory").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("chio-kill-drill-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the directory for the log can be made");
    let (drill, report) = if arguments.iter().any(|argument| argument == "--postgres") {
        ("postgres kill -9", in_database(&directory, kills, seed))
    } else {
        ("store kill -9", in_files(&directory, kills, seed))
    };
    std::fs::remove_dir_all(&directory).expect("the log can be removed");
    println!(
        "{{\"drill\":\"{drill}\",\"seed\":{seed},\"kills\":{},\"server_kills\":{},\
         \"killed_before_any_acknowledgement\":{},\"acknowledged\":{},\"stored\":{},\"batches\":{},\"epochs\":{},\
         \"lost\":0,\"torn\":0}}",
        report.kills, report.crashes, report.early, report.acknowledged, report.stored, report.batches, report.epochs
    );
}

fn in_files(directory: &Path, kills: u32, seed: u64) -> DrillReport {
    let drilled = Drilled {
        log: &|number| (&directory.join(format!("log.{number}"))).into(),
        key: None,
        start: &|number, seed| worker(&directory.join(format!("log.{number}")).display().to_string(), seed),
        crash: None,
    };
    drill::run(&drilled, kills, seed)
}

#[cfg(feature = "postgres")]
fn in_database(directory: &Path, kills: u32, seed: u64) -> DrillReport {
    use chio_store::testing::postgres::Server;
    use std::cell::RefCell;

    let server = RefCell::new(Server::start().expect("a PostgreSQL server on this machine"));
    let key = directory.join("key");
    chio_store::keys::create(&key).expect("a key can be made");
    let drilled = Drilled {
        log: &|number| server.borrow().location(&format!("drill_{number}")),
        key: Some(&key),
        start: &|number, seed| {
            let mut command = worker(&server.borrow().url(&format!("drill_{number}")), seed);
            command.arg("--key").arg(&key);
            command
        },
        crash: Some(&|| {
            server.borrow_mut().kill();
            server.borrow_mut().restart();
        }),
    };
    drill::run(&drilled, kills, seed)
}

#[cfg(not(feature = "postgres"))]
fn in_database(_directory: &Path, _kills: u32, _seed: u64) -> DrillReport {
    eprintln!("this program was built without Postgres: add `--features postgres`");
    std::process::exit(2)
}

fn worker(location: &str, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--worker", location, "--seed", &seed.to_string()]);
    command
}

fn panic_usage(name: &str, text: &str) -> u64 {
    eprintln!(
        "`{name}` needs a number, not `{text}`; usage: kill_drill [--postgres] [--kills N] [--seed N] [--directory PATH]"
    );
    std::process::exit(2)
}
