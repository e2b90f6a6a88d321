//! The fast road to a client's message: its fields where they lie, and its headers before the client converts them.
//!
//! The accessors of a message cost 10–30 ns each, `headers()` 600 ns. This module reads the same memory directly, and only
//! if everything holds that it relies upon: the client and librdkafka are exactly the versions whose layout is written
//! down here, the type has that size, a message made for the purpose has each field where it is expected, and headers made
//! for the purpose read back. Otherwise [`Layout::find`] says why not, and the accessors are used.

use std::ffi::{c_int, c_void};

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

use chio_client::Library;

use crate::client::{self, require};

/// `Message` of `confluent_kafka.h`, CPython's object header before it.
#[repr(C)]
struct RawMessage {
    head: [usize; 2],
    topic: *mut PyObject,
    value: *mut PyObject,
    key: *mut PyObject,
    headers: *mut PyObject,
    c_headers: *const c_void,
    error: *mut PyObject,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    timestamp: i64,
    timestamp_kind: c_int,
    latency: i64,
    delivery_count: i16,
}

/// Is called with name and value of each header.
pub type Each<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// A layout that was found to hold.
#[derive(Debug)]
pub struct Layout {
    message: Py<PyType>,
    library: &'static Library,
}

/// The fields of a message; absent objects are `None`.
#[derive(Debug)]
pub struct Fields<'py> {
    /// Whether it carries an error instead of a record.
    pub is_error: bool,
    /// Topic.
    pub topic: Option<Bound<'py, PyAny>>,
    /// Partition number.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<Bound<'py, PyAny>>,
    /// Value.
    pub value: Option<Bound<'py, PyAny>>,
    /// Unix ms.
    pub timestamp: Option<i64>,
}

/// Headers of a message as the fast road finds them.
pub enum Headers {
    /// They were read; `each` has seen all of them.
    Read,
    /// They are Python objects already: ask the accessor.
    Converted,
}

impl Layout {
    /// Verifies the layout of the imported client.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn find(py: Python<'_>) -> PyResult<Self> {
        let library = client::library(py)?;
        let module = client::module(py)?;
        let message = module.getattr("Message")?.cast_into::<PyType>()?;
        let size: usize = message.getattr("__basicsize__")?.extract()?;
        require(size == size_of::<RawMessage>(), || format!("a message has {size} bytes"))?;
        check_fields(&message)?;
        Ok(Self { message: message.unbind(), library })
    }

    /// The fields of a message; `None` if it is not exactly the client's type.
    pub fn fields<'py>(&self, message: &Bound<'py, PyAny>) -> Option<Fields<'py>> {
        let raw = self.raw(message)?;
        let py = message.py();
        Some(Fields {
            is_error: object(py, raw.error).is_some(),
            topic: object(py, raw.topic),
            partition: raw.partition,
            offset: raw.offset,
            key: object(py, raw.key),
            value: object(py, raw.value),
            timestamp: Some(raw.timestamp).filter(|time| raw.timestamp_kind != 0 && *time >= 0),
        })
    }

    /// Calls `each` with name and value of every header; `None` if the message is not exactly the client's type.
    pub fn headers(&self, message: &Bound<'_, PyAny>, each: &mut Each<'_>) -> Option<Headers> {
        let raw = self.raw(message)?;
        if !raw.headers.is_null() {
            return Some(Headers::Converted);
        }
        if !raw.c_headers.is_null() {
            // SAFETY: the list belongs to the message, which is alive, and is freed only with the GIL, which is held.
            unsafe { self.library.read_headers(raw.c_headers, each) };
        }
        Some(Headers::Read)
    }

    fn raw<'a>(&self, message: &'a Bound<'_, PyAny>) -> Option<&'a RawMessage> {
        let is_message = message.get_type_ptr() == self.message.as_ptr().cast();
        // SAFETY: the object is exactly of the type whose layout was verified, and alive as long as the borrow.
        is_message.then(|| unsafe { &*message.as_ptr().cast::<RawMessage>() })
    }
}

/// An object of a field; null and Python's None are both absent.
fn object<'py>(py: Python<'py>, field: *mut PyObject) -> Option<Bound<'py, PyAny>> {
    // SAFETY: the field of a living message holds an object or null, and the GIL is held.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, field) }.filter(|object| !object.is_none())
}

/// Compares every field with what a message was made of.
fn check_fields(kind: &Bound<'_, PyType>) -> PyResult<()> {
    let py = kind.py();
    let text = |text: &str| pyo3::types::PyString::new(py, text).into_any();
    let (topic, value, key) =
        (text("layout topic"), PyBytes::new(py, b"layout value"), PyBytes::new(py, b"layout key"));
    let headers = pyo3::types::PyList::new(py, [("layout", PyBytes::new(py, b"header"))])?;
    let error = py.import("confluent_kafka")?.getattr("KafkaError")?.call1((-191,))?;
    let members = PyDict::new(py);
    for (name, object) in [
        ("topic", &topic),
        ("value", value.as_any()),
        ("key", key.as_any()),
        ("headers", headers.as_any()),
        ("error", &error),
    ] {
        members.set_item(name, object)?;
    }
    members.set_item("partition", 0x1357_9BDF)?;
    members.set_item("offset", 0x0246_8ACE_1357_9BDF_i64)?;
    members.set_item("leader_epoch", 0x0BAD_CAFE)?;
    members.set_item("timestamp", (2, 0x0123_4567_89AB_i64))?;
    let message = kind.call((), Some(&members))?;
    // SAFETY: the type has the size of `RawMessage`, so that every field lies within the object.
    let raw = unsafe { &*message.as_ptr().cast::<RawMessage>() };
    let objects = [
        (raw.topic, topic.as_ptr()),
        (raw.value, value.as_ptr()),
        (raw.key, key.as_ptr()),
        (raw.headers, headers.as_ptr()),
        (raw.error, error.as_ptr()),
    ];
    let numbers = raw.partition == 0x1357_9BDF
        && raw.offset == 0x0246_8ACE_1357_9BDF
        && raw.leader_epoch == 0x0BAD_CAFE
        && raw.timestamp == 0x0123_4567_89AB
        && raw.timestamp_kind == 2;
    let holds = numbers && raw.c_headers.is_null() && objects.iter().all(|(field, given)| field == given);
    require(holds, || "a message has its fields elsewhere".to_owned())
}
