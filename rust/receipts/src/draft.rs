//! What the caller hands over: a receipt that has an id and no place in a batch yet, or an outcome.

use std::fmt;
use std::sync::Arc;

use crate::id::ReceiptId;
use crate::jcs::JcsError;
use crate::template::{TargetTemplate, Template};
use crate::words::{Evidence, OutcomeWord};

/// One receipt to be. Borrowed: [`crate::Pending::push`] copies what it needs.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Its id; ids are pushed in ascending order into a batch.
    pub id: ReceiptId,
    /// Time of the decision, Unix ms.
    pub time: i64,
    /// The decision.
    pub template: &'a Arc<Template>,
    /// Where the event lives, or the tool.
    pub target: &'a Arc<TargetTemplate>,
    /// Offset of the event; below 0 counts as absent.
    pub offset: Option<i64>,
    /// Timestamp of the event, Unix ms; below 0 counts as absent.
    pub timestamp: Option<i64>,
    /// What the digest is taken over.
    pub content: Content<'a>,
    /// What led to this; what is beyond [`crate::MAX_LIST`] counts as rejected.
    pub parents: &'a [ReceiptId],
    /// How many asserted parents were no receipt ids.
    pub parents_rejected: u32,
    /// Which attempt at this request it is.
    pub attempt: Attempt,
    /// Correlation text of the application, such as a `traceparent`.
    pub correlation: Option<&'a str>,
    /// The receipt that this one takes back; for [`crate::Kind::Rollback`].
    pub rollback: Option<ReceiptId>,
    /// When it is durable, where that is not the default.
    pub evidence: Option<Evidence>,
    /// How long the tool call took, ms; for [`crate::Kind::Effect`].
    pub duration_ms: Option<u64>,
    /// What the tool call failed with; for [`crate::Kind::Effect`].
    pub error: Option<&'a str>,
}

impl<'a> Draft<'a> {
    /// A draft with everything optional absent.
    pub fn new(id: ReceiptId, time: i64, template: &'a Arc<Template>, target: &'a Arc<TargetTemplate>) -> Self {
        Self {
            id,
            time,
            template,
            target,
            offset: None,
            timestamp: None,
            content: Content::None,
            parents: &[],
            parents_rejected: 0,
            attempt: Attempt::None,
            correlation: None,
            rollback: None,
            evidence: None,
            duration_ms: None,
            error: None,
        }
    }
}

/// What a digest is taken over. Absent and empty differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// No digest.
    None,
    /// An event.
    Event {
        /// Its key.
        key: Option<&'a [u8]>,
        /// The headers that the policy names, in the order of the message.
        headers: &'a [(&'a str, Option<&'a [u8]>)],
        /// Its value.
        value: Option<&'a [u8]>,
    },
    /// The JSON text of a tool call's arguments or result; the digest is over its canonical form.
    Arguments(&'a [u8]),
}

/// Which attempt at a request a receipt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Attempts are not counted.
    None,
    /// The number, from 1; 0 counts as not counted.
    Known(u32),
    /// To be asked when the batch is sealed. The target must be an event with partition and offset.
    Ask,
    /// One more receipt of the attempt that was recorded last: to be asked likewise, for that one's number.
    Again,
}

/// What [`crate::seal()`] asks the log with to learn the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptQuery {
    /// Partition of the event.
    pub partition: crate::request::PartitionKey,
    /// Offset of the event.
    pub offset: i64,
    /// Its digest; another digest at the same place is a new request.
    pub digest: Option<[u8; 32]>,
    /// Its timestamp, Unix ms; another timestamp at the same place is a new request.
    pub timestamp: Option<i64>,
    /// Whether this is the attempt that was recorded last and no new one, see [`Attempt::Again`].
    pub again: bool,
}

/// What became of a transaction's batch, to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeDraft<'a> {
    /// Id of this record.
    pub id: ReceiptId,
    /// Unix ms.
    pub time: i64,
    /// Hash of the checkpoint whose batch is resolved.
    pub batch: [u8; 32],
    /// Issuer of that batch.
    pub issuer: &'a str,
    /// What became of it.
    pub outcome: OutcomeWord,
    /// Where Kafka shows it.
    pub shown: Shown<'a>,
    /// The outcome recorded before, where Kafka contradicts it.
    pub contradicts: Option<OutcomeWord>,
}

/// Where Kafka shows an outcome; texts may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Cluster id.
    pub cluster: &'a str,
    /// Topic of the checkpoint record.
    pub topic: &'a str,
    /// Its partition.
    pub partition: Option<i32>,
    /// Offset of the checkpoint record, where it was seen.
    pub offset: Option<i64>,
    /// First offset that was searched.
    pub from: Option<i64>,
    /// Offset at which the search ended (the bound).
    pub until: Option<i64>,
}

/// A draft cannot become a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushError {
    /// Ids must ascend within a batch.
    IdOrder {
        /// The id.
        id: ReceiptId,
        /// The one before it.
        last: ReceiptId,
    },
    /// The arguments are no JSON.
    Arguments(JcsError),
    /// Template and target are of different identities.
    Identity {
        /// Identity of the template.
        template: String,
        /// Identity of the target.
        target: String,
    },
    /// The draft lacks something that its kind needs, or has something that its kind excludes.
    Kind(&'static str),
    /// The batch is full.
    Full,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdOrder { id, last } => {
                write!(
                    f,
                    "receipt id `{id}` does not follow `{last}`: push drafts in the order in which their ids were given"
                )
            }
            Self::Arguments(error) => write!(f, "arguments are not JSON: {error}"),
            Self::Identity { template, target } => {
                write!(
                    f,
                    "the decision is of identity `{template}`, the target of `{target}`: build both for the same one"
                )
            }
            Self::Kind(what) => f.write_str(what),
            Self::Full => f.write_str("the batch is full: seal it before pushing more"),
        }
    }
}

impl std::error::Error for PushError {}
