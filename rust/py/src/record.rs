//! What callers give as `event` and `output`, copied out of Python: a message, or a dictionary.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyString, PyTuple};

use chio_conditions::EventView;

use crate::headers;

/// The members that a dictionary may have.
const MEMBERS: [&str; 7] = ["topic", "partition", "offset", "key", "timestamp", "headers", "value"];

/// A header: name and value; a value may be absent.
pub type Header = (String, Option<Vec<u8>>);

/// A Kafka record that is Rust's own, so that nobody changes it between a decision and its receipt.
#[derive(Debug, Default)]
pub struct Record {
    /// Name of the topic.
    pub topic: String,
    /// Partition, when it is known.
    pub partition: Option<i32>,
    /// Offset, when it is known.
    pub offset: Option<i64>,
    /// Key, if there is one.
    pub key: Option<Vec<u8>>,
    /// Unix time in ms, if there is one.
    pub timestamp: Option<i64>,
    /// Headers in the order of the record.
    pub headers: Vec<Header>,
    /// Value, if there is one.
    pub value: Option<Vec<u8>>,
}

impl Record {
    /// Reads a message or a dictionary; `role` is the argument's name, for error messages.
    pub fn read(given: &Bound<'_, PyAny>, role: &str) -> PyResult<Self> {
        match given.cast::<PyMapping>() {
            Ok(members) => Self::from_mapping(members, role),
            Err(_) if given.hasattr("topic")? && given.hasattr("value")? => Self::from_message(given, role),
            Err(_) => Err(PyTypeError::new_err(format!(
                "`{role}` is a {}: give a message, or a dictionary with `topic` and any of `{}`",
                type_name(given),
                MEMBERS.join(", ")
            ))),
        }
    }

    /// Calls `f` with the record as conditions see it.
    pub fn with_view<R>(&self, f: impl FnOnce(&EventView<'_>) -> R) -> R {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        f(&EventView {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            key: self.key.as_deref(),
            timestamp: self.timestamp,
            headers: &headers,
            value: self.value.as_deref(),
        })
    }

    /// Values of the headers of this name that have one.
    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.headers.iter().filter(|(known, _)| known == name).filter_map(|(_, value)| value.clone()).collect()
    }

    fn from_mapping(members: &Bound<'_, PyMapping>, role: &str) -> PyResult<Self> {
        for name in members.keys()?.iter() {
            let known = name.cast::<PyString>().ok().is_some_and(|name| MEMBERS.iter().any(|member| *name == **member));
            if !known {
                let members = MEMBERS.join(", ");
                return Err(PyTypeError::new_err(format!(
                    "`{role}` has the member {}: use only `{members}`",
                    name.repr()?
                )));
            }
        }
        let member = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
            if members.contains(name)? {
                Ok(Some(members.get_item(name)?).filter(|value| !value.is_none()))
            } else {
                Ok(None)
            }
        };
        let topic =
            member("topic")?.ok_or_else(|| PyTypeError::new_err(format!("`{role}` has no `topic`: name it")))?;
        Ok(Self {
            topic: text(&topic, role, "topic")?,
            partition: member("partition")?.map(|value| number(&value, role, "partition")).transpose()?,
            offset: member("offset")?.map(|value| number(&value, role, "offset")).transpose()?,
            key: member("key")?.map(|value| content(&value, role, "key")).transpose()?,
            timestamp: member("timestamp")?.map(|value| timestamp(&value, role)).transpose()?.flatten(),
            headers: member("headers")?.map(|value| headers(&value, role)).transpose()?.unwrap_or_default(),
            value: member("value")?.map(|value| content(&value, role, "value")).transpose()?,
        })
    }

    fn from_message(message: &Bound<'_, PyAny>, role: &str) -> PyResult<Self> {
        let field = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
            if !message.hasattr(name)? {
                return Ok(None);
            }
            Ok(Some(message.call_method0(name)?).filter(|value| !value.is_none()))
        };
        let topic =
            field("topic")?.ok_or_else(|| PyTypeError::new_err(format!("`{role}` is a message without a topic")))?;
        let given = if message.hasattr("headers")? { Some(headers::given(message)?) } else { None };
        let given = given.filter(|headers| !headers.is_none());
        Ok(Self {
            topic: text(&topic, role, "topic()")?,
            partition: field("partition")?.map(|value| number(&value, role, "partition()")).transpose()?,
            offset: field("offset")?.map(|value| number(&value, role, "offset()")).transpose()?,
            key: field("key")?.map(|value| content(&value, role, "key()")).transpose()?,
            timestamp: field("timestamp")?.map(|value| timestamp(&value, role)).transpose()?.flatten(),
            headers: given.map(|value| headers(&value, role)).transpose()?.unwrap_or_default(),
            value: field("value")?.map(|value| content(&value, role, "value()")).transpose()?,
        })
    }
}

