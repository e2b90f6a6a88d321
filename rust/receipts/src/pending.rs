//! The arena in which the drafts of one batch wait for sealing.

use std::sync::Arc;

use crate::digest;
use crate::draft::{Attempt, Content, Draft, OutcomeDraft, PushError};
use crate::id::ReceiptId;
use crate::jcs;
use crate::number;
use crate::template::{MAX_LIST, TargetClass, TargetTemplate, Template};
use crate::text::{clip, member, push_text};
use crate::words::{Evidence, Kind, OutcomeWord};

/// At most so many records make a batch.
pub const MAX_COUNT: usize = 1 << 20;
/// How many templates from the last one are looked at before one is taken for new.
const RECENT: usize = 8;

/// A range of one of the arena's buffers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) len: u32,
}

impl Span {
    /// The bytes of the span; empty if it does not lie within `buffer`.
    pub(crate) fn of<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.start..self.start + self.len as usize).unwrap_or_default()
    }
}

/// One waiting record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    Receipt(Waiting),
    /// `{"batch":…,"outcome":…,` before and `,"shown":…}` after the seq.
    Outcome {
        id: ReceiptId,
        before: Span,
        after: Span,
    },
}

impl Entry {
    /// Id of the record.
    pub(crate) fn id(&self) -> ReceiptId {
        match self {
            Self::Receipt(waiting) => waiting.id,
            Self::Outcome { id, .. } => *id,
        }
    }
}

/// One waiting receipt. Offsets and times below 0 mean that there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) id: ReceiptId,
    pub(crate) time: u64,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) rollback: Option<ReceiptId>,
    pub(crate) duration_ms: Option<u64>,
    /// Encoded content in `Pending::content`; empty for no digest.
    pub(crate) content: Span,
    /// `"correlation":…,` in `Pending::text`.
    pub(crate) correlation: Span,
    /// `"error":…,` in `Pending::text`.
    pub(crate) error: Span,
    pub(crate) template: u32,
    pub(crate) target: u32,
    pub(crate) parents_start: u32,
    pub(crate) parents_len: u32,
    pub(crate) parents_rejected: u32,
    pub(crate) attempt: Attempt,
    pub(crate) evidence: Option<Evidence>,
}

/// The drafts of one batch, all decided under one policy version. Reused: sealing empties it and keeps its memory.
#[derive(Debug, Default)]
pub struct Pending {
    pub(crate) entries: Vec<Entry>,
    /// Encoded contents, each zero-padded to whole blocks.
    pub(crate) content: Vec<u8>,
    /// Rendered members that few receipts have.
    pub(crate) text: Vec<u8>,
    pub(crate) parents: Vec<ReceiptId>,
    pub(crate) templates: Vec<Arc<Template>>,
    pub(crate) targets: Vec<Arc<TargetTemplate>>,
}

impl Pending {
    /// An empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes the waiting records hold.
    pub fn bytes(&self) -> usize {
        self.content.len() + self.text.len() + self.parents.len() * 16 + self.entries.len() * size_of::<Entry>()
    }

    /// How many bytes it keeps, used or not.
    pub fn capacity(&self) -> usize {
        let listed = self.parents.capacity() * size_of::<ReceiptId>() + self.entries.capacity() * size_of::<Entry>();
        self.content.capacity() + self.text.capacity() + listed
    }

    /// Id of the last record pushed.
    pub fn last_id(&self) -> Option<ReceiptId> {
        self.entries.last().map(Entry::id)
    }

    /// Forgets all drafts and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.content.clear();
        self.text.clear();
        self.parents.clear();
        self.templates.clear();
        self.targets.clear();
    }

    /// Adds a receipt at the end of the batch.
    ///
    /// # Errors
    /// [`PushError`]; the batch is then as it was.
    pub fn push(&mut self, draft: &Draft<'_>) -> Result<(), PushError> {
        self.admit(draft.id)?;
        check(draft)?;
        let content = self.push_content(&draft.content)?;
        let correlation = self.push_member("correlation", draft.correlation);
        let error = self.push_member("error", draft.error);
        let template = intern(&mut self.templates, draft.template);
        let target = intern(&mut self.targets, draft.target);
        let parents = draft.parents.get(..MAX_LIST).unwrap_or(draft.parents);
        let parents_start = self.parents.len() as u32;
        self.parents.extend_from_slice(parents);
        self.entries.push(Entry::Receipt(Waiting {
            id: draft.id,
            time: u64::try_from(draft.time).unwrap_or(0),
            offset: draft.offset.unwrap_or(-1),
            timestamp: draft.timestamp.unwrap_or(-1),
            rollback: draft.rollback,
            duration_ms: draft.duration_ms,
            content,
            correlation,
            error,
            template,
            target,
            parents_start,
            parents_len: parents.len() as u32,
            parents_rejected: draft.parents_rejected.saturating_add((draft.parents.len() - parents.len()) as u32),
            attempt: if draft.attempt == Attempt::Known(0) { Attempt::None } else { draft.attempt },
            evidence: draft.evidence,
        }));
        Ok(())
    }

    /// Adds an outcome at the end of the batch.
    ///
    /// # Errors
    /// [`PushError`]; the batch is then as it was.
    pub fn push_outcome(&mut self, draft: &OutcomeDraft<'_>) -> Result<(), PushError> {
        self.admit(draft.id)?;
        if draft.issuer.is_empty() {
            return Err(PushError::Kind("an outcome names the issuer of the batch that it resolves"));
        }
        let start = self.text.len();
        render_outcome_head(&mut self.text, draft);
        let middle = self.text.len();
        render_outcome_tail(&mut self.text, draft);
        let span = |start: usize, end: usize| Span { start, len: (end - start) as u32 };
        let (before, after) = (span(start, middle), span(middle, self.text.len()));
        self.entries.push(Entry::Outcome { id: draft.id, before, after });
        Ok(())
    }

    /// The parents of a waiting receipt.
    pub(crate) fn parents_of(&self, waiting: &Waiting) -> &[ReceiptId] {
        let start = waiting.parents_start as usize;
        self.parents.get(start..start + waiting.parents_len as usize).unwrap_or_default()
    }

    fn admit(&self, id: ReceiptId) -> Result<(), PushError> {
        match self.last_id() {
            Some(last) if last >= id => Err(PushError::IdOrder { id, last }),
            _ if self.entries.len() >= MAX_COUNT => Err(PushError::Full),
            _ => Ok(()),
        }
    }

    fn push_content(&mut self, content: &Content<'_>) -> Result<Span, PushError> {
        let start = self.content.len();
        match content {
            Content::None => return Ok(Span::default()),
            Content::Event { key, headers, value } => digest::encode_event(&mut self.content, *key, headers, *value),
            Content::Arguments(json) => {
                let canonical = jcs::canonicalize(json).map_err(PushError::Arguments)?;
                digest::encode_arguments(&mut self.content, &canonical);
            }
        }
        let len = u32::try_from(self.content.len() - start).map_err(|_| {
            self.content.truncate(start);
            PushError::Kind("content of 4 GiB or more has no digest")
        })?;
        Ok(Span { start, len })
    }

    fn push_member(&mut self, name: &str, text: Option<&str>) -> Span {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Span::default() };
        let start = self.text.len();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
        jcs::write_string(&mut self.text, &clip(text));
        self.text.push(b',');
        Span { start, len: (self.text.len() - start) as u32 }
    }
}

