//! The values of an evaluation. They borrow from the event, the condition and the scratch space wherever they can.

use std::borrow::Cow;
use std::rc::Rc;

use crate::literal::Literal;
use crate::{ErrorCode, json};

/// The headers of a record, in its order.
pub(crate) type Headers<'a> = &'a [(&'a str, Option<&'a [u8]>)];

/// Headers of one record that a condition may walk over; the walk is quadratic, because names may repeat.
const MAX_WALKED_HEADERS: usize = 1000;

#[derive(Clone, Debug)]
pub(crate) enum Datum<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// A list or map of the condition's text or of the attributes.
    Literal(&'a Literal),
    /// The text of an array of a scanned document.
    JsonList(&'a [u8]),
    /// The text of an object of a scanned document.
    JsonMap(&'a [u8]),
    Headers(Headers<'a>),
    /// A list that the condition built.
    List(Rc<[Datum<'a>]>),
    /// A map that the condition built.
    Map(Rc<[(Datum<'a>, Datum<'a>)]>),
    Type(&'static str),
}

impl<'a> Datum<'a> {
    /// A key or header value: a string where it is UTF-8.
    pub(crate) fn text_or_bytes(bytes: Option<&'a [u8]>) -> Self {
        match bytes {
            None => Self::Null,
            Some(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Str(Cow::Borrowed(text)),
                Err(_) => Self::Bytes(Cow::Borrowed(bytes)),
            },
        }
    }

    /// The name of its CEL type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Str(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::JsonList(_) | Self::List(_) | Self::Literal(Literal::List(_)) => "list",
            Self::JsonMap(_) | Self::Headers(_) | Self::Map(_) | Self::Literal(_) => "map",
            Self::Type(_) => "type",
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::JsonList(_) | Self::List(_) | Self::Literal(Literal::List(_)))
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::JsonMap(_) | Self::Headers(_) | Self::Map(_) | Self::Literal(Literal::Map(_)))
    }

    /// Gives each element of a list to `visit`, until that returns false.
    pub(crate) fn each_element(
        &self,
        visit: &mut dyn FnMut(Datum<'a>) -> Result<bool, ErrorCode>,
    ) -> Result<(), ErrorCode> {
        match self {
            Self::JsonList(text) => {
                for item in json::elements(text) {
                    if !visit(item?)? {
                        break;
                    }
                }
            }
            Self::Literal(Literal::List(items)) => {
                for item in items {
                    if !visit(item.into())? {
                        break;
                    }
                }
            }
            Self::List(items) => {
                for item in items.iter() {
                    if !visit(item.clone())? {
                        break;
                    }
                }
            }
            _ => return Err(ErrorCode::TypeMismatch),
        }
        Ok(())
    }

    /// Gives each key and value of a map to `visit`, until that returns false.
    pub(crate) fn each_entry(
        &self,
        visit: &mut dyn FnMut(Datum<'a>, Datum<'a>) -> Result<bool, ErrorCode>,
    ) -> Result<(), ErrorCode> {
        match self {
            Self::JsonMap(text) => {
                for member in json::members(text) {
                    let (name, value) = member?;
                    if !visit(Datum::Str(name), value)? {
                        break;
                    }
                }
            }
            Self::Literal(Literal::Map(entries)) => {
                for (key, value) in entries {
                    if !visit(key.into(), value.into())? {
                        break;
                    }
                }
            }
            Self::Map(entries) => {
                for (key, value) in entries.iter() {
                    if !visit(key.clone(), value.clone())? {
                        break;
                    }
                }
            }
            Self::Headers(headers) => each_header(headers, visit)?,
            _ => return Err(ErrorCode::TypeMismatch),
        }
        Ok(())
    }

    /// Number of elements of a list or entries of a map.
    pub(crate) fn count(&self) -> Result<i64, ErrorCode> {
        let mut count = 0;
        if self.is_list() {
            self.each_element(&mut |_| {
                count += 1;
                Ok(true)
            })?;
        } else {
            self.each_entry(&mut |_, _| {
                count += 1;
                Ok(true)
            })?;
        }
        Ok(count)
    }
}

/// The last header of every name.
fn each_header<'a>(
    headers: Headers<'a>,
    visit: &mut dyn FnMut(Datum<'a>, Datum<'a>) -> Result<bool, ErrorCode>,
) -> Result<(), ErrorCode> {
    if headers.len() > MAX_WALKED_HEADERS {
        return Err(ErrorCode::StepLimit);
    }
    for (position, (name, value)) in headers.iter().enumerate() {
        let later = headers.get(position + 1..).unwrap_or_default();
        if later.iter().any(|(other, _)| other == name) {
            continue;
        }
        if !visit(Datum::Str(Cow::Borrowed(name)), Datum::text_or_bytes(*value))? {
            break;
        }
    }
    Ok(())
}

impl<'a> From<&'a Literal> for Datum<'a> {
    fn from(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Int(value) => Self::Int(*value),
            Literal::Uint(value) => Self::Uint(*value),
            Literal::Double(value) => Self::Double(*value),
            Literal::Str(text) => Self::Str(Cow::Borrowed(text)),
            Literal::Bytes(bytes) => Self::Bytes(Cow::Borrowed(bytes)),
            Literal::List(_) | Literal::Map(_) => Self::Literal(literal),
        }
    }
}
