//! Reading a client's message, by the fastest road that it allows.
//!
//! | road | for |
//! |---|---|
//! | fields where they lie | the client's own type, if [`Layout`] holds |
//! | C functions behind the accessors | the client's own type |
//! | accessors by name | any other |

use std::os::raw::c_int;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use crate::held::Held;
use crate::layout::{Each, Fields, Headers, Layout};
use crate::record;
use crate::untracked::untrack;

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

/// The client's message type, the C functions of its accessors in the order of [`Accessor::ALL`], and its layout.
#[derive(Debug)]
struct Client {
    message: Py<PyType>,
    functions: [ffi::PyCFunction; Accessor::ALL.len()],
    layout: Option<Layout>,
}

/// Reads messages; make one per list.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    client: Option<&'static Client>,
    /// Whether fields are read where they lie.
    direct: bool,
}

impl Reader {
    /// A reader that knows the client's type if the client was imported and `sample` is one of its messages.
    pub fn new(py: Python<'_>, sample: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        static CLIENT: PyOnceLock<Client> = PyOnceLock::new();
        if let Some(client) = CLIENT.get(py) {
            return Ok(Self { client: Some(client), direct: true });
        }
        let found = match sample {
            Some(sample) => Client::of(sample)?,
            None => None,
        };
        Ok(Self { client: found.map(|client| CLIENT.get_or_init(py, || client)), direct: true })
    }

    /// The same without the road of [`Layout`].
    pub fn by_accessors(self) -> Self {
        Self { direct: false, ..self }
    }

    /// Whether the road of [`Layout`] is open.
    pub fn has_layout(self) -> bool {
        self.layout().is_some()
    }

    /// Everything that an admission reads, but for headers.
    pub fn fields<'py>(self, message: &Bound<'py, PyAny>) -> PyResult<Fields<'py>> {
        if let Some(fields) = self.layout().and_then(|layout| layout.fields(message)) {
            return Ok(fields);
        }
        let present = |accessor| Ok::<_, PyErr>(Some(self.call(message, accessor)?).filter(|object| !object.is_none()));
        let number = |accessor| present(accessor)?.map(|number| number.extract::<i64>()).transpose();
        Ok(Fields {
            is_error: present(Accessor::Error)?.is_some(),
            topic: present(Accessor::Topic)?,
            partition: number(Accessor::Partition)?.map_or(Ok(-1), i32::try_from)?,
            offset: number(Accessor::Offset)?.unwrap_or(-1),
            key: present(Accessor::Key)?,
            value: present(Accessor::Value)?,
            timestamp: record::timestamp(&self.call(message, Accessor::Timestamp)?, "message")?,
        })
    }

    /// Calls `each` with name and value of every header, if the road of [`Layout`] leads to them; false if not.
    pub fn headers(self, message: &Bound<'_, PyAny>, each: &mut Each<'_>) -> bool {
        let found = self.layout().and_then(|layout| layout.headers(message, each));
        matches!(found, Some(Headers::Read))
    }

    /// Calls one accessor.
    pub fn call<'py>(self, message: &Bound<'py, PyAny>, accessor: Accessor) -> PyResult<Bound<'py, PyAny>> {
        let py = message.py();
        if let Some(client) = self.made(message)
            && let Some(function) = client.functions.get(accessor as usize)
        {
            // SAFETY: the function is that of a method without arguments of exactly this type, and the GIL is held.
            return unsafe { Bound::from_owned_ptr_or_err(py, function(message.as_ptr(), std::ptr::null_mut())) };
        }
        message.call_method0(accessor.name(py))
    }

    /// Has the cyclic garbage collector not look at a message of the client's own type, which holds what the client has
    /// read: bytes, str and numbers. Only a cycle through what `set_value` and its like were given is not found then.
    pub fn untrack(self, message: &Bound<'_, PyAny>) {
        if self.made(message).is_some() {
            untrack(message);
        }
    }

    /// The client's type, if the message is exactly of it.
    fn made(self, message: &Bound<'_, PyAny>) -> Option<&'static Client> {
        self.client.filter(|client| message.get_type_ptr() == client.message.as_ptr().cast())
    }

    fn layout(self) -> Option<&'static Layout> {
        self.client.filter(|_| self.direct)?.layout.as_ref()
    }
}

/// A key or value; refuses what is none of bytes, str and absent, as a client with deserializers gives them.
pub fn content(given: Option<Bound<'_, PyAny>>, name: &str) -> PyResult<Option<Held>> {
    let Some(given) = given else { return Ok(None) };
    Held::take(given.clone())?.ok_or_else(|| match given.get_type().name() {
        Ok(kind) => PyTypeError::new_err(format!(
            "{name}() of a consumed message is a {kind}: use a Consumer without deserializers, and decode the {name} of \
             the event that is handed out"
        )),
        Err(error) => error,
    })
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
        let layout = Layout::find(py).ok();
        Ok(functions.try_into().ok().map(|functions| Self { message: message.unbind(), functions, layout }))
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
