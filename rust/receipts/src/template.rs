//! The constant parts of bodies, rendered once.

use crate::request::{PartitionKey, PartitionParts};
use crate::text::{clip, member, push_text};
use crate::words::{GuardVerdict, Kind, Verdict};

/// At most so many errors, guards or parents stand in a body; what is beyond is counted.
pub const MAX_LIST: usize = 16;
/// At most so many bytes of a topic's name stand in a body, so that `request`, which contains it, stays within its limit.
pub(crate) const MAX_TOPIC: usize = 512;

/// What a guard said about one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardRun<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it said.
    pub verdict: GuardVerdict,
    /// Why; empty for no reason.
    pub reason: &'a str,
}

/// What many receipts of one decision share. Texts above 1 KiB are cut, see [`crate::text::clip`].
#[derive(Clone, Copy, Debug)]
pub struct TemplateFields<'a> {
    /// What the receipt is about.
    pub kind: Kind,
    /// Who acts.
    pub identity: &'a str,
    /// Permission that was asked for; empty if none was.
    pub scope: &'a str,
    /// What was decided; `None` exactly for kinds that record no decision.
    pub verdict: Option<Verdict>,
    /// Rule that decided; empty if none did.
    pub rule: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Conditions that erred: (rule, code).
    pub errors: &'a [(&'a str, &'a str)],
    /// Guards that ran.
    pub guards: &'a [GuardRun<'a>],
}

/// The rendered constant parts of a body, in the order in which they stand in it.
#[derive(Debug)]
pub struct Template {
    pub(crate) kind: Kind,
    pub(crate) identity: String,
    pub(crate) has_verdict: bool,
    /// `"errors":[…],"errors_omitted":n,` or empty.
    pub(crate) errors: Box<[u8]>,
    /// `"guards":[…],"guards_omitted":n,` or empty.
    pub(crate) guards: Box<[u8]>,
    /// `","identity":…,"kind":…`, closing the id before it.
    pub(crate) identity_kind: Box<[u8]>,
    /// `,"reason":…` or empty.
    pub(crate) reason: Box<[u8]>,
    /// `,"rule":…,"scope":…` without what is empty.
    pub(crate) rule_scope: Box<[u8]>,
    /// `,"v":1,"verdict":…}`.
    pub(crate) tail: Box<[u8]>,
}

impl Template {
    /// Renders what the receipts share.
    pub fn new(fields: &TemplateFields<'_>) -> Self {
        let identity = clip(fields.identity).into_owned();
        let mut identity_kind = b"\",\"identity\":".to_vec();
        push_text(&mut identity_kind, &identity);
        identity_kind.extend_from_slice(b",\"kind\":");
        push_text(&mut identity_kind, fields.kind.as_str());
        let mut reason = Vec::new();
        member(&mut reason, "reason", fields.reason);
        let mut rule_scope = Vec::new();
        member(&mut rule_scope, "rule", fields.rule);
        member(&mut rule_scope, "scope", fields.scope);
        let mut tail = b",\"v\":1".to_vec();
        member(&mut tail, "verdict", fields.verdict.map_or("", Verdict::as_str));
        tail.push(b'}');
        Self {
            kind: fields.kind,
            identity,
            has_verdict: fields.verdict.is_some() && !fields.scope.is_empty(),
            errors: list("errors", fields.errors, |out, (rule, code)| {
                out.extend_from_slice(b"{\"code\":");
                push_text(out, code);
                out.extend_from_slice(b",\"rule\":");
                push_text(out, rule);
                out.push(b'}');
            }),
            guards: list("guards", fields.guards, |out, run| {
                out.extend_from_slice(b"{\"name\":");
                push_text(out, run.name);
                member(out, "reason", run.reason);
                member(out, "verdict", run.verdict.as_str());
                out.push(b'}');
            }),
            identity_kind: identity_kind.into(),
            reason: reason.into(),
            rule_scope: rule_scope.into(),
            tail: tail.into(),
        }
    }

