//! Why a document is not a policy.

use std::fmt;

/// Why a document was refused: where, what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Where the document came from, usually a file name.
    pub source: String,
    /// The line, counted from 1, when it is known.
    pub line: Option<u32>,
    /// The id of the rule, when the fault is inside a rule that has one.
    pub rule: Option<String>,
    /// What is wrong and what to write instead: lower case, no full stop, parts of the document in backticks.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(rule) = &self.rule {
            write!(formatter, ": rule `{rule}`")?;
        }
        write!(formatter, ": {}", self.message)
    }
}

impl std::error::Error for PolicyError {}

/// A fault at a line, before the source and the rule are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub line: u32,
    pub rule: Option<String>,
    pub message: String,
}

impl Fault {
    pub fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, rule: None, message: message.into() }
    }

    /// Names the rule, unless a rule is named already.
    pub fn in_rule(mut self, rule: &str) -> Self {
        self.rule.get_or_insert_with(|| rule.to_owned());
        self
    }

    pub fn at_source(self, source: &str) -> PolicyError {
        let line = (self.line > 0).then_some(self.line);
        PolicyError { source: source.to_owned(), line, rule: self.rule, message: self.message }
    }
}

/// User input as messages show it: cut to a length that fits a line, without control characters.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut cut: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        cut.push('…');
    }
    cut
}
