//! Handing records to a producer.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bundle::Bundle;
use crate::library::{Argument, ArgumentValue, Bytes, Handle, HeaderBytes, Library};

/// `rd_kafka_vtype_t`
const TOPIC: c_int = 1;
const TOPIC_HANDLE: c_int = 2;
const PARTITION: c_int = 3;
const VALUE: c_int = 4;
const KEY: c_int = 5;
const FLAGS: c_int = 7;
const TIMESTAMP: c_int = 8;
const HEADER: c_int = 9;
/// Arguments of a record beside its headers.
const OTHERS: usize = 6;
/// `RD_KAFKA_MSG_F_COPY`
const COPY: c_int = 2;
/// `RD_KAFKA_RESP_ERR__QUEUE_FULL`
pub const QUEUE_FULL: c_int = -184;
/// `RD_KAFKA_RESP_ERR__DESTROY`: the producer is being closed.
pub const DESTROYED: c_int = -197;

/// What is handed to a producer, without its headers.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Topic.
    pub topic: &'a CStr,
    /// Number of the partition, -1 for the partitioner's choice.
    pub partition: i32,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Unix ms, 0 for now.
    pub timestamp: i64,
}

/// Why a producer did not take a record: an error code of librdkafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code, see [`Library::describe`].
    pub code: c_int,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client refuses the record with code {}", self.code)
    }
}

impl std::error::Error for Refusal {}

/// Hands records to one producer of the client's, from any thread. Who holds one sees to it that the producer lives.
///
/// The client's own delivery callback looks at what it has attached to a record and passes over records without anything;
/// so nobody hears of the single record. Who uses this learns from `flush` that all have been acknowledged or have failed,
/// and in a transaction from the commit that none has failed: librdkafka counts failures and refuses to commit.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    library: &'static Library,
    producer: Handle,
}

impl Sender {
    /// A sender for a producer.
    pub fn new(library: &'static Library, producer: Handle) -> Self {
        Self { library, producer }
    }

    /// Begins a transaction; false if the producer does not, and then nothing has happened. Asks librdkafka's own thread, and
    /// calls nothing back.
    pub fn begin(&self) -> bool {
        let functions = &self.library.functions;
        // SAFETY: the producer lives. An error that is given is ours.
        unsafe {
            let error = (functions.begin_transaction)(self.producer.as_ptr());
            if !error.is_null() {
                (functions.error_destroy)(error);
            }
            error.is_null()
        }
    }

    /// A series of records.
    pub fn series(&self) -> Series<'_> {
        Series { sender: self, now: now(), topics: Vec::new(), arguments: Vec::new() }
    }

    /// Hands over the records of a bundle from `first` on; gives the number of the next one, and why it is refused unless
    /// that was all.
    pub fn send_bundle(&self, bundle: &Bundle, first: usize) -> (usize, Option<Refusal>) {
        let topics: Vec<Topic<'_>> = bundle.topics().iter().map(|name| Topic::new(self, name)).collect();
        let (now, mut arguments) = (now(), Vec::new());
        let mut next = first;
        while let Some(lying) = bundle.get(next) {
            let Some(topic) = topics.get(lying.topic()) else { break };
            arguments.clear();
            let (partition, timestamp) = lying.numbers();
            let numbers = (partition, if timestamp == 0 { now } else { timestamp });
            arguments.extend(others(topic.argument(), numbers, lying.key(), lying.value()));
            // INVARIANT (terminated): a NUL follows each name.
            arguments.extend(lying.headers().map(|(name, value)| header(name.as_ptr().cast(), value)));
            // SAFETY: what the arguments point to lives as long as the bundle and the topics.
            if let Err(refusal) = unsafe { self.produce(&arguments) } {
                return (next, Some(refusal));
            }
            next += 1;
        }
        (next, None)
    }

    /// # Safety
    /// What the arguments point to lives.
    unsafe fn produce(&self, arguments: &[Argument]) -> Result<(), Refusal> {
        let functions = &self.library.functions;
        // SAFETY: the producer lives, as whoever made the handle has promised. The call copies what the arguments point to.
        // An error that is given is ours.
        unsafe {
            let error = (functions.produce)(self.producer.as_ptr(), arguments.as_ptr(), arguments.len());
            if error.is_null() {
                return Ok(());
            }
            let code = (functions.error_code)(error);
            (functions.error_destroy)(error);
            Err(Refusal { code })
        }
    }
}

