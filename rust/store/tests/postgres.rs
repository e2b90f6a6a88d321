//! The Postgres store on a real server: the cases of every store, and what only a server can do to a log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // A test fails by panicking.

mod common;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use chio_receipts::{Durability, Signer};
use chio_store::testing::postgres::Server;
use chio_store::testing::{Sample, drill, suite};
use chio_store::{BatchStore, Log, LogError, LogLocation, LogOptions, LogReader, PostgresStore, PostgresUrl, keys};
use common::{attempts, consume};
use zeroize::Zeroizing;

/// Without the usual harness, because this program is also the process that is killed.
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, location, key, seed] = arguments.as_slice()
        && mode == "--worker"
    {
        let location = LogLocation::parse(location.as_ref()).unwrap();
        drill::worker(&location, Some(Path::new(key)), seed.parse().unwrap());
    }
    urls_are_refused_with_what_to_write();
    let Some(mut server) = Server::start() else { return };
    postgres_keeps_the_promises_of_a_batch_store(&server);
    a_log_needs_a_signer_and_shows_no_password(&server);
    handles_of_one_process_share_a_log(&server);
    a_reader_needs_no_right_but_to_read(&server);
    a_server_that_loses_what_it_acknowledges_is_refused(&server);
    what_is_no_log_is_left_alone(&server);
    a_lost_session_comes_back_with_its_claim(&server);
    a_lost_claim_stops_the_issuer(&server);
    an_append_whose_end_nobody_saw_is_looked_up(&server);
    attempts_are_counted_across_processes(&server);
    killed_processes_and_servers_lose_nothing_that_they_acknowledged(&mut server);
    a_server_that_stays_away_is_told(server);
}

fn signer() -> Arc<Signer> {
    Arc::new(Signer::from_seed(&Zeroizing::new([7; 32])))
}

fn options(issuer: &str) -> LogOptions {
    LogOptions { issuer: Some(issuer.to_owned()), signer: Some(signer()), ..LogOptions::default() }
}

fn verify(location: &LogLocation) -> chio_receipts::verify::Report {
    let trust = chio_receipts::Trust { keys: vec![chio_receipts::TrustedKey::active(signer().public_key(), &["*"])] };
    let report = LogReader::open(location).unwrap().verify(&trust, &mut |_| {}).unwrap();
    assert_eq!(report.found, 0, "{report:?}");
    report
}

fn urls_are_refused_with_what_to_write() {
    let message = |text: &str| PostgresUrl::parse(text).unwrap_err().to_string();
    for (text, part) in [
        ("postgresql:///d", "names no host"),
        ("postgresql://u:hidden@h/d?schema=Two%20Words", "names a schema"),
        ("postgresql://u:hidden@h/d?patience=0", "`patience`"),
        ("postgresql://u:hidden@h/d?colour=red", "cannot be read"),
        ("postgresql://u:hidden@h:port/d", "cannot be read"),
    ] {
        let message = message(text);
        assert!(message.contains(part) && !message.contains("hidden"), "{text}: {message}");
    }
    let url = LogLocation::parse("postgresql://u:hidden@h:1/d?connect_timeout=3&schema=audit".as_ref()).unwrap();
    assert_eq!(url.to_string(), "postgresql://u@h:1/d?schema=audit");
    assert!(!format!("{url:?}").contains("hidden"));
}

fn postgres_keeps_the_promises_of_a_batch_store(server: &Server) {
    for durability in [Durability::Full, Durability::Relaxed] {
        suite::run(&|name| -> Box<dyn BatchStore> {
            let url = PostgresUrl::parse(&server.url(&format!("{name}_{}", durability.as_str()))).unwrap();
            Box::new(PostgresStore::open(&url, durability).unwrap())
        });
    }
}

fn a_log_needs_a_signer_and_shows_no_password(server: &Server) {
    let location = server.location("signers");
    let refused = Log::open(&location, &LogOptions::default()).unwrap_err();
    assert_eq!(refused.code(), "options");
    assert!(refused.to_string().contains("chio-fast key generate") && !refused.to_string().contains("se-cret"));
    let wrong = server.url("signers").replace("se-cret", "other");
    let refused = LogReader::open(LogLocation::parse(wrong.as_ref()).unwrap()).unwrap_err();
    assert_eq!(refused.code(), "server");
    assert!(refused.to_string().contains("password") && !refused.to_string().contains("other"), "{refused}");
    assert_eq!(LogReader::open(server.location("nowhere")).unwrap_err().code(), "missing");
}