/// The bytes of a key, value or header value; `None` if it is none of bytes, str and None.
///
/// A message's absent value is Python's None, here an inner `None`.
pub fn bytes_of<'a>(given: &'a Bound<'_, PyAny>) -> PyResult<Option<Option<&'a [u8]>>> {
    if given.is_none() {
        return Ok(Some(None));
    }
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Some(Some(bytes.as_bytes())));
    }
    match given.cast::<PyString>() {
        Ok(text) => Ok(Some(Some(text.to_str()?.as_bytes()))),
        Err(_) => Ok(None),
    }
}

/// Refuses headers of another form.
pub fn headers_error(role: &str) -> PyErr {
    PyTypeError::new_err(format!("`headers` of `{role}` must be a list of (name, value) pairs, or a dictionary"))
}

/// Refuses a key, value or header value of another type.
pub fn content_type_error(given: &Bound<'_, PyAny>, role: &str, field: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "`{field}` of `{role}` is a {}: give bytes, str or None, as it stands in the record",
        type_name(given)
    ))
}

/// Headers as (name, value) pairs, from a list of pairs or a dictionary.
pub fn headers(given: &Bound<'_, PyAny>, role: &str) -> PyResult<Vec<Header>> {
    let wrong = || headers_error(role);
    let pairs = match given.cast::<PyDict>() {
        Ok(members) => members.items().into_any(),
        Err(_) => given.clone(),
    };
    let mut read = Vec::new();
    for pair in pairs.try_iter().map_err(|_| wrong())? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract().map_err(|_| wrong())?;
        let value = if value.is_none() { None } else { Some(content(&value, role, "headers")?) };
        read.push((text(&name, role, "headers")?, value));
    }
    Ok(read)
}

/// The Unix time of `Message.timestamp()`, a pair of kind and time, or a plain number; kind 0 and times below 0 are none.
pub fn timestamp(given: &Bound<'_, PyAny>, role: &str) -> PyResult<Option<i64>> {
    let time = match given.cast::<PyTuple>() {
        Ok(pair) => match pair.extract::<(i64, i64)>()? {
            (0, _) => return Ok(None),
            (_, time) => time,
        },
        Err(_) => number(given, role, "timestamp")?,
    };
    Ok(Some(time).filter(|time| *time >= 0))
}

fn content(given: &Bound<'_, PyAny>, role: &str, field: &str) -> PyResult<Vec<u8>> {
    bytes_of(given)?.flatten().map(<[u8]>::to_vec).ok_or_else(|| content_type_error(given, role, field))
}

fn text(given: &Bound<'_, PyAny>, role: &str, field: &str) -> PyResult<String> {
    match given.cast::<PyString>() {
        Ok(text) => Ok(text.to_str()?.to_owned()),
        Err(_) => Err(PyTypeError::new_err(format!("`{field}` of `{role}` is a {}: give a str", type_name(given)))),
    }
}

fn number<'py, T: FromPyObjectOwned<'py>>(given: &Bound<'py, PyAny>, role: &str, field: &str) -> PyResult<T> {
    given.extract().map_err(|_| {
        PyValueError::new_err(format!("`{field}` of `{role}` is {given}: give an integer within its range"))
    })
}

fn type_name(given: &Bound<'_, PyAny>) -> String {
    given.get_type().name().map_or_else(|_| "value".to_owned(), |name| name.to_string())
}
