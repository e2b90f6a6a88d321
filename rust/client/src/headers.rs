//! The headers of a message, which outlive it.

use std::ffi::c_void;
use std::ptr::NonNull;

use crate::library::Library;

/// A list of headers that belongs to whoever holds this.
#[derive(Debug)]
pub struct Headers {
    library: &'static Library,
    list: NonNull<c_void>,
}

// SAFETY: nobody changes the list, and reading and freeing it need no particular thread.
unsafe impl Send for Headers {}
// SAFETY: as above.
unsafe impl Sync for Headers {}

impl Headers {
    /// # Safety
    /// `list` is a `rd_kafka_headers_t` of `library` that nobody else destroys or changes.
    pub(crate) unsafe fn owned(library: &'static Library, list: *mut c_void) -> Option<Self> {
        NonNull::new(list).map(|list| Self { library, list })
    }

    /// Calls `each` with name and value of every header, in the order of the record.
    pub fn each(&self, each: impl FnMut(&[u8], Option<&[u8]>)) {
        // SAFETY: the list lives as long as this, and nobody changes it.
        unsafe { self.library.read_headers(self.list.as_ptr(), each) };
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: the list is ours and is not used any more.
        unsafe { (self.library.functions.headers_destroy)(self.list.as_ptr()) };
    }
}
