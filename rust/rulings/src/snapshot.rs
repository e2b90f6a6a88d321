//! What is told of a ruling.

use std::sync::Arc;

use crate::question::Generation;
use crate::ruling::Run;

/// A ruling as it is told to people and to other languages. It owns what it says, so that whoever tells it holds no lock.
#[derive(Debug)]
pub struct Snapshot {
    /// Who asked.
    pub identity: String,
    /// The permission asked for.
    pub scope: String,
    /// The boundary.
    pub kind: &'static str,
    /// The word.
    pub verdict: &'static str,
    /// The rule that decided, or empty.
    pub rule: String,
    /// A sentence.
    pub reason: String,
    /// Rules that erred: (rule, code).
    pub errors: Vec<(String, &'static str)>,
    /// Guards that are due or ran.
    pub guards: Vec<String>,
    /// The policy that decided.
    pub generation: Arc<Generation>,
    /// When it was decided, Unix ms.
    pub timestamp: i64,
    /// When it has to be made again, Unix ms.
    pub valid_until: i64,
    /// The receipt, if one was issued.
    pub receipt_id: Option<String>,
    /// What guards said.
    pub runs: Vec<Run>,
}
