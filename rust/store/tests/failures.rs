//! Every way in which a log refuses or fails has an error of its own, and nothing is acknowledged that is not durable.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use chio_receipts::trust::{Trust, TrustedKey};
use chio_receipts::{Compression, Durability};
use chio_store::testing::Sample;
use chio_store::{BatchStore, Log, LogError, LogOptions, LogReader, SqliteStore, keys};
use common::{NOW, Place, VERSION, consume};

fn code<T>(result: Result<T, LogError>) -> &'static str {
    match result {
        Ok(_) => "no error",
        Err(error) => {
            let text = error.to_string();
            assert!(!text.ends_with('.') && text.len() > 20, "{text}");
            error.code()
        }
    }
}

fn open(path: &Path) -> &'static str {
    code(Log::open(path, &LogOptions::default()))
}

/// A log of 100 receipts as they are, large enough to be damaged within a page.
fn filled() -> Place {
    let place = Place::new();
    let log = place.open_with(&LogOptions { compression: Compression::None, ..LogOptions::default() });
    consume(&log, &Sample::new("agents", "orders", 0), 0..100, b"value");
    log.close().unwrap();
    place
}

#[test]
fn another_database_or_no_database_is_foreign_and_stays_as_it_is() {
    let place = Place::new();
    let other = rusqlite::Connection::open(place.log()).unwrap();
    other.execute_batch("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('a')").unwrap();
    drop(other);
    let before = std::fs::read(place.log()).unwrap();
    assert_eq!(open(&place.log()), "foreign");
    assert_eq!(code(LogReader::open(&place.log())), "foreign");
    assert_eq!(std::fs::read(place.log()).unwrap(), before);

    std::fs::write(place.log(), b"some notes, long enough to be a file of another kind").unwrap();
    assert_eq!(open(&place.log()), "foreign");
    std::fs::write(place.log(), b"").unwrap();
    assert_eq!(open(&place.log()), "foreign");
    std::fs::remove_file(place.log()).unwrap();
    std::fs::create_dir(place.log()).unwrap();
    assert_eq!(open(&place.log()), "foreign");
}

#[test]
fn a_log_of_a_newer_version_is_refused_and_named() {
    let place = filled();
    rusqlite::Connection::open(place.log()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(open(&place.log()), "newer");
    let error = LogReader::open(&place.log()).unwrap_err();
    assert!(error.to_string().contains("format 99"), "{error}");
}

#[test]
fn a_missing_log_or_directory_is_missing() {
    let place = Place::new();
    assert_eq!(code(LogReader::open(&place.log())), "missing");
    assert_eq!(open(&place.beside("-no-such-directory/log")), "missing");
}

#[test]
fn every_flipped_byte_of_a_frame_is_found() {
    let place = filled();
    let at = {
        let connection = rusqlite::Connection::open(place.log()).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let frame: Vec<u8> = connection.query_row("SELECT bytes FROM frame", [], |row| row.get(0)).unwrap();
        let file = std::fs::read(place.log()).unwrap();
        // A stretch within the frame that one page holds.
        let stretch = &frame[20_000..20_400];
        file.windows(stretch.len()).position(|window| window == stretch).unwrap()
    };
    let signer = keys::load(&place.beside("-key")).unwrap();
    let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &["*"])] };
    let file = std::fs::read(place.log()).unwrap();
    for flip in (0..400).step_by(37) {
        let mut damaged = file.clone();
        damaged[at + flip] ^= 4;
        std::fs::write(place.log(), damaged).unwrap();
        let report = LogReader::open(&place.log()).unwrap().verify(&trust, &mut |_| {}).unwrap();
        assert!(report.found > 0, "byte {flip}");
    }
}

#[test]
fn a_damaged_page_is_corrupt_and_names_the_file() {
    let place = filled();
    let file = std::fs::read(place.log()).unwrap();
    let mut damaged = file.clone();
    // The first page after the header's, which holds a table's root.
    damaged[8192..16_384].fill(0xAA);
    std::fs::write(place.log(), damaged).unwrap();
    assert_eq!(open(&place.log()), "corrupt");
    std::fs::write(place.log(), &file[..20_000]).unwrap();
    assert_eq!(open(&place.log()), "corrupt");
}

