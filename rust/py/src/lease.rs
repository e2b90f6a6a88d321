//! A producer of the client's that is used without Python's lock.
//!
//! The client counts the calls that use its handle, and closing it waits until there is none. A lease is counted among
//! them, so nobody can close a producer in whose queue a record is being put.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use chio_client::{Handle, HandleKind, Library, Sender};

use crate::client::{self, RawHandle, require};

/// A producer whose records nobody hears of one by one.
#[derive(Debug)]
pub struct Producer {
    library: &'static Library,
    raw: NonNull<RawHandle>,
    /// Keeps `raw` alive.
    _object: Py<PyAny>,
}

// SAFETY: of what `raw` points to only atomic fields are used, and librdkafka's handles may be used by any thread.
unsafe impl Send for Producer {}
// SAFETY: as above.
unsafe impl Sync for Producer {}

/// The producer in use: it is not closed as long as this lives.
#[derive(Debug)]
pub struct Lease<'a> {
    raw: &'a RawHandle,
    /// Hands records to it.
    pub sender: Sender,
}

impl Producer {
    /// A producer of the client's that has no callback of its own for deliveries: with one it has to be told of each
    /// record, which the client does for records that were handed to it in Python.
    ///
    /// # Errors
    /// It has one, is of another type than the client's own, or its memory is not known.
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        check_fields(object.py())?;
        let producer = Self::of(object)?;
        require(producer.raw().on_delivery.is_null(), || "the producer has an `on_delivery` of its own".to_owned())?;
        Ok(producer)
    }

    fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        client::handle(object, HandleKind::Producer)?;
        let raw = NonNull::new(object.as_ptr().cast()).ok_or_else(|| elsewhere("object"))?;
        Ok(Self { library: client::library(object.py())?, raw, _object: object.clone().unbind() })
    }

    fn raw(&self) -> &RawHandle {
        // SAFETY: the object is exactly of the type whose layout is known for this version, and lives as long as this one.
        unsafe { self.raw.as_ref() }
    }

    /// Uses the producer; `None` once it is being closed.
    pub fn lease(&self) -> Option<Lease<'_>> {
        let raw = self.raw();
        // In this order, as the client's own calls do it: whoever closes it sees the call, or the call sees that it closes.
        raw.active_calls.fetch_add(1, Ordering::SeqCst);
        let is_closing = raw.closing.load(Ordering::SeqCst) != 0;
        // SAFETY: the field holds the client's own handle until it closes it, and null from then on.
        let handle = unsafe { Handle::new(raw.rk.load(Ordering::SeqCst)) }.filter(|_| !is_closing);
        let sender = handle.map(|handle| Sender::new(self.library, handle));
        match sender {
            Some(sender) => Some(Lease { raw, sender }),
            None => {
                raw.active_calls.fetch_sub(1, Ordering::SeqCst);
                None
            }
        }
    }

    /// What an error code means, in librdkafka's words.
    pub fn describe(&self, code: i32) -> String {
        self.library.describe(code)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.raw.active_calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes a producer and closes it, once in a process, to see its fields where they are expected.
fn check_fields(py: Python<'_>) -> PyResult<()> {
    static CHECKED: PyOnceLock<()> = PyOnceLock::new();
    let check = || {
        let callback = py.import("builtins")?.getattr("print")?;
        let settings = PyDict::new(py);
        settings.set_item("on_delivery", &callback)?;
        settings.set_item("log_level", 0)?;
        let made = client::module(py)?.getattr("Producer")?.call1((settings,))?;
        let producer = Producer::of(&made)?;
        let raw = producer.raw();
        let calls = || raw.active_calls.load(Ordering::SeqCst);
        let closing = || raw.closing.load(Ordering::SeqCst);
        require_field(raw.kind == 0 && closing() == 0 && calls() == 0, "counters")?;
        require_field(raw.on_delivery == callback.as_ptr().cast(), "`on_delivery`")?;
        let lease = producer.lease();
        require_field(lease.is_some() && calls() == 1, "calls")?;
        drop(lease);
        made.call_method0("close")?;
        require_field(closing() == 1 && calls() == 0 && producer.lease().is_none(), "end")
    };
    CHECKED.get_or_try_init(py, check).copied()
}

fn require_field(holds: bool, name: &str) -> PyResult<()> {
    if holds { Ok(()) } else { Err(elsewhere(name)) }
}

fn elsewhere(name: &str) -> PyErr {
    PyRuntimeError::new_err(format!("a Producer has its {name} elsewhere"))
}
