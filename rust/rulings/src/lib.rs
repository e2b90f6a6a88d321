//! What becomes of a decision until it has its receipt: guards, earlier receipts, the parts that receipts share.
//! No I/O, no threads; time is passed in.
//!
//! | module | holds |
//! |---|---|
//! | [`question`](Question) | who asks which policy for what |
//! | [`ruling`](Ruling) | the decision, what guards and earlier receipts add, and the verdict of all together |
//! | [`resolved`](Resolved) | what a policy says about a question in general; templates of receipts |
//! | [`origin`](Origin), [`headers`] | what led to a request; what receipts take from headers |
//! | [`progress`](Progress) | how far the events of a partition have come |
//! | [`snapshot`](Snapshot) | what is told of a ruling |

pub mod headers;
mod origin;
mod progress;
mod question;
mod resolved;
mod ruling;
mod snapshot;

pub use origin::Origin;
pub use progress::{NOTHING, Progress};
pub use question::{Generation, Question};
pub use resolved::{Latest, Resolved};
pub use ruling::{Issued, Recalled, Ruling, Run};
pub use snapshot::Snapshot;
