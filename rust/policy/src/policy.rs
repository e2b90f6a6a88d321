//! A compiled policy and its decisions.

use crate::compile::{Compiled, compile};
use crate::decision::{Decision, GuardSet, Request, RuleIndex, RuleView, Verdict};
use crate::document::validate;
use crate::error::{Fault, PolicyError, shown};
use crate::evaluate::{Asking, Fixed, Tally, malformed};
use crate::node::Node;
use crate::route::Route;
use crate::{canonical, json, yaml};
use chio_conditions::{Attributes, ErrorCode, HeaderNames, Reads, Scratch};
use std::borrow::Cow;

/// A compiled policy: immutable, shareable between threads.
#[derive(Debug)]
pub struct Policy {
    pub(crate) compiled: Compiled,
    canonical: String,
    version: [u8; 32],
    /// The attributes of an identity that has none.
    pub(crate) no_attributes: Attributes,
}

impl Policy {
    /// Compiles a YAML document. `source` names it in messages, usually a file name.
    ///
    /// # Errors
    /// When the document is not a policy: where, what is wrong, and what to write instead.
    pub fn from_yaml(text: &str, source: &str) -> Result<Self, PolicyError> {
        Self::from_node(yaml::read(text)).map_err(|fault| fault.at_source(source))
    }

    /// Compiles a JSON document. `source` names it in messages, usually a file name.
    ///
    /// # Errors
    /// When the document is not a policy: where, what is wrong, and what to write instead.
    pub fn from_json(text: &str, source: &str) -> Result<Self, PolicyError> {
        Self::from_node(json::read(text)).map_err(|fault| fault.at_source(source))
    }

    fn from_node(node: Result<Node, Fault>) -> Result<Self, Fault> {
        let mut document = validate(node?)?;
        // A version stands for one numbering of rules, so that a route serves every policy of its version.
        document.identities.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let compiled = compile(&document)?;
        let canonical = canonical::write(&document);
        let version = *blake3::hash(canonical.as_bytes()).as_bytes();
        Ok(Self { compiled, canonical, version, no_attributes: Attributes::new() })
    }

    /// BLAKE3 of [`Policy::canonical`].
    #[must_use]
    pub fn version(&self) -> [u8; 32] {
        self.version
    }

    /// The canonical document (JSON), which is the same for documents of the same meaning.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The guards that rules name, sorted; a [`GuardSet`] holds positions in this list.
    #[must_use]
    pub fn guards(&self) -> &[String] {
        &self.compiled.guards
    }

    /// The headers that conditions look at: those that the digest of a receipt covers.
    #[must_use]
    pub fn header_names(&self) -> &HeaderNames {
        &self.compiled.header_names
    }

    /// The names of the guards in a set.
    pub fn guard_names(&self, set: GuardSet) -> impl Iterator<Item = &str> {
        set.iter().filter_map(|index| self.compiled.guards.get(index)).map(String::as_str)
    }