fn handles_of_one_process_share_a_log(server: &Server) {
    let (location, sample) = (server.location("shared"), Sample::new("agents", "orders", 0));
    let first = Log::open(&location, &options("a")).unwrap();
    // Another way to say the same place, with a server before it that does not answer.
    let other = server.url("shared").replace("@127.0.0.1", "@127.0.0.1:1,localhost");
    let other = LogLocation::parse(other.as_ref()).unwrap();
    let second = Log::open(&other, &options("a")).unwrap();
    consume(&first, &sample, 0..10, b"v");
    consume(&second, &sample, 10..20, b"v");
    assert_eq!((first.issuer(), first.durable()), (second.issuer(), 20));
    first.close().unwrap();
    consume(&second, &sample, 20..30, b"v");
    second.close().unwrap();
    let again = Log::open(&location, &options("a")).unwrap();
    assert_eq!(again.epoch(), 1, "the claim is free as soon as the log is closed");
    consume(&again, &sample, 30..31, b"v");
    assert_eq!(verify(&location).receipts, 31);
    let found = LogReader::open(&location).unwrap();
    let page = found.query(&Default::default(), chio_store::Order::NewestFirst, None, 5).unwrap();
    assert_eq!(page.receipts.len(), 5);
    let withheld = chio_store::withhold(&location, &[page.receipts[4].id]).unwrap();
    assert_eq!((withheld, verify(&location).withheld), (1, 1));
}

fn a_reader_needs_no_right_but_to_read(server: &Server) {
    server.sql("CREATE ROLE auditor LOGIN PASSWORD 'other'");
    server.sql("GRANT USAGE ON SCHEMA shared TO auditor");
    server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA shared TO auditor");
    let url = server.url("shared").replace("chio:se-cret", "auditor:other");
    let location = LogLocation::parse(url.as_ref()).unwrap();
    assert_eq!(LogReader::open(&location).unwrap().batches(1, 10).unwrap().len(), 4);
    let refused = Log::open(&location, &options("b")).unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
}

fn a_server_that_loses_what_it_acknowledges_is_refused(server: &Server) {
    let location = server.location("durable");
    server.sql("ALTER ROLE chio SET synchronous_commit = off");
    let refused = Log::open(&location, &options("a")).unwrap_err();
    assert!(refused.to_string().contains("`synchronous_commit` is `off`"), "{refused}");
    let relaxed = LogOptions { durability: Durability::Relaxed, ..options("a") };
    Log::open(&location, &relaxed).unwrap().close().unwrap();
    server.sql("ALTER ROLE chio RESET synchronous_commit");

    let log = Log::open(&location, &options("a")).unwrap();
    server.sql("ALTER SYSTEM SET fsync = off");
    server.sql("SELECT pg_reload_conf()");
    while server.sql("SHOW fsync") != "off" {
        std::thread::yield_now();
    }
    assert_eq!(Log::open(server.location("other"), &options("a")).unwrap_err().code(), "server");
    // A session learns of it between two transactions, so the first one may still go through.
    let sample = Sample::new("agents", "orders", 0);
    let refused = (0..1000).find_map(|offset| issue(&log, &sample, offset).err()).unwrap();
    assert!(refused.to_string().contains("fsync"), "{refused}");
    server.sql("ALTER SYSTEM RESET fsync");
    server.sql("SELECT pg_reload_conf()");
    assert_eq!(log.close().unwrap_err(), refused);
    while server.sql("SHOW fsync") != "on" {
        std::thread::yield_now();
    }
}

/// Issues one receipt and waits until it is durable.
fn issue(log: &Log, sample: &Sample, offset: i64) -> Result<(), LogError> {
    let last = log.issue(common::VERSION, |issue| {
        sample.consume(issue, common::NOW, offset, b"v").unwrap();
    })?;
    log.seal();
    log.wait_durable(last, None).map(|_| ())
}

fn what_is_no_log_is_left_alone(server: &Server) {
    server.sql("CREATE SCHEMA taken");
    server.sql("CREATE TABLE taken.log (line text)");
    assert_eq!(Log::open(server.location("taken"), &options("a")).unwrap_err().code(), "foreign");
    Log::open(server.location("newer"), &options("a")).unwrap().close().unwrap();
    server.sql("UPDATE newer.log SET format = 2");
    assert_eq!(LogReader::open(server.location("newer")).unwrap_err().code(), "newer");
}

/// Ends every session of the log's processes, as a restart or a firewall would.
fn cut(server: &Server) {
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'chio-fast%'");
}

fn a_lost_session_comes_back_with_its_claim(server: &Server) {
    let (location, sample) = (server.location("cut"), Sample::new("agents", "orders", 0));
    let log = Log::open(&location, &options("a")).unwrap();
    let reader = {
        consume(&log, &sample, 0..5, b"v");
        LogReader::open(&location).unwrap()
    };
    cut(server);
    consume(&log, &sample, 5..10, b"v");
    assert_eq!(reader.batches(1, 10).unwrap().len(), 2);
    let url = PostgresUrl::parse(&server.url("cut")).unwrap();
    let holder = PostgresStore::open(&url, Durability::Full).unwrap().claim("a").unwrap().unwrap_err();
    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
    log.close().unwrap();
    assert_eq!(verify(&location).receipts, 10);
}

