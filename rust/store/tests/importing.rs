//! Taking over what other hosts exported.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::path::{Path, PathBuf};

use chio_receipts::trust::{Trust, TrustedKey};
use chio_receipts::{Mode, OutcomeDraft, OutcomeWord, Shown, frame};
use chio_store::testing::Sample;
use chio_store::{BatchSpec, Imported, Log, LogError, LogOptions, LogReader, State, import, keys};
use common::{NOW, Place, VERSION, attempts, consume, verify};

/// One host with a log of its own.
struct Host {
    place: Place,
    sample: Sample,
}

impl Host {
    fn new(topic: &str) -> Self {
        Self { place: Place::new(), sample: Sample::new("agents", topic, 0) }
    }

    fn open(&self) -> std::sync::Arc<Log> {
        self.place.open_with(&LogOptions { identity: "agents".to_owned(), ..LogOptions::default() })
    }

    /// Starts, issues `count` receipts in a batch, and ends.
    fn work(&self, count: i64) {
        let log = self.open();
        consume(&log, &self.sample, 0..count, b"v");
        log.close().unwrap();
    }

    /// Exports a range of batches to a file.
    fn export(&self, batches: std::ops::RangeInclusive<u64>) -> PathBuf {
        let path = self.place.beside(&format!("-{}-{}", batches.start(), batches.end()));
        let mut file = std::fs::File::create(&path).unwrap();
        self.place.reader().export_stream(batches, &mut file).unwrap();
        path
    }

    fn key(&self) -> TrustedKey {
        TrustedKey::active(keys::load(&self.place.beside("-key")).unwrap().public_key(), &["*"])
    }
}

fn trust(hosts: &[&Host]) -> Trust {
    Trust { keys: hosts.iter().map(|host| host.key()).collect() }
}

fn all(host: &Host) -> PathBuf {
    host.export(1..=u64::MAX)
}

fn counts(imported: &Imported) -> (u64, u64, u64) {
    (imported.issuers.values().sum(), imported.records, imported.duplicates)
}

fn refusal(log: &Path, file: &Path, trust: &Trust) -> String {
    let before = LogReader::open(log).unwrap().batches(1, 100).unwrap();
    let refused = import(log, file, trust).unwrap_err();
    assert_eq!(refused.code(), "import", "{refused}");
    assert_eq!(LogReader::open(log).unwrap().batches(1, 100).unwrap(), before, "nothing is half imported");
    refused.to_string()
}

#[test]
fn a_log_in_use_takes_over_what_other_hosts_exported_and_skips_what_it_has() {
    let (here, a, b) = (Host::new("orders"), Host::new("orders"), Host::new("payments"));
    let running = here.open();
    consume(&running, &here.sample, 0..5, b"v");
    a.work(10);
    a.work(10);
    b.work(7);
    let trust = trust(&[&here, &a, &b]);
    assert_eq!(counts(&import(&here.place.log(), &all(&a), &trust).unwrap()), (2, 20, 0));
    consume(&running, &here.sample, 5..10, b"v");
    assert_eq!(counts(&import(&here.place.log(), &all(&b), &trust).unwrap()), (1, 7, 0));
    assert_eq!(counts(&import(&here.place.log(), &all(&a), &trust).unwrap()), (0, 0, 2));
    a.work(4);
    assert_eq!(counts(&import(&here.place.log(), &all(&a), &trust).unwrap()), (1, 4, 2));
    running.close().unwrap();
    let report = verify(&here.place.log(), &trust);
    assert_eq!((report.issuers.len(), report.receipts), (3, 10 + 24 + 7));
    // What another host attempted counts for who continues its work here.
    let log = here.open();
    assert_eq!(attempts(&log, &a.sample, 12..15, b"v"), [1, 1, 1]);
    assert_eq!(attempts(&log, &a.sample, 0..2, b"v"), [4, 4], "after the three there");
}

#[test]
fn an_import_that_was_cut_short_goes_on_where_it_ended() {
    let (here, a) = (Host::new("orders"), Host::new("orders"));
    (0..4).for_each(|_| a.work(3));
    let trust = trust(&[&a]);
    assert_eq!(counts(&import(&here.place.log(), &a.export(1..=2), &trust).unwrap()), (2, 6, 0));
    assert_eq!(counts(&import(&here.place.log(), &all(&a), &trust).unwrap()), (2, 6, 2));
    assert_eq!(verify(&here.place.log(), &trust).receipts, 12);
}

