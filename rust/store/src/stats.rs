//! Counters of an open log.

/// What an open log has done in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Receipts issued.
    pub issued: u64,
    /// Receipts durable.
    pub durable: u64,
    /// Batches appended.
    pub batches: u64,
    /// Durable writes, each of one or more batches.
    pub appends: u64,
    /// Bytes of frames appended.
    pub bytes: u64,
    /// Times that issuing waited because too much was unsealed.
    pub waits: u64,
    /// Bytes that wait for the sealer.
    pub unsealed_bytes: u64,
}
