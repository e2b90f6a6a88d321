//! Reading a client's message: by the C functions behind the accessors for the client's own type, by name for others.

use std::os::raw::c_int;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use crate::record;

/// Accessors without arguments that an admission may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accessor {
    /// `topic()`
    Topic,
    /// `partition()`
    Partition,
    /// `offset()`
    Offset,
    /// `key()`
    Key,
    /// `value()`
    Value,
    /// `timestamp()`
    Timestamp,
    /// `error()`
    Error,
}

impl Accessor {
    const ALL: [Self; 7] =
        [Self::Topic, Self::Partition, Self::Offset, Self::Key, Self::Value, Self::Timestamp, Self::Error];

    fn name(self, py: Python<'_>) -> &Bound<'_, PyString> {
        match self {
            Self::Topic => intern!(py, "topic"),
            Self::Partition => intern!(py, "partition"),
            Self::Offset => intern!(py, "offset"),
            Self::Key => intern!(py, "key"),
            Self::Value => intern!(py, "value"),
            Self::Timestamp => intern!(py, "timestamp"),
            Self::Error => intern!(py, "error"),
        }
    }
}

/// The client's message type and the C functions of its accessors, in the order of [`Accessor::ALL`].
#[derive(Debug)]
struct Client {
    message: Py<PyType>,
    functions: [ffi::PyCFunction; Accessor::ALL.len()],
}

/// Reads messages; make one per list.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    client: Option<&'static Client>,
}

impl Reader {
    /// A reader that knows the client's type if the client was imported and `sample` is one of its messages.
    pub fn new(py: Python<'_>, sample: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        static CLIENT: PyOnceLock<Client> = PyOnceLock::new();
        if let Some(client) = CLIENT.get(py) {
            return Ok(Self { client: Some(client) });
        }
        let found = match sample {
            Some(sample) => Client::of(sample)?,
            None => None,
        };
        Ok(Self { client: found.map(|client| CLIENT.get_or_init(py, || client)) })
    }

    /// Calls one accessor.
    pub fn call<'py>(self, message: &Bound<'py, PyAny>, accessor: Accessor) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        if let Some(client) = self.client
            && message.get_type_ptr() == client.message.as_ptr().cast()
            && let Some(function) = client.functions.get(accessor as usize)
        {
            // SAFETY: the function is that of a method without arguments of exactly this type, and the GIL is held.
            return unsafe { Bound::from_owned_ptr_or_err(py, function(message.as_ptr(), std::ptr::null_mut())) };
        }
        message.call_method0(accessor.name(py))
    }

    /// The record's timestamp, Unix ms.
    pub fn timestamp(self, message: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
        record::timestamp(&self.call(message, Accessor::Timestamp)?, "message")
    }

    /// The key or value: bytes, str or None.
    pub fn content<'py>(self, message: &Bound<'py, PyAny>, accessor: Accessor) -> PyResult<Option<Bound<'py, PyAny>>> {
        let given = self.call(message, accessor)?;
        match record::bytes_of(&given)? {
            Some(None) => Ok(None),
            Some(Some(_)) => Ok(Some(given)),
            None => Err(PyTypeError::new_err(format!(
                "{}() of a consumed message is a {}: use a Consumer without deserializers, and decode the value of the \
                 event that is handed out",
                accessor.name(message.py()),
                given.get_type().name()?
            ))),
        }
    }
}

impl Client {
    /// Takes the functions from a sample, if it is exactly the client's type.
    fn of(sample: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = sample.py();
        let modules = py.import("sys")?.getattr("modules")?;
        let Ok(module) = modules.get_item("confluent_kafka.cimpl") else { return Ok(None) };
        let message = module.getattr("Message")?.cast_into::<PyType>()?;
        if !sample.get_type().is(&message) {
            return Ok(None);
        }
        let mut functions = Vec::with_capacity(Accessor::ALL.len());
        for accessor in Accessor::ALL {
            let Some(function) = function_of(&sample.getattr(accessor.name(py))?) else { return Ok(None) };
            functions.push(function);
        }
        Ok(functions.try_into().ok().map(|functions| Self { message: message.unbind(), functions }))
    }
}

/// The C function of a bound built-in method without arguments; `None` for any other callable.
fn function_of(method: &Bound<'_, PyAny>) -> Option<ffi::PyCFunction> {
    let no_arguments: c_int = ffi::METH_NOARGS;
    // SAFETY: the object is checked to be a built-in method before it is read as one.
    unsafe {
        if ffi::PyCFunction_Check(method.as_ptr()) == 0 || ffi::PyCFunction_GetFlags(method.as_ptr()) != no_arguments {
            return None;
        }
        ffi::PyCFunction_GetFunction(method.as_ptr())
    }
}
