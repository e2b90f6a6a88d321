//! Policies: scopes, rules, the compiled trie and decisions. No I/O, no threads; time is passed in.
//!
//! | module | holds |
//! |---|---|
//! | `yaml`, `json` → `node` | the two forms of a document, read strictly into one tree with lines |
//! | `document` | the validator; `names`, `pattern`, `time` are the grammars it uses |
//! | `canonical` | the text whose hash is the version |
//! | `compile` | from the document to tables |
//! | `trie`, `table` | which rules match |
//! | `evaluate` | what the matching rules come to |
//! | [`policy`](Policy), [`route`](Route) | what users call |
//! | [`decision`](Decision), [`explain`](Explanation), [`error`](PolicyError) | what they get |

mod canonical;
mod compile;
mod decision;
mod document;
mod error;
mod evaluate;
mod explain;
mod json;
mod names;
mod node;
mod pattern;
mod policy;
mod route;
mod table;
mod time;
mod trie;
mod yaml;

pub use chio_conditions::{Attributes, ErrorCode, EventView, HeaderNames, Kind, Reads, Scratch};
pub use decision::{Decision, Errors, GuardSet, Request, RuleError, RuleIndex, RuleView, Verdict};
pub use error::PolicyError;
pub use explain::{ExplainedError, ExplainedRule, Explanation, Outcome};
pub use policy::Policy;
pub use route::Route;
