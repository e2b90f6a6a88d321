//! One message, or one error, that a consumer received.

use std::ffi::{CStr, c_int};
use std::ops::Range;
use std::ptr::{self, NonNull};

use crate::headers::Headers;
use crate::library::{Library, RawMessage, RawRecord};

/// It belongs to whoever holds this. Keep it for a moment only: it keeps the whole answer of the broker that it came with.
#[derive(Debug)]
pub struct Message {
    library: &'static Library,
    raw: NonNull<RawMessage>,
}

// SAFETY: the message is ours alone, and using and freeing it need no particular thread.
unsafe impl Send for Message {}

impl Message {
    /// # Safety
    /// `raw` is a message of `library` that nobody else uses or destroys.
    pub(crate) unsafe fn owned(library: &'static Library, raw: *mut RawMessage) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { library, raw })
    }

    fn raw(&self) -> &RawMessage {
        // SAFETY: the message is ours until it is dropped.
        unsafe { self.raw.as_ref() }
    }

    /// The error code, 0 for a record.
    pub fn error(&self) -> c_int {
        self.raw().err
    }

    /// What the error says.
    pub fn error_text(&self) -> String {
        // SAFETY: librdkafka gives a terminated string or null, which lives as long as the message.
        let text = unsafe {
            let text = (self.library.functions.message_error)(self.raw.as_ptr());
            (!text.is_null()).then(|| CStr::from_ptr(text))
        };
        text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Name of the topic; empty where an error belongs to none.
    pub fn topic(&self) -> &[u8] {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return b"";
        }
        // SAFETY: the topic lives as long as the message, and its name as long as the topic.
        unsafe { CStr::from_ptr((self.library.functions.topic_name)(topic)) }.to_bytes()
    }

    /// Something that two messages have in common only if they are of one topic.
    pub fn topic_mark(&self) -> usize {
        self.raw().rkt.addr()
    }

    /// Number of the partition.
    pub fn partition(&self) -> i32 {
        self.raw().partition
    }

    /// Offset in the partition.
    pub fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// Key of a record.
    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka gives a key of that size or none, which lives as long as the message.
        unsafe { bytes(self.raw().key.cast(), self.raw().key_len) }
    }

    /// Value of a record.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.raw().payload.cast(), self.raw().len) }
    }

    /// Kind of the timestamp (0 for none, 1 of the producer, 2 of the broker), and Unix ms.
    pub fn timestamp(&self) -> (c_int, i64) {
        let mut kind = 0;
        // SAFETY: the message is alive, the out parameter ours.
        let time = unsafe { (self.library.functions.message_timestamp)(self.raw.as_ptr(), &raw mut kind) };
        (kind, time)
    }

    /// Epoch of the partition's leader, -1 if unknown.
    pub fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is alive.
        unsafe { (self.library.functions.message_leader_epoch)(self.raw.as_ptr()) }
    }

    /// Adds a copy of the headers to what many share, where librdkafka has several pieces of memory for each; gives its place,
    /// see [`Headers::at`], or `None` if there are none.
    pub fn headers(&self, shared: &mut Vec<u8>) -> Option<Range<usize>> {
        if let Some(unread) = self.unread_headers()
            && let Some(place) = Headers::parse(shared, unread)
        {
            return Some(place).filter(|place| !place.is_empty());
        }
        let mut list = ptr::null_mut();
        // SAFETY: the message is alive, the out parameter ours; a list that is given belongs to the message.
        let code = unsafe { (self.library.functions.message_headers)(self.raw.as_ptr(), &raw mut list) };
        if code != 0 || list.is_null() {
            return None;
        }
        Some(Headers::collect(shared, |push| {
            // SAFETY: the list lives as long as the message, and nobody else knows it.
            unsafe { self.library.read_headers(list, push) };
        }))
    }
}

impl Message {
    /// The headers as they stand in the record. That saves librdkafka a list with several pieces of memory for each of them,
    /// which cost as much as everything else that is done with a message at its admission.
    ///
    /// `None` unless they begin where the value ends, as they do in a record: that is what shows that the fields behind the
    /// documented ones are where this version has them.
    fn unread_headers(&self) -> Option<&[u8]> {
        // SAFETY: a consumed message is the first member of a larger struct, which for this version of the library begins as
        // `RawRecord` does; it lives as long as the message.
        let record = unsafe { self.raw.cast::<RawRecord>().as_ref() };
        let size = usize::try_from(record.unread_headers_size).ok()?;
        let is_behind_value = std::ptr::eq(self.value()?.as_ptr_range().end, record.unread_headers);
        if !is_behind_value || !record.headers.is_null() {
            return None;
        }
        // SAFETY: as many bytes follow the value in the answer of the broker, which lives as long as the message.
        Some(unsafe { std::slice::from_raw_parts(record.unread_headers, size) })
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours and is not used any more.
        unsafe { (self.library.functions.message_destroy)(self.raw.as_ptr()) };
    }
}

/// # Safety
/// `pointer` is null or points to `size` bytes that live as long as `'a`.
unsafe fn bytes<'a>(pointer: *const u8, size: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer, size) })
}
