//! The kill -9 drill: a process that appends and acknowledges is killed at random; afterwards nothing acknowledged may be
//! missing and no batch may be torn.
//!
//! The killed process's page cache survives, so this tests the order of writes, not the disk.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use chio_receipts::ReceiptId;
use chio_receipts::trust::{Trust, TrustedKey};

use super::Sample;
use crate::{Log, LogError, LogLocation, LogOptions, LogReader};

/// Processes that are killed on one log before the next one is begun.
const KILLS_PER_LOG: u32 = 20;

/// What one drill did.
#[derive(Debug, Default)]
pub struct DrillReport {
    /// Processes that were killed.
    pub kills: u32,
    /// Servers that were killed.
    pub crashes: u32,
    /// Of the processes, the ones that were killed before they acknowledged anything.
    pub early: u32,
    /// Receipts acknowledged, over all processes.
    pub acknowledged: u64,
    /// Receipts in the log at the end.
    pub stored: u64,
    /// Batches in the log at the end.
    pub batches: u64,
    /// Epochs that left a batch.
    pub epochs: u64,
}

/// A small generator of a fixed sequence, so that a drill can be repeated: SplitMix64.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Appends for ever, and writes `{first id} {last id} {count}` to standard output when these receipts are durable. The
/// seed of the key is in the file `key`, by default the one beside the log.
pub fn worker(location: &LogLocation, key: Option<&Path>, seed: u64) -> ! {
    let mut random = Random(seed);
    let signer = key.map(|key| Arc::new(crate::keys::load(key).expect("the key can be read")));
    let identity = "drill".to_owned();
    let options = LogOptions { issuer: Some(identity.clone()), identity, signer, ..LogOptions::default() };
    let log = Log::open(location, &options).expect("the log opens again after a kill");
    let sample = Sample::new("drill", "orders", 0);
    let mut out = std::io::stdout();
    let mut offset = 0;
    loop {
        let count = 1 + random.below(2000);
        let value = vec![b'v'; random.below(400) as usize];
        // Every tenth time the policy changes, so that one write holds several batches.
        let version = [(random.below(10) == 0) as u8; 32];
        let mut ids = Vec::new();
        let ordinal = log
            .issue(version, |issue| {
                for _ in 0..count {
                    ids.push(sample.consume(issue, crate::sealer::unix_ms(), offset, &value).expect("a good draft").0);
                    offset += 1;
                }
            })
            .expect("the log takes receipts");
        log.seal();
        log.wait_durable(ordinal, None).expect("the log seals");
        let line = format!("{} {} {}\n", ids[0], ids[ids.len() - 1], ids.len());
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }
}

/// What is drilled.
pub struct Drilled<'a> {
    /// The location of a log by its number; a new one is begun now and then.
    pub log: &'a dyn Fn(u32) -> LogLocation,
    /// The file with the seed of the key, where it is not beside the log.
    pub key: Option<&'a Path>,
    /// The program that runs [`worker`] on the log with this number, with a seed.
    pub start: &'a dyn Fn(u32, u64) -> Command,
    /// Kills the server of the log and starts it again, where it has one: every other worker lives through that first.
    pub crash: Option<&'a dyn Fn()>,
}

impl std::fmt::Debug for Drilled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drilled").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Kills `kills` processes one after the other, and examines the log after each.
///
/// # Panics
/// When the log has lost or torn anything.
pub fn run(drilled: &Drilled<'_>, kills: u32, seed: u64) -> DrillReport {
    let mut random = Random(seed);
    let mut report = DrillReport::default();
    let mut last_epoch = None;
    let mut done = (0, 0, 0);
    for kill in 0..kills {
        // Every kill verifies the whole log, so a new one is begun before that takes longer than the drill.
        let number = kill / KILLS_PER_LOG;
        let location = (drilled.log)(number);
        if kill % KILLS_PER_LOG == 0 {
            done = (report.stored, report.batches, report.epochs);
            last_epoch = None;
        }
        let mut command = (drilled.start)(number, random.below(u64::MAX));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the worker starts");
        let crash = drilled.crash.filter(|_| kill % 2 == 0);
        report.crashes += u32::from(crash.is_some());
        let acknowledged = kill_at_random(&mut child, &mut random, crash);
        report.kills += 1;
        report.early += u32::from(acknowledged.is_empty());
        report.acknowledged += acknowledged.iter().map(|(_, _, count)| count).sum::<u64>();
        let (stored, batches, epoch) = examine(&location, drilled.key, &acknowledged);
        report.stored = done.0 + stored;
        report.batches = done.1 + batches;
        report.epochs = done.2 + epoch.map_or(0, |epoch| epoch + 1);
        if !acknowledged.is_empty() {
            assert!(
                epoch > last_epoch,
                "kill {kill}: the process that acknowledged receipts did not start a new epoch"
            );
        }
        last_epoch = epoch;
    }
    report
}

