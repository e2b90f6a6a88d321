//! The imported client, if it is one whose memory is known: its library, and the handles in its objects.
//!
//! What lies where is written down for one version of the client with one of librdkafka, and is used only for exactly these.

use std::ffi::{c_int, c_ulong, c_void};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use chio_client::{Handle, HandleKind, Library};

/// Version of the client whose layout this is.
const CLIENT: &str = "2.16.1";

/// `RD_KAFKA_RESP_ERR__FATAL`
const FATAL: i32 = -150;

/// Size of the client's consumers and producers, which share one struct.
const HANDLE_SIZE: usize = 176;

/// `Handle` of `confluent_kafka.h`, CPython's object header before it, up to what a producer has of its own.
#[repr(C)]
#[derive(Debug)]
pub struct RawHandle {
    head: [usize; 2],
    /// librdkafka's own handle; null once it is closed.
    pub rk: AtomicPtr<c_void>,
    callbacks: [*mut c_void; 3],
    initiated: c_int,
    thread_key: [c_int; 2],
    /// `rd_kafka_type_t`
    pub kind: c_int,
    logger: *mut c_void,
    oauth: *mut c_void,
    oauth_token_set: c_int,
    /// Calls that use `rk` now: closing waits until there is none.
    pub active_calls: AtomicI32,
    /// Not 0 once somebody closes it.
    pub closing: AtomicI32,
    closing_thread: c_ulong,
    /// Of a producer: what hears of records that have no callback of their own, null for nobody.
    pub on_delivery: *mut c_void,
}

/// The librdkafka of the imported client.
///
/// # Errors
/// Says why it is not used.
pub fn library(py: Python<'_>) -> PyResult<&'static Library> {
    static LIBRARY: PyOnceLock<Library> = PyOnceLock::new();
    LIBRARY.get_or_try_init(py, || {
        let client: String = py.import("confluent_kafka")?.getattr("__version__")?.extract()?;
        require(client == CLIENT, || format!("client {client} is not {CLIENT}"))?;
        let file: String = module(py)?.getattr("__file__")?.extract()?;
        Library::loaded(&file).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    })
}

/// The module of the client that is written in C.
pub fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("confluent_kafka.cimpl")
}

/// The handle in a consumer or producer of exactly the client's type. Who keeps it keeps the object too, and asks again
/// before using it after anything that may have closed the client.
///
/// # Errors
/// It is of another type, of another size than is known, or was closed.
pub fn handle(object: &Bound<'_, PyAny>, kind: HandleKind) -> PyResult<Handle> {
    let py = object.py();
    let library = library(py)?;
    let name = match kind {
        HandleKind::Consumer => "Consumer",
        HandleKind::Producer => "Producer",
    };
    let expected = module(py)?.getattr(name)?.cast_into::<PyType>()?;
    if !object.get_type().is(&expected) {
        return Err(PyTypeError::new_err(format!("{} is not the client's own {name}", object.get_type().name()?)));
    }
    let size: usize = expected.getattr("__basicsize__")?.extract()?;
    require(size == HANDLE_SIZE, || format!("a {name} has {size} bytes"))?;
    // SAFETY: the object is exactly of the type whose layout is known for this version, and alive.
    let rk = unsafe { &*object.as_ptr().cast::<RawHandle>() }.rk.load(Ordering::SeqCst);
    // SAFETY: the field holds the client's own handle until it closes it, and null from then on.
    let handle = unsafe { Handle::new(rk) };
    let handle = handle.ok_or_else(|| PyRuntimeError::new_err(format!("the {name} was closed")))?;
    require(library.kind_of(handle) == Some(kind), || format!("a {name} has its handle elsewhere"))?;
    Ok(handle)
}

/// Whether a handle that was found in an object is still in it.
pub fn is_open(object: &Bound<'_, PyAny>, handle: Handle) -> bool {
    // SAFETY: whoever has found a handle in the object has made sure of its type; it is alive.
    let rk = unsafe { &*object.as_ptr().cast::<RawHandle>() }.rk.load(Ordering::SeqCst);
    rk == handle.as_ptr()
}

/// Whether a consumer's group changes assignments step by step; `None` while it is in none.
#[pyfunction]
pub fn is_cooperative(consumer: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    let py = consumer.py();
    let (handle, library) = (handle(consumer, HandleKind::Consumer)?, library(py)?);
    Ok(py.detach(|| library.is_cooperative(handle)))
}

/// What the group knows a consumer by; `None` if there is none.
#[pyfunction]
pub fn group_metadata<'py>(consumer: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = consumer.py();
    let (handle, library) = (handle(consumer, HandleKind::Consumer)?, library(py)?);
    Ok(py.detach(|| library.group_metadata(handle)).map(|found| PyBytes::new(py, &found)))
}

/// An error of the client's, by its code.
pub fn error<'py>(py: Python<'py>, code: i32, text: &str) -> PyResult<Bound<'py, PyAny>> {
    module(py)?.getattr(intern!(py, "KafkaError"))?.call1((code, text, code == FATAL))
}

/// Fails, saying why, unless something holds.
pub fn require(holds: bool, else_say: impl FnOnce() -> String) -> PyResult<()> {
    if holds { Ok(()) } else { Err(PyRuntimeError::new_err(else_say())) }
}