/// Records that are handed over one after the other.
pub struct Series<'a> {
    sender: &'a Sender,
    /// The time of records that come without one.
    now: i64,
    topics: Vec<Topic<'a>>,
    /// Room that is used again.
    arguments: Vec<Argument>,
}

impl<'a> Series<'a> {
    /// Hands a record over, with its headers in order; its bytes are copied.
    ///
    /// # Errors
    /// [`Refusal`]: the producer did not take it.
    pub fn send<'h>(
        &mut self,
        record: &Record<'a>,
        headers: impl Iterator<Item = (&'h CStr, Option<&'h [u8]>)>,
    ) -> Result<(), Refusal> {
        let Record { topic, partition, key, value, timestamp } = *record;
        let timestamp = if timestamp == 0 { self.now } else { timestamp };
        let topic = self.topic(topic);
        self.arguments.clear();
        self.arguments.extend(others(topic, (partition, timestamp), key, value));
        self.arguments.extend(headers.map(|(name, value)| header(name.as_ptr(), value)));
        // SAFETY: what the arguments point to lives as long as the record, its headers and the topics.
        unsafe { self.sender.produce(&self.arguments) }
    }

    fn topic(&mut self, name: &'a CStr) -> Argument {
        if let Some(known) = self.topics.iter().find(|known| known.name == name) {
            return known.argument();
        }
        let topic = Topic::new(self.sender, name);
        let argument = topic.argument();
        self.topics.push(topic);
        argument
    }
}

/// A topic that many records are for: by its handle librdkafka need not look for the name each time.
struct Topic<'a> {
    sender: &'a Sender,
    name: &'a CStr,
    handle: *mut c_void,
}

impl<'a> Topic<'a> {
    fn new(sender: &'a Sender, name: &'a CStr) -> Self {
        let functions = &sender.library.functions;
        // SAFETY: the producer lives, and the name is terminated. Without a configuration the producer's own one is used.
        let handle = unsafe { (functions.topic_new)(sender.producer.as_ptr(), name.as_ptr(), ptr::null_mut()) };
        Self { sender, name, handle }
    }

    fn argument(&self) -> Argument {
        if self.handle.is_null() {
            // The call says what is wrong with the name.
            return argument(TOPIC, ArgumentValue { text: self.name.as_ptr() });
        }
        argument(TOPIC_HANDLE, ArgumentValue { pointer: self.handle })
    }
}

impl Drop for Topic<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is ours; records keep their own.
            unsafe { (self.sender.library.functions.topic_destroy)(self.handle) };
        }
    }
}

/// The time of records that come without one and are sent now, Unix ms: librdkafka would look at the clock for each.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    now.and_then(|now| i64::try_from(now.as_millis()).ok()).unwrap_or(0)
}

/// The arguments of a record that are no headers.
fn others(
    topic: Argument,
    (partition, timestamp): (i32, i64),
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> [Argument; OTHERS] {
    [
        topic,
        argument(FLAGS, ArgumentValue { flags: COPY }),
        argument(PARTITION, ArgumentValue { partition }),
        argument(KEY, ArgumentValue { bytes: bytes(key) }),
        argument(VALUE, ArgumentValue { bytes: bytes(value) }),
        argument(TIMESTAMP, ArgumentValue { time: timestamp }),
    ]
}

fn header(name: *const c_char, value: Option<&[u8]>) -> Argument {
    let Bytes { pointer, size } = bytes(value);
    argument(HEADER, ArgumentValue { header: HeaderBytes { name, value: pointer, size: size.cast_signed() } })
}

/// One argument of the call.
fn argument(kind: c_int, value: ArgumentValue) -> Argument {
    Argument { kind, value }
}

fn bytes(content: Option<&[u8]>) -> Bytes {
    match content {
        Some(content) => Bytes { pointer: content.as_ptr().cast(), size: content.len() },
        None => Bytes { pointer: ptr::null::<c_void>(), size: 0 },
    }
}
