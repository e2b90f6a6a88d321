//! Where an issuer's chain stands, and what one sealing needs.

use std::fmt;

use crate::jcs::JcsError;
use crate::sign::Signer;
use crate::words::Durability;

/// Where the chain of one issuer stands; every sealing advances it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The issuer.
    pub issuer: String,
    /// Its current epoch.
    pub epoch: u64,
    /// Position of the next record in this epoch; 0 at its start.
    pub next_seq: u64,
    /// Records of this issuer so far, over all epochs.
    pub running_count: u64,
    /// Hash of the issuer's last checkpoint; zeros before the first.
    pub previous: [u8; 32],
}

impl Chain {
    /// The chain of an issuer that has no checkpoint yet, in epoch 0.
    pub fn start(issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), epoch: 0, next_seq: 0, running_count: 0, previous: [0; 32] }
    }
}

/// What a batch stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Decisions that took effect as they were made.
    Recorded,
    /// Decisions whose effect is that of one Kafka transaction; an outcome record tells it.
    Transaction {
        /// Consumer group.
        group: String,
        /// `transactional.id` of the producer.
        transactional_id: String,
    },
    /// Evidence of attempts whose transaction is not begun yet.
    Attempt,
}

impl Mode {
    /// The word as it stands in checkpoints.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Transaction { .. } => "transaction",
            Self::Attempt => "attempt",
        }
    }
}

/// How the records of a frame are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// zlib (RFC 1950): the smallest frames, at four times the cost of sealing.
    Zlib,
    /// One LZ4 block: the fast choice, since writing a byte costs more than compressing it away.
    Lz4,
}

impl Compression {
    /// Its number in the header of a frame.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Zlib => 1,
            Self::Lz4 => 2,
        }
    }

    /// The compression with this number.
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        [Self::None, Self::Zlib, Self::Lz4].into_iter().find(|known| known.code() == code)
    }
}

/// What the batches of one sealing share.
#[derive(Debug)]
pub struct SealContext<'a> {
    /// Whose key signs.
    pub signer: &'a Signer,
    /// Version of the policy under which all drafts were decided.
    pub policy_version: [u8; 32],
    /// What the batch stands for.
    pub mode: Mode,
    /// What a durable write means for the log.
    pub durability: Durability,
    /// Time of sealing, Unix ms.
    pub time: i64,
    /// Key of the digests, if the log has one.
    pub digest_key: Option<&'a [u8; 32]>,
    /// What a transaction is about to do, as JSON text; its hash stands in the checkpoint.
    pub attestation: Option<&'a [u8]>,
    /// How the records are stored.
    pub compression: Compression,
}

/// A batch cannot be sealed; chain and drafts are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealError {
    /// There is nothing to seal.
    Empty,
    /// An id was issued under another issuer or epoch.
    ForeignId(crate::id::ReceiptId),
    /// The attestation is no JSON.
    Attestation(JcsError),
    /// The issuer's name is empty or longer than [`crate::text::MAX_TEXT`].
    Issuer,
    /// Group or `transactional.id` of a transaction is empty.
    Transaction,
    /// The frame would be larger than the format allows.
    TooLarge,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no drafts to seal"),
            Self::ForeignId(id) => {
                write!(f, "receipt id `{id}` is of another issuer or epoch: take ids from this chain's source")
            }
            Self::Attestation(error) => write!(f, "attestation is not JSON: {error}"),
            Self::Issuer => f.write_str("issuer must have 1 to 1024 bytes"),
            Self::Transaction => f.write_str("a transaction's batch names its group and transactional.id"),
            Self::TooLarge => f.write_str("batch is larger than a frame can hold: seal smaller batches"),
        }
    }
}

impl std::error::Error for SealError {}
