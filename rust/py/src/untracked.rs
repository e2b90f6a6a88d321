//! Objects that the cyclic garbage collector does not look at.
//!
//! Events and checks come and go by the hundred thousand a second, and live as long as they are buffered or in flight. The
//! collector would visit each of them several times, and find nothing: these classes do not show it what they hold (key,
//! value and headers, which are bytes and str; the client's message; the event being handled), so no cycle through them is
//! ever found.

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

/// A Python object that the collector does not look at.
pub fn untracked<T>(py: Python<'_>, value: T) -> PyResult<Bound<'_, T>>
where
    T: PyClass<Frozen = True> + Into<PyClassInitializer<T>>,
{
    let object = Bound::new(py, value)?;
    untrack(object.as_any());
    Ok(object)
}

/// Has the collector not look at an object any longer.
pub fn untrack(object: &Bound<'_, PyAny>) {
    // SAFETY: the object is alive, the GIL is held, and an object that is tracked is one that can be untracked. It is
    // untracked once more when it is freed, which does nothing then.
    unsafe {
        if ffi::PyObject_GC_IsTracked(object.as_ptr()) == 1 {
            ffi::PyObject_GC_UnTrack(object.as_ptr().cast());
        }
    }
}