/// Index of `item` in `items`, to which it is added unless it is among the recent ones.
fn intern<T>(items: &mut Vec<Arc<T>>, item: &Arc<T>) -> u32 {
    let recent = items.iter().enumerate().rev().take(RECENT).find(|(_, known)| Arc::ptr_eq(known, item));
    let index = recent.map_or(items.len(), |(index, _)| index);
    if index == items.len() {
        items.push(Arc::clone(item));
    }
    index as u32
}

/// Whether the draft has what its kind needs and nothing that its kind excludes.
fn check(draft: &Draft<'_>) -> Result<(), PushError> {
    let (template, target) = (draft.template, draft.target);
    let wrong = |what| Err(PushError::Kind(what));
    if template.kind.is_decision() != template.has_verdict {
        return wrong(
            "consume, invoke, produce and override need a scope and a verdict; effect and rollback have no verdict",
        );
    }
    let fits = match template.kind {
        Kind::Consume | Kind::Produce => target.class != TargetClass::Tool,
        Kind::Invoke | Kind::Effect => target.class == TargetClass::Tool,
        Kind::Override | Kind::Rollback => true,
    };
    if !fits {
        return wrong("consume and produce have an event as target, invoke and effect a tool");
    }
    if draft.rollback.is_some() != (template.kind == Kind::Rollback) {
        return wrong("a rollback, and only that, names the receipt that it takes back");
    }
    if template.kind != Kind::Effect && (draft.duration_ms.is_some() || draft.error.is_some()) {
        return wrong("only an effect has a duration or an error");
    }
    let asks = matches!(draft.attempt, Attempt::Ask | Attempt::Again);
    if asks && (target.partition.is_none() || draft.offset.is_none_or(|offset| offset < 0)) {
        return wrong("an attempt can be asked for only where partition and offset are known");
    }
    match &target.identity {
        Some(identity) if *identity != template.identity => {
            Err(PushError::Identity { template: template.identity.clone(), target: identity.clone() })
        }
        _ => Ok(()),
    }
}

/// `{"batch":…,"seq":` of an outcome.
fn render_outcome_head(out: &mut Vec<u8>, draft: &OutcomeDraft<'_>) {
    out.extend_from_slice(b"{\"batch\":\"");
    crate::hex::push(out, &draft.batch);
    out.push(b'"');
    member(out, "contradicts", draft.contradicts.map_or("", OutcomeWord::as_str));
    out.extend_from_slice(b",\"id\":\"");
    out.extend_from_slice(&draft.id.spelled());
    out.extend_from_slice(b"\",\"issuer\":");
    push_text(out, draft.issuer);
    out.extend_from_slice(b",\"kind\":\"outcome\",\"outcome\":");
    push_text(out, draft.outcome.as_str());
    out.extend_from_slice(b",\"seq\":");
}

/// `,"shown":{…},"time":…,"v":1}` of an outcome.
fn render_outcome_tail(out: &mut Vec<u8>, draft: &OutcomeDraft<'_>) {
    let shown = &draft.shown;
    let mut members = Vec::new();
    member(&mut members, "cluster", shown.cluster);
    let known = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
    let numbers = |out: &mut Vec<u8>, name: &str, number: Option<i64>| {
        if let Some(number) = known(number) {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            number::push(out, number);
        }
    };
    numbers(&mut members, "from", shown.from);
    numbers(&mut members, "offset", shown.offset);
    numbers(&mut members, "partition", shown.partition.map(i64::from));
    member(&mut members, "topic", shown.topic);
    numbers(&mut members, "until", shown.until);
    if let Some((_, members)) = members.split_first() {
        out.extend_from_slice(b",\"shown\":{");
        out.extend_from_slice(members);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"time\":");
    number::push(out, u64::try_from(draft.time).unwrap_or(0));
    out.extend_from_slice(b",\"v\":1}");
}
