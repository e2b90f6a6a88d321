//! What a condition can see: the environment of one decision.

use serde_json::{Map, Value};

use crate::literal::Literal;

/// The boundary at which a decision is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An inbound event, before application code sees it.
    Consume,
    /// A tool call that the agent makes.
    Invoke,
    /// An event that the agent sends.
    Produce,
}

impl Kind {
    /// The word that conditions compare `kind` with and receipts carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Invoke => "invoke",
            Self::Produce => "produce",
        }
    }

    /// The boundary of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Consume, Self::Invoke, Self::Produce].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The attributes that a policy gives to an identity: JSON members that conditions read as `identity.attributes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes(Literal);

impl Default for Attributes {
    fn default() -> Self {
        Self(Literal::Map(Vec::new()))
    }
}

impl Attributes {
    /// No attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Attributes from the members of a JSON object, nested ones included.
    #[must_use]
    pub fn from_json(members: &Map<String, Value>) -> Self {
        Self(Literal::from_object(members))
    }

    pub(crate) fn literal(&self) -> &Literal {
        &self.0
    }
}

/// A Kafka record as a condition sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventView<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// Partition, when it is known. Reading it when it is `None` is an error.
    pub partition: Option<i32>,
    /// Offset, when it is known. Reading it when it is `None` is an error.
    pub offset: Option<i64>,
    /// Key; `None` reads as CEL null, UTF-8 as a string, other bytes as CEL bytes.
    pub key: Option<&'a [u8]>,
    /// The record's timestamp in Unix milliseconds. Reading it when it is `None` is an error.
    pub timestamp: Option<i64>,
    /// Headers in the order of the record; conditions see the last one of each name, typed as the key is.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Value; `None` (a tombstone) reads as CEL null, anything else must be JSON.
    pub value: Option<&'a [u8]>,
}

/// Everything that a condition can see.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Name of the identity that acts.
    pub identity: &'a str,
    /// Its attributes.
    pub attributes: &'a Attributes,
    /// The scope that is asked for.
    pub scope: &'a str,
    /// The boundary.
    pub kind: Kind,
    /// The time of the decision in Unix milliseconds.
    pub now: i64,
    /// The inbound event; absent outside a handler.
    pub event: Option<&'a EventView<'a>>,
    /// Name of the tool, at the invoke boundary.
    pub tool: Option<&'a str>,
    /// The call's arguments as JSON text, at the invoke boundary.
    pub arguments: Option<&'a [u8]>,
    /// The outbound event, at the produce boundary. It has no partition, offset and timestamp yet.
    pub output: Option<&'a EventView<'a>>,
}
