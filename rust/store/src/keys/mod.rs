//! Keys on disk: seed files, the environment, rotation, and the trust file.

mod seed;

pub(crate) use seed::fill_random;
pub use seed::{create, from_env, load};
