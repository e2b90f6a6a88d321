//! A request of any boundary as a caller spelled it out, copied into Rust's own memory.

use std::sync::Arc;

use pyo3::prelude::*;

use chio_conditions::Kind;
use chio_policy::Request;
use chio_receipts::{Attempt, Content, Draft, EventTarget, PushError, ReceiptId, TargetTemplate};
use chio_rulings::headers::is_digested;
use chio_rulings::{Origin, Question, Ruling};

use crate::record::{Header, Record};

/// What is asked, in Rust's own memory.
#[derive(Debug)]
pub struct Matter {
    /// Who asks.
    pub identity: String,
    /// The permission.
    pub scope: String,
    /// The boundary.
    pub kind: Kind,
    /// The inbound event.
    pub event: Option<Record>,
    /// The tool.
    pub tool: Option<String>,
    /// JSON text of its arguments.
    pub arguments: Option<Vec<u8>>,
    /// The event to be produced.
    pub output: Option<Record>,
    /// What led to this.
    pub origin: Origin,
    /// Guards that run for every decision.
    pub always: Arc<[String]>,
    /// The caller's own event and output, which guards are shown.
    pub shown: (Option<Py<PyAny>>, Option<Py<PyAny>>),
}

impl Matter {
    /// What is asked of the policy.
    pub fn question(&self) -> Question<'_> {
        Question { identity: &self.identity, scope: &self.scope, kind: self.kind }
    }

    /// Calls `f` with the request, asked for `scope`.
    pub fn with_request<R>(&self, scope: &str, now: i64, f: impl FnOnce(&Request<'_>) -> R) -> R {
        let base = Request {
            scope,
            tool: self.tool.as_deref(),
            arguments: self.arguments.as_deref(),
            ..self.question().request(now)
        };
        let with_output = |base: Request<'_>| match &self.output {
            Some(output) => output.with_view(|output| f(&Request { output: Some(output), ..base })),
            None => f(&base),
        };
        match &self.event {
            Some(event) => event.with_view(|event| with_output(Request { event: Some(event), ..base })),
            None => with_output(base),
        }
    }

    /// The target of its receipt.
    pub fn target(&self) -> TargetTemplate {
        let record = match self.kind {
            Kind::Invoke => return TargetTemplate::tool(self.tool.as_deref().unwrap_or(&self.scope)),
            Kind::Consume => &self.event,
            Kind::Produce => &self.output,
        };
        record.as_ref().map_or_else(TargetTemplate::none, |record| {
            TargetTemplate::event(&EventTarget {
                cluster: "",
                group: "",
                identity: &self.identity,
                topic: &record.topic,
                topic_id: "",
                partition: record.partition.filter(|_| self.kind == Kind::Consume),
            })
        })
    }

    /// Hands its receipt to the log.
    pub fn push(&self, issue: &mut chio_store::Issue<'_>, ruling: &Ruling, id: ReceiptId) -> Result<u64, PushError> {
        let (template, target) = (ruling.template(&self.question()).into(), self.target().into());
        let subject = self.subject();
        let names = ruling.generation.policy.header_names();
        let digested = |header: &&Header| is_digested(names, &header.0);
        let headers: Vec<_> = subject
            .iter()
            .flat_map(|record| record.headers.iter().filter(digested))
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let is_inbound = self.kind == Kind::Consume;
        let offset = subject.filter(|_| is_inbound).and_then(|record| record.offset);
        let content = match (subject, &self.arguments) {
            (Some(record), _) => {
                Content::Event { key: record.key.as_deref(), headers: &headers, value: record.value.as_deref() }
            }
            (None, Some(arguments)) => Content::Arguments(arguments),
            (None, None) => Content::None,
        };
        let draft = Draft::new(id, ruling.now, &template, &target);
        let is_counted = target.partition_key().is_some() && offset.is_some_and(|offset| offset >= 0);
        issue.push(&Draft {
            offset,
            timestamp: subject.filter(|_| is_inbound).and_then(|record| record.timestamp),
            content,
            parents: &self.origin.parents,
            parents_rejected: self.origin.rejected,
            attempt: if is_counted { Attempt::Ask } else { Attempt::None },
            correlation: self.origin.correlation.as_deref(),
            ..draft
        })
    }

    /// The event of which the receipt holds a digest: the inbound one at consume, the outbound one at produce.
    fn subject(&self) -> Option<&Record> {
        match self.kind {
            Kind::Consume => self.event.as_ref(),
            Kind::Produce => self.output.as_ref(),
            Kind::Invoke => None,
        }
    }
}
