//! From a validated document to what evaluation needs.

use crate::decision::{GuardSet, Verdict};
use crate::document::{Document, Identity, Rule, capability_id, to_json};
use crate::error::Fault;
use crate::pattern::{self, Segment};
use crate::trie::{Builder, MAX_NODES, MAX_WALK, Summary, Trie};
use chio_conditions::{Attributes, ConditionSet, HeaderNames, Reads};
use std::collections::HashMap;

/// A rule as evaluation needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompiledRule {
    pub effect: Verdict,
    pub guards: GuardSet,
    /// The window [`not_before`, `expires_at`) in Unix milliseconds; the extremes of i64 stand for no bound.
    pub not_before: i64,
    pub expires_at: i64,
    /// Index in the condition set.
    pub condition: Option<u32>,
    /// What the condition reads.
    pub reads: Reads,
}

impl CompiledRule {
    /// Whether neither time nor content can change what the rule says.
    pub fn is_fixed(&self) -> bool {
        self.condition.is_none() && self.not_before == i64::MIN && self.expires_at == i64::MAX
    }
}

/// What people see of a rule.
#[derive(Debug)]
pub(crate) struct RuleText {
    pub id: String,
    pub reason: Option<String>,
    pub when: Option<String>,
    /// The identity and the pattern of a capability.
    pub capability: Option<(String, String)>,
}

/// Everything that evaluation needs.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub trie: Trie,
    pub rules: Vec<CompiledRule>,
    pub texts: Vec<RuleText>,
    pub conditions: ConditionSet,
    pub header_names: HeaderNames,
    pub attributes: HashMap<String, Attributes, foldhash::quality::FixedState>,
    pub guards: Vec<String>,
}

/// Compiles a document. Capabilities come first, then rules, each in the order of the document given.
pub(crate) fn compile(document: &Document) -> Result<Compiled, Fault> {
    let guards = guard_names(document);
    let (conditions, indices) = conditions(document)?;
    let mut rules = Vec::new();
    let mut texts = Vec::new();
    for identity in &document.identities {
        for capability in &identity.capabilities {
            rules.push(CompiledRule {
                effect: Verdict::Allow,
                guards: GuardSet::default(),
                not_before: i64::MIN,
                expires_at: i64::MAX,
                condition: None,
                reads: Reads::NONE,
            });
            texts.push(RuleText {
                id: capability_id(&identity.name, &capability.pattern),
                reason: None,
                when: None,
                capability: Some((identity.name.clone(), capability.pattern.clone())),
            });
        }
    }
    for rule in &document.rules {
        let condition = rule.when.as_ref().and_then(|when| indices.get(when.text.as_str()).copied());
        rules.push(CompiledRule {
            effect: rule.effect,
            guards: guard_set(rule, &guards),
            not_before: rule.not_before.unwrap_or(i64::MIN),
            expires_at: rule.expires_at.unwrap_or(i64::MAX),
            condition,
            reads: condition.map_or(Reads::NONE, |index| conditions.reads(index as usize)),
        });
        texts.push(RuleText {
            id: rule.id.clone(),
            reason: rule.reason.clone(),
            when: rule.when.as_ref().map(|when| when.text.clone()),
            capability: None,
        });
    }
    let trie = trie(document, &rules)?;
    let attributes = document.identities.iter().filter_map(attributes).collect();
    let header_names = conditions.header_names();
    Ok(Compiled { trie, rules, texts, conditions, header_names, attributes, guards })
}

fn attributes(identity: &Identity) -> Option<(String, Attributes)> {
    if identity.attributes.is_empty() {
        return None;
    }
    let members = identity.attributes.iter().map(|member| (member.name.clone(), to_json(&member.node.value)));
    Some((identity.name.clone(), Attributes::from_json(&members.collect())))
}

fn guard_names(document: &Document) -> Vec<String> {
    let mut names: Vec<_> = document.rules.iter().flat_map(|rule| rule.guards.iter().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn guard_set(rule: &Rule, names: &[String]) -> GuardSet {
    // INVARIANT (few guards): the document names at most 64, so every position fits the set.
    let positions = rule.guards.iter().filter_map(|name| names.binary_search(name).ok());
    GuardSet(positions.fold(0, |set, position| set | 1u64.checked_shl(position as u32).unwrap_or(0)))
}

/// Compiles every different condition once; gives the index of each text.
fn conditions(document: &Document) -> Result<(ConditionSet, HashMap<&str, u32>), Fault> {
    let mut indices = HashMap::new();
    let mut texts = Vec::new();
    let mut places = Vec::new();
    for rule in &document.rules {
        if let Some(when) = &rule.when {
            indices.entry(when.text.as_str()).or_insert_with(|| {
                texts.push(when.text.as_str());
                places.push((rule, when.line));
                u32::try_from(texts.len() - 1).unwrap_or(u32::MAX)
            });
        }
    }
    match ConditionSet::compile(&texts) {
        Ok(set) => Ok((set, indices)),
        Err((index, error)) => {
            let message = format!("`when`: {error}");
            Err(places.get(index).map_or_else(
                || Fault::new(0, message.clone()),
                |(rule, line)| Fault::new(*line, message.clone()).in_rule(&rule.id),
            ))
        }
    }
}

fn trie(document: &Document, rules: &[CompiledRule]) -> Result<Trie, Fault> {
    few_pairs(document)?;
    let mut builder = Builder::new();
    let mut index = 0;
    for identity in &document.identities {
        for capability in &identity.capabilities {
            let scope = pattern::scope(&capability.pattern).map_err(|message| Fault::new(capability.line, message))?;
            if !builder.add(Segment::Literal(&identity.name), &scope, index) {
                return Err(too_large(capability.line));
            }
            index += 1;
        }
    }
    for rule in &document.rules {
        let refused = |message| Fault::new(rule.line, message).in_rule(&rule.id);
        let scopes: Vec<_> =
            rule.scopes.iter().map(|text| pattern::scope(text)).collect::<Result<_, _>>().map_err(refused)?;
        for identity in &rule.identities {
            let identity = pattern::identity(identity).map_err(refused)?;
            for scope in &scopes {
                if !builder.add(identity, scope, index) {
                    return Err(too_large(rule.line).in_rule(&rule.id));
                }
            }
        }
        index += 1;
    }
    let summaries: Vec<_> =
        rules.iter().map(|rule| Summary { effect: rule.effect, guards: rule.guards, fixed: rule.is_fixed() }).collect();
    let trie = builder.finish(&summaries);
    if trie.worst() > MAX_WALK {
        let message = format!(
            "wildcards at the same places of many patterns let one request match in {} ways, more than {MAX_WALK}; \
             write `**`, or one pattern for several",
            trie.worst()
        );
        return Err(Fault::new(0, message));
    }
    Ok(trie)
}

/// Refuses too many pairs of identity and scope before any of them takes memory.
fn few_pairs(document: &Document) -> Result<(), Fault> {
    let mut pairs: usize = document.identities.iter().map(|identity| identity.capabilities.len()).sum();
    for rule in &document.rules {
        pairs = pairs.saturating_add(rule.identities.len().saturating_mul(rule.scopes.len()));
        if pairs > MAX_NODES {
            return Err(too_large(rule.line).in_rule(&rule.id));
        }
    }
    Ok(())
}

fn too_large(line: u32) -> Fault {
    let message = format!(
        "the policy has more than {MAX_NODES} pairs of identity and scope, or segments in them; \
         write patterns instead of single names"
    );
    Fault::new(line, message)
}
