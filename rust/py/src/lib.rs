//! The Python extension `chio_fast._native`: converts, calls the crates, maps their errors. It holds no rules.
//!
//! | room | holds |
//! |---|---|
//! | [`policy`], [`signer`], [`log`], [`reader`], [`upkeep`], [`exported`] | the crates' own objects |
//! | [`gate`], [`admit`], [`issue`] | the hot path: decide a list of messages, give receipts to a list of events |
//! | [`place`], [`event`], [`check`], [`ruling`] | what is decided: a partition, its events, single requests, and what became of them |
//! | [`message`], [`layout`], [`roads`], [`headers`], [`inbound`], [`record`] | reading what Python hands over |
//! | [`decision`], [`errors`] | what Python gets back |

mod admit;
mod check;
mod clock;
mod decision;
mod errors;
mod event;
mod exported;
mod gate;
mod headers;
mod inbound;
mod issue;
mod layout;
mod log;
mod message;
mod place;
mod policy;
mod reader;
mod record;
mod roads;
mod ruling;
mod signer;
mod upkeep;

/// Names of the module.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::check::Check;
    #[pymodule_export]
    use super::event::Event;
    #[pymodule_export]
    use super::exported::verify_export;
    #[pymodule_export]
    use super::gate::Gate;
    #[pymodule_export]
    use super::log::Log;
    #[pymodule_export]
    use super::place::Partition;
    #[pymodule_export]
    use super::policy::Policy;
    #[pymodule_export]
    use super::reader::Reader;
    #[pymodule_export]
    use super::roads::{read_by_both_roads, slow_road_reason};
    #[pymodule_export]
    use super::signer::Signer;
    #[pymodule_export]
    use super::upkeep::{check_trust, rotate_key, withhold};
}
