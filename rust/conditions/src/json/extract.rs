//! One member of a text as a value of its own, for tools and for tests that compare with other parsers.

use serde_json::{Map, Number, Value};

use super::{Plan, Scan, Slot, elements, members};
use crate::ErrorCode;
use crate::datum::Datum;

/// The member of `text` at `path` as conditions see it; the empty path is the whole document, `None` is a member that
/// is not there.
///
/// # Errors
/// The code of the first rule of strict JSON that the text breaks.
pub fn extract(text: &[u8], path: &[&str]) -> Result<Option<Value>, ErrorCode> {
    let mut plan = Plan::default();
    let slot = plan.slot(path);
    let mut scan = Scan::default();
    scan.scan(text, &plan)?;
    let part = |start, end| text.get(start..end).ok_or(ErrorCode::Internal);
    Ok(Some(match scan.slot(slot) {
        Slot::NoParent | Slot::Missing | Slot::NotAnObject => return Ok(None),
        Slot::Null => Value::Null,
        Slot::Bool(value) => Value::Bool(value),
        Slot::Int(value) => value.into(),
        Slot::Uint(value) => value.into(),
        Slot::Double(value) => double(value)?,
        Slot::Str(start, end) => string(part(start, end)?)?,
        Slot::Unescaped(start, end) => string(scan.unescaped(start, end))?,
        Slot::List(start, end) => tree(Datum::JsonList(part(start, end)?))?,
        Slot::Map(start, end) => tree(Datum::JsonMap(part(start, end)?))?,
    }))
}

fn tree(datum: Datum<'_>) -> Result<Value, ErrorCode> {
    Ok(match datum {
        Datum::Null => Value::Null,
        Datum::Bool(value) => Value::Bool(value),
        Datum::Int(value) => value.into(),
        Datum::Uint(value) => value.into(),
        Datum::Double(value) => double(value)?,
        Datum::Str(text) => Value::String(text.into_owned()),
        Datum::JsonList(text) => Value::Array(elements(text).map(|item| tree(item?)).collect::<Result<_, _>>()?),
        Datum::JsonMap(text) => {
            let members = members(text).map(|member| {
                let (name, value) = member?;
                Ok((name.into_owned(), tree(value)?))
            });
            Value::Object(members.collect::<Result<Map<_, _>, ErrorCode>>()?)
        }
        _ => return Err(ErrorCode::Internal),
    })
}

fn double(value: f64) -> Result<Value, ErrorCode> {
    Number::from_f64(value).map(Value::Number).ok_or(ErrorCode::Internal)
}

fn string(bytes: &[u8]) -> Result<Value, ErrorCode> {
    std::str::from_utf8(bytes).map(Value::from).map_err(|_| ErrorCode::Internal)
}