#[test]
fn a_full_disk_is_full_for_ever_and_acknowledges_nothing() {
    let place = Place::new();
    // The bound is the connection's own, so the store is asked itself.
    let mut store = SqliteStore::open(&place.log(), Durability::Full).unwrap();
    store.limit_pages(30).unwrap();
    let source = filled_batches();
    let mut head = None;
    let mut failure = None;
    for batch in &source {
        match store.append(head.as_ref(), std::slice::from_ref(batch)) {
            Ok(new) => head = Some(new),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    assert_eq!(failure.unwrap().code(), "full");
    assert_eq!(store.head(&source[0].sealed.meta.issuer).unwrap(), head, "what was appended before is still there");
}

fn filled_batches() -> Vec<chio_store::NewBatch> {
    use chio_receipts::{AttemptQuery, Chain, Draft, IdSource, Mode, Pending, SealContext, Signer, seal};
    let signer = Signer::from_seed(&zeroize::Zeroizing::new([1; 32]));
    let (mut chain, mut ids) = (Chain::start("a"), IdSource::new("a", 0));
    let sample = Sample::new("agents", "orders", 0);
    let context = SealContext {
        signer: &signer,
        policy_version: VERSION,
        mode: Mode::Recorded,
        durability: Durability::Full,
        time: NOW,
        digest_key: None,
        attestation: None,
        compression: Compression::None,
    };
    (0..20)
        .map(|_| {
            let mut pending = Pending::new();
            for offset in 0..100 {
                let draft =
                    Draft { offset: Some(offset), ..Draft::new(ids.next(NOW), NOW, &sample.template, &sample.target) };
                pending.push(&draft).unwrap();
            }
            let mut first = |_: &AttemptQuery| 1;
            let sealed = seal(&mut pending, &mut chain, &context, &mut first).unwrap();
            chio_store::NewBatch { sealed, outcomes: Vec::new() }
        })
        .collect()
}

/// A file system of one megabyte; `None` where this user may not mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_fails_the_log_for_good_and_keeps_what_was_acknowledged() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place.beside("-disk")) else {
        eprintln!("NOT RUN: this user cannot mount a small file system; run as root to test a disk that fills up");
        return;
    };
    let log = Log::open(&disk.0.join("log"), &LogOptions::default()).unwrap();
    let sample = Sample::new("agents", "orders", 0);
    let mut acknowledged = 0;
    let failure = loop {
        let issued = log.issue(VERSION, |issue| {
            for offset in 0..100 {
                sample.consume(issue, NOW, acknowledged as i64 + offset, b"v").unwrap();
            }
        });
        log.seal();
        match issued.and_then(|last| log.wait_durable(last, None).map(|_| last)) {
            Ok(last) => acknowledged = last,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.code(), "full", "{failure}");
    assert!(acknowledged > 0);
    assert_eq!(log.issue(VERSION, |_| {}).unwrap_err(), failure, "the failure is sticky");
    assert_eq!(log.wait_durable(log.issued(), None).unwrap_err(), failure);
    assert!(log.wait_durable(acknowledged, None).unwrap(), "what was durable stays acknowledged");
    assert_eq!(Log::open(log.location(), &LogOptions::default()).unwrap_err(), failure);
    assert_eq!(log.close().unwrap_err(), failure);
    let stored: u64 =
        LogReader::open(&disk.0.join("log")).unwrap().batches(1, 1000).unwrap().iter().map(|batch| batch.count).sum();
    assert_eq!(stored, acknowledged);
}

#[test]
fn a_name_that_another_process_holds_is_claimed_by_it() {
    let place = filled();
    let named = LogOptions { issuer: Some("orders-1".to_owned()), ..LogOptions::default() };
    place.open_with(&named).close().unwrap();
    let lock = std::fs::read_dir(place.beside("-claims")).unwrap().map(|entry| entry.unwrap().path());
    let lock = lock.into_iter().find(|path| path.to_string_lossy().contains("orders-1")).unwrap();
    std::fs::write(&lock, "process 4242 on elsewhere").unwrap();
    // `flock` of util-linux holds the lock from another process until its standard input ends.
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo held; cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut word).unwrap();
    let error = Log::open(&place.log(), &named).unwrap_err();
    assert_eq!(error.code(), "claimed");
    assert!(error.to_string().contains("`orders-1` is claimed by process 4242 on elsewhere"), "{error}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    place.open_with(&named).close().unwrap();
}

#[test]
fn another_key_is_refused_until_a_rotation_is_recorded() {
    let place = filled();
    let former = keys::load(&place.beside("-key")).unwrap();
    let present = std::sync::Arc::new(keys::create(&place.beside("-key-2")).unwrap());
    let with_new = LogOptions { signer: Some(present.clone()), ..LogOptions::default() };
    let error = Log::open(&place.log(), &with_new).unwrap_err();
    assert_eq!(error.code(), "key_mismatch");
    assert!(error.to_string().contains("key rotate"), "{error}");

    let running = place.open();
    assert_eq!(code(keys::rotate(&place.log(), &present)), "claimed", "a running issuer would sign on with its key");
    running.close().unwrap();
    let rotations = keys::rotate(&place.log(), &present).unwrap();
    assert_eq!((rotations.len(), rotations[0].former), (1, former.key_id()));
    let log = place.open_with(&with_new);
    consume(&log, &Sample::new("agents", "orders", 0), 100..110, b"v");
    log.close().unwrap();
    assert_eq!(open(&place.log()), "key_mismatch", "the former key does not come back");

    let mut trust = Trust { keys: vec![TrustedKey::active(former.public_key(), &["*"])] };
    keys::retire(&mut trust, &rotations, &present);
    keys::write_trust(&place.beside("-trust"), &trust).unwrap();
    let trust = keys::read_trust(&place.beside("-trust")).unwrap();
    assert_eq!(common::verify(&place.log(), &trust).receipts, 110);
}

#[test]
fn a_log_without_its_key_is_refused() {
    let place = filled();
    std::fs::remove_file(place.beside("-key")).unwrap();
    assert_eq!(open(&place.log()), "key");
    assert!(!place.beside("-key").exists(), "no new key is made for a log that has receipts");
}

#[test]
fn key_files_are_private_whole_and_never_overwritten() {
    let place = Place::new();
    let path = place.beside("-key");
    let signer = keys::create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(keys::load(&path).unwrap().key_id(), signer.key_id());
    assert_eq!(code(keys::create(&path)), "key");
    for mode in [0o640, 0o604, 0o660, 0o601] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = keys::load(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(keys::load(&path).unwrap().key_id(), signer.key_id());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secret = std::fs::read_to_string(&path).unwrap();
    for text in ["", "00", &secret[1..], &format!("{}0", secret.trim()), &secret.replace(&secret[..1], "x")] {
        std::fs::write(&path, text).unwrap();
        let error = keys::load(&path).unwrap_err();
        assert_eq!(error.code(), "key");
        assert!(text.len() < 3 || !error.to_string().contains(text.trim()), "the message shows the secret");
    }
    std::fs::write(&path, format!("  {}\n\n", secret.trim().to_uppercase())).unwrap();
    assert_eq!(keys::load(&path).unwrap().key_id(), signer.key_id());
    let next = keys::replace(&path).unwrap();
    assert_eq!(keys::load(&path).unwrap().key_id(), next.key_id());
    let retired = place.beside(&format!("-key-retired-{}", chio_receipts::hex::encode(&signer.key_id())));
    assert_eq!(keys::load(&retired).unwrap().key_id(), signer.key_id());
    assert_eq!(code(keys::load(&place.log())), "key");
    assert_eq!(code(keys::from_env("CHIO_NO_SUCH_VARIABLE")), "key");
}

#[test]
fn trust_files_are_replaced_whole() {
    let place = Place::new();
    let path = place.beside("-trust");
    assert_eq!(code(keys::read_trust(&path)), "key");
    let signer = keys::create(&place.beside("-key")).unwrap();
    let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &["a*"])] };
    keys::write_trust(&path, &trust).unwrap();
    keys::write_trust(&path, &trust).unwrap();
    assert_eq!(keys::read_trust(&path).unwrap(), trust);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "no drafts are left");
    std::fs::write(&path, "{}").unwrap();
    assert_eq!(code(keys::read_trust(&path)), "key");
}

#[test]
fn a_log_on_a_read_only_medium_refuses_to_write_and_can_be_read_and_queried() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place.beside("-disk")) else {
        eprintln!("NOT RUN: this user cannot mount a file system read-only; run as root to test one");
        return;
    };
    let path = disk.0.join("log");
    let log = Log::open(&path, &LogOptions::default()).unwrap();
    let id = consume(&log, &Sample::new("agents", "orders", 0), 0..10, b"v")[3].0;
    log.close().unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap();
    assert!(remounted.success());
    assert_eq!(open(&path), "read_only");
    assert_eq!(open(&disk.0.join("another")), "read_only");
    let reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.get(id).unwrap().id, id);
    let page = reader.query(&chio_store::Filter::default(), chio_store::Order::OldestFirst, None, 100).unwrap();
    assert_eq!(page.receipts.len(), 10);
    assert!(!disk.0.join("log-index").exists());
}
