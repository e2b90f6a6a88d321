//! Keys on disk: seed files, the environment, rotation, and the trust file.

mod rotate;
mod seed;
mod trust;

pub use rotate::{Rotation, retire, rotate};
#[cfg(feature = "postgres")]
pub(crate) use seed::check_private;
pub(crate) use seed::fill_random;
pub use seed::{create, from_env, load, replace};
pub use trust::{read_trust, write_trust};
