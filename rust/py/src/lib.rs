//! The Python extension `chio_fast._native`: converts, calls the crates, maps their errors. It holds no rules.
//!
//! | room | holds |
//! |---|---|
//! | [`policy`], [`signer`], [`log`], [`checkpoint`], [`reader`], [`upkeep`], [`exported`] | the crates' own objects |
//! | [`gate`], [`admit`], [`issue`], [`hatch`] | the hot path: decide a list of messages, give receipts to a list of events, or to one |
//! | [`attest`], [`outcome`] | transactions: ids first, receipts when it is known what becomes of the events |
//! | [`place`], [`event`], [`outlet`], [`matter`], [`check`] | what is decided: a partition's events, a topic's outputs, single requests |
//! | [`together`], [`work`], [`run`], [`runs`] | a processor's events in flight, by partition, and what a transaction may cover (decision 17) |
//! | [`lanes`], [`handler_context`], [`exits`] | its handlers: in order, with what they may do and produce |
//! | [`backlog`], [`express`], [`offer`], [`line`](mod@line), [`lease`] | from a producer's call to the client: decided in one call, sent without Python's lock |
//! | [`client`], [`message`], [`layout`], [`roads`], [`headers`], [`original`], [`inlet`], [`admitted`], [`inbound`], [`outbound`], [`held`], [`record`] | reading what Python hands over |
//! | [`sender`] | handing outputs to a producer |
//! | [`decision`], [`errors`], [`untracked`] | what Python gets back |

mod admit;
mod admitted;
mod attest;
mod backlog;
mod check;
mod checkpoint;
mod client;
mod clock;
mod decision;
mod errors;
mod event;
mod exits;
mod exported;
mod express;
mod gate;
mod handler_context;
mod hatch;
mod headers;
mod held;
mod inbound;
mod inlet;
mod issue;
mod lanes;
mod layout;
mod lease;
mod letter;
mod line;
mod log;
mod matter;
mod message;
mod offer;
mod original;
mod outbound;
mod outcome;
mod outlet;
mod place;
mod policy;
mod read;
mod reader;
mod record;
mod roads;
mod run;
mod runs;
mod sender;
mod signer;
mod together;
mod untracked;
mod upkeep;
mod work;

/// Names of the module.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::backlog::{Backlog, Refused};
    #[pymodule_export]
    use super::check::Check;
    #[pymodule_export]
    use super::checkpoint::SignedCheckpoint;
    #[pymodule_export]
    use super::client::{group_metadata, is_cooperative};
    #[pymodule_export]
    use super::event::Event;
    #[pymodule_export]
    use super::exits::Exits;
    #[pymodule_export]
    use super::exported::verify_export;
    #[pymodule_export]
    use super::gate::Gate;
    #[pymodule_export]
    use super::handler_context::HandlerContext;
    #[pymodule_export]
    use super::hatch::Hatch;
    #[pymodule_export]
    use super::headers::given;
    #[pymodule_export]
    use super::inlet::Inlet;
    #[pymodule_export]
    use super::lanes::Lanes;
    #[pymodule_export]
    use super::log::Log;
    #[pymodule_export]
    use super::outlet::Outlet;
    #[pymodule_export]
    use super::place::Partition;
    #[pymodule_export]
    use super::policy::Policy;
    #[pymodule_export]
    use super::reader::Reader;
    #[pymodule_export]
    use super::roads::{read_by_both_roads, slow_road_reason};
    #[pymodule_export]
    use super::run::Run;
    #[pymodule_export]
    use super::runs::{Runs, Stretch};
    #[pymodule_export]
    use super::sender::Sender;
    #[pymodule_export]
    use super::signer::Signer;
    #[pymodule_export]
    use super::together::by_partition;
    #[pymodule_export]
    use super::upkeep::{check_trust, import_frames, rotate_key, show_location, withhold};
    #[pymodule_export]
    use super::work::Work;

    #[pymodule_export]
    const WAITING: u8 = super::work::WAITING;
    #[pymodule_export]
    const RUNNING: u8 = super::work::RUNNING;
    #[pymodule_export]
    const FINISHED: u8 = super::work::FINISHED;
}
