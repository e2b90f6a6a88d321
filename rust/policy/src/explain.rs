//! Why a decision is what it is, for people.

use crate::Verdict;
use serde::Serialize;

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
