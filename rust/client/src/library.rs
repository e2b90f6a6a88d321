//! The functions of the librdkafka that the client has loaded.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::NonNull;

/// The version whose memory is known.
pub const VERSION: &str = "2.16.0";

/// A `rd_kafka_t`, of whom the client is the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(NonNull<c_void>);

// SAFETY: librdkafka's handles may be used by any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// A handle of the client.
    ///
    /// # Safety
    /// `pointer` is a living `rd_kafka_t` of the library whose functions it will be given to, and it is not used any more
    /// once the client has destroyed it.
    pub unsafe fn new(pointer: *mut c_void) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    /// The pointer, to compare it and to hand it to the library.
    pub fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr()
    }
}

/// What a handle is: `rd_kafka_type_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleKind {
    /// `RD_KAFKA_PRODUCER`
    Producer,
    /// `RD_KAFKA_CONSUMER`
    Consumer,
}

/// The library is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryError(String);

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LibraryError {}

/// `rd_kafka_message_t`
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawMessage {
    pub(crate) err: c_int,
    pub(crate) rkt: *mut c_void,
    pub(crate) partition: i32,
    pub(crate) payload: *mut c_void,
    pub(crate) len: usize,
    pub(crate) key: *mut c_void,
    pub(crate) key_len: usize,
    pub(crate) offset: i64,
    pub(crate) private: *mut c_void,
}

/// The beginning of `rd_kafka_msg_t` of `rdkafka_msg.h`, of which the message is a part, as consumed ones have it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct RawRecord {
    pub(crate) message: RawMessage,
    pub(crate) link: [usize; 2],
    pub(crate) flags: c_int,
    pub(crate) timestamp_kind: c_int,
    pub(crate) timestamp: i64,
    /// The list of headers, once somebody has asked for it.
    pub(crate) headers: *mut c_void,
    pub(crate) status: c_int,
    pub(crate) broker: i32,
    pub(crate) unread_headers_size: i32,
    /// The headers as they stand in the record, behind its value.
    pub(crate) unread_headers: *const u8,
}

/// `rd_kafka_vu_t`: one argument of `rd_kafka_produceva`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    pub(crate) kind: c_int,
    pub(crate) value: ArgumentValue,
}

/// The union in it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union ArgumentValue {
    pub(crate) text: *const c_char,
    pub(crate) pointer: *mut c_void,
    pub(crate) flags: c_int,
    pub(crate) partition: i32,
    pub(crate) time: i64,
    pub(crate) bytes: Bytes,
    pub(crate) header: HeaderBytes,
    pub(crate) padding: [u8; 64],
}

/// `mem` in the union.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) pointer: *const c_void,
    pub(crate) size: usize,
}

/// `header` in the union.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct HeaderBytes {
    pub(crate) name: *const c_char,
    pub(crate) value: *const c_void,
    pub(crate) size: isize,
}

/// Called by librdkafka when something has come into an empty queue.
pub(crate) type OnEvent = unsafe extern "C" fn(*mut c_void, *mut c_void);

macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// librdkafka's functions; see `rdkafka.h` for what each does.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Functions {
            $(pub(crate) $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn find(library: &Loaded) -> Result<Self, LibraryError> {
                Ok(Self {
                    // SAFETY: the symbol is the function that librdkafka documents under this name, with this signature.
                    $($field: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(
                            library.symbol($name)?,
                        )
                    },)*
                })
            }
        }
    };
}

