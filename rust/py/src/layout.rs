//! The fast road to a client's message: its fields where they lie, and its headers before the client converts them.
//!
//! The accessors of a message cost 10–30 ns each, `headers()` 600 ns. This module reads the same memory directly, and only
//! if everything holds that it relies upon: the client and librdkafka are exactly the versions whose layout is written
//! down here, the type has that size, a message made for the purpose has each field where it is expected, and headers made
//! for the purpose read back. Otherwise [`Layout::find`] says why not, and the accessors are used.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

/// Versions of the client and of librdkafka whose layout this is.
const CLIENT: &str = "2.16.1";
const LIBRDKAFKA: &str = "2.16.0";

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

/// `rd_kafka_header_get_all` of librdkafka.
type GetAll = unsafe extern "C" fn(*const c_void, usize, *mut *const c_char, *mut *const c_void, *mut usize) -> c_int;
/// `rd_kafka_headers_new`.
type New = unsafe extern "C" fn(usize) -> *mut c_void;
/// `rd_kafka_header_add`.
type Add = unsafe extern "C" fn(*mut c_void, *const c_char, isize, *const c_void, isize) -> c_int;
/// `rd_kafka_headers_destroy`.
type Destroy = unsafe extern "C" fn(*mut c_void);

/// Is called with name and value of each header.
pub type Each<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// A layout that was found to hold.
#[derive(Debug)]
pub struct Layout {
    message: Py<PyType>,
    get_all: GetAll,
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
        let module = py.import("confluent_kafka.cimpl")?;
        let (client, librdkafka): (String, String) =
            (py.import("confluent_kafka")?.getattr("__version__")?.extract()?, {
                module.getattr("libversion")?.call0()?.get_item(0)?.extract()?
            });
        require(client == CLIENT && librdkafka == LIBRDKAFKA, || {
            format!("client {client} with librdkafka {librdkafka} is not {CLIENT} with {LIBRDKAFKA}")
        })?;
        let message = module.getattr("Message")?.cast_into::<PyType>()?;
        let size: usize = message.getattr("__basicsize__")?.extract()?;
        require(size == size_of::<RawMessage>(), || format!("a message has {size} bytes"))?;
        check_fields(&message)?;
        let library = Library::of(&module.getattr("__file__")?.extract::<String>()?)?;
        let layout = Self { message: message.unbind(), get_all: library.get_all()? };
        library.check_headers(&layout)?;
        Ok(layout)
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
            unsafe { self.read(raw.c_headers, each) };
        }
        Some(Headers::Read)
    }

    fn raw<'a>(&self, message: &'a Bound<'_, PyAny>) -> Option<&'a RawMessage> {
        let is_message = message.get_type_ptr() == self.message.as_ptr().cast();
        // SAFETY: the object is exactly of the type whose layout was verified, and alive as long as the borrow.
        is_message.then(|| unsafe { &*message.as_ptr().cast::<RawMessage>() })
    }

    /// # Safety
    /// `list` is a living `rd_kafka_headers_t` that nobody changes meanwhile.
    unsafe fn read(&self, list: *const c_void, each: &mut Each<'_>) {
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: as the caller promises; the out parameters are ours.
            let found = unsafe { (self.get_all)(list, index, &raw mut name, &raw mut value, &raw mut size) };
            if found != 0 || name.is_null() {
                return;
            }
            // SAFETY: librdkafka gives a terminated name, and a value of that size or none.
            let (name, value) = unsafe {
                let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
                (CStr::from_ptr(name).to_bytes(), value)
            };
            each(name, value);
        }
    }
}

/// An object of a field; null and Python's None are both absent.
fn object<'py>(py: Python<'py>, field: *mut PyObject) -> Option<Bound<'py, PyAny>> {
    // SAFETY: the field of a living message holds an object or null, and the GIL is held.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, field) }.filter(|object| !object.is_none())
}

fn require(holds: bool, else_say: impl FnOnce() -> String) -> PyResult<()> {
    if holds { Ok(()) } else { Err(PyRuntimeError::new_err(else_say())) }
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

/// The client's own librdkafka, which is loaded already.
struct Library(*mut c_void);

impl Library {
    fn of(file: &str) -> PyResult<Self> {
        let file = CString::new(file)?;
        // SAFETY: the name is terminated; nothing is loaded that is not loaded yet.
        let handle = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) };
        require(!handle.is_null(), || "the client's library is not loaded under its name".to_owned())?;
        Ok(Self(handle))
    }

    fn symbol(&self, name: &CStr) -> PyResult<*mut c_void> {
        // SAFETY: the handle is open and the name terminated.
        let symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        require(!symbol.is_null(), || format!("librdkafka has no {}", name.to_string_lossy()))?;
        Ok(symbol)
    }

    fn get_all(&self) -> PyResult<GetAll> {
        // SAFETY: the symbol is the function that librdkafka documents under this name.
        Ok(unsafe { std::mem::transmute::<*mut c_void, GetAll>(self.symbol(c"rd_kafka_header_get_all")?) })
    }

    /// Makes headers and reads them back.
    fn check_headers(&self, layout: &Layout) -> PyResult<()> {
        let mut found = Vec::new();
        // SAFETY: the symbols are the functions that librdkafka documents under these names; the list is ours until it is
        // destroyed, and its parts are copied by `rd_kafka_header_add`.
        unsafe {
            let new = std::mem::transmute::<*mut c_void, New>(self.symbol(c"rd_kafka_headers_new")?);
            let add = std::mem::transmute::<*mut c_void, Add>(self.symbol(c"rd_kafka_header_add")?);
            let destroy = std::mem::transmute::<*mut c_void, Destroy>(self.symbol(c"rd_kafka_headers_destroy")?);
            let list = new(2);
            add(list, c"one".as_ptr(), -1, c"value".as_ptr().cast(), 5);
            add(list, c"two".as_ptr(), -1, ptr::null(), 0);
            layout.read(list, &mut |name, value| found.push((name.to_vec(), value.map(<[u8]>::to_vec))));
            destroy(list);
        }
        let expected = [(b"one".to_vec(), Some(b"value".to_vec())), (b"two".to_vec(), None)];
        require(found == expected, || "headers do not read back".to_owned())
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the handle was opened by `of`. The library stays loaded: the client holds it too.
        unsafe { libc::dlclose(self.0) };
    }
}
