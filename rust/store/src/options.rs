//! How a log is opened for writing, and what a batch is.

use std::sync::Arc;
use std::time::Duration;

use chio_receipts::{Compression, Durability, Mode, Signer};
use zeroize::Zeroizing;

use crate::error::LogError;

/// How a log is opened for writing.
///
/// All users of one file in one process share one log, so their options must agree in everything but `identity`;
/// `issuer` and `signer` agree with any when they are left out.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// First part of the default issuer name `{identity}@{host}#{lowest free slot}`.
    pub identity: String,
    /// The issuer's configured name; the log's id is appended to it. `None`: the default name.
    pub issuer: Option<String>,
    /// Whose key signs. `None`: the key file beside the log (`<log>-key`), which is created together with a new log.
    pub signer: Option<Arc<Signer>>,
    /// What an acknowledgement promises; a signed field of every checkpoint.
    pub durability: Durability,
    /// Key of the content digests, so that small values cannot be guessed from them.
    pub digest_key: Option<Zeroizing<[u8; 32]>>,
    /// How new frames are stored; each says it of itself, so a log may hold frames of all kinds.
    pub compression: Compression,
    /// Receipts per batch at most, 1 to 65,536; 1 signs every receipt by itself (`individual` mode).
    pub max_batch: usize,
    /// How long a receipt waits for company while nobody waits for it.
    pub linger: Duration,
    /// How long it waits for company while somebody does.
    pub linger_waited: Duration,
    /// Receipts that may be issued and not yet durable; above it issuing waits.
    pub max_unsealed: usize,
    /// Bytes that these may hold, content included; above it issuing waits.
    pub max_unsealed_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            identity: "chio".to_owned(),
            issuer: None,
            signer: None,
            durability: Durability::Full,
            digest_key: None,
            compression: Compression::Lz4,
            max_batch: 4096,
            linger: Duration::from_millis(100),
            linger_waited: Duration::from_millis(5),
            max_unsealed: 100_000,
            max_unsealed_bytes: 32 << 20,
        }
    }
}

/// The largest `max_batch`.
const LARGEST_BATCH: usize = 65_536;

/// The longest linger: what is not durable for longer is a surprise to anybody.
const LONGEST_LINGER: Duration = Duration::from_secs(60);

impl LogOptions {
    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let refuse = |detail: String| Err(LogError::Options { detail });
        if self.max_batch == 0 || self.max_batch > LARGEST_BATCH {
            return refuse(format!("max_batch is {}: choose 1 to {LARGEST_BATCH}", self.max_batch));
        }
        if self.linger > LONGEST_LINGER || self.linger_waited > LONGEST_LINGER {
            return refuse(format!("linger is above {} s: choose less", LONGEST_LINGER.as_secs()));
        }
        if self.max_unsealed == 0 || self.max_unsealed_bytes == 0 {
            return refuse("max_unsealed and max_unsealed_bytes must be above 0".to_owned());
        }
        Ok(())
    }

    /// Refuses to share a log that was opened with `self` with somebody who wants `other`.
    pub(crate) fn agree(&self, other: &Self, claimed: &str) -> Result<(), LogError> {
        let signers = match (&self.signer, &other.signer) {
            (Some(mine), Some(theirs)) => mine.key_id() == theirs.key_id(),
            _ => true,
        };
        let differing = [
            ("issuer", other.issuer.as_deref().is_none_or(|name| name == claimed)),
            ("signer", signers),
            ("durability", self.durability == other.durability),
            ("digest_key", self.digest_key.as_deref() == other.digest_key.as_deref()),
            ("compression", self.compression == other.compression),
            ("max_batch", self.max_batch == other.max_batch),
            ("linger", self.linger == other.linger),
            ("linger_waited", self.linger_waited == other.linger_waited),
            ("max_unsealed", self.max_unsealed == other.max_unsealed),
            ("max_unsealed_bytes", self.max_unsealed_bytes == other.max_unsealed_bytes),
        ];
        match differing.iter().find(|(_, agrees)| !agrees) {
            None => Ok(()),
            Some((name, _)) => Err(LogError::Options {
                detail: format!(
                    "this process opened the receipt log before with another `{name}`: all users of one log share its options"
                ),
            }),
        }
    }
}

/// What the receipts of one batch have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSpec {
    /// Version of the policy under which they were decided.
    pub policy_version: [u8; 32],
    /// What the batch stands for.
    pub mode: Mode,
    /// What a transaction is about to do, as JSON text; its hash stands in the checkpoint.
    pub attestation: Option<Vec<u8>>,
}

impl BatchSpec {
    /// Decisions that took effect as they were made.
    pub fn recorded(policy_version: [u8; 32]) -> Self {
        Self { policy_version, mode: Mode::Recorded, attestation: None }
    }
}
