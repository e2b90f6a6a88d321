//! Conditions as the rest of the engine uses them.

use crate::{CompileError, Env, ErrorCode, Reads};

/// Space that evaluation reuses: the scanned fields of one request.
///
/// Call [`Scratch::reset`] for every request; between two resets every evaluation must get the same environment.
#[derive(Debug, Default)]
pub struct Scratch {}

impl Scratch {
    /// Empty scratch space.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was scanned, keeps the memory.
    pub fn reset(&mut self) {}
}

/// One compiled condition: immutable, shareable between threads.
#[derive(Debug)]
pub struct Condition(ConditionSet);

impl Condition {
    /// Compiles the text of a condition.
    ///
    /// # Errors
    /// When the text breaks a limit, is not CEL, or uses what conditions do not have.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        ConditionSet::compile(&[text])
            .map(Self)
            .map_err(|(_, error)| error)
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// When the result is an error or not a bool.
    pub fn eval(&self, env: &Env<'_>, scratch: &mut Scratch) -> Result<bool, ErrorCode> {
        self.0.eval(0, env, scratch)
    }

    /// What the condition reads.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.0.reads(0)
    }

    /// Whether it runs as a typed predicate; otherwise the interpreter evaluates it.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.0.is_compiled(0)
    }
}

/// Conditions that are compiled together share one table of fields, so that one pass over the JSON serves them all.
#[derive(Debug, Default)]
pub struct ConditionSet {
    conditions: Vec<Reads>,
}

impl ConditionSet {
    /// Compiles the texts; their position is the index that [`ConditionSet::eval`] takes.
    ///
    /// # Errors
    /// The index of the first text that is not acceptable, and why.
    pub fn compile(texts: &[&str]) -> Result<Self, (usize, CompileError)> {
        let _ = texts;
        Ok(Self::default())
    }

    /// Whether the condition at `index` holds.
    ///
    /// # Errors
    /// When the result is an error or not a bool, or there is no such condition ([`ErrorCode::Internal`]).
    pub fn eval(
        &self,
        index: usize,
        env: &Env<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, ErrorCode> {
        let _ = (index, env, scratch);
        Err(ErrorCode::Internal)
    }

    /// What the condition at `index` reads.
    #[must_use]
    pub fn reads(&self, index: usize) -> Reads {
        self.conditions.get(index).copied().unwrap_or_default()
    }

    /// Whether the condition at `index` runs as a typed predicate.
    #[must_use]
    pub fn is_compiled(&self, index: usize) -> bool {
        self.conditions.get(index).is_some()
    }

    /// Number of conditions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conditions.len()
    }

    /// Whether there are no conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }
}
