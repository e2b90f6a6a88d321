//! What is asked of a policy and what it answers.

use crate::{ErrorCode, EventView, Kind};
use serde::Serialize;

/// The word of a decision, and the effect of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The identity may do it.
    Allow,
    /// It may not.
    Deny,
    /// A human or another authority has to decide.
    Escalate,
    /// Not now.
    Delay,
}

impl Verdict {
    /// The four words, from the strongest to the weakest: deny > escalate > delay > allow.
    pub const BY_STRENGTH: [Self; 4] = [Self::Deny, Self::Escalate, Self::Delay, Self::Allow];

    /// The word as documents and receipts carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Escalate => "escalate",
            Self::Delay => "delay",
        }
    }

    /// The verdict of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::BY_STRENGTH.into_iter().find(|verdict| verdict.as_str() == word)
    }

    /// Position in [`Verdict::BY_STRENGTH`].
    pub(crate) const fn strength(self) -> usize {
        match self {
            Self::Deny => 0,
            Self::Escalate => 1,
            Self::Delay => 2,
            Self::Allow => 3,
        }
    }
}

/// Position of a rule in its policy: capabilities first, those of one identity together, then rules, each in document
/// order. Policies of one version number their rules alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(pub(crate) u32);

impl RuleIndex {
    /// The position, from 0.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who acts.
    pub identity: &'a str,
    /// The permission that is asked for; no wildcards.
    pub scope: &'a str,
    /// The boundary.
    pub kind: Kind,
    /// The time of the decision in Unix milliseconds, the same for all rules.
    pub now: i64,
    /// The inbound event; absent outside a handler.
    pub event: Option<&'a EventView<'a>>,
    /// Name of the tool, at the invoke boundary.
    pub tool: Option<&'a str>,
    /// The call's arguments as JSON text, at the invoke boundary.
    pub arguments: Option<&'a [u8]>,
    /// The outbound event, at the produce boundary.
    pub output: Option<&'a EventView<'a>>,
}

/// What a policy answers to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The word.
    pub verdict: Verdict,
    /// The rule that decided; `None`: no rule matched, or the request itself is malformed.
    pub rule: Option<RuleIndex>,
    /// What erred, in the order of the rules. An empty list owns no memory.
    pub errors: Errors,
    /// The guards that are due; empty if the verdict is deny.
    pub guards: GuardSet,
    /// The decision is good before this time, in Unix milliseconds; `i64::MAX`: until the policy changes.
    pub valid_until: i64,
}

/// One error of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleError {
    /// The rule whose condition erred; `None`: the request itself is malformed.
    pub rule: Option<RuleIndex>,
    /// What went wrong.
    pub code: ErrorCode,
}

/// The errors of a decision; reads as a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub(crate) Vec<RuleError>);

impl std::ops::Deref for Errors {
    type Target = [RuleError];

    fn deref(&self) -> &[RuleError] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a RuleError;
    type IntoIter = std::slice::Iter<'a, RuleError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// A set of guards: bit `i` is the guard at position `i` of [`Policy::guards`](crate::Policy::guards).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GuardSet(pub(crate) u64);

impl GuardSet {
    /// How many guards a policy can name: what fits the set.
    pub const CAPACITY: usize = 64;

    /// Whether no guard is due.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of guards.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the guard at `index` is in the set.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        index < Self::CAPACITY && self.0 >> index & 1 == 1
    }

    /// The positions of the guards, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::CAPACITY).filter(move |index| self.contains(*index))
    }
}

/// What a policy says about one of its rules.
#[derive(Clone, Copy, Debug)]
pub struct RuleView<'a> {
    /// `id` of the rule, or `capability:{identity}:{pattern}`.
    pub id: &'a str,
    /// Its effect.
    pub effect: Verdict,
    /// Its own reason, if it has one.
    pub reason: Option<&'a str>,
    /// The guards that it names.
    pub guards: GuardSet,
    /// Its condition, if it has one.
    pub when: Option<&'a str>,
    /// Start of its window in Unix milliseconds, if it has one.
    pub not_before: Option<i64>,
    /// End of its window in Unix milliseconds (not part of it), if it has one.
    pub expires_at: Option<i64>,
}
