//! What a policy says about one identity and scope in general, kept for as long as the policy is in force.

use std::sync::{Arc, Mutex, PoisonError};

use chio_policy::{Decision, Route};
use chio_receipts::Template;

use crate::question::{Generation, Question};
use crate::ruling::Ruling;

/// Templates that are kept per route; rules beyond that are rendered each time.
const TEMPLATES: usize = 32;

/// What one policy says about a question in general.
#[derive(Debug)]
pub struct Resolved {
    /// The policy.
    pub generation: Arc<Generation>,
    /// The rules that can match.
    pub route: Route,
    templates: Mutex<Vec<(Decision, Arc<Template>)>>,
}

impl Resolved {
    /// Calls `f` with the template of a ruling; it is rendered once for each outcome that nothing particular is part of.
    pub fn with_template<R>(&self, ruling: &Ruling, question: &Question<'_>, f: impl FnOnce(&Arc<Template>) -> R) -> R {
        let render = || Arc::new(ruling.template(question));
        if ruling.is_particular() {
            return f(&render());
        }
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |known: &Decision| known.rule == ruling.decision.rule && known.verdict == ruling.decision.verdict;
        if let Some((_, template)) = templates.iter().find(|(known, _)| is_same(known)) {
            return f(template);
        }
        let template = render();
        if templates.len() < TEMPLATES {
            templates.push((ruling.decision.clone(), Arc::clone(&template)));
        }
        f(&template)
    }
}

/// The resolution under the policy that asked last.
#[derive(Debug, Default)]
pub struct Latest(Mutex<Option<Arc<Resolved>>>);

impl Latest {
    /// The resolution under a policy; walks the trie once per policy. The question is the same in every call.
    pub fn under(&self, generation: &Arc<Generation>, question: &Question<'_>) -> Arc<Resolved> {
        let mut resolved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*resolved {
            Some(known) if Arc::ptr_eq(&known.generation, generation) => Arc::clone(known),
            _ => {
                let route = generation.policy.route(question.identity, question.scope);
                let fresh = Resolved { generation: Arc::clone(generation), route, templates: Mutex::default() };
                Arc::clone(resolved.insert(Arc::new(fresh)))
            }
        }
    }
}
