//! Who asks which policy for what.

use std::sync::Arc;

use chio_conditions::Kind;
use chio_policy::{Policy, Request};

/// One policy in force.
#[derive(Debug)]
pub struct Generation {
    /// The compiled policy.
    pub policy: Arc<Policy>,
    /// Its version, hexadecimal.
    pub version: String,
}

impl Generation {
    /// The policy with its version spelled.
    pub fn new(policy: Arc<Policy>) -> Self {
        let version = chio_receipts::hex::encode(&policy.version());
        Self { policy, version }
    }
}

/// Who asks for what, where.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The identity.
    pub identity: &'a str,
    /// The scope.
    pub scope: &'a str,
    /// The boundary.
    pub kind: Kind,
}

impl<'a> Question<'a> {
    /// The request to a policy, with nothing but the question in it.
    pub fn request(&self, now: i64) -> Request<'a> {
        Request {
            identity: self.identity,
            scope: self.scope,
            kind: self.kind,
            now,
            event: None,
            tool: None,
            arguments: None,
            output: None,
        }
    }

    /// The word of the boundary in receipts.
    pub fn receipt_kind(&self) -> chio_receipts::Kind {
        match self.kind {
            Kind::Consume => chio_receipts::Kind::Consume,
            Kind::Invoke => chio_receipts::Kind::Invoke,
            Kind::Produce => chio_receipts::Kind::Produce,
        }
    }
}
