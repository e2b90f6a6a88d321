//! Receipts: bodies, Merkle tree, checkpoints, signing and verifying. No I/O, no threads; time is passed in.
//!
//! The format is specified in `docs/receipt-format.md`; the test vectors in `tests/vectors` bind both verifiers to it.
//!
//! | room | holds |
//! |---|---|
//! | [`id`] | receipt ids and their source |
//! | [`request`] | partition and request keys |
//! | [`words`] | the closed vocabularies |
//! | [`template`], [`draft`], [`pending`] | what waits for sealing |
//! | [`digest`], [`jcs`], [`tree`] | content digests, canonical JSON, the Merkle tree |
//! | [`chain`], [`mod@seal`], [`sign`] | making and signing a batch |
//! | [`checkpoint`], [`body`], [`frame`] | reading a batch |

mod body;
pub mod chain;
pub mod checkpoint;
pub mod digest;
mod digits;
mod document;
pub mod draft;
pub mod export;
pub mod frame;
mod hash;
pub mod hex;
pub mod id;
pub mod jcs;
mod lanes;
pub mod number;
pub mod pending;
pub mod record;
pub mod request;
mod scan;
pub mod seal;
pub mod sign;
pub mod template;
pub mod text;
pub mod tree;
pub mod trust;
pub mod verify;
pub mod words;

pub use chain::{Chain, Compression, Mode, SealContext, SealError};
pub use checkpoint::Checkpoint;
pub use draft::{Attempt, AttemptQuery, Content, Draft, OutcomeDraft, PushError, Shown};
pub use export::{Export, Proven, ProvenContent};
pub use frame::{Coverage, Frame, FrameError, FrameMeta, Slot};
pub use id::{IdSource, ReceiptId};
pub use pending::Pending;
pub use record::{Outcome, Receipt, Record, Target};
pub use request::{PartitionKey, PartitionParts, RequestKey, request_key};
pub use scan::{ScanError, Text};
pub use seal::{Sealed, seal};
pub use sign::{KeyId, Signer, key_id};
pub use template::{EventTarget, GuardRun, MAX_LIST, TargetTemplate, Template, TemplateFields};
pub use trust::{KeyStatus, LastCheckpoint, Trust, TrustError, TrustedKey};
pub use verify::{Fault, LogVerifier, Report, VerifyError};
pub use words::{Durability, Evidence, GuardVerdict, Kind, OutcomeWord, Verdict};
