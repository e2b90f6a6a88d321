//! A compiled policy.

use crate::{
    Decision, Errors, Explanation, GuardSet, PolicyError, Reads, Request, RuleIndex, RuleView, Scratch, Verdict,
};
use std::borrow::Cow;

/// A compiled policy: immutable, shareable between threads.
#[derive(Debug)]
pub struct Policy {}

/// What a policy has to say about one identity and one scope, resolved once.
#[derive(Clone, Debug)]
pub struct Route {}

impl Route {
    /// What the conditions of the route read; the caller prepares only that.
    #[must_use]
    pub fn reads(&self) -> Reads {
        Reads::NONE
    }

    /// Whether no condition is involved: the decision depends on the time alone and holds until its `valid_until`.
    #[must_use]
    pub fn is_static(&self) -> bool {
        true
    }
}

impl Policy {
    /// Compiles a YAML document. `source` names it in messages.
    ///
    /// # Errors
    /// When the document is not a policy.
    pub fn from_yaml(_text: &str, _source: &str) -> Result<Self, PolicyError> {
        Ok(Self {})
    }

    /// Compiles a JSON document. `source` names it in messages.
    ///
    /// # Errors
    /// When the document is not a policy.
    pub fn from_json(_text: &str, _source: &str) -> Result<Self, PolicyError> {
        Ok(Self {})
    }

    /// BLAKE3 of [`Policy::canonical`].
    #[must_use]
    pub fn version(&self) -> [u8; 32] {
        [0; 32]
    }

    /// The canonical document (JSON).
    #[must_use]
    pub fn canonical(&self) -> &str {
        ""
    }

    /// The guards that rules name, sorted; a [`GuardSet`] holds positions in this list.
    #[must_use]
    pub fn guards(&self) -> &[String] {
        &[]
    }

    /// Resolves an identity and a scope, for all requests that have both.
    #[must_use]
    pub fn route(&self, _identity: &str, _scope: &str) -> Route {
        Route {}
    }

    /// Decides one request.
    #[must_use]
    pub fn decide(&self, _request: &Request<'_>, _scratch: &mut Scratch) -> Decision {
        Decision {
            verdict: Verdict::Deny,
            rule: None,
            errors: Errors::default(),
            guards: GuardSet::default(),
            valid_until: i64::MAX,
        }
    }

    /// Decides one request for the identity and the scope of the route, whatever `request` has for them.
    #[must_use]
    pub fn decide_route(&self, _route: &Route, request: &Request<'_>, scratch: &mut Scratch) -> Decision {
        self.decide(request, scratch)
    }

    /// Whether the rules alone allow the request.
    #[must_use]
    pub fn has_scope(&self, request: &Request<'_>, scratch: &mut Scratch) -> bool {
        self.decide(request, scratch).verdict == Verdict::Allow
    }

    /// Why the decision about a request is what it is.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let decision = self.decide(request, &mut Scratch::new());
        Explanation {
            identity: request.identity.to_owned(),
            scope: request.scope.to_owned(),
            kind: request.kind.as_str(),
            now: request.now,
            policy_version: String::new(),
            verdict: decision.verdict,
            rule: String::new(),
            reason: String::new(),
            why: String::new(),
            guards: Vec::new(),
            errors: Vec::new(),
            valid_until: None,
            rules: Vec::new(),
        }
    }

    /// What the policy says about one of its rules; `None` for an index of another policy.
    #[must_use]
    pub fn rule(&self, _rule: RuleIndex) -> Option<RuleView<'_>> {
        None
    }

    /// Id of the rule that decided; empty if none did.
    #[must_use]
    pub fn rule_id(&self, _rule: Option<RuleIndex>) -> &str {
        ""
    }

    /// The reason of a decision: the rule's own, else a sentence that says what matched or what was missing.
    #[must_use]
    pub fn reason(&self, _decision: &Decision, _identity: &str, _scope: &str) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
}
