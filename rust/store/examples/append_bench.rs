//! Append and seal throughput: `cargo run --release -p chio-store --example append_bench -- [receipts]
//! [directory] [none|zlib|lz4]`.
//!
//! Batches of 500 receipts of 200-byte events with distinct values, sealed by the log's own thread, durable at the end.
//! Prints receipts per second, processor time per receipt, what the disk was given for each byte of frame, the longest
//! time that issuing a batch took, and what reading the same log costs.
#![allow(clippy::expect_used, clippy::panic)] // A benchmark fails by panicking.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chio_receipts::{Compression, Trust, TrustedKey};
use chio_store::testing::Sample;
use chio_store::{Filter, Log, LogOptions, LogReader, Order};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let receipts: i64 = arguments.next().map_or(1_000_000, |text| text.parse().expect("a number of receipts"));
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let compression = match arguments.next().as_deref() {
        None => LogOptions::default().compression,
        Some("none") => Compression::None,
        Some("zlib") => Compression::Zlib,
        Some("lz4") => Compression::Lz4,
        Some(other) => panic!("unknown compression `{other}`: none, zlib or lz4"),
    };
    let directory = directory.join(format!("chio-append-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the directory for the log can be made");
    let path = directory.join("log");
    let options = LogOptions { max_batch: 500, compression, ..LogOptions::default() };
    let log = Log::open(&path, &options).expect("the log opens");
    let sample = Sample::new("bench", "orders", 0);
    let mut value = [b'v'; 200];

    let before = written();
    let busy_before = processor_time();
    let start = Instant::now();
    let (mut longest, mut offset, mut last) = (Duration::ZERO, 0, 0);
    while offset < receipts {
        let now = 1_700_000_000_000 + offset / 1000;
        let began = Instant::now();
        last = log
            .issue([7; 32], |issue| {
                for _ in 0..500 {
                    value[..8].copy_from_slice(&offset.to_le_bytes());
                    sample.consume(issue, now, offset, &value).expect("a good draft");
                    offset += 1;
                }
            })
            .expect("the log takes receipts");
        longest = longest.max(began.elapsed());
    }
    log.seal();
    log.wait_durable(last, None).expect("the log seals");
    let elapsed = start.elapsed();
    let stats = log.stats();
    log.close().expect("the log closes");
    let busy = processor_time() - busy_before;
    let after = written();

    let reader = LogReader::open(&path).expect("the log opens for reading");
    let stored: u64 = reader.batches(1, usize::MAX).expect("batches").iter().map(|batch| batch.count).sum();
    assert_eq!(stored, last, "what was timed is not what was stored");
    println!(
        "{stored} receipts in {:.2} s: {:.0} receipts/s, {:.0} MB/s of frames ({} B per receipt), {} durable writes",
        elapsed.as_secs_f64(),
        stored as f64 / elapsed.as_secs_f64(),
        stats.bytes as f64 / 1e6 / elapsed.as_secs_f64(),
        stats.bytes / stored,
        stats.appends,
    );
    println!("processor time {:.2} us per receipt", busy.as_secs_f64() * 1e6 / stored as f64);
    println!(
        "write amplification {:.2}; issuing 500 took {:.1} ms at most, waited {} times",
        (after - before) as f64 / stats.bytes as f64,
        longest.as_secs_f64() * 1e3,
        stats.waits
    );

    let time = |what: &str, work: &mut dyn FnMut() -> u64| {
        let start = Instant::now();
        let count = work();
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}: {count} in {seconds:.2} s, {:.0} a second", count as f64 / seconds);
    };
    let trust = Trust { keys: vec![TrustedKey::active(log.public_key(), &["*"])] };
    time("verified", &mut || {
        let report = reader.verify(&trust, &mut |_| {}).expect("every frame can be read");
        assert_eq!((report.found, report.receipts), (0, stored), "what was timed does not verify");
        report.receipts
    });
    time("indexed by the first query", &mut || {
        let page = reader.query(&Filter::default(), Order::NewestFirst, None, 100).expect("a page");
        assert_eq!(page.receipts.len(), 100);
        stored
    });
    let by_offset = Filter { topic: Some("orders".to_owned()), offset: Some(receipts / 2), ..Filter::default() };
    time("found by topic, partition and offset", &mut || {
        (0..100)
            .map(|_| reader.query(&by_offset, Order::OldestFirst, None, 10).expect("a page").receipts.len() as u64)
            .sum()
    });
    std::fs::remove_dir_all(&directory).expect("the log can be removed");
}

/// Processor time of this process so far, user and system, in steps of the kernel's 10 ms.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("the kernel counts");
    // The name in the second field may hold spaces; user and system ticks are the 12th and 13th field after it.
    let (_, fields) = text.rsplit_once(')').expect("a name in parentheses");
    let ticks = |nth| fields.split_whitespace().nth(nth).and_then(|text| text.parse::<u64>().ok()).expect("ticks");
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Bytes that this process handed to the disk, by the kernel's count.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").expect("the kernel counts");
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
    line.parse().expect("a number")
}
