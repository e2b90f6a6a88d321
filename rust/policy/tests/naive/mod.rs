//! The naive evaluator: reads rules one after the other and matches segment by segment.
//! It shares no code with the engine but the evaluation of a single condition.

use chio_conditions::{Attributes, Condition, Env, ErrorCode, Reads, Scratch};
use chio_policy::{Request, Verdict};
use std::collections::BTreeSet;

/// One rule; capabilities are rules, too.
#[derive(Clone, Debug)]
pub struct Rule {
    pub id: String,
    pub effect: Verdict,
    pub identities: Vec<String>,
    pub scopes: Vec<String>,
    pub when: Option<String>,
    pub window: (Option<i64>, Option<i64>),
    pub guards: Vec<String>,
}

/// What the naive evaluator answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub verdict: Verdict,
    pub rule: String,
    pub errors: Vec<(String, ErrorCode)>,
    pub guards: BTreeSet<String>,
    pub valid_until: i64,
}

fn segment_matches(pattern: &str, segment: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => segment.starts_with(prefix),
        None => pattern == segment,
    }
}

pub fn scope_matches(pattern: &str, scope: &str) -> bool {
    let pattern: Vec<_> = pattern.split(':').collect();
    let scope: Vec<_> = scope.split(':').collect();
    if let Some((&"**", head)) = pattern.split_last() {
        return scope.len() > head.len() && head.iter().zip(&scope).all(|(p, s)| segment_matches(p, s));
    }
    pattern.len() == scope.len() && pattern.iter().zip(&scope).all(|(p, s)| segment_matches(p, s))
}

/// Decides a well-formed request.
pub fn decide(rules: &[Rule], request: &Request<'_>) -> Answer {
    let mut held: Vec<(Verdict, String)> = Vec::new();
    let mut answer = Answer {
        verdict: Verdict::Deny,
        rule: String::new(),
        errors: Vec::new(),
        guards: BTreeSet::new(),
        valid_until: i64::MAX,
    };
    for rule in rules {
        let identity = rule.identities.iter().any(|pattern| segment_matches(pattern, request.identity));
        let scope = rule.scopes.iter().any(|pattern| scope_matches(pattern, request.scope));
        if !identity || !scope {
            continue;
        }
        let (start, end) = rule.window;
        for boundary in [start, end].into_iter().flatten().filter(|boundary| *boundary > request.now) {
            answer.valid_until = answer.valid_until.min(boundary);
        }
        if start.is_some_and(|start| request.now < start) || end.is_some_and(|end| request.now >= end) {
            continue;
        }
        match holds(rule, request, &mut answer.valid_until) {
            Ok(true) => {
                held.push((rule.effect, rule.id.clone()));
                answer.guards.extend(rule.guards.iter().cloned());
            }
            Ok(false) => {}
            Err(code) => {
                answer.errors.push((rule.id.clone(), code));
                if rule.effect != Verdict::Allow {
                    held.push((Verdict::Deny, rule.id.clone()));
                }
            }
        }
    }
    for verdict in [Verdict::Deny, Verdict::Escalate, Verdict::Delay, Verdict::Allow] {
        if let Some((_, id)) = held.iter().find(|(effect, _)| *effect == verdict) {
            answer.verdict = verdict;
            answer.rule.clone_from(id);
            break;
        }
    }
    if answer.verdict == Verdict::Deny {
        answer.guards.clear();
    }
    answer
}

fn holds(rule: &Rule, request: &Request<'_>, valid_until: &mut i64) -> Result<bool, ErrorCode> {
    let Some(when) = &rule.when else { return Ok(true) };
    let condition = Condition::compile(when).expect("generated conditions compile");
    if condition.reads().contains(Reads::NOW) {
        *valid_until = (*valid_until).min(request.now + 1000);
    }
    let env = Env {
        identity: request.identity,
        attributes: &Attributes::new(),
        scope: request.scope,
        kind: request.kind,
        now: request.now,
        event: request.event,
        tool: request.tool,
        arguments: request.arguments,
        output: request.output,
    };
    condition.eval(&env, &mut Scratch::new())
}
