//! Surviving a `fork`.
//!
//! A child inherits the parent's memory, lock files and SQLite handles, but none of its other threads and none of its
//! `fcntl` locks. Using what was inherited would hang or corrupt the log. Three measures keep both processes whole:
//!
//! 1. Whatever is opened remembers its [`Generation`]; in the child it refuses with [`crate::LogError::Forked`].
//! 2. Lock files of claims and sockets to databases are closed in the child, or a claim would outlive the parent that made
//!    it.
//! 3. SQLite keeps a list of files and of the locks that it believes this process holds on them. A child that inherited it
//!    could open the log again without ever taking a lock. So a fork waits for running operations (they hold the
//!    [`gate`]) and closes every connection; the parent's next operation opens its own again.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use crate::error::LogError;

/// What must let go of a file before a fork. Called while no operation runs.
pub(crate) trait CloseBeforeFork: Send + Sync {
    fn close_before_fork(&self);
}

/// Forks between the process that loaded this library and the present one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Held for reading by every operation on a file, for writing by a fork.
static GATE: RwLock<()> = RwLock::new(());

/// What is to be closed. Locked only by holders of the gate, so no child inherits it locked.
static OPEN: Mutex<Vec<Weak<dyn CloseBeforeFork>>> = Mutex::new(Vec::new());

/// Lock files and sockets to be closed in the child: a fixed array, because a handler there must neither allocate nor lock.
/// Free places hold -1.
static DESCRIPTORS: [AtomicI32; MAX_DESCRIPTORS] = [const { AtomicI32::new(-1) }; MAX_DESCRIPTORS];

/// Claims and sockets that one process can hold at the same time.
const MAX_DESCRIPTORS: usize = 256;

static REGISTER: Once = Once::new();

thread_local! {
    /// The gate, between the two halves of a fork that this thread performs.
    static FORKING: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

extern "C" fn before() {
    let gate = GATE.write().unwrap_or_else(PoisonError::into_inner);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|resource| match resource.upgrade() {
        Some(resource) => {
            resource.close_before_fork();
            true
        }
        None => false,
    });
    drop(open);
    let _ = FORKING.try_with(|forking| forking.replace(Some(gate)));
}

extern "C" fn in_parent() {
    let _ = FORKING.try_with(|forking| forking.take());
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for place in &DESCRIPTORS {
        let descriptor = place.swap(-1, Ordering::Relaxed);
        if descriptor >= 0 {
            // SAFETY: `close` is async-signal-safe, and the descriptor was registered by its owner, which refuses to work
            // in this process. A `flock` belongs to the open file description: closing the child's copy keeps the parent's.
            unsafe { libc::close(descriptor) };
        }
    }
    let _ = FORKING.try_with(|forking| forking.take());
}

/// Keeps a fork away until the guard is dropped. Not to be taken twice by one thread: a waiting fork would block the second.
pub(crate) fn gate() -> RwLockReadGuard<'static, ()> {
    GATE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Has `resource` closed before every fork. The caller holds the gate.
pub(crate) fn close_before_fork(resource: Weak<dyn CloseBeforeFork>) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|known| known.strong_count() > 0);
    open.push(resource);
}

/// The moment at which something was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// The present one. The first call registers the handlers, so call it before opening what it guards.
    pub(crate) fn current() -> Self {
        REGISTER.call_once(|| {
            // SAFETY: the handlers are plain functions that live as long as the program.
            unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this process is still the one in which it was taken: one load, cheap enough for every call.
    pub(crate) fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }
}

/// Keeps `descriptor` for the child to close.
pub(crate) fn register_descriptor(descriptor: RawFd) -> Result<(), LogError> {
    let put = |place: &AtomicI32| place.compare_exchange(-1, descriptor, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if DESCRIPTORS.iter().any(put) {
        return Ok(());
    }
    let detail = format!("this process has {MAX_DESCRIPTORS} receipt logs open already: close some");
    Err(LogError::Options { detail })
}

/// Undoes [`register_descriptor`], before the owner closes the descriptor.
pub(crate) fn forget_descriptor(descriptor: RawFd) {
    for place in &DESCRIPTORS {
        if place.compare_exchange(descriptor, -1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}
