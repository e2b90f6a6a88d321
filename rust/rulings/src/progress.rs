//! How far the events of one assigned partition have come.

use std::sync::atomic::{AtomicI64, Ordering};

/// Stands for an offset that is not known yet; it is below every offset.
pub const NOTHING: i64 = -1;

/// Offsets and assignment epoch of a partition, shared by its events.
#[derive(Debug)]
pub struct Progress {
    /// Assignment epoch; an event of another one is void.
    pub stamp: AtomicI64,
    /// Offset after the last event admitted.
    pub admitted: AtomicI64,
    /// Offset after the last event that got a receipt.
    pub position: AtomicI64,
    /// Offset after the last allowed event that got a receipt.
    pub handed: AtomicI64,
}

impl Progress {
    /// Before the first event.
    pub fn new(stamp: i64) -> Self {
        let nothing = || AtomicI64::new(NOTHING);
        Self { stamp: AtomicI64::new(stamp), admitted: nothing(), position: nothing(), handed: nothing() }
    }

    /// Whether the event at `offset` comes next or later; any other was admitted before, or is none.
    pub fn is_ahead(&self, offset: i64) -> bool {
        offset >= self.admitted.load(Ordering::Acquire).max(0)
    }

    /// Notes that the event at `offset` was admitted.
    pub fn admit(&self, offset: i64) {
        self.admitted.store(offset + 1, Ordering::Release);
    }

    /// Notes that the event at `offset` was handed out or denied, and gives its floor: the offset after the last allowed event
    /// before it.
    pub fn pass(&self, offset: i64, is_allowed: bool) -> i64 {
        let floor = self.handed.load(Ordering::Acquire);
        self.position.store(offset + 1, Ordering::Release);
        if is_allowed {
            self.handed.store(offset + 1, Ordering::Release);
        }
        floor
    }
}
