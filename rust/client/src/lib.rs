//! The Kafka client's own librdkafka, which is loaded already: a consumer's messages and a producer's records without
//! Python objects.
//!
//! Everything here but one shortcut ([`message::Message::headers`]) is librdkafka's documented interface (`rdkafka.h`),
//! found by name in the library that the client has loaded. What the client itself does with a handle it goes on doing: joining groups, callbacks, commits, transactions.
//!
//! | room | holds |
//! |---|---|
//! | [`library`] | the functions, by name |
//! | [`message`], [`headers`] | what a consumer receives |
//! | [`inlet`] | the way of a consumer's messages past its own queue |
//! | [`sender`], [`bundle`] | handing records to a producer, and where they wait |

pub mod bundle;
pub mod headers;
pub mod inlet;
pub mod library;
pub mod message;
pub mod sender;

pub use bundle::Bundle;
pub use headers::Headers;
pub use inlet::Inlet;
pub use library::{Handle, HandleKind, Library, LibraryError, VERSION};
pub use message::Message;
pub use sender::{Record, Refusal, Sender, Series};