#[test]
fn gaps_forks_and_forgeries_are_refused_whole() {
    let (here, a, stranger) = (Host::new("orders"), Host::new("orders"), Host::new("orders"));
    here.work(1);
    a.work(2);
    let copy = Host::new("orders");
    for suffix in ["", "-key"] {
        std::fs::copy(a.place.beside(suffix), copy.place.beside(suffix)).unwrap();
    }
    (0..3).for_each(|_| a.work(2));
    copy.work(3);
    stranger.work(1);
    let (log, trust) = (here.place.log(), trust(&[&here, &a]));
    let issuer = a.place.reader().batches(1, 1).unwrap().remove(0).issuer;

    let gap = refusal(&log, &a.export(3..=4), &trust);
    assert!(gap.contains(&issuer) && gap.contains("epoch 2 seq 0 leaves a gap"), "{gap}");
    import(&log, &a.export(1..=2), &trust).unwrap();
    let fork = refusal(&log, &copy.export(2..=2), &trust);
    assert!(fork.contains(&issuer) && fork.contains("epoch 1 seq 0 is a fork"), "{fork}");
    assert!(refusal(&log, &all(&stranger), &trust).contains("key_unknown"));

    let mut bytes = std::fs::read(a.export(3..=4)).unwrap();
    let last = bytes.len() - 1;
    for (place, byte) in [(last, bytes[last] ^ 1), (40, bytes[40] ^ 1)] {
        let good = std::mem::replace(&mut bytes[place], byte);
        let forged = a.place.beside("-forged");
        std::fs::write(&forged, &bytes).unwrap();
        refusal(&log, &forged, &trust);
        bytes[place] = good;
    }
    let cut = a.place.beside("-cut");
    std::fs::write(&cut, &bytes[..last]).unwrap();
    assert!(refusal(&log, &cut, &trust).contains("ends within a frame"));
    std::fs::write(&cut, "not a frame at all".repeat(10)).unwrap();
    assert!(refusal(&log, &cut, &trust).contains("does not start with `CHF1`"));
    assert_eq!(counts(&import(&log, &a.export(3..=4), &trust).unwrap()), (2, 4, 0));
}

#[test]
fn frames_of_a_running_issuer_of_this_log_are_not_imported() {
    let here = Host::new("orders");
    here.work(1);
    let saved = Place::new();
    std::fs::copy(here.place.log(), saved.log()).unwrap();
    here.work(1);
    let trust = trust(&[&here]);
    let file = all(&here);
    let key = LogOptions {
        identity: "agents".to_owned(),
        signer: Some(keys::load(&here.place.beside("-key")).unwrap().into()),
        ..LogOptions::default()
    };
    let running = saved.open_with(&key);
    let refused = import(&saved.log(), &file, &trust).unwrap_err();
    assert!(matches!(refused, LogError::Claimed { .. }), "{refused}");
    running.close().unwrap();
    assert_eq!(counts(&import(&saved.log(), &file, &trust).unwrap()), (1, 1, 1));
}

/// A transaction's batch of one host, and the record of another of what became of it.
#[test]
fn outcomes_find_their_batches_whichever_comes_first() {
    let (member, resolver) = (Host::new("orders"), Host::new("orders"));
    let log = member.open();
    let mode = Mode::Transaction { group: "g".to_owned(), transactional_id: "g-1".to_owned() };
    let spec = BatchSpec { policy_version: VERSION, mode, attestation: None };
    let last = log
        .issue_batches(&[spec], |_, issue| {
            member.sample.consume(issue, NOW, 0, b"v").unwrap();
            Ok(())
        })
        .unwrap()[0];
    log.wait_durable(last, None).unwrap();
    let prepared = log.sealed(last..last + 1)[0].unwrap().checkpoint;
    let trust_member = trust(&[&member]);
    import(&resolver.place.log(), &all(&member), &trust_member).unwrap();

    let other = resolver.open();
    let issuer = log.issuer().to_owned();
    let last = other
        .issue_batches(&[BatchSpec::recorded(VERSION)], |_, issue| {
            let (id, outcome) = (issue.next_id(NOW), OutcomeWord::Committed);
            let shown = Shown::default();
            let draft =
                OutcomeDraft { id, time: NOW, batch: prepared, issuer: &issuer, outcome, shown, contradicts: None };
            issue.push_outcome(&draft).map(|_| ())
        })
        .unwrap()[0];
    other.wait_durable(last, None).unwrap();

    let trust = trust(&[&member, &resolver]);
    let outcome = resolver.export(2..=2);
    for files in [[all(&member), outcome.clone()], [outcome, all(&member)]] {
        let archive = Place::new();
        for file in &files {
            import(&archive.log(), file, &trust).unwrap();
        }
        let reader = archive.reader();
        let batch = reader.batches(1, 10).unwrap().into_iter().find(|info| info.checkpoint == prepared).unwrap();
        assert_eq!(batch.state, State::Committed);
        assert!(reader.export(batch.min_id).unwrap().outcome.is_some());
        let found = reader.query(
            &chio_store::Filter { state: Some(State::Committed), ..Default::default() },
            chio_store::Order::OldestFirst,
            None,
            10,
        );
        assert_eq!(found.unwrap().receipts.len(), 1);
        let report = verify(&archive.log(), &trust);
        assert_eq!((report.transactions, report.unresolved, report.outcomes_elsewhere), (1, 0, 0));
    }
}

/// Retention at the source must not keep what is left from being kept elsewhere.
#[test]
fn withheld_bodies_are_imported_as_they_are() {
    let (here, a) = (Host::new("orders"), Host::new("orders"));
    a.work(1);
    a.work(2);
    let first = a.place.reader().batches(1, 1).unwrap().remove(0);
    chio_store::withhold(&a.place.log(), &[first.min_id]).unwrap();
    let trust = trust(&[&a]);
    import(&here.place.log(), &all(&a), &trust).unwrap();
    let report = verify(&here.place.log(), &trust);
    assert_eq!((report.receipts, report.withheld), (2, 1));
    let bytes = here.place.reader().frame(1).unwrap();
    assert_eq!(frame::meta(&bytes).unwrap().min_id, None);
}
