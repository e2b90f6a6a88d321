//! An identity and a scope, resolved once for all events that have both.

use crate::evaluate::Fixed;
use chio_conditions::{ErrorCode, Reads};

/// What a policy has to say about one identity and one scope.
///
/// It belongs to the policy that made it. Another policy resolves identity and scope again when it is given the route,
/// which is right but slow.
#[derive(Clone, Debug)]
pub struct Route {
    pub(crate) identity: Box<str>,
    pub(crate) scope: Box<str>,
    pub(crate) version: [u8; 32],
    /// What the rules without condition and window add up to.
    pub(crate) fixed: Fixed,
    /// The other rules that match, ascending.
    pub(crate) changing: Box<[u32]>,
    pub(crate) reads: Reads,
    pub(crate) conditional: bool,
    /// Why no rule was asked.
    pub(crate) malformed: Option<ErrorCode>,
}

impl Route {
    /// The identity that it was made for.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The scope that it was made for.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// What the conditions of the matching rules read; the caller prepares only that.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.reads
    }

    /// Whether no matching rule has a condition: a decision then depends on the time alone and is the same for every
    /// request before its `valid_until`.
    #[must_use]
    pub fn is_static(&self) -> bool {
        !self.conditional
    }
}
