//! Receipts that differ in what a test says, one batch each.

use std::slice;
use std::sync::Arc;

use chio_receipts::{
    Content, Draft, EventTarget, Kind, OutcomeDraft, OutcomeWord, ReceiptId, Shown, TargetTemplate, Template,
    TemplateFields, Verdict,
};
use chio_store::{BatchSpec, Filter, Log, LogReader, Order};

use super::{NOW, VERSION};

/// What the receipts of these tests differ in.
pub struct Step<'a> {
    pub kind: Kind,
    pub identity: &'a str,
    pub scope: &'a str,
    pub verdict: Verdict,
    pub topic: &'a str,
    pub value: &'a [u8],
    pub parents: &'a [ReceiptId],
    pub correlation: Option<&'a str>,
}

pub const STEP: Step<'_> = Step {
    kind: Kind::Consume,
    identity: "agents",
    scope: "events:consume:orders",
    verdict: Verdict::Allow,
    topic: "orders",
    value: b"value",
    parents: &[],
    correlation: None,
};

pub fn issue(log: &Log, spec: &BatchSpec, step: &Step<'_>, offset: i64) -> ReceiptId {
    let template = Arc::new(Template::new(&TemplateFields {
        kind: step.kind,
        identity: step.identity,
        scope: step.scope,
        verdict: Some(step.verdict),
        rule: "r1",
        reason: "because",
        errors: &[],
        guards: &[],
    }));
    let event = |partition| EventTarget {
        cluster: "c",
        group: "g",
        identity: step.identity,
        topic: step.topic,
        topic_id: "",
        partition,
    };
    let target = Arc::new(match step.kind {
        Kind::Consume => TargetTemplate::event(&event(Some(0))),
        Kind::Produce => TargetTemplate::event(&event(None)),
        _ => TargetTemplate::tool(step.topic),
    });
    let mut id = None;
    let last = log
        .issue_batches(slice::from_ref(spec), |_, issue| {
            let next = issue.next_id(NOW + offset);
            let draft = Draft {
                offset: (step.kind == Kind::Consume).then_some(offset),
                content: match step.kind {
                    Kind::Invoke => Content::Arguments(b"{}"),
                    _ => Content::Event { key: None, headers: &[], value: Some(step.value) },
                },
                parents: step.parents,
                correlation: step.correlation,
                ..Draft::new(next, NOW + offset, &template, &target)
            };
            issue.push(&draft)?;
            id = Some(next);
            Ok(())
        })
        .unwrap()[0];
    log.wait_durable(last, None).unwrap();
    id.unwrap()
}

/// Records what became of the batch with this checkpoint; durable on return.
pub fn outcome(log: &Log, batch: [u8; 32], outcome: OutcomeWord) -> ReceiptId {
    let (issuer, mut told) = (log.issuer().to_owned(), None);
    let last = log
        .issue(VERSION, |issue| {
            let id = issue.next_id(NOW);
            let shown = Shown::default();
            let draft = OutcomeDraft { id, time: NOW, batch, issuer: &issuer, outcome, shown, contradicts: None };
            issue.push_outcome(&draft).unwrap();
            told = Some(id);
        })
        .unwrap();
    log.seal();
    log.wait_durable(last, None).unwrap();
    told.unwrap()
}

pub fn step(log: &Log, step: &Step<'_>, offset: i64) -> ReceiptId {
    issue(log, &BatchSpec::recorded(VERSION), step, offset)
}

pub fn count(reader: &LogReader, filter: Filter) -> usize {
    reader.query(&filter, Order::OldestFirst, None, 1000).unwrap().receipts.len()
}
