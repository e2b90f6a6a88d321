//! Conditions of rules: CEL with limits, compiled to typed operations over one pass of the JSON.
//!
//! A condition is a CEL expression that says whether a rule holds. [`ConditionSet::compile`] checks the text against
//! [`LIMITS`], has the `cel` crate parse it, and lowers the tree to typed operations; what conditions do not have is
//! refused there. [`ConditionSet::eval`] reads the JSON texts that the condition needs in one pass, which validates
//! them to the last byte and keeps where the needed members are, and evaluates the operations over them.
//!
//! | module | holds |
//! |---|---|
//! | `env` | what a condition can see |
//! | `set` | compiled conditions and their evaluation: the border of the crate |
//! | `reads`, `header_names` | which parts of the environment a condition reads |
//! | `limits`, `tokens` | what a condition may cost, checked before it is parsed |
//! | `parse` | the `cel` parser behind the limits |
//! | `lower`, `names`, `calls` | from the parser's tree to typed operations |
//! | `program` | the typed operations |
//! | `cost` | how many steps a condition can take on an event |
//! | `eval`, `compare`, `functions` | what the operations mean |
//! | `datum`, `literal` | values: of an evaluation, and owned |
//! | [`json`] | strict JSON, read in one pass |
//! | `scratch` | what the evaluations of one request share |

mod calls;
mod compare;
mod cost;
mod datum;
mod env;
mod error;
mod eval;
mod functions;
mod header_names;
pub mod json;
mod limits;
mod literal;
mod lower;
mod names;
mod parse;
mod program;
mod reads;
mod scratch;
mod set;
mod tokens;

pub use env::{Attributes, Env, EventView, Kind};
pub use error::{CompileError, ErrorCode};
pub use header_names::HeaderNames;
pub use limits::{LIMITS, Limits};
pub use reads::Reads;
pub use scratch::Scratch;
pub use set::{Condition, ConditionSet};
