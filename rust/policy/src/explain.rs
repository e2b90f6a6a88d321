//! Why a decision is what it is, for people.

use crate::decision::{Decision, Request, RuleIndex, Verdict};
use crate::evaluate::{Asking, Fixed, Judged, Tally, malformed};
use crate::policy::Policy;
use chio_conditions::Scratch;
use serde::Serialize;
use std::fmt::Write as _;

/// A decision with every rule that matched the identity and the scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Who asked.
    pub identity: String,
    /// The permission that was asked for.
    pub scope: String,
    /// The boundary.
    pub kind: &'static str,
    /// The time of the decision in Unix milliseconds.
    pub now: i64,
    /// The policy's version in hexadecimal.
    pub policy_version: String,
    /// The word.
    pub verdict: Verdict,
    /// Id of the rule that decided; empty if none did.
    pub rule: String,
    /// The reason that the decision carries.
    pub reason: String,
    /// One sentence: which rule decided, and why it and no other.
    pub why: String,
    /// Names of the guards that are due.
    pub guards: Vec<String>,
    /// What erred.
    pub errors: Vec<ExplainedError>,
    /// End of the decision's validity in Unix milliseconds; absent: until the policy changes.
    pub valid_until: Option<i64>,
    /// Every rule that matched the identity and the scope, in the order of the policy.
    pub rules: Vec<ExplainedRule>,
}

/// One error of an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedError {
    /// Id of the rule; empty if the request itself is malformed.
    pub rule: String,
    /// The error code.
    pub code: &'static str,
}

/// One rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRule {
    /// Its id.
    pub id: String,
    /// Its effect.
    pub effect: Verdict,
    /// Its own reason, if it has one.
    pub reason: Option<String>,
    /// The text of its condition, if it has one.
    pub when: Option<String>,
    /// What its condition gave.
    pub outcome: Outcome,
    /// The error code, if it erred.
    pub error: Option<&'static str>,
    /// The guards that it names.
    pub guards: Vec<String>,
    /// Start of its window in Unix milliseconds.
    pub not_before: Option<i64>,
    /// End of its window in Unix milliseconds, not part of it.
    pub expires_at: Option<i64>,
    /// Whether it is the rule that decided.
    pub decided: bool,
}

/// What a matching rule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has no condition, or its condition is true.
    True,
    /// Its condition is false.
    False,
    /// Its condition erred.
    Error,
    /// The time is outside its window; its condition was not evaluated.
    OutsideWindow,
}

impl Policy {
    /// Why the decision about a request is what it is: every rule that matched, what its condition gave, and which
    /// one decided.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let mut judged = Vec::new();
        let trie = &self.compiled.trie;
        let mut matching = Vec::new();
        let walked = trie.walk(request.identity, request.scope, &mut |leaf| matching.extend_from_slice(trie.all(leaf)));
        matching.sort_unstable();
        matching.dedup();
        let mut scratch = Scratch::new();
        let mut asking = Asking::new(&self.compiled, request, &mut scratch, &self.no_attributes);
        let mut tally = Tally::new(Fixed::NOTHING);
        judged.extend(matching.into_iter().map(|rule| (RuleIndex(rule), tally.add(&mut asking, rule))));
        let decision = walked.map_or_else(malformed, |_| tally.decide());
        let rules = judged.iter().filter_map(|(rule, judged)| self.explain_rule(*rule, judged, &decision)).collect();
        let errors = decision.errors.iter();
        Explanation {
            identity: request.identity.to_owned(),
            scope: request.scope.to_owned(),
            kind: request.kind.as_str(),
            now: request.now,
            policy_version: hexadecimal(&self.version()),
            verdict: decision.verdict,
            rule: self.rule_id(decision.rule).to_owned(),
            reason: self.reason(&decision, request.identity, request.scope).into_owned(),
            why: self.why(&decision, &judged),
            guards: self.guard_names(decision.guards).map(str::to_owned).collect(),
            errors: errors
                .map(|error| ExplainedError { rule: self.rule_id(error.rule).to_owned(), code: error.code.as_str() })
                .collect(),
            valid_until: (decision.valid_until != i64::MAX).then_some(decision.valid_until),
            rules,
        }
    }

    fn explain_rule(&self, index: RuleIndex, judged: &Judged, decision: &Decision) -> Option<ExplainedRule> {
        let view = self.rule(index)?;
        Some(ExplainedRule {
            id: view.id.to_owned(),
            effect: view.effect,
            reason: view.reason.map(str::to_owned),
            when: view.when.map(str::to_owned),
            outcome: judged.outcome,
            error: judged.error.map(chio_conditions::ErrorCode::as_str),
            guards: self.guard_names(view.guards).map(str::to_owned).collect(),
            not_before: view.not_before,
            expires_at: view.expires_at,
            decided: decision.rule == Some(index),
        })
    }

    fn why(&self, decision: &Decision, judged: &[(RuleIndex, Judged)]) -> String {
        let Some(index) = decision.rule else {
            return match judged.len() {
                0 if !decision.errors.is_empty() => "the request itself is malformed, so no rule was asked".to_owned(),
                0 => "no rule matches the identity and the scope, and what nothing allows is denied".to_owned(),
                1 => "the one rule that matches does not grant, and what nothing allows is denied".to_owned(),
                count => format!("none of the {count} rules that match grants, and what nothing allows is denied"),
            };
        };
        let Some(view) = self.rule(index) else { return String::new() };
        let (id, effect, verdict) = (view.id, view.effect.as_str(), decision.verdict.as_str());
        let erred = judged.iter().any(|(rule, judged)| *rule == index && judged.outcome == Outcome::Error);
        let mut why = if erred {
            format!("rule `{id}` decided, because {effect} rules deny when their condition errs")
        } else {
            format!("rule `{id}` decided, because it is the first rule of the policy that says {verdict}")
        };
        if decision.verdict == Verdict::Allow {
            why.push_str(" and nothing stronger applies");
        } else if judged.len() > 1 {
            why.push_str("; the order is deny, escalate, delay, allow");
        }
        why
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
