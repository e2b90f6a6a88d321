//! The way of a consumer's messages past its own queue.
//!
//! A consumer's own queue carries messages beside everything that calls back: rebalances, results of commits, errors. Only
//! the client may serve it, because callbacks run in the middle of its calls. So the queues of partitions are led into one
//! of ours (`rd_kafka_queue_forward`, which librdkafka heeds from the next assignment on), on which nothing calls back.
//!
//! Who waits, waits in the client for its own queue: whenever something comes into ours while it is empty, the client is
//! woken (`rd_kafka_queue_yield`).

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};

use crate::library::{Functions, Handle, Library};
use crate::message::Message;

/// The queue of one consumer's partitions, for one thread at a time. It has to be dropped before the client destroys the
/// consumer.
#[derive(Debug)]
pub struct Inlet {
    library: &'static Library,
    consumer: Handle,
    /// Ours.
    queue: NonNull<c_void>,
    /// What wakes those who wait for the consumer's own queue; librdkafka has its address.
    wake: Box<Wake>,
}

// SAFETY: librdkafka's queues may be used by any thread.
unsafe impl Send for Inlet {}
// SAFETY: as above.
unsafe impl Sync for Inlet {}

#[derive(Debug)]
struct Wake {
    queue_yield: unsafe extern "C" fn(*mut c_void),
    /// The consumer's own queue.
    main: NonNull<c_void>,
}

/// librdkafka calls this, with our queue locked, when something has come into it while it was empty.
unsafe extern "C" fn on_event(_consumer: *mut c_void, wake: *mut c_void) {
    let wake = wake.cast::<Wake>();
    // SAFETY: `Inlet` keeps it alive until librdkafka has been told to call no more, which waits for a call that is under way.
    unsafe { ((*wake).queue_yield)((*wake).main.as_ptr()) };
}

impl Inlet {
    /// An inlet into which no partition leads yet; `None` if librdkafka has no queue for it.
    pub fn new(library: &'static Library, consumer: Handle) -> Option<Self> {
        let functions = &library.functions;
        // SAFETY: the consumer lives, as whoever made the handle has promised; both queues are references of ours.
        let (main, queue) = unsafe {
            (
                NonNull::new((functions.queue_of_consumer)(consumer.as_ptr()))?,
                NonNull::new((functions.queue_new)(consumer.as_ptr())),
            )
        };
        let Some(queue) = queue else {
            // SAFETY: the reference is ours and is not used any more.
            unsafe { (functions.queue_destroy)(main.as_ptr()) };
            return None;
        };
        let wake = Box::new(Wake { queue_yield: functions.queue_yield, main });
        let argument = (&raw const *wake).cast_mut().cast();
        // SAFETY: `wake` stays where it is until `drop` has told librdkafka to call no more.
        unsafe { (functions.queue_on_event)(queue.as_ptr(), Some(on_event), argument) };
        Some(Self { library, consumer, queue, wake })
    }

    /// Leads a partition in, before the client assigns it: what is fetched earlier stays in the consumer's own queue. False
    /// if there can be no such partition.
    pub fn lead_in(&self, topic: &str, partition: i32) -> bool {
        let Ok(name) = CString::new(topic) else { return false };
        let Functions { queue_of_partition, queue_forward, queue_destroy, .. } = self.library.functions;
        // SAFETY: the consumer lives, and the name is terminated; the reference that is given is ours.
        unsafe {
            let Some(source) = NonNull::new(queue_of_partition(self.consumer.as_ptr(), name.as_ptr(), partition))
            else {
                return false;
            };
            queue_forward(source.as_ptr(), self.queue.as_ptr());
            queue_destroy(source.as_ptr());
        }
        true
    }

    /// Ends the running call of whoever waits for the consumer's own queue, or the next one.
    pub fn wake(&self) {
        // SAFETY: the queue is a reference of ours; any thread may do this.
        unsafe { (self.wake.queue_yield)(self.wake.main.as_ptr()) };
    }

    /// Whether something waits here.
    pub fn has_news(&self) -> bool {
        // SAFETY: the queue is ours.
        unsafe { (self.library.functions.queue_length)(self.queue.as_ptr()) > 0 }
    }

    /// Takes up to `most` messages and errors that wait here. It calls nothing back and does not wait.
    pub fn take(&self, most: usize) -> Vec<Message> {
        let mut found = vec![ptr::null_mut(); most];
        // SAFETY: the queue is ours, and there is room for as many pointers.
        let count = unsafe { (self.library.functions.consume_batch)(self.queue.as_ptr(), 0, found.as_mut_ptr(), most) };
        found.truncate(usize::try_from(count).unwrap_or(0));
        // SAFETY: each message that librdkafka gives out belongs to us.
        found.into_iter().filter_map(|raw| unsafe { Message::owned(self.library, raw) }).collect()
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let Functions { queue_on_event, queue_destroy, .. } = self.library.functions;
        // SAFETY: both references are ours and are not used any more. To be told so waits for a call of `on_event`.
        unsafe {
            queue_on_event(self.queue.as_ptr(), None, ptr::null_mut());
            queue_destroy(self.queue.as_ptr());
            queue_destroy(self.wake.main.as_ptr());
        }
    }
}
