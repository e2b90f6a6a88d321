//! Policies: scopes, rules, the compiled trie and decisions.

mod decision;
mod error;
mod explain;
mod policy;

pub use chio_conditions::{Attributes, ErrorCode, EventView, Kind, Reads, Scratch};
pub use decision::{Decision, Errors, GuardSet, Request, RuleError, RuleIndex, RuleView, Verdict};
pub use error::PolicyError;
pub use explain::{ExplainedError, ExplainedRule, Explanation, Outcome};
pub use policy::{Policy, Route};