functions! {
    version = c"rd_kafka_version_str": fn() -> *const c_char;
    kind = c"rd_kafka_type": fn(*const c_void) -> c_int;
    rebalance_protocol = c"rd_kafka_rebalance_protocol": fn(*mut c_void) -> *const c_char;
    group_metadata = c"rd_kafka_consumer_group_metadata": fn(*mut c_void) -> *mut c_void;
    group_metadata_write = c"rd_kafka_consumer_group_metadata_write":
        fn(*const c_void, *mut *mut c_void, *mut usize) -> *mut c_void;
    group_metadata_destroy = c"rd_kafka_consumer_group_metadata_destroy": fn(*mut c_void);
    memory_free = c"rd_kafka_mem_free": fn(*mut c_void, *mut c_void);
    begin_transaction = c"rd_kafka_begin_transaction": fn(*mut c_void) -> *mut c_void;
    topic_new = c"rd_kafka_topic_new": fn(*mut c_void, *const c_char, *mut c_void) -> *mut c_void;
    topic_destroy = c"rd_kafka_topic_destroy": fn(*mut c_void);
    topic_name = c"rd_kafka_topic_name": fn(*const c_void) -> *const c_char;
    message_destroy = c"rd_kafka_message_destroy": fn(*mut RawMessage);
    message_timestamp = c"rd_kafka_message_timestamp": fn(*const RawMessage, *mut c_int) -> i64;
    message_leader_epoch = c"rd_kafka_message_leader_epoch": fn(*const RawMessage) -> i32;
    message_headers = c"rd_kafka_message_headers": fn(*const RawMessage, *mut *mut c_void) -> c_int;
    message_error = c"rd_kafka_message_errstr": fn(*const RawMessage) -> *const c_char;
    headers_new = c"rd_kafka_headers_new": fn(usize) -> *mut c_void;
    headers_destroy = c"rd_kafka_headers_destroy": fn(*mut c_void);
    header_add = c"rd_kafka_header_add": fn(*mut c_void, *const c_char, isize, *const c_void, isize) -> c_int;
    header_get_all = c"rd_kafka_header_get_all":
        fn(*const c_void, usize, *mut *const c_char, *mut *const c_void, *mut usize) -> c_int;
    queue_new = c"rd_kafka_queue_new": fn(*mut c_void) -> *mut c_void;
    queue_destroy = c"rd_kafka_queue_destroy": fn(*mut c_void);
    queue_of_consumer = c"rd_kafka_queue_get_consumer": fn(*mut c_void) -> *mut c_void;
    queue_of_partition = c"rd_kafka_queue_get_partition": fn(*mut c_void, *const c_char, i32) -> *mut c_void;
    queue_forward = c"rd_kafka_queue_forward": fn(*mut c_void, *mut c_void);
    queue_length = c"rd_kafka_queue_length": fn(*mut c_void) -> usize;
    queue_yield = c"rd_kafka_queue_yield": fn(*mut c_void);
    queue_on_event = c"rd_kafka_queue_cb_event_enable": fn(*mut c_void, Option<OnEvent>, *mut c_void);
    consume_batch = c"rd_kafka_consume_batch_queue": fn(*mut c_void, c_int, *mut *mut RawMessage, usize) -> isize;
    produce = c"rd_kafka_produceva": fn(*mut c_void, *const Argument, usize) -> *mut c_void;
    error_code = c"rd_kafka_error_code": fn(*const c_void) -> c_int;
    error_destroy = c"rd_kafka_error_destroy": fn(*mut c_void);
    describe = c"rd_kafka_err2str": fn(c_int) -> *const c_char;
}

/// The librdkafka of the client. It is never unloaded, because the client holds it for the whole life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    pub(crate) functions: Functions,
}

impl Library {
    /// Finds the functions in a library that is loaded already, by the file of the library or of one that depends on it.
    ///
    /// # Errors
    /// [`LibraryError`]: it is not loaded, is of another version than [`VERSION`], lacks a function, or headers that are made
    /// for the purpose do not read back.
    pub fn loaded(file: &str) -> Result<Self, LibraryError> {
        let library = Self { functions: Functions::find(&Loaded::of(file)?)? };
        // SAFETY: librdkafka gives a terminated string that lives as long as itself.
        let found = unsafe { CStr::from_ptr((library.functions.version)()) }.to_string_lossy();
        require(found == VERSION, || format!("librdkafka is {found}, not {VERSION}"))?;
        library.check_headers()?;
        Ok(library)
    }

    /// What a handle is; `None` for a kind that this library does not know.
    pub fn kind_of(&self, handle: Handle) -> Option<HandleKind> {
        // SAFETY: the handle lives, as whoever made it has promised.
        match unsafe { (self.functions.kind)(handle.as_ptr()) } {
            0 => Some(HandleKind::Producer),
            1 => Some(HandleKind::Consumer),
            _ => None,
        }
    }

