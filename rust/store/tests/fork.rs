//! A fork leaves the parent's log whole, and the child refuses it until it opens its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // A test fails by panicking.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use chio_store::testing::Sample;
use chio_store::{Filter, Log, LogError, LogOptions, LogReader, Order};
use common::{NOW, Place, VERSION, consume};

/// Runs `work` in a forked child and returns its exit code: 0 for true, 1 for false, 101 for a panic.
fn in_child(work: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child uses only what this crate promises to work there, and leaves without running destructors of the
    // test harness.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: leaves at once.
            unsafe { libc::_exit(outcome.map_or(101, |good| i32::from(!good))) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the child is ours.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(libc::WIFEXITED(status), "the child ended by signal {}", libc::WTERMSIG(status));
            libc::WEXITSTATUS(status)
        }
    }
}

fn refuses<T>(result: Result<T, LogError>) -> bool {
    result.is_err_and(|error| error.code() == "forked")
}

#[test]
fn the_child_refuses_what_the_parent_opened() {
    let place = Place::new();
    let log = place.open();
    let id = consume(&log, &Sample::new("agents", "orders", 0), 0..10, b"v")[0].0;
    let reader = place.reader();
    reader.query(&Filter::default(), Order::OldestFirst, None, 1).unwrap();
    let code = in_child(|| {
        refuses(log.issue(VERSION, |_| {}))
            && refuses(log.issue_now(VERSION, |_| {}))
            && refuses(log.wait_durable(10, None))
            && refuses(log.wait_for_room(None))
            && refuses(reader.get(id))
            && refuses(reader.query(&Filter::default(), Order::OldestFirst, None, 1))
            && log.close().is_ok()
    });
    assert_eq!(code, 0);
    consume(&log, &Sample::new("agents", "orders", 0), 10..20, b"v");
    assert_eq!(reader.get(id).unwrap().id, id);
    log.close().unwrap();
    assert_eq!(place.verify().receipts, 20);
}

#[test]
fn the_child_waits_for_no_lock_that_a_thread_of_the_parent_holds() {
    let place = Place::new();
    let log = place.open();
    consume(&log, &Sample::new("agents", "orders", 0), 0..10, b"v");
    let issued = log.issue(VERSION, |_| {
        // The lock of the log is held here, as another thread may hold it at any moment.
        let code = in_child(|| {
            // SAFETY: ends the child if it hangs.
            unsafe { libc::alarm(20) };
            let key = Sample::new("agents", "orders", 0).target.partition_key().unwrap();
            log.partition_assigned(key);
            log.has_room()
                && refuses(log.issue_now(VERSION, |_| {}))
                && log.issued() == log.seal()
                && log.sealed(1..3) == [None, None]
                && log.stats().issued == 0
                && refuses(log.wait_durable(log.seal(), None))
        });
        assert_eq!(code, 0);
    });
    assert_eq!(issued.unwrap(), 10);
}

#[test]
fn forks_in_the_middle_of_writing_harm_neither_process() {
    let place = Place::new();
    let log = place.open();
    let (stop, issued) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let sample = Sample::new("agents", "orders", 0);
            while !stop.load(Ordering::Relaxed) {
                let first = issued.fetch_add(100, Ordering::Relaxed);
                consume(&log, &sample, first..first + 100, b"v");
            }
        });
        for _ in 0..10 {
            let reader = place.reader();
            reader.batches(1, 5).unwrap();
            let code = in_child(|| {
                let own = Log::open(&place.log(), &LogOptions::default()).unwrap();
                let other_name = own.issuer() != log.issuer();
                consume(&own, &Sample::new("agents", "orders", 1), 0..50, b"v");
                let whole = LogReader::open(&place.log()).unwrap().batches(1, 1).unwrap().len() == 1;
                own.close().unwrap();
                other_name && whole
            });
            assert_eq!(code, 0);
            assert_eq!(reader.batches(1, 1).unwrap().len(), 1);
        }
        stop.store(true, Ordering::Relaxed);
    });
    log.close().unwrap();
    let report = place.verify();
    assert_eq!(report.receipts, issued.load(Ordering::Relaxed) as u64 + 500);
    assert_eq!(report.issuers.len(), 2, "the children had one name after the other");
}

#[test]
fn a_living_child_does_not_keep_the_name_of_its_parent() {
    let place = Place::new();
    let named = LogOptions { issuer: Some("orders-1".to_owned()), ..LogOptions::default() };
    let log = place.open_with(&named);
    consume(&log, &Sample::new("agents", "orders", 0), 0..10, b"v");
    let mut pipe = [0; 2];
    // SAFETY: the array has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the child only reads a pipe and leaves.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the descriptors are the child's own copies; it lives until the parent closes its end.
        unsafe {
            libc::close(pipe[1]);
            libc::read(pipe[0], std::ptr::from_mut(&mut [0u8; 1]).cast(), 1);
            libc::_exit(0)
        }
    }
    log.close().unwrap();
    let again = place.open_with(&named);
    assert_eq!(again.epoch(), 1);
    // While the parent lives, the child of the name's present holder cannot have it.
    let code = in_child(|| Log::open(&place.log(), &named).is_err_and(|error| error.code() == "claimed"));
    assert_eq!(code, 0);
    // SAFETY: the descriptor and the child are ours.
    unsafe {
        libc::close(pipe[1]);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        libc::close(pipe[0]);
    }
}

#[test]
fn drafts_that_were_pending_are_sealed_once_by_the_parent() {
    let place = Place::new();
    let log: Arc<Log> =
        place.open_with(&LogOptions { linger: std::time::Duration::from_secs(60), ..LogOptions::default() });
    let sample = Sample::new("agents", "orders", 0);
    log.issue(VERSION, |issue| {
        sample.consume(issue, NOW, 0, b"v").unwrap();
    })
    .unwrap();
    let code = in_child(|| {
        drop(Arc::clone(&log));
        refuses(log.wait_durable(1, None))
    });
    assert_eq!(code, 0);
    log.close().unwrap();
    assert_eq!(place.verify().receipts, 1);
}
