//! Verifying: one receipt from its export, or a whole log frame by frame.
//!
//! Both share the checks of a checkpoint's key and signature; the codes of [`Fault`] are those of the independent
//! verifier, and the test vectors hold the two together.

mod keys;
mod log;
mod receipt;

use std::fmt;

pub use log::{ChainEnd, Finding, IssuerReport, LogVerifier, Report};
pub use receipt::{State, Verified, receipt};

/// Declares [`Fault`] with its codes.
macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// What is wrong with a receipt or a log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $($(#[$doc])* $variant,)+
        }

        impl Fault {
            /// The code, the same in both verifiers.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }
    };
}

faults! {
    /// The export is not a document of the format.
    Document = "document",
    /// The container of a frame is malformed.
    Frame = "frame",
    /// A checkpoint is not canonical or not of the schema.
    Checkpoint = "checkpoint",
    /// The key is not in the trust file.
    KeyUnknown = "key_unknown",
    /// The key may not sign for this issuer.
    KeyIssuer = "key_issuer",
    /// The checkpoint's time is outside the key's window.
    KeyTime = "key_time",
    /// The key is retired, and this follows its last checkpoint.
    KeyRetired = "key_retired",
    /// The key is compromised, and nothing shows that this was before.
    KeyCompromised = "key_compromised",
    /// The key changed within an epoch.
    KeyChange = "key_change",
    /// The signature is not the key's over this checkpoint.
    Signature = "signature",
    /// The attestation is not the one that the checkpoint names.
    Attestation = "attestation",
    /// The leaves do not lead to the root.
    Root = "root",
    /// A record is not canonical or not of the schema.
    Record = "record",
    /// A record's `seq` is not that of its place.
    Seq = "seq",
    /// An id is of another issuer or epoch, repeated, or out of order.
    Id = "id",
    /// The proof does not fit the place, or does not lead to the root.
    Proof = "proof",
    /// An epoch is missing or repeated.
    Epoch = "epoch",
    /// `first_seq` does not follow: batches are missing, repeated or reordered.
    FirstSeq = "first_seq",
    /// `running_count` does not follow.
    RunningCount = "running_count",
    /// The checkpoint names another one than the last as its predecessor.
    Previous = "previous",
    /// Two checkpoints name the same predecessor.
    Fork = "fork",
    /// The log ends before a checkpoint that the trust file knows.
    Truncated = "truncated",
    /// An outcome does not belong to this batch, or contradicts another one without saying so.
    Outcome = "outcome",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Verification failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// What is wrong.
    pub fault: Fault,
    /// Where, and what was expected.
    pub detail: String,
}

impl VerifyError {
    fn new(fault: Fault, detail: impl fmt::Display) -> Self {
        Self { fault, detail: detail.to_string() }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fault, self.detail)
    }
}

impl std::error::Error for VerifyError {}