    /// Whether a consumer's group changes assignments step by step (KIP-429, KIP-848); `None` while it is in none. Asks
    /// librdkafka's own thread.
    pub fn is_cooperative(&self, consumer: Handle) -> Option<bool> {
        // SAFETY: the handle lives, as whoever made it has promised; librdkafka gives null or a string that it never frees.
        let protocol = unsafe {
            let name = (self.functions.rebalance_protocol)(consumer.as_ptr());
            (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes())
        };
        match protocol {
            Some(b"COOPERATIVE") => Some(true),
            Some(b"EAGER") => Some(false),
            _ => None,
        }
    }

    /// What the group knows a consumer by, as the client's `consumer_group_metadata` gives it; `None` if there is none. Asks
    /// librdkafka's own thread.
    pub fn group_metadata(&self, consumer: Handle) -> Option<Vec<u8>> {
        let Functions { group_metadata, group_metadata_write, group_metadata_destroy, memory_free, .. } =
            self.functions;
        // SAFETY: the handle lives, as whoever made it has promised. What librdkafka gives is ours until it is destroyed or
        // freed: the metadata, an error, and memory of that size if there was none.
        unsafe {
            let metadata = NonNull::new(group_metadata(consumer.as_ptr()))?;
            let (mut written, mut size) = (std::ptr::null_mut(), 0);
            let error = group_metadata_write(metadata.as_ptr(), &raw mut written, &raw mut size);
            group_metadata_destroy(metadata.as_ptr());
            if !error.is_null() {
                (self.functions.error_destroy)(error);
                return None;
            }
            let copy = std::slice::from_raw_parts(written.cast::<u8>(), size).to_vec();
            memory_free(std::ptr::null_mut(), written);
            Some(copy)
        }
    }

    /// What an error code means, in librdkafka's words.
    pub fn describe(&self, code: c_int) -> String {
        // SAFETY: librdkafka gives a terminated string for every number.
        unsafe { CStr::from_ptr((self.functions.describe)(code)) }.to_string_lossy().into_owned()
    }

    /// Calls `each` with name and value of every header of a list of the client's.
    ///
    /// # Safety
    /// `list` is a living `rd_kafka_headers_t` of this library that nobody changes meanwhile.
    pub unsafe fn read_headers(&self, list: *const c_void, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        for index in 0.. {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: as the caller promises; the out parameters are ours.
            let found =
                unsafe { (self.functions.header_get_all)(list, index, &raw mut name, &raw mut value, &raw mut size) };
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

    /// Makes headers and reads them back.
    fn check_headers(&self) -> Result<(), LibraryError> {
        let mut found = Vec::new();
        let Functions { headers_new, header_add, headers_destroy, .. } = self.functions;
        // SAFETY: the list is ours until it is destroyed, and its parts are copied by `rd_kafka_header_add`.
        unsafe {
            let list = headers_new(2);
            header_add(list, c"one".as_ptr(), -1, c"value".as_ptr().cast(), 5);
            header_add(list, c"two".as_ptr(), -1, std::ptr::null(), 0);
            self.read_headers(list, |name, value| found.push((name.to_vec(), value.map(<[u8]>::to_vec))));
            headers_destroy(list);
        }
        let expected = [(b"one".to_vec(), Some(b"value".to_vec())), (b"two".to_vec(), None)];
        require(found == expected, || "headers do not read back".to_owned())
    }
}

fn require(holds: bool, else_say: impl FnOnce() -> String) -> Result<(), LibraryError> {
    if holds { Ok(()) } else { Err(LibraryError(else_say())) }
}

/// An open handle of the dynamic loader.
struct Loaded(NonNull<c_void>);

impl Loaded {
    fn of(file: &str) -> Result<Self, LibraryError> {
        let name = CString::new(file).map_err(|_| LibraryError("the library's file name holds a NUL".to_owned()))?;
        // SAFETY: the name is terminated; nothing is loaded that is not loaded yet.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY) };
        NonNull::new(handle).map(Self).ok_or_else(|| LibraryError(format!("{file} is not loaded")))
    }

    fn symbol(&self, name: &CStr) -> Result<*mut c_void, LibraryError> {
        // SAFETY: the handle is open and the name terminated.
        let symbol = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        require(!symbol.is_null(), || format!("librdkafka has no {}", name.to_string_lossy()))?;
        Ok(symbol)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: the handle was opened by `of`. The library stays loaded: the client holds it too.
        unsafe { libc::dlclose(self.0.as_ptr()) };
    }
}
