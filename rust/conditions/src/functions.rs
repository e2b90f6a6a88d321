//! The arithmetic operators and the functions of conditions.

use std::borrow::Cow;

use crate::ErrorCode;
use crate::datum::Datum;

/// Strings and lists that a condition builds may not grow beyond this many bytes or elements.
const MAX_BUILT: usize = 1 << 20;

type Outcome<'a> = Result<Datum<'a>, ErrorCode>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A test of one string by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StringTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    Int,
    Uint,
    Double,
    Str,
    Bytes,
    Bool,
    Dyn,
    Type,
}

impl Function {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "size" => Self::Size,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::Str,
            "bytes" => Self::Bytes,
            "bool" => Self::Bool,
            "dyn" => Self::Dyn,
            "type" => Self::Type,
            _ => return None,
        })
    }

    pub(crate) fn apply<'a>(self, operand: Datum<'a>) -> Outcome<'a> {
        match self {
            Self::Size => size(&operand).map(Datum::Int),
            Self::Int => to_int(&operand).map(Datum::Int),
            Self::Uint => to_uint(&operand).map(Datum::Uint),
            Self::Double => to_double(&operand).map(Datum::Double),
            Self::Str => to_string(operand).map(Datum::Str),
            Self::Bytes => to_bytes(operand).map(Datum::Bytes),
            Self::Bool => to_bool(&operand).map(Datum::Bool),
            Self::Dyn => Ok(operand),
            Self::Type => Ok(Datum::Type(operand.type_name())),
        }
    }
}

impl StringTest {
    pub(crate) fn apply(self, subject: &Datum<'_>, argument: &Datum<'_>) -> Result<bool, ErrorCode> {
        let (Datum::Str(subject), Datum::Str(argument)) = (subject, argument) else {
            return Err(ErrorCode::TypeMismatch);
        };
        Ok(match self {
            Self::Contains => subject.contains(argument.as_ref()),
            Self::StartsWith => subject.starts_with(argument.as_ref()),
            Self::EndsWith => subject.ends_with(argument.as_ref()),
        })
    }
}

/// `-operand`
pub(crate) fn negate(operand: &Datum<'_>) -> Outcome<'static> {
    match operand {
        Datum::Int(value) => value.checked_neg().map(Datum::Int).ok_or(ErrorCode::Overflow),
        Datum::Double(value) => Ok(Datum::Double(-value)),
        _ => Err(ErrorCode::TypeMismatch),
    }
}

impl Arithmetic {
    /// The operator on two operands of one type. `builds` says whether `+` may join strings, bytes and lists.
    pub(crate) fn apply<'a>(self, left: Datum<'a>, right: Datum<'a>, builds: bool) -> Outcome<'a> {
        match (&left, &right) {
            (Datum::Int(left), Datum::Int(right)) => self.ints(*left, *right).map(Datum::Int),
            (Datum::Uint(left), Datum::Uint(right)) => self.uints(*left, *right).map(Datum::Uint),
            (Datum::Double(left), Datum::Double(right)) => self.doubles(*left, *right).map(Datum::Double),
            _ if self == Self::Add && builds => join(left, right),
            _ => Err(ErrorCode::TypeMismatch),
        }
    }

    fn ints(self, left: i64, right: i64) -> Result<i64, ErrorCode> {
        if right == 0 && matches!(self, Self::Divide | Self::Remainder) {
            return Err(ErrorCode::DivisionByZero);
        }
        let result = match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::Remainder => left.checked_rem(right),
        };
        result.ok_or(ErrorCode::Overflow)
    }

    fn uints(self, left: u64, right: u64) -> Result<u64, ErrorCode> {
        if right == 0 && matches!(self, Self::Divide | Self::Remainder) {
            return Err(ErrorCode::DivisionByZero);
        }
        let result = match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::Remainder => left.checked_rem(right),
        };
        result.ok_or(ErrorCode::Overflow)
    }

    fn doubles(self, left: f64, right: f64) -> Result<f64, ErrorCode> {
        match self {
            Self::Add => Ok(left + right),
            Self::Subtract => Ok(left - right),
            Self::Multiply => Ok(left * right),
            Self::Divide => Ok(left / right),
            Self::Remainder => Err(ErrorCode::TypeMismatch),
        }
    }
}