fn a_lost_claim_stops_the_issuer(server: &Server) {
    let (location, sample) = (server.location("lost"), Sample::new("agents", "orders", 0));
    let log = Log::open(&location, &options("a")).unwrap();
    consume(&log, &sample, 0..5, b"v");
    cut(server);
    let mut thief = PostgresStore::open(&PostgresUrl::parse(&server.url("lost")).unwrap(), Durability::Full).unwrap();
    while thief.claim("a").unwrap().is_err() {
        std::thread::yield_now();
    }
    let lost = issue(&log, &sample, 5).unwrap_err();
    assert_eq!(lost.code(), "claimed", "{lost}");
    drop(thief);
    assert_eq!(issue(&log, &sample, 6).unwrap_err(), lost, "the failure is sticky");
    assert_eq!(log.close().unwrap_err(), lost);
    assert_eq!(verify(&location).receipts, 5);
}

/// What a [`wire`] does with the next commit.
const PASS: u8 = 0;
const LOSE_COMMIT: u8 = 1;
const LOSE_ANSWER: u8 = 2;

/// A wire to the server that can break at a commit. Gives its port and what it does next.
fn wire(server: &Server) -> (u16, Arc<AtomicU8>) {
    let (next, address) = (Arc::new(AtomicU8::new(PASS)), ("127.0.0.1", server.port()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (port, fault) = (listener.local_addr().unwrap().port(), Arc::clone(&next));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(address) else { return };
            let (mut back, mut near) = (far.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut near));
            let fault = Arc::clone(&fault);
            std::thread::spawn(move || forward(client, far, &fault));
        }
    });
    (port, next)
}

fn forward(mut client: TcpStream, mut far: TcpStream, fault: &AtomicU8) {
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let sent = &buffer[..length];
        let commits = sent.windows(7).any(|window| window == b"COMMIT\0");
        match if commits { fault.swap(PASS, Ordering::SeqCst) } else { PASS } {
            LOSE_COMMIT => return client.shutdown(Shutdown::Both).unwrap(),
            LOSE_ANSWER => {
                client.shutdown(Shutdown::Both).unwrap();
                return far.write_all(sent).unwrap();
            }
            _ => far.write_all(sent).unwrap(),
        }
    }
}

fn an_append_whose_end_nobody_saw_is_looked_up(server: &Server) {
    let (port, next) = wire(server);
    let url = server.url("unseen").replace(&format!(":{}/", server.port()), &format!(":{port}/"));
    let (location, sample) = (LogLocation::parse(url.as_ref()).unwrap(), Sample::new("agents", "orders", 0));
    let log = Log::open(&location, &options("a")).unwrap();
    for (offset, fault) in [PASS, LOSE_COMMIT, PASS, LOSE_ANSWER, LOSE_ANSWER].into_iter().enumerate() {
        next.store(fault, Ordering::SeqCst);
        issue(&log, &sample, offset as i64).unwrap();
        assert_eq!(next.load(Ordering::SeqCst), PASS, "the wire broke at the commit");
    }
    log.close().unwrap();
    // Neither lost nor written twice: places and hashes follow each other.
    assert_eq!(verify(&location).receipts, 5);
}

fn attempts_are_counted_across_processes(server: &Server) {
    let (location, sample) = (server.location("attempts"), Sample::new("agents", "orders", 0));
    let first = Log::open(&location, &options("a")).unwrap();
    assert_eq!(attempts(&first, &sample, 0..3, b"v"), [1, 1, 1]);
    first.close().unwrap();
    let second = Log::open(&location, &options("b")).unwrap();
    assert_eq!(attempts(&second, &sample, 1..4, b"v"), [2, 2, 1]);
}

fn killed_processes_and_servers_lose_nothing_that_they_acknowledged(server: &mut Server) {
    let key = std::env::temp_dir().join(format!("chio-drill-key-{}", std::process::id()));
    keys::create(&key).unwrap();
    let server = RefCell::new(server);
    let url = |number: u32| server.borrow().url(&format!("drill_{number}"));
    let crash = || {
        server.borrow_mut().kill();
        server.borrow_mut().restart();
    };
    let drilled = drill::Drilled {
        log: &|number| LogLocation::parse(url(number).as_ref()).unwrap(),
        key: Some(&key),
        start: &|number, seed| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--worker", &url(number), key.to_str().unwrap(), &seed.to_string()]);
            command
        },
        crash: Some(&crash),
    };
    let report = drill::run(&drilled, 8, 11);
    std::fs::remove_file(&key).unwrap();
    assert!(report.acknowledged > 0 && report.epochs > 1 && report.crashes > 1, "nothing was drilled: {report:?}");
    println!("kill -9 drill of processes and servers: {report:?}");
}

fn a_server_that_stays_away_is_told(server: Server) {
    let location = LogLocation::parse(format!("{}&patience=1", server.url("away")).as_ref()).unwrap();
    let (log, sample) = (Log::open(&location, &options("a")).unwrap(), Sample::new("agents", "orders", 0));
    consume(&log, &sample, 0..3, b"v");
    drop(server);
    let lost = issue(&log, &sample, 3).unwrap_err();
    assert_eq!(lost.code(), "unavailable", "{lost}");
    assert_eq!((issue(&log, &sample, 4).unwrap_err(), log.close().unwrap_err()), (lost.clone(), lost));
    let told = Log::open(&location, &options("a")).unwrap_err();
    assert_eq!(told.code(), "unavailable", "{told}");
}
