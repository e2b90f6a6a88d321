//! What an event came with beyond the fields that it holds itself.

use std::sync::OnceLock;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use chio_client::{Headers, Message};

use crate::client;
use crate::headers;
use crate::held::{self, Held};
use crate::record::Header;

/// The rest of a message.
#[derive(Debug)]
pub enum Original {
    /// In the client's own message.
    Client(Py<PyAny>),
    /// Taken from the client's library; a message of the client's is made when somebody asks for it.
    Taken(Taken),
}

/// What was taken of a message beside its key and value.
#[derive(Debug)]
pub struct Taken {
    headers: Option<Headers>,
    timestamp: (i32, i64),
    leader_epoch: i32,
    message: OnceLock<Py<PyAny>>,
}

/// Where a message was, and its content: what a message of the client's is made of beside the rest.
#[derive(Clone, Copy)]
pub struct Body<'a> {
    /// Topic.
    pub topic: &'a Py<pyo3::types::PyString>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<&'a Held>,
    /// Value.
    pub value: Option<&'a Held>,
}

impl Taken {
    /// Takes what an event does not hold itself.
    pub fn of(message: &Message, headers: Option<Headers>) -> Self {
        Self { headers, timestamp: message.timestamp(), leader_epoch: message.leader_epoch(), message: OnceLock::new() }
    }

    /// Unix ms, if the message has a time.
    pub fn time(&self) -> Option<i64> {
        let (kind, time) = self.timestamp;
        Some(time).filter(|time| kind != 0 && *time >= 0)
    }

    /// Name and value of every header.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers.iter().flat_map(Headers::iter)
    }

    /// All headers.
    pub fn all_headers(&self) -> Vec<Header> {
        self.headers().map(|(name, value)| headers::owned(name, value)).collect()
    }

    /// A message of the client's with all that this one had.
    fn make(&self, py: Python<'_>, body: Body<'_>) -> PyResult<Py<PyAny>> {
        let members = PyDict::new(py);
        members.set_item(intern!(py, "topic"), body.topic)?;
        members.set_item(intern!(py, "partition"), body.partition)?;
        members.set_item(intern!(py, "offset"), body.offset)?;
        members.set_item(intern!(py, "key"), held::object(py, body.key)?)?;
        members.set_item(intern!(py, "value"), held::object(py, body.value)?)?;
        members.set_item(intern!(py, "timestamp"), self.timestamp)?;
        members.set_item(intern!(py, "leader_epoch"), self.leader_epoch)?;
        if self.headers.is_some() {
            members.set_item(intern!(py, "headers"), headers::listing(py, &self.all_headers())?)?;
        }
        Ok(client::module(py)?.getattr(intern!(py, "Message"))?.call((), Some(&members))?.unbind())
    }
}

impl Original {
    /// The client's message; one is made of `body` and the rest if there is none yet.
    pub fn message<'py>(&self, py: Python<'py>, body: Body<'_>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Client(message) => Ok(message.bind(py).clone()),
            Self::Taken(taken) => {
                let message = match taken.message.get() {
                    Some(message) => message,
                    None => {
                        let made = taken.make(py, body)?;
                        // Whoever was first has made the message that everybody is given.
                        taken.message.get_or_init(|| made)
                    }
                };
                Ok(message.bind(py).clone())
            }
        }
    }

    /// Calls `each` with name and value of every header, in the order of the record, as the message came.
    ///
    /// # Errors
    /// They are unreadable.
    pub fn each_header(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) -> PyResult<()> {
        match self {
            Self::Client(message) => Python::attach(|py| headers::each(message.bind(py), each)),
            Self::Taken(taken) => {
                taken.headers().for_each(|(name, value)| each(name, value));
                Ok(())
            }
        }
    }

    /// All headers as the message came; `None` if they are unreadable.
    pub fn all_headers(&self, py: Python<'_>) -> Option<Vec<Header>> {
        match self {
            Self::Client(message) => headers::all(message.bind(py)),
            Self::Taken(taken) => Some(taken.all_headers()),
        }
    }

    /// The headers as Python is given them, see `headers::given`.
    ///
    /// # Errors
    /// They are unreadable.
    pub fn given_headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Client(message) => headers::given(message.bind(py)),
            Self::Taken(Taken { headers: None, .. }) => Ok(py.None().into_bound(py)),
            Self::Taken(taken) => Ok(headers::listing(py, &taken.all_headers())?.into_any()),
        }
    }
}

/// A message of the client's that carries an error, or one that belongs to no event.
pub fn message_of<'py>(py: Python<'py>, message: &Message) -> PyResult<Bound<'py, PyAny>> {
    let topic = pyo3::types::PyString::new(py, &String::from_utf8_lossy(message.topic())).unbind();
    let content = |bytes: Option<&[u8]>| bytes.map(|bytes| Held::Bytes(PyBytes::new(py, bytes).into()));
    let (key, value) = (content(message.key()), content(message.value()));
    let (partition, offset, code) = (message.partition(), message.offset(), message.error());
    let body = Body { topic: &topic, partition, offset, key: key.as_ref(), value: value.as_ref() };
    if code == 0 {
        let mut room = Vec::new();
        let place = message.headers(&mut room);
        let headers = place.map(|place| Headers::at(&room.into(), place));
        return Ok(Taken::of(message, headers).make(py, body)?.into_bound(py));
    }
    let members = PyDict::new(py);
    let error = client::error(py, code, &message.error_text())?;
    members.set_item(intern!(py, "error"), error)?;
    members.set_item(intern!(py, "topic"), body.topic)?;
    members.set_item(intern!(py, "partition"), body.partition)?;
    members.set_item(intern!(py, "offset"), body.offset)?;
    members.set_item(intern!(py, "value"), held::object(py, body.value)?)?;
    client::module(py)?.getattr(intern!(py, "Message"))?.call((), Some(&members))
}
