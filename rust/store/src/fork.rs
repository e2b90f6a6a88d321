//! Noticing a `fork`.
//!
//! A child inherits the parent's SQLite handles, lock files and memory, but not the sealer thread.
//! Using any of them would corrupt the parent's log or hang, so everything opened before the fork refuses in the child.
//! A handler counts the forks that this process descends from; whoever opens something keeps the count of that moment.

use std::os::fd::RawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Forks between the first process that loaded this library and the present one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Lock files that the child must let go of, or a claim would outlive the parent that made it.
/// A fixed array, because a fork handler must neither allocate nor lock. Free slots hold -1.
static CLAIMS: [AtomicI32; MAX_CLAIMS] = [const { AtomicI32::new(-1) }; MAX_CLAIMS];

/// Receipt logs that one process can have open for writing at the same time.
pub(crate) const MAX_CLAIMS: usize = 256;

static REGISTER: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for slot in &CLAIMS {
        let descriptor = slot.swap(-1, Ordering::Relaxed);
        if descriptor >= 0 {
            // SAFETY: `close` is async-signal-safe, and the descriptor was registered by its owner, which is unusable in
            // this process. A `flock` belongs to the open file description: closing the child's copy keeps the parent's lock.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// The moment at which something was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// The present one. The first call registers the handler, so call it before opening what it guards.
    pub(crate) fn current() -> Self {
        REGISTER.call_once(|| {
            // SAFETY: the handler is a plain function that lives as long as the program, and touches only atomics.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether this process is still the one in which it was taken: one load, cheap enough for every call.
    pub(crate) fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }
}

/// Keeps `descriptor` for the child to close. False when the table is full.
pub(crate) fn register_claim(descriptor: RawFd) -> bool {
    CLAIMS.iter().any(|slot| {
        slot.compare_exchange(-1, descriptor, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    })
}

/// Undoes `register_claim`, before the owner closes the descriptor.
pub(crate) fn forget_claim(descriptor: RawFd) {
    for slot in &CLAIMS {
        if slot
            .compare_exchange(descriptor, -1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            return;
        }
    }
}