type Acknowledged = (ReceiptId, ReceiptId, u64);

/// Reads acknowledgements, kills after a random time, and reads what was still in the pipe.
fn kill_at_random(child: &mut Child, random: &mut Random, crash: Option<&dyn Fn()>) -> Vec<Acknowledged> {
    let pipe = child.stdout.take().expect("standard output is a pipe");
    let (first, begun) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.inspect(|_| first.send(()).unwrap_or_default()).collect::<Vec<String>>()
    });
    let acknowledges = || begun.recv_timeout(Duration::from_secs(60)).expect("the worker acknowledges within a minute");
    if let Some(crash) = crash {
        acknowledges();
        std::thread::sleep(Duration::from_micros(random.below(200_000)));
        crash();
        // What was acknowledged before the crash comes first; after it the worker goes on in a new session.
        while begun.try_recv().is_ok() {}
        acknowledges();
    }
    // One in four is killed while it starts, the others while they append; the time is random, because that is the drill.
    if random.below(4) == 0 {
        std::thread::sleep(Duration::from_micros(random.below(50_000)));
    } else {
        acknowledges();
        std::thread::sleep(Duration::from_micros(random.below(200_000)));
    }
    child.kill().expect("the worker is killed");
    let status = child.wait().expect("the worker ends");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL),
        "the worker failed: {status}"
    );
    let lines = reader.join().expect("the reader ends");
    lines.iter().filter_map(|line| parse(line)).collect()
}

/// A line that the kill cut off is no acknowledgement.
fn parse(line: &str) -> Option<Acknowledged> {
    let mut words = line.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Nothing torn, nothing acknowledged missing. Returns receipts, batches and the newest epoch.
fn examine(location: &LogLocation, key: Option<&Path>, acknowledged: &[Acknowledged]) -> (u64, u64, Option<u64>) {
    let reader = match LogReader::open(location) {
        Err(LogError::Missing { .. }) => {
            assert!(acknowledged.is_empty(), "a log with acknowledged receipts is gone");
            return (0, 0, None);
        }
        opened => opened.expect("the log opens for reading"),
    };
    let batches = reader.batches(1, usize::MAX).expect("the batches are listed");
    // A process that was killed before its first batch may have left no key yet.
    let mut stored = 0;
    if !batches.is_empty() {
        let beside = || crate::place::beside(location.shown(), "-key");
        let key = key.map_or_else(beside, Path::to_path_buf);
        let signer = crate::keys::load(&key).expect("what signed is on the disk");
        let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &["*"])] };
        let verdict = reader.verify(&trust, &mut |_| {}).expect("every frame can be read");
        assert_eq!(verdict.found, 0, "the log does not verify: {verdict:?}");
        stored = verdict.receipts;
    }
    for (first, last, count) in acknowledged {
        let (first, last) = (reader.get(*first), reader.get(*last));
        let (first, last) = (first.expect("acknowledged first receipt"), last.expect("acknowledged last receipt"));
        // Places have no gaps within an epoch (the verifier saw to it), so what lies between is there too.
        assert_eq!(seq(&last) - seq(&first) + 1, *count, "acknowledged receipts are not where they were issued");
    }
    (stored, batches.len() as u64, batches.last().map(|batch| batch.epoch))
}

fn seq(stored: &crate::StoredReceipt) -> u64 {
    stored.batch.first_seq + stored.position.place() as u64
}
