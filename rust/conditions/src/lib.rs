//! Conditions of rules: CEL with limits, typed predicates over one pass of the JSON.
//!
//! | module | holds |
//! |---|---|
//! | [`env`](Env) | what a condition can see |
//! | [`set`](ConditionSet) | compiled conditions and their evaluation |
//! | [`reads`](Reads) | which parts of the environment a condition reads |
//! | [`limits`](LIMITS) | what a condition may cost |
//! | [`error`](ErrorCode) | what can go wrong |

mod env;
mod error;
mod limits;
mod reads;
mod set;

pub use env::{Attributes, Env, EventView, Kind};
pub use error::{CompileError, ErrorCode};
pub use limits::{LIMITS, Limits};
pub use reads::Reads;
pub use set::{Condition, ConditionSet, Scratch};
