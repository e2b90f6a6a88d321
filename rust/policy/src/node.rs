//! The tree that both readers produce: values with the line where they stand.

use crate::error::{Fault, shown};

/// Nesting of a document.
pub(crate) const MAX_DEPTH: usize = 32;
/// Length of a document in bytes.
pub(crate) const MAX_LENGTH: usize = 64 << 20;

/// A value and its line, counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub line: u32,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX`.
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A member of a map. No two members of one map have the same name.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub name: String,
    /// The line of the name.
    pub line: u32,
    pub node: Node,
}

impl Value {
    /// The kind of value as messages name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::Uint(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The text, or the fault that it is something else.
    pub fn into_text(self, what: &str) -> Result<String, Fault> {
        match self.value {
            Value::Text(text) => Ok(text),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Bool(_) => Err(Fault::new(
                self.line,
                format!("{what} is {}; put it in quotes to make it a string", self.value.kind()),
            )),
            other => Err(Fault::new(self.line, format!("{what} is {}; write a string", other.kind()))),
        }
    }

    /// The entries of a list with at least one.
    pub fn into_list(self, what: &str) -> Result<Vec<Self>, Fault> {
        match self.value {
            Value::List(list) if list.is_empty() => {
                Err(Fault::new(self.line, format!("{what} is an empty list; write at least one entry or remove it")))
            }
            Value::List(list) => Ok(list),
            other => Err(Fault::new(self.line, format!("{what} is {}; write a list, as `[a, b]`", other.kind()))),
        }
    }

    /// The members of a map.
    pub fn into_map(self, what: &str) -> Result<Vec<Member>, Fault> {
        match self.value {
            Value::Map(members) => Ok(members),
            other => Err(Fault::new(self.line, format!("{what} is {}; write a mapping", other.kind()))),
        }
    }
}

/// Refuses two members of one name.
pub(crate) fn no_duplicates(members: &[Member]) -> Result<(), Fault> {
    let mut seen = std::collections::HashMap::with_capacity(members.len());
    for member in members {
        if let Some(first) = seen.insert(member.name.as_str(), member.line) {
            let name = shown(&member.name);
            let message = format!("member `{name}` is there twice, first in line {first}; keep one of them");
            return Err(Fault::new(member.line, message));
        }
    }
    Ok(())
}

/// Reads a number in the form that JSON and YAML share; `None` if the text has another form.
pub(crate) fn number(text: &str) -> Option<Result<Value, String>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let integer: &str = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    let rest = digits.get(integer.len()..).unwrap_or_default();
    let leading_zero = integer.len() > 1 && integer.starts_with('0');
    if integer.is_empty() || leading_zero || !integer.bytes().all(|b| b.is_ascii_digit()) || !is_fraction(rest) {
        return None;
    }
    let out_of_range = || format!("number `{}` is out of range; write integers within i64 or u64", shown(text));
    Some(if rest.is_empty() {
        let signed = text.parse().map(Value::Int);
        signed.or_else(|_| text.parse().map(Value::Uint)).map_err(|_| out_of_range())
    } else {
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => Err(out_of_range()),
        }
    })
}

/// Whether a text is empty or the fraction and exponent of a JSON number.
fn is_fraction(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (fraction, exponent) = match text.find(['e', 'E']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    let fraction_fits = fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits);
    let exponent_fits = exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)));
    fraction_fits && exponent_fits
}
