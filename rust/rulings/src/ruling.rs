//! What was decided about one request, from the rules' decision to its receipt.

use std::borrow::Cow;
use std::sync::Arc;

use chio_policy::{Decision, Verdict};
use chio_receipts::{GuardRun, GuardVerdict, ReceiptId, Template, TemplateFields};

use crate::question::{Generation, Question};
use crate::snapshot::Snapshot;

/// The receipt of a ruling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its id.
    pub id: ReceiptId,
    /// Its position among the receipts that this process issued into this log; `None` while only the id is given.
    pub ordinal: Option<u64>,
    /// Whether another receipt has counted this attempt already.
    pub is_counted: bool,
}

impl Issued {
    /// A receipt that the log has.
    pub fn sealed(id: ReceiptId, ordinal: u64) -> Self {
        Self { id, ordinal: Some(ordinal), is_counted: false }
    }

    /// An id whose receipt follows.
    pub fn taken(id: ReceiptId) -> Self {
        Self { id, ordinal: None, is_counted: false }
    }
}

/// An earlier receipt that has to do with the same request.
#[derive(Debug)]
pub struct Recalled {
    /// The receipt.
    pub id: ReceiptId,
    /// Its verdict and rule, where they stand whatever rules and guards say now.
    pub standing: Option<(Verdict, String)>,
    /// What to say of it in place of a rule's reason.
    pub reason: Option<String>,
}

/// What a guard said.
#[derive(Clone, Debug)]
pub struct Run {
    /// The guard's name.
    pub name: String,
    /// `allow`, or why not: `deny`, `error`, `timeout`.
    pub verdict: GuardVerdict,
    /// Its reason; empty if it allowed.
    pub reason: String,
}

/// A decision with everything that became of it.
#[derive(Debug)]
pub struct Ruling {
    /// The policy that decided.
    pub generation: Arc<Generation>,
    /// What the rules say.
    pub decision: Decision,
    /// When they said it, Unix ms.
    pub now: i64,
    /// What guards said.
    pub runs: Vec<Run>,
    /// The receipt, once it is issued.
    pub issued: Option<Issued>,
    /// Whether the event was handed out before, so that its partition's position counts it.
    pub was_handed: bool,
    /// An earlier receipt of the request, or of one with the same id of the producer's.
    pub recalled: Option<Box<Recalled>>,
}

impl Ruling {
    /// A decision that no guard has looked at.
    pub fn new(generation: Arc<Generation>, decision: Decision, now: i64) -> Self {
        Self { generation, decision, now, runs: Vec::new(), issued: None, was_handed: false, recalled: None }
    }

    /// Whether the decision has to be made again before it counts.
    pub fn is_stale(&self, current: &Arc<Generation>, now: i64) -> bool {
        self.issued.is_none() && (!Arc::ptr_eq(&self.generation, current) || now >= self.decision.valid_until)
    }

    /// Takes a new decision; what guards said about the content still holds.
    pub fn renew(&mut self, generation: &Arc<Generation>, decision: Decision, now: i64) {
        self.generation = Arc::clone(generation);
        self.decision = decision;
        self.now = now;
    }

    /// Guards that have to run before this can have a receipt: the always running ones, then those that rules name.
    pub fn due<'a>(&'a self, always: &'a [String]) -> impl Iterator<Item = &'a str> {
        let needs_none = self.decision.verdict == Verdict::Deny || self.issued.is_some() || self.standing().is_some();
        self.named(always).filter(move |name| !needs_none && !self.runs.iter().any(|run| run.name == *name))
    }

    /// Whether a guard is due; cheaper than asking which.
    pub fn is_due(&self, always: &[String]) -> bool {
        (!always.is_empty() || !self.decision.guards.is_empty()) && self.due(always).next().is_some()
    }

    /// The verdict of rules and guards together, or the one that stands.
    pub fn verdict(&self) -> Verdict {
        match self.standing() {
            Some((verdict, _)) => *verdict,
            None if self.denial().is_some() => Verdict::Deny,
            None => self.decision.verdict,
        }
    }

    /// Whether receipts of this ruling differ from those of others with the same decision.
    pub fn is_particular(&self) -> bool {
        !self.runs.is_empty() || !self.decision.errors.is_empty() || self.recalled.is_some()
    }

