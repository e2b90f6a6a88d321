//! What can go wrong: when a condition is compiled, and when it is evaluated.

use std::fmt;

/// Why a condition gave no answer. The list is fixed: receipts carry [`ErrorCode::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A variable that does not exist at this boundary: `event` outside a handler, `tool` and `arguments` other than
    /// at invoke, `output` other than at produce.
    NoSuchVariable,
    /// A member, header, attribute or map key that is not there.
    NoSuchField,
    /// A list index outside the list.
    IndexOutOfRange,
    /// An operand of a type that the operator or function does not take.
    TypeMismatch,
    /// The condition's result is not a bool.
    NotBool,
    /// An integer operation whose result does not fit.
    Overflow,
    /// An integer division or remainder by zero.
    DivisionByZero,
    /// A conversion of a value that has no such form, as `int("x")` or `timestamp("noon")`.
    InvalidArgument,
    /// The value or the arguments are not JSON (RFC 8259) to the last byte.
    NotJson,
    /// The JSON text is not valid UTF-8, or names half of a surrogate pair.
    NotUtf8,
    /// An object of the JSON text has two members of one name.
    DuplicateMember,
    /// The JSON text nests deeper than the limit.
    JsonTooDeep,
    /// A number of the JSON text is an integer outside i64 and u64, or a float outside double.
    NumberOutOfRange,
    /// The condition could take more steps on this event than the limit.
    StepLimit,
    /// The scope of the request is malformed or has wildcards, so no rule was asked.
    InvalidScope,
    /// The identity of the request is malformed, so no rule was asked.
    InvalidIdentity,
    /// The interpreter failed in a way that it should not. Reported like any other error; nothing is granted.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of declaration.
    pub const ALL: [Self; 17] = [
        Self::NoSuchVariable,
        Self::NoSuchField,
        Self::IndexOutOfRange,
        Self::TypeMismatch,
        Self::NotBool,
        Self::Overflow,
        Self::DivisionByZero,
        Self::InvalidArgument,
        Self::NotJson,
        Self::NotUtf8,
        Self::DuplicateMember,
        Self::JsonTooDeep,
        Self::NumberOutOfRange,
        Self::StepLimit,
        Self::InvalidScope,
        Self::InvalidIdentity,
        Self::Internal,
    ];

    /// The code as decisions and receipts carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchVariable => "no_such_variable",
            Self::NoSuchField => "no_such_field",
            Self::IndexOutOfRange => "index_out_of_range",
            Self::TypeMismatch => "type_mismatch",
            Self::NotBool => "not_bool",
            Self::Overflow => "overflow",
            Self::DivisionByZero => "division_by_zero",
            Self::InvalidArgument => "invalid_argument",
            Self::NotJson => "not_json",
            Self::NotUtf8 => "not_utf8",
            Self::DuplicateMember => "duplicate_member",
            Self::JsonTooDeep => "json_too_deep",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::StepLimit => "step_limit",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidIdentity => "invalid_identity",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why a text is not an acceptable condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// What is wrong and what to write instead: lower case, no full stop, parts of the text in backticks.
    pub message: String,
    /// Where in the text, in bytes from its start, when it is known.
    pub offset: Option<usize>,
}

impl CompileError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: None }
    }

    pub(crate) fn at(offset: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), offset: Some(offset) }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(formatter, "{} (at byte {offset})", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

impl std::error::Error for CompileError {}
