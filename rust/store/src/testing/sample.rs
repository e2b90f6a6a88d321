//! Receipts that look like real ones.

use std::sync::Arc;

use chio_receipts::{
    Attempt, Content, Draft, EventTarget, Kind, ReceiptId, TargetTemplate, Template, TemplateFields, Verdict,
};

use crate::queue::Issue;

/// A consumer of one partition that was allowed everything.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The decision that all its receipts share.
    pub template: Arc<Template>,
    /// The partition.
    pub target: Arc<TargetTemplate>,
}

impl Sample {
    /// Receipts of `identity` for `topic`, partition `partition`.
    pub fn new(identity: &str, topic: &str, partition: i32) -> Self {
        let template = Template::new(&TemplateFields {
            kind: Kind::Consume,
            identity,
            scope: "events:consume:orders",
            verdict: Some(Verdict::Allow),
            rule: "capability:agents:events:consume:orders",
            reason: "held capability",
            errors: &[],
            guards: &[],
        });
        let target = TargetTemplate::event(&EventTarget {
            cluster: "c1",
            group: "g1",
            identity,
            topic,
            topic_id: "t1",
            partition: Some(partition),
        });
        Self { template: Arc::new(template), target: Arc::new(target) }
    }

    /// Issues a consume receipt for `offset` with `value`, and returns its id and ordinal; `None` if it was refused.
    pub fn consume(&self, issue: &mut Issue<'_>, now: i64, offset: i64, value: &[u8]) -> Option<(ReceiptId, u64)> {
        let id = issue.next_id(now);
        let draft = Draft {
            offset: Some(offset),
            timestamp: Some(1_700_000_000_000 + offset),
            content: Content::Event { key: Some(b"key"), headers: &[], value: Some(value) },
            attempt: Attempt::Ask,
            ..Draft::new(id, now, &self.template, &self.target)
        };
        issue.push(&draft).ok().map(|ordinal| (id, ordinal))
    }
}
