//! The engine against the naive evaluator, on generated policies and requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod naive;

use chio_policy::{Decision, EventView, Kind, Policy, Request, Scratch, Verdict};
use naive::{Answer, Rule};
use proptest::prelude::*;
use proptest::sample::select;

const CONDITIONS: [&str; 6] = [
    "event.value.amount > 2",
    "event.partition == 1",
    "kind == 'consume'",
    "arguments.amount > 2",
    "scope.startsWith('a') && event.value.amount < 3",
    "true",
];

fn segment_pattern() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "ab", "abc", "*", "a*", "ab*", "b*"])
}

fn scope_pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec(segment_pattern(), 0..4), any::<bool>()).prop_map(|(mut segments, open)| {
        if open || segments.is_empty() {
            segments.push("**");
        }
        segments.join(":")
    })
}

fn identities() -> impl Strategy<Value = Vec<String>> {
    let set = prop::collection::btree_set(select(vec!["a", "ab", "abc", "b", "*", "a*", "ab*"]), 1..3);
    set.prop_map(|set| set.into_iter().map(str::to_owned).collect())
}

prop_compose! {
    fn rule()(
        effect in select(Verdict::BY_STRENGTH.to_vec()),
        identities in identities(),
        scopes in prop::collection::btree_set(scope_pattern(), 1..4),
        when in prop::option::weighted(0.4, select(CONDITIONS.to_vec())),
        start in prop::option::weighted(0.3, 0..5i64),
        length in prop::option::weighted(0.3, 1..5i64),
        guards in prop::collection::btree_set(select(vec!["g", "h", "i"]), 0..2),
    ) -> Rule {
        Rule {
            id: String::new(),
            effect,
            identities,
            scopes: scopes.into_iter().collect(),
            when: when.map(str::to_owned),
            window: (start, length.map(|length| start.unwrap_or(0) + length)),
            guards: guards.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// The document of the rules; those without anything but one identity and scopes may stand as capabilities.
fn document(capabilities: &[(String, String)], rules: &[Rule]) -> String {
    let mut identities = serde_json::Map::new();
    for (identity, pattern) in capabilities {
        let entry = identities.entry(identity).or_insert_with(|| serde_json::json!({"capabilities": []}));
        entry["capabilities"].as_array_mut().unwrap().push(pattern.as_str().into());
    }
    let time = |ms: i64| format!("1970-01-01T00:00:00.{ms:03}Z");
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| {
            let mut out = serde_json::json!({
                "id": rule.id, "effect": rule.effect.as_str(), "identities": rule.identities, "scopes": rule.scopes
            });
            let (start, end) = rule.window;
            let members = [
                ("when", rule.when.clone().map(Into::into)),
                ("not_before", start.map(|start| time(start).into())),
                ("expires_at", end.map(|end| time(end).into())),
                ("guards", (!rule.guards.is_empty()).then(|| rule.guards.clone().into())),
            ];
            for (name, value) in members {
                if let Some(value) = value {
                    out[name] = value;
                }
            }
            out
        })
        .collect();
    let mut document = serde_json::json!({"chio": "policy/v1", "identities": identities});
    if !rules.is_empty() {
        document["rules"] = rules.into();
    }
    document.to_string()
}

fn answer(policy: &Policy, decision: &Decision) -> Answer {
    Answer {
        verdict: decision.verdict,
        rule: policy.rule_id(decision.rule).to_owned(),
        errors: decision.errors.iter().map(|e| (policy.rule_id(e.rule).to_owned(), e.code)).collect(),
        guards: policy.guard_names(decision.guards).map(str::to_owned).collect(),
        valid_until: decision.valid_until,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn engine_route_and_explanation_answer_as_the_naive_evaluator(
        capabilities in prop::collection::btree_set((select(vec!["a", "ab", "b"]).prop_map(str::to_owned), scope_pattern()), 0..4),
        mut rules in prop::collection::vec(rule(), 0..10),
        requests in prop::collection::vec((
            select(vec!["a", "ab", "abc", "abcd", "b", "c"]),
            prop::collection::vec(select(vec!["a", "ab", "abc", "abcd", "b", "c"]), 1..5),
            0..12i64,
            select(vec![Kind::Consume, Kind::Invoke, Kind::Produce]),
            prop::option::of(select(vec!["{\"amount\": 1}", "{\"amount\": 5}", "{}", "{", "{\"amount\": \"x\"}"])),
        ), 1..12),
    ) {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule.id = format!("r{number}");
        }
        let capabilities: Vec<_> = capabilities.into_iter().collect();
        let policy = Policy::from_json(&document(&capabilities, &rules), "generated").unwrap();
        let mut all: Vec<Rule> = capabilities
            .iter()
            .map(|(identity, pattern)| Rule {
                id: format!("capability:{identity}:{pattern}"),
                effect: Verdict::Allow,
                identities: vec![identity.clone()],
                scopes: vec![pattern.clone()],
                when: None,
                window: (None, None),
                guards: Vec::new(),
            })
            .collect();
        all.extend(rules);
        let mut scratch = Scratch::new();
        for (identity, scope, now, kind, value) in &requests {
            let scope = scope.join(":");
            let headers = [];
            let event = EventView {
                topic: "t", partition: Some(1), offset: Some(7), key: None, timestamp: Some(0), headers: &headers,
                value: value.map(str::as_bytes),
            };
            let invoke = *kind == Kind::Invoke;
            let request = Request {
                identity, scope: &scope, kind: *kind, now: *now, event: value.map(|_| &event),
                tool: invoke.then_some("t"), arguments: invoke.then_some(b"{\"amount\": 3}".as_slice()), output: None,
            };
            let expected = naive::decide(&all, &request);
            let decision = policy.decide(&request, &mut scratch);
            prop_assert_eq!(&answer(&policy, &decision), &expected);
            prop_assert_eq!(policy.has_scope(&request, &mut scratch), expected.verdict == Verdict::Allow);

            let route = policy.route(identity, &scope);
            let routed = policy.decide_route(&route, &Request { identity: "other", scope: "other", ..request }, &mut scratch);
            prop_assert_eq!(&routed, &decision);
            if route.is_static() {
                let later = Request { now: decision.valid_until.saturating_sub(1).max(*now), ..request };
                prop_assert_eq!(policy.decide_route(&route, &later, &mut scratch), decision.clone());
            }

            let explanation = policy.explain(&request);
            prop_assert_eq!(explanation.verdict, expected.verdict);
            prop_assert_eq!(&explanation.rule, &expected.rule);
            let matching: Vec<_> = all
                .iter()
                .filter(|rule| {
                    rule.identities.iter().any(|p| naive::scope_matches(p, identity))
                        && rule.scopes.iter().any(|p| naive::scope_matches(p, &scope))
                })
                .map(|rule| rule.id.as_str())
                .collect();
            let explained: Vec<_> = explanation.rules.iter().map(|rule| rule.id.as_str()).collect();
            prop_assert_eq!(explained, matching);
            let deciding = explanation.rules.iter().filter(|rule| rule.decided).count();
            prop_assert_eq!(deciding, usize::from(!expected.rule.is_empty()));
        }
    }
}
