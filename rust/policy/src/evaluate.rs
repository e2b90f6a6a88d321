//! From the rules that match to a decision.
//!
//! Deny > escalate > delay > allow; no match is a deny. A rule counts when the time is inside its window and its
//! condition holds. A condition that errs is recorded; an allow rule that errs does not grant, a rule of any other
//! effect that errs denies. Within one effect the first rule of the policy's order decides. All rules that match are
//! evaluated, whatever the others gave, so that errors and guards do not depend on the order of evaluation.

use crate::compile::Compiled;
use crate::decision::{Decision, Errors, GuardSet, Request, RuleError, RuleIndex, Verdict};
use crate::explain::Outcome;
use crate::trie::{Leaf, NONE};
use chio_conditions::{Attributes, Env, ErrorCode, Reads, Scratch};

/// How long a decision holds whose conditions read `now`, in milliseconds.
const NOW_HOLDS: i64 = 1000;

/// What one rule came to.
pub(crate) struct Judged {
    pub outcome: Outcome,
    pub error: Option<ErrorCode>,
}

/// One request while its rules are evaluated.
pub(crate) struct Asking<'a> {
    compiled: &'a Compiled,
    request: &'a Request<'a>,
    scratch: &'a mut Scratch,
    /// Looked up before the first condition; until then the scratch space holds another request.
    attributes: Option<&'a Attributes>,
    none: &'a Attributes,
}

impl<'a> Asking<'a> {
    pub fn new(
        compiled: &'a Compiled,
        request: &'a Request<'a>,
        scratch: &'a mut Scratch,
        none: &'a Attributes,
    ) -> Self {
        Self { compiled, request, scratch, attributes: None, none }
    }

    /// Evaluates one rule.
    pub fn judge(&mut self, index: u32) -> Judged {
        let Some(rule) = self.compiled.rules.get(index as usize) else {
            return Judged { outcome: Outcome::Error, error: Some(ErrorCode::Internal) };
        };
        if self.request.now < rule.not_before || self.request.now >= rule.expires_at && rule.expires_at != i64::MAX {
            return Judged { outcome: Outcome::OutsideWindow, error: None };
        }
        match rule.condition.map(|condition| self.condition(condition)) {
            None | Some(Ok(true)) => Judged { outcome: Outcome::True, error: None },
            Some(Ok(false)) => Judged { outcome: Outcome::False, error: None },
            Some(Err(code)) => Judged { outcome: Outcome::Error, error: Some(code) },
        }
    }

    fn condition(&mut self, condition: u32) -> Result<bool, ErrorCode> {
        let attributes = match self.attributes {
            Some(attributes) => attributes,
            None => {
                self.scratch.reset();
                let found = self.compiled.attributes.get(self.request.identity).unwrap_or(self.none);
                *self.attributes.insert(found)
            }
        };
        let request = self.request;
        let env = Env {
            identity: request.identity,
            attributes,
            scope: request.scope,
            kind: request.kind,
            now: request.now,
            event: request.event,
            tool: request.tool,
            arguments: request.arguments,
            output: request.output,
        };
        self.compiled.conditions.eval(condition as usize, &env, self.scratch)
    }
}

/// What the rules without condition and window add up to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// The first rule of each verdict, by strength, or [`NONE`].
    first: [u32; 4],
    guards: GuardSet,
}

impl Fixed {
    pub const NOTHING: Self = Self { first: [NONE; 4], guards: GuardSet(0) };

    /// Adds the rules of a leaf that have no condition and no window.
    pub fn add(&mut self, leaf: &Leaf) {
        for (first, added) in self.first.iter_mut().zip(leaf.fixed) {
            *first = added.min(*first);
        }
        self.guards.0 |= leaf.guards.0;
    }
}

/// What the matching rules add up to.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The sum of the rules without condition and window, and of the others that count.
    pub sum: Fixed,
    errors: Vec<RuleError>,
    valid_until: i64,
}

impl Tally {
    /// Starts with the rules without condition and window, or with nothing.
    pub fn new(sum: Fixed) -> Self {
        Self { sum, errors: Vec::new(), valid_until: i64::MAX }
    }

    /// Adds one rule.
    pub fn add(&mut self, asking: &mut Asking<'_>, index: u32) -> Judged {
        let judged = asking.judge(index);
        let Some(rule) = asking.compiled.rules.get(index as usize) else { return judged };
        let now = asking.request.now;
        let boundary = if now < rule.not_before { rule.not_before } else { rule.expires_at };
        if boundary > now {
            self.valid_until = self.valid_until.min(boundary);
        }
        if judged.outcome != Outcome::OutsideWindow && rule.reads.contains(Reads::NOW) {
            self.valid_until = self.valid_until.min(now.saturating_add(NOW_HOLDS));
        }
        let counts_as = match judged.outcome {
            Outcome::True => Some(rule.effect),
            Outcome::Error if rule.effect != Verdict::Allow => Some(Verdict::Deny),
            _ => None,
        };
        if let Some(first) = counts_as.and_then(|verdict| self.sum.first.get_mut(verdict.strength())) {
            *first = index.min(*first);
        }
        if judged.outcome == Outcome::True {
            self.sum.guards.0 |= rule.guards.0;
        }
        if let Some(code) = judged.error {
            self.errors.push(RuleError { rule: Some(RuleIndex(index)), code });
        }
        judged
    }

    /// The decision.
    pub fn decide(mut self) -> Decision {
        if self.errors.len() > 1 {
            // A rule that matches with several of its patterns is met several times.
            self.errors.sort_unstable();
            self.errors.dedup();
        }
        let strongest = Verdict::BY_STRENGTH.into_iter().zip(self.sum.first).find(|(_, rule)| *rule != NONE);
        let (verdict, rule) =
            strongest.map_or((Verdict::Deny, None), |(verdict, rule)| (verdict, Some(RuleIndex(rule))));
        Decision {
            verdict,
            rule,
            errors: Errors(self.errors),
            guards: if verdict == Verdict::Deny { GuardSet::default() } else { self.sum.guards },
            valid_until: self.valid_until,
        }
    }
}

/// The decision about a request that is malformed itself.
pub(crate) fn malformed(code: ErrorCode) -> Decision {
    Decision {
        verdict: Verdict::Deny,
        rule: None,
        errors: Errors(vec![RuleError { rule: None, code }]),
        guards: GuardSet::default(),
        valid_until: i64::MAX,
    }
}
