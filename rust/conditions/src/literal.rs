//! Owned data: constants of a condition, attributes of an identity.

use serde_json::{Map, Number, Value};

/// A value that outlives an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Literal>),
    Map(Vec<(Literal, Literal)>),
}

impl Literal {
    pub(crate) fn from_object(members: &Map<String, Value>) -> Self {
        Self::Map(members.iter().map(|(name, value)| (Self::Str(name.clone()), Self::from_json(value))).collect())
    }

    fn from_json(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::from_number(number),
            Value::String(text) => Self::Str(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Value::Object(members) => Self::from_object(members),
        }
    }

    fn from_number(number: &Number) -> Self {
        if let Some(value) = number.as_i64() {
            return Self::Int(value);
        }
        match number.as_u64() {
            Some(value) => Self::Uint(value),
            None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// Number of values, nested ones included.
    pub(crate) fn values(&self) -> u64 {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::values).sum::<u64>(),
            Self::Map(entries) => 1 + entries.iter().map(|(key, value)| key.values() + value.values()).sum::<u64>(),
            Self::Str(text) => 1 + text.len() as u64 / 64,
            _ => 1,
        }
    }
}