    /// Number of rules, capabilities included.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.compiled.rules.len()
    }

    /// Decides one request. Allocates nothing unless a condition errs or needs to.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>, scratch: &mut Scratch) -> Decision {
        let mut tally = Tally::new(Fixed::NOTHING);
        let mut asking = Asking::new(&self.compiled, request, scratch, &self.no_attributes);
        let walked = self.compiled.trie.walk(request.identity, request.scope, &mut |leaf| {
            tally.sum.add(leaf);
            for rule in self.compiled.trie.changing(leaf) {
                tally.add(&mut asking, *rule);
            }
        });
        match walked {
            Ok(_) => tally.decide(),
            Err(code) => malformed(code),
        }
    }

    /// Resolves an identity and a scope, for all requests that have both.
    #[must_use]
    pub fn route(&self, identity: &str, scope: &str) -> Route {
        let mut fixed = Fixed::NOTHING;
        let mut changing = Vec::new();
        let walked = self.compiled.trie.walk(identity, scope, &mut |leaf| {
            fixed.add(leaf);
            changing.extend_from_slice(self.compiled.trie.changing(leaf));
        });
        changing.sort_unstable();
        changing.dedup();
        let rules = || changing.iter().filter_map(|rule| self.compiled.rules.get(*rule as usize));
        let reads = rules().fold(Reads::NONE, |reads, rule| reads | rule.reads);
        let conditional = rules().any(|rule| rule.condition.is_some());
        Route {
            identity: identity.into(),
            scope: scope.into(),
            version: self.version,
            fixed,
            reads,
            conditional,
            changing: changing.into(),
            malformed: walked.err(),
        }
    }

    /// Decides one request for the identity and the scope of the route, whatever `request` has for them.
    #[must_use]
    pub fn decide_route(&self, route: &Route, request: &Request<'_>, scratch: &mut Scratch) -> Decision {
        let request = || Request { identity: &route.identity, scope: &route.scope, ..*request };
        if route.version != self.version {
            return self.decide(&request(), scratch);
        }
        if let Some(code) = route.malformed {
            return malformed(code);
        }
        let mut tally = Tally::new(route.fixed);
        if !route.changing.is_empty() {
            let request = request();
            let mut asking = Asking::new(&self.compiled, &request, scratch, &self.no_attributes);
            for rule in &route.changing {
                tally.add(&mut asking, *rule);
            }
        }
        tally.decide()
    }

    /// Whether the rules alone allow the request; guards are not asked.
    #[must_use]
    pub fn has_scope(&self, request: &Request<'_>, scratch: &mut Scratch) -> bool {
        self.decide(request, scratch).verdict == Verdict::Allow
    }

    /// What the policy says about one of its rules; `None` for the index of another policy's rule.
    #[must_use]
    pub fn rule(&self, rule: RuleIndex) -> Option<RuleView<'_>> {
        let text = self.compiled.texts.get(rule.get())?;
        let rule = self.compiled.rules.get(rule.get())?;
        Some(RuleView {
            id: &text.id,
            effect: rule.effect,
            reason: text.reason.as_deref(),
            guards: rule.guards,
            when: text.when.as_deref(),
            not_before: (rule.not_before != i64::MIN).then_some(rule.not_before),
            expires_at: (rule.expires_at != i64::MAX).then_some(rule.expires_at),
        })
    }

    /// Id of a rule: its own, or `capability:{identity}:{pattern}`; empty for `None`.
    #[must_use]
    pub fn rule_id(&self, rule: Option<RuleIndex>) -> &str {
        rule.and_then(|rule| self.compiled.texts.get(rule.get())).map_or("", |text| text.id.as_str())
    }

    /// The reason of a decision: the rule's own, else a sentence that says what matched or what was missing.
    ///
    /// At most 1 KiB.
    #[must_use]
    pub fn reason(&self, decision: &Decision, identity: &str, scope: &str) -> Cow<'_, str> {
        let Some(rule) = decision.rule else {
            return Cow::Owned(self.nothing_allows(decision, identity, scope));
        };
        let erred = decision.errors.iter().find(|error| error.rule == Some(rule));
        let (Some(text), Some(view)) = (self.compiled.texts.get(rule.get()), self.rule(rule)) else {
            return Cow::Borrowed("");
        };
        if let (Some(error), Verdict::Deny) = (erred, decision.verdict) {
            let effect = view.effect.as_str();
            return Cow::Owned(format!("the condition of {effect} rule `{}` erred: {}", text.id, error.code));
        }
        match (&text.reason, &text.capability) {
            (Some(reason), _) => Cow::Borrowed(reason),
            (None, Some((identity, pattern))) => Cow::Owned(format!("`{identity}` holds `{pattern}`")),
            (None, None) => Cow::Owned(format!("{} rule `{}` matched", view.effect.as_str(), text.id)),
        }
    }

    fn nothing_allows(&self, decision: &Decision, identity: &str, scope: &str) -> String {
        let missing = format!("nothing allows `{}` to `{}`", shown(identity), shown(scope));
        match decision.errors.first() {
            None => missing,
            Some(error) if error.rule.is_some() => {
                format!("{missing}; allow rule `{}` erred: {}", self.rule_id(error.rule), error.code)
            }
            Some(error) if error.code == ErrorCode::InvalidIdentity => {
                format!("identity `{}` is malformed", shown(identity))
            }
            Some(_) => format!("scope `{}` is malformed", shown(scope)),
        }
    }
}