    /// What the receipts are about.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// `"name":[…],` with at most [`MAX_LIST`] items, and `"name_omitted":n,` where there are more; empty for no items.
fn list<T>(name: &str, items: &[T], mut push: impl FnMut(&mut Vec<u8>, &T)) -> Box<[u8]> {
    if items.is_empty() {
        return Box::default();
    }
    let mut out = format!("\"{name}\":[").into_bytes();
    for (i, item) in items.iter().take(MAX_LIST).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push(&mut out, item);
    }
    out.extend_from_slice(b"],");
    if let Some(omitted) = items.len().checked_sub(MAX_LIST).filter(|n| *n > 0) {
        out.extend_from_slice(format!("\"{name}_omitted\":{omitted},").as_bytes());
    }
    out.into()
}

/// Where an event lives; texts may be empty where they are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTarget<'a> {
    /// Cluster id.
    pub cluster: &'a str,
    /// Consumer group; empty for produce.
    pub group: &'a str,
    /// Identity that acts; must be the template's.
    pub identity: &'a str,
    /// Topic name.
    pub topic: &'a str,
    /// Topic id.
    pub topic_id: &'a str,
    /// Partition number; `None` where it is not known yet (produce).
    pub partition: Option<i32>,
}

/// The rendered constant parts of `target` and `request`.
#[derive(Debug)]
pub struct TargetTemplate {
    /// `,"target":{"cluster":…,"group":…` for an event; the whole member for a tool; empty for none.
    pub(crate) head: Box<[u8]>,
    /// `"partition":…` (empty if unknown), to stand between offset and timestamp.
    pub(crate) partition_member: Box<[u8]>,
    /// `"topic":…,"topic_id":…}` for an event, else empty.
    pub(crate) tail: Box<[u8]>,
    /// `,"request":"chio-kafka-{topic}-{partition}-` where there is a partition, else empty.
    pub(crate) request: Box<[u8]>,
    /// Identity and key, for an event with a partition.
    pub(crate) partition: Option<PartitionKey>,
    pub(crate) identity: Option<String>,
    pub(crate) class: TargetClass,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetClass {
    Event,
    Tool,
    None,
}

impl TargetTemplate {
    /// The target of events of one partition, or of events to be produced to a topic.
    pub fn event(target: &EventTarget<'_>) -> Self {
        let topic = crate::text::clip_to(target.topic, MAX_TOPIC);
        let identity = clip(target.identity);
        let cluster = clip(target.cluster);
        let group = clip(target.group);
        let topic_id = clip(target.topic_id);
        let partition = target.partition.filter(|number| *number >= 0);

        let mut head = b",\"target\":{".to_vec();
        for (name, text) in [("cluster", &cluster), ("group", &group)] {
            if !text.is_empty() {
                push_text(&mut head, name);
                head.push(b':');
                push_text(&mut head, text);
                head.push(b',');
            }
        }
        let mut tail = b"\"topic\":".to_vec();
        push_text(&mut tail, &topic);
        member(&mut tail, "topic_id", &topic_id);
        tail.push(b'}');
        let mut request = Vec::new();
        if let Some(number) = partition {
            request.extend_from_slice(b",\"request\":");
            push_text(&mut request, &format!("chio-kafka-{topic}-{number}-"));
            request.pop(); // The offset follows within the quotes.
        }
        Self {
            head: head.into(),
            partition_member: partition.map_or_else(String::new, |n| format!("\"partition\":{n},")).into_bytes().into(),
            tail: tail.into(),
            request: request.into(),
            partition: partition.map(|partition| {
                PartitionKey::new(&PartitionParts {
                    cluster: &cluster,
                    topic_id: &topic_id,
                    group: &group,
                    identity: &identity,
                    topic: &topic,
                    partition,
                })
            }),
            identity: Some(identity.into_owned()),
            class: TargetClass::Event,
        }
    }

    /// The target of calls of one tool.
    pub fn tool(name: &str) -> Self {
        let mut head = b",\"target\":{\"tool\":".to_vec();
        push_text(&mut head, &clip(name));
        head.push(b'}');
        Self::bare(head, TargetClass::Tool)
    }

    /// No target: a decision about a scope alone.
    pub fn none() -> Self {
        Self::bare(Vec::new(), TargetClass::None)
    }

    fn bare(head: Vec<u8>, class: TargetClass) -> Self {
        Self {
            head: head.into(),
            partition_member: Box::default(),
            tail: Box::default(),
            request: Box::default(),
            partition: None,
            identity: None,
            class,
        }
    }

    /// Key of the partition, for an event whose partition is known.
    pub fn partition_key(&self) -> Option<PartitionKey> {
        self.partition
    }
}
