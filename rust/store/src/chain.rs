//! Walking the graph of receipts over their parents.

use std::collections::{HashSet, VecDeque};
use std::str::FromStr;

use chio_receipts::record::{Receipt, Record, Target};
use chio_receipts::{Kind, ReceiptId};

use crate::batch_store::State;
use crate::error::LogError;
use crate::reader::{LogReader, StoredReceipt};

/// Which way a chain is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From causes to effects: what did this receipt lead to?
    Forward,
    /// From effects to causes: what led to this receipt?
    Backward,
}

impl FromStr for Direction {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "forward" => Ok(Self::Forward),
            "backward" => Ok(Self::Backward),
            _ => Err(LogError::Query {
                detail: format!("`{}` is no direction: write `forward` or `backward`", text.escape_debug()),
            }),
        }
    }
}

/// How much a link from a receipt to a parent is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// The log itself bears it out, see [`LogReader::chain`].
    Verified,
    /// The receipt names the parent; this log can neither confirm nor refute it.
    Asserted,
}

impl LinkKind {
    /// The word in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Asserted => "asserted",
        }
    }
}

/// One link of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLink {
    /// The cause.
    pub parent: ReceiptId,
    /// The effect.
    pub child: ReceiptId,
    /// What it is worth.
    pub kind: LinkKind,
}

/// A receipt on a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReceipt {
    /// Its id.
    pub id: ReceiptId,
    /// Links between it and the start, by the shortest way.
    pub depth: u32,
    /// The receipt; `None` when this log does not hold it.
    pub receipt: Option<StoredReceipt>,
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiptChain {
    /// Every receipt once, by depth, the start first.
    pub receipts: Vec<ChainReceipt>,
    /// Every link between them once.
    pub links: Vec<ChainLink>,
    /// Whether the bound ended the walk before it was complete.
    pub truncated: bool,
}

impl LogReader {
    /// Walks from the receipt `start`, to at most `limit` receipts.
    ///
    /// A receipt is visited once, so cycles end. Parents that this log does not hold are listed without their receipts.
    /// A link is *verified*
    /// - to a consume receipt, when the log holds the parent's produce receipt, recorded or committed, for this topic and
    ///   with this digest;
    /// - to any other receipt, when the log holds the parent, of the same issuer and epoch: the process that recorded the
    ///   effect recorded the cause itself.
    ///
    /// # Errors
    /// `NotFound` when the log does not hold `start`, or what reading the file fails with.
    pub fn chain(&self, start: ReceiptId, direction: Direction, limit: usize) -> Result<ReceiptChain, LogError> {
        let first = self.get(start)?;
        let mut chain = ReceiptChain::default();
        let mut known = HashSet::from([start]);
        let mut queue = VecDeque::from([ChainReceipt { id: start, depth: 0, receipt: Some(first) }]);
        while let Some(node) = queue.pop_front() {
            if chain.receipts.len() >= limit {
                chain.truncated = true;
                break;
            }
            if let Some(receipt) = &node.receipt {
                let room = limit.saturating_sub(chain.receipts.len() + queue.len());
                let neighbours = match direction {
                    Direction::Backward => self.parents(receipt)?,
                    // One more than there is room for tells whether something is left out.
                    Direction::Forward => self.children(receipt, room + 1)?,
                };
                for (link, id, receipt) in neighbours {
                    chain.links.push(link);
                    if known.insert(id) {
                        queue.push_back(ChainReceipt { id, depth: node.depth + 1, receipt });
                    }
                }
            }
            chain.receipts.push(node);
        }
        let listed: HashSet<ReceiptId> = chain.receipts.iter().map(|node| node.id).collect();
        let mut linked = HashSet::new();
        chain.links.retain(|link| {
            let both = listed.contains(&link.parent) && listed.contains(&link.child);
            both && linked.insert((link.parent, link.child))
        });
        Ok(chain)
    }

    fn parents(&self, child: &StoredReceipt) -> Result<Vec<Neighbour>, LogError> {
        let Some(parsed) = parse(self, child)? else { return Ok(Vec::new()) };
        let ids: Vec<ReceiptId> = parsed.parents.iter().collect();
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let parent = self.find(id)?;
            let kind = match &parent {
                Some(parent) => self.link_kind(parent, child)?,
                None => LinkKind::Asserted,
            };
            found.push((ChainLink { parent: id, child: child.id, kind }, id, parent));
        }
        Ok(found)
    }

    fn children(&self, parent: &StoredReceipt, limit: usize) -> Result<Vec<Neighbour>, LogError> {
        let positions = self.with_index(|index| index.children(parent.id, limit))?;
        let mut found = Vec::with_capacity(positions.len());
        for child in self.at(&positions)? {
            let kind = self.link_kind(parent, &child)?;
            found.push((ChainLink { parent: parent.id, child: child.id, kind }, child.id, Some(child)));
        }
        Ok(found)
    }

    fn link_kind(&self, parent: &StoredReceipt, child: &StoredReceipt) -> Result<LinkKind, LogError> {
        let (Some(cause), Some(effect)) = (parse(self, parent)?, parse(self, child)?) else {
            return Ok(LinkKind::Asserted);
        };
        let verified = if effect.kind == Kind::Consume {
            let took_effect = matches!(parent.batch.state, State::Recorded | State::Committed);
            took_effect
                && cause.kind == Kind::Produce
                && effect.digest.is_some()
                && effect.digest == cause.digest
                && topic(&cause).is_some_and(|produced| topic(&effect).as_deref() == Some(&*produced))
        } else {
            parent.batch.issuer == child.batch.issuer && parent.batch.epoch == child.batch.epoch
        };
        Ok(if verified { LinkKind::Verified } else { LinkKind::Asserted })
    }
}

/// A link, and the receipt at its other end.
type Neighbour = (ChainLink, ReceiptId, Option<StoredReceipt>);

/// The receipt; `None` for an outcome record, which has no parents.
fn parse<'a>(reader: &LogReader, stored: &'a StoredReceipt) -> Result<Option<Receipt<'a>>, LogError> {
    match Record::parse(stored.body.as_bytes()) {
        Ok(Record::Receipt(receipt)) => Ok(Some(receipt)),
        Ok(Record::Outcome(_)) => Ok(None),
        Err(error) => Err(LogError::corrupt(reader.shown(), format!("record {}: {error}", stored.position))),
    }
}

fn topic<'a>(receipt: &Receipt<'a>) -> Option<std::borrow::Cow<'a, str>> {
    match receipt.target {
        Target::Event { topic, .. } => Some(topic.decode()),
        _ => None,
    }
}