    /// The parents of the receipt: the recalled one comes first, so that no other takes its place.
    pub fn parents<'a>(&self, asserted: &'a [ReceiptId]) -> Cow<'a, [ReceiptId]> {
        match &self.recalled {
            None => Cow::Borrowed(asserted),
            Some(recalled) => std::iter::once(recalled.id).chain(asserted.iter().copied()).collect(),
        }
    }

    /// The word of the verdict as receipts spell it.
    pub fn receipt_verdict(&self) -> chio_receipts::Verdict {
        match self.verdict() {
            Verdict::Allow => chio_receipts::Verdict::Allow,
            Verdict::Deny => chio_receipts::Verdict::Deny,
            Verdict::Escalate => chio_receipts::Verdict::Escalate,
            Verdict::Delay => chio_receipts::Verdict::Delay,
        }
    }

    /// The rendered part that receipts of equal rulings share.
    pub fn template(&self, question: &Question<'_>) -> Template {
        let runs: Vec<_> = self
            .runs
            .iter()
            .map(|run| GuardRun { name: &run.name, verdict: run.verdict, reason: &run.reason })
            .collect();
        Template::new(&TemplateFields {
            kind: question.receipt_kind(),
            identity: question.identity,
            scope: question.scope,
            verdict: Some(self.receipt_verdict()),
            rule: &self.rule(),
            reason: &self.reason(question),
            errors: &self.errors(),
            guards: &runs,
        })
    }

    /// A copy of everything that Python is told.
    pub fn snapshot(&self, question: &Question<'_>, always: &[String]) -> Snapshot {
        let guards = if self.issued.is_some() {
            self.runs.iter().map(|run| run.name.clone()).collect()
        } else {
            self.named(always).map(str::to_owned).collect()
        };
        Snapshot {
            identity: question.identity.to_owned(),
            scope: question.scope.to_owned(),
            kind: question.kind.as_str(),
            verdict: self.verdict().as_str(),
            rule: self.rule(),
            reason: self.reason(question),
            errors: self.errors().into_iter().map(|(rule, code)| (rule.to_owned(), code)).collect(),
            guards,
            generation: Arc::clone(&self.generation),
            timestamp: self.now,
            valid_until: self.decision.valid_until,
            receipt_id: self.issued.map(|issued| issued.id.to_string()),
            runs: self.runs.clone(),
        }
    }

    /// Records what guards said; only those that are due count.
    pub fn record(&mut self, runs: Vec<Run>, always: &[String]) {
        for run in runs {
            let is_due = self.due(always).any(|name| name == run.name);
            if is_due {
                self.runs.push(run);
            }
        }
    }

    fn named<'a>(&'a self, always: &'a [String]) -> impl Iterator<Item = &'a str> {
        let policy = &self.generation.policy;
        let by_rules = self.decision.guards.iter().filter_map(|guard| policy.guards().get(guard));
        let extra = by_rules.filter(|name| !always.contains(name));
        always.iter().chain(extra).map(String::as_str)
    }

    fn denial(&self) -> Option<&Run> {
        self.runs.iter().find(|run| run.verdict != GuardVerdict::Allow)
    }

    fn standing(&self) -> Option<&(Verdict, String)> {
        self.recalled.as_ref()?.standing.as_ref()
    }

    fn rule(&self) -> String {
        if let Some((_, rule)) = self.standing() {
            return rule.clone();
        }
        match self.denial() {
            Some(run) => format!("guard:{}", run.name),
            None => self.generation.policy.rule_id(self.decision.rule).to_owned(),
        }
    }

    fn reason(&self, question: &Question<'_>) -> String {
        if let Some(reason) = self.recalled.as_ref().and_then(|recalled| recalled.reason.as_ref()) {
            return reason.clone();
        }
        match self.denial() {
            Some(run) if run.reason.is_empty() => format!("guard `{}` denied", run.name),
            Some(run) => run.reason.clone(),
            None => self.generation.policy.reason(&self.decision, question.identity, question.scope).into_owned(),
        }
    }

    fn errors(&self) -> Vec<(&str, &'static str)> {
        if self.standing().is_some() {
            return Vec::new();
        }
        let policy = &self.generation.policy;
        self.decision.errors.iter().map(|error| (policy.rule_id(error.rule), error.code.as_str())).collect()
    }
}
