//! The imported client, if it is one whose memory is known: its library, and the handles in its objects.
//!
//! What lies where is written down for one version of the client with one of librdkafka, and is used only for exactly these.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use chio_client::{Handle, HandleKind, Library};

/// Version of the client whose layout this is.
const CLIENT: &str = "2.16.1";

/// `RD_KAFKA_RESP_ERR__FATAL`
const FATAL: i32 = -150;

/// Size of the client's consumers and producers, which share one struct.
const HANDLE_SIZE: usize = 176;

/// The beginning of `Handle` of `confluent_kafka.h`, CPython's object header before it.
#[repr(C)]
struct RawHandle {
    head: [usize; 2],
    rk: *mut std::ffi::c_void,
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
    let rk = unsafe { (*object.as_ptr().cast::<RawHandle>()).rk };
    // SAFETY: the field holds the client's own handle until it closes it, and null from then on.
    let handle = unsafe { Handle::new(rk) };
    let handle = handle.ok_or_else(|| PyRuntimeError::new_err(format!("the {name} was closed")))?;
    require(library.kind_of(handle) == Some(kind), || format!("a {name} has its handle elsewhere"))?;
    Ok(handle)
}

/// Whether a handle that was found in an object is still in it.
pub fn is_open(object: &Bound<'_, PyAny>, handle: Handle) -> bool {
    // SAFETY: whoever has found a handle in the object has made sure of its type; it is alive.
    let rk = unsafe { (*object.as_ptr().cast::<RawHandle>()).rk };
    rk == handle.as_ptr()
}

/// An error of the client's, by its code.
pub fn error<'py>(py: Python<'py>, code: i32, text: &str) -> PyResult<Bound<'py, PyAny>> {
    module(py)?.getattr(intern!(py, "KafkaError"))?.call1((code, text, code == FATAL))
}

/// Fails, saying why, unless something holds.
pub fn require(holds: bool, else_say: impl FnOnce() -> String) -> PyResult<()> {
    if holds { Ok(()) } else { Err(PyRuntimeError::new_err(else_say())) }
}
