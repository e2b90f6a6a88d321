//! Handing records to a producer.

use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::ptr;

use crate::library::{Argument, ArgumentValue, Bytes, Handle, HeaderBytes, Library};

/// `rd_kafka_vtype_t`
const TOPIC: c_int = 1;
const PARTITION: c_int = 3;
const VALUE: c_int = 4;
const KEY: c_int = 5;
const FLAGS: c_int = 7;
const TIMESTAMP: c_int = 8;
const HEADER: c_int = 9;
/// `RD_KAFKA_MSG_F_COPY`
const COPY: c_int = 2;
/// `RD_KAFKA_RESP_ERR__QUEUE_FULL`
pub const QUEUE_FULL: c_int = -184;
/// `RD_KAFKA_RESP_ERR__DESTROY`: the producer is being closed.
pub const DESTROYED: c_int = -197;

/// What is handed to a producer.
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
    /// Headers, in order.
    pub headers: &'a [(&'a CStr, Option<&'a [u8]>)],
}

/// Why a producer did not take a record: an error code of librdkafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code, see [`Library::describe`].
    pub code: c_int,
}

impl Refusal {
    /// Whether the producer takes it later, when others have left its queue.
    pub fn is_for_now(self) -> bool {
        self.code == QUEUE_FULL
    }
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

    /// The producer.
    pub fn producer(&self) -> Handle {
        self.producer
    }

    /// Hands a record over; its bytes are copied.
    ///
    /// # Errors
    /// [`Refusal`]: the producer did not take it.
    pub fn send(&self, record: &Record<'_>) -> Result<(), Refusal> {
        let mut arguments = Vec::with_capacity(6 + record.headers.len());
        arguments.extend([
            argument(TOPIC, ArgumentValue { text: record.topic.as_ptr() }),
            argument(FLAGS, ArgumentValue { flags: COPY }),
            argument(PARTITION, ArgumentValue { partition: record.partition }),
            argument(KEY, ArgumentValue { bytes: bytes(record.key) }),
            argument(VALUE, ArgumentValue { bytes: bytes(record.value) }),
            argument(TIMESTAMP, ArgumentValue { time: record.timestamp }),
        ]);
        arguments.extend(record.headers.iter().map(|(name, value)| {
            let Bytes { pointer, size } = bytes(*value);
            let size = size.cast_signed();
            argument(HEADER, ArgumentValue { header: HeaderBytes { name: name.as_ptr(), value: pointer, size } })
        }));
        let functions = &self.library.functions;
        // SAFETY: the producer lives, as whoever made the handle has promised. What the arguments point to lives as long as
        // the call, which copies it. An error that is given is ours.
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
