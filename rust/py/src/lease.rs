//! A producer of the client's that is used without Python's lock.
//!
//! The client counts the calls that use its handle, and closing it waits until there is none. A lease is counted among
//! them, so nobody can close a producer in whose queue a record is being put.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use pyo3::prelude::*;

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
        client::handle(object, HandleKind::Producer)?;
        let raw = object.as_ptr().cast::<RawHandle>();
        let raw = NonNull::new(raw).ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("there is no object"))?;
        // SAFETY: the object is exactly of the type whose layout is known for this version, and alive.
        let known = unsafe { raw.as_ref() };
        let is_idle = known.kind == 0
            && known.closing.load(Ordering::SeqCst) == 0
            && (0..1 << 16).contains(&known.active_calls.load(Ordering::SeqCst));
        require(is_idle, || "a Producer has its fields elsewhere".to_owned())?;
        require(known.on_delivery.is_null(), || "the producer has an `on_delivery` of its own".to_owned())?;
        Ok(Self { library: client::library(object.py())?, raw, _object: object.clone().unbind() })
    }

    /// Uses the producer; `None` once it is being closed.
    pub fn lease(&self) -> Option<Lease<'_>> {
        // SAFETY: the object lives as long as this one.
        let raw = unsafe { self.raw.as_ref() };
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
