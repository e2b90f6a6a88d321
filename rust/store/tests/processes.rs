//! Several processes on one log, and processes that are killed. `examples/kill_drill.rs` is the drill with more kills.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chio_store::testing::{Sample, drill};
use chio_store::{Log, LogOptions};
use common::{Place, consume};

/// Without the usual harness, because this program is also the process that is killed.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1..).unwrap_or_default() {
        [mode, path, seed] if mode == "--worker" => drill::worker(&Path::new(path).into(), None, seed.parse().unwrap()),
        [mode, path] if mode == "--copy" => copy(Path::new(path)),
        [mode, path] if mode == "--member" => member(Path::new(path)),
        _ => {}
    }
    killed_processes_lose_nothing_that_they_acknowledged();
    copies_of_one_configuration_have_names_of_their_own();
    attempts_go_on_when_a_partition_moves_between_processes();
}

fn this_program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments);
    command
}

fn killed_processes_lose_nothing_that_they_acknowledged() {
    let place = Place::new();
    let log = |number: u32| place.log().with_extension(number.to_string());
    let drilled = drill::Drilled {
        log: &|number| (&log(number)).into(),
        key: None,
        start: &|number, seed| this_program(&["--worker", log(number).to_str().unwrap(), &seed.to_string()]),
        crash: None,
    };
    let report = drill::run(&drilled, 15, 7);
    assert!(report.acknowledged > 0 && report.epochs > 1, "the drill drilled nothing: {report:?}");
    println!("kill -9 drill: {report:?}");
}

/// Opens the log with the one configuration, says its name and epoch once receipts are durable, and waits to be killed.
fn copy(path: &Path) -> ! {
    let log = Log::open(path, &LogOptions { identity: "agents".to_owned(), ..LogOptions::default() }).unwrap();
    consume(&log, &Sample::new("agents", "orders", 0), 0..50, b"v");
    println!("{} {}", log.issuer(), log.epoch());
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(1)
}

struct Copy {
    child: Child,
    slot: String,
    epoch: u64,
}

/// Starts copies at the same time and reads what each says.
fn start_copies(path: &Path, count: usize) -> Vec<Copy> {
    let start = |_| {
        let mut command = this_program(&["--copy", path.to_str().unwrap()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..count).map(start).collect();
    let hear = |mut child: Child| {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (issuer, epoch) = line.trim().rsplit_once(' ').unwrap();
        let slot = issuer.split('#').nth(1).unwrap().split('@').next().unwrap().to_owned();
        Copy { child, slot, epoch: epoch.parse().unwrap() }
    };
    children.into_iter().map(hear).collect()
}

fn kill(mut copy: Copy) {
    copy.child.kill().unwrap();
    copy.child.wait().unwrap();
}

/// Also the start of three processes on a log that is not there yet, and a restart at once after kill -9.
fn copies_of_one_configuration_have_names_of_their_own() {
    let place = Place::new();
    let mut copies = start_copies(&place.log(), 3);
    copies.sort_by(|a, b| a.slot.cmp(&b.slot));
    assert_eq!(
        copies.iter().map(|copy| (copy.slot.as_str(), copy.epoch)).collect::<Vec<_>>(),
        [("0", 0), ("1", 0), ("2", 0)]
    );
    for epoch in 1..=5 {
        kill(copies.remove(1));
        let again = start_copies(&place.log(), 1).remove(0);
        assert_eq!((again.slot.as_str(), again.epoch), ("1", epoch), "the lowest free name, in its next epoch");
        copies.insert(1, again);
    }
    copies.into_iter().for_each(kill);
    let report = place.verify();
    assert_eq!((report.issuers.len(), report.receipts), (3, 50 * 8));
    println!("copies of one configuration: {} issuers, {} batches", report.issuers.len(), report.frames);
}

/// A member of a consumer group: for each line "first last" it is assigned the partition, consumes these offsets, and
/// says the attempts.
fn member(path: &Path) -> ! {
    let log = Log::open(path, &LogOptions { identity: "agents".to_owned(), ..LogOptions::default() }).unwrap();
    let sample = Sample::new("agents", "orders", 0);
    for line in std::io::stdin().lines() {
        let offsets: Vec<i64> = line.unwrap().split(' ').map(|offset| offset.parse().unwrap()).collect();
        log.partition_assigned(sample.target.partition_key().unwrap());
        println!("{:?}", common::attempts(&log, &sample, offsets[0]..=offsets[1], b"v"));
    }
    log.close().unwrap();
    std::process::exit(0)
}

/// The identity of a group is one, whichever of its members holds the partition.
fn attempts_go_on_when_a_partition_moves_between_processes() {
    let place = Place::new();
    let start = || {
        let mut command = this_program(&["--member", place.log().to_str().unwrap()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut members = [start(), start()];
    let mut answers = members.each_mut().map(|child| BufReader::new(child.stdout.take().unwrap()));
    for (member, offsets, expected) in [
        (0, "0 4", "[1, 1, 1, 1, 1]"),
        (1, "3 6", "[2, 2, 1, 1]"),
        (0, "5 8", "[2, 2, 1, 1]"),
        (0, "8 8", "[2]"),
        (1, "2 8", "[2, 3, 3, 3, 3, 2, 3]"),
        (0, "8 9", "[4, 1]"),
    ] {
        writeln!(members[member].stdin.as_mut().unwrap(), "{offsets}").unwrap();
        let mut line = String::new();
        answers[member].read_line(&mut line).unwrap();
        assert_eq!(line.trim(), expected, "{offsets} at member {member}");
    }
    for mut member in members {
        drop(member.stdin.take());
        assert!(member.wait().unwrap().success());
    }
    assert_eq!(place.verify().receipts, 5 + 4 + 4 + 1 + 7 + 2);
}