fn join<'a>(left: Datum<'a>, right: Datum<'a>) -> Outcome<'a> {
    match (left, right) {
        (Datum::Str(left), Datum::Str(right)) => {
            check_built(left.len() + right.len())?;
            Ok(Datum::Str(left + right))
        }
        (Datum::Bytes(left), Datum::Bytes(right)) => {
            check_built(left.len() + right.len())?;
            Ok(Datum::Bytes([left, right].concat().into()))
        }
        (left, right) if left.is_list() && right.is_list() => {
            let mut items = Vec::new();
            for list in [left, right] {
                list.each_element(&mut |item| {
                    items.push(item);
                    check_built(items.len())?;
                    Ok(true)
                })?;
            }
            Ok(Datum::List(items.into()))
        }
        _ => Err(ErrorCode::TypeMismatch),
    }
}

fn check_built(size: usize) -> Result<(), ErrorCode> {
    if size > MAX_BUILT { Err(ErrorCode::StepLimit) } else { Ok(()) }
}

/// Code points of a string, bytes of bytes, elements of a list, entries of a map.
fn size(operand: &Datum<'_>) -> Result<i64, ErrorCode> {
    let size = match operand {
        Datum::Str(text) => text.chars().count(),
        Datum::Bytes(bytes) => bytes.len(),
        container => return container.count(),
    };
    i64::try_from(size).map_err(|_| ErrorCode::Overflow)
}

fn to_int(operand: &Datum<'_>) -> Result<i64, ErrorCode> {
    match operand {
        Datum::Int(value) => Ok(*value),
        Datum::Uint(value) => i64::try_from(*value).map_err(|_| ErrorCode::Overflow),
        // Both bounds are exclusive in the specification; i64::MAX as a double is 2^63.
        Datum::Double(value) if *value > i64::MIN as f64 && *value < i64::MAX as f64 => Ok(*value as i64),
        Datum::Double(_) => Err(ErrorCode::Overflow),
        Datum::Str(text) => text.parse().map_err(|_| ErrorCode::InvalidArgument),
        _ => Err(ErrorCode::TypeMismatch),
    }
}

fn to_uint(operand: &Datum<'_>) -> Result<u64, ErrorCode> {
    match operand {
        Datum::Uint(value) => Ok(*value),
        Datum::Int(value) => u64::try_from(*value).map_err(|_| ErrorCode::Overflow),
        Datum::Double(value) if *value >= 0.0 && *value < u64::MAX as f64 => Ok(*value as u64),
        Datum::Double(_) => Err(ErrorCode::Overflow),
        Datum::Str(text) => text.parse().map_err(|_| ErrorCode::InvalidArgument),
        _ => Err(ErrorCode::TypeMismatch),
    }
}

fn to_double(operand: &Datum<'_>) -> Result<f64, ErrorCode> {
    match operand {
        Datum::Double(value) => Ok(*value),
        Datum::Int(value) => Ok(*value as f64),
        Datum::Uint(value) => Ok(*value as f64),
        Datum::Str(text) => text.parse().map_err(|_| ErrorCode::InvalidArgument),
        _ => Err(ErrorCode::TypeMismatch),
    }
}

fn to_bool(operand: &Datum<'_>) -> Result<bool, ErrorCode> {
    match operand {
        Datum::Bool(value) => Ok(*value),
        Datum::Str(text) => match text.as_ref() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(ErrorCode::InvalidArgument),
        },
        _ => Err(ErrorCode::TypeMismatch),
    }
}

fn to_string(operand: Datum<'_>) -> Result<Cow<'_, str>, ErrorCode> {
    match operand {
        Datum::Str(text) => Ok(text),
        Datum::Bool(value) => Ok(Cow::Borrowed(if value { "true" } else { "false" })),
        Datum::Int(value) => Ok(Cow::Owned(value.to_string())),
        Datum::Uint(value) => Ok(Cow::Owned(value.to_string())),
        Datum::Double(value) => Ok(Cow::Owned(value.to_string())),
        Datum::Bytes(bytes) => {
            String::from_utf8(bytes.into_owned()).map(Cow::Owned).map_err(|_| ErrorCode::InvalidArgument)
        }
        _ => Err(ErrorCode::TypeMismatch),
    }
}

fn to_bytes(operand: Datum<'_>) -> Result<Cow<'_, [u8]>, ErrorCode> {
    match operand {
        Datum::Bytes(bytes) => Ok(bytes),
        Datum::Str(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
        Datum::Str(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
        _ => Err(ErrorCode::TypeMismatch),
    }
}
