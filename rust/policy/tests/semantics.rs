//! What the words of a policy mean, one named case after the other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use chio_policy::{Decision, ErrorCode, EventView, Kind, Outcome, Policy, Request, Scratch, Verdict};

fn request<'a>(identity: &'a str, scope: &'a str, now: i64) -> Request<'a> {
    Request { identity, scope, kind: Kind::Consume, now, event: None, tool: None, arguments: None, output: None }
}

fn decide(policy: &Policy, request: &Request<'_>) -> Decision {
    let mut scratch = Scratch::new();
    let decision = policy.decide(request, &mut scratch);
    let route = policy.route(request.identity, request.scope);
    assert_eq!(policy.decide_route(&route, request, &mut scratch), decision, "a route decides as the policy does");
    assert_eq!(policy.explain(request).verdict, decision.verdict);
    decision
}

/// A policy of rules for identity `a` and scope `s`, given as `effect; further members`.
fn rules(rules: &[&str]) -> Policy {
    let mut text = String::from("chio: policy/v1\nrules:\n");
    for (number, rule) in rules.iter().enumerate() {
        let (effect, more) = rule.split_once(';').unwrap_or((rule, ""));
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        text += &format!("  - {{id: r{number}, effect: {effect}, identities: [a], scopes: [s]{more}}}\n");
    }
    Policy::from_yaml(&text, "test").unwrap()
}

fn verdict(given: &[&str]) -> (Verdict, String) {
    let policy = rules(given);
    let decision = decide(&policy, &request("a", "s", 0));
    (decision.verdict, policy.rule_id(decision.rule).to_owned())
}

#[test]
fn deny_is_stronger_than_escalate_than_delay_than_allow() {
    let is = |given: &[&str], expected: Verdict, rule: &str| assert_eq!(verdict(given), (expected, rule.into()));
    is(&["allow", "delay", "escalate", "deny"], Verdict::Deny, "r3");
    is(&["allow", "delay", "escalate"], Verdict::Escalate, "r2");
    is(&["allow", "delay"], Verdict::Delay, "r1");
    is(&["allow"], Verdict::Allow, "r0");
    is(&["delay"], Verdict::Delay, "r0");
    is(&["allow", "allow"], Verdict::Allow, "r0");
    is(&["allow; when: 'false'", "allow"], Verdict::Allow, "r1");
    is(&["allow; when: 'false'"], Verdict::Deny, "");
}

#[test]
fn nothing_is_ever_allowed_by_an_error() {
    for effect in ["deny", "escalate", "delay"] {
        let erring = format!("{effect}; when: event.value.x > 1");
        assert_eq!(verdict(&["allow", &erring]), (Verdict::Deny, "r1".into()), "{effect}");
    }
    let policy = rules(&["allow; when: event.value.x > 1", "allow; when: tool == 't'"]);
    let decision = decide(&policy, &request("a", "s", 0));
    assert_eq!(decision.verdict, Verdict::Deny);
    assert_eq!(decision.rule, None);
    let errors: Vec<_> = decision.errors.iter().map(|error| (policy.rule_id(error.rule), error.code)).collect();
    assert_eq!(errors, [("r0", ErrorCode::NoSuchVariable), ("r1", ErrorCode::NoSuchVariable)]);
    assert_eq!(verdict(&["allow; when: event.value.x > 1", "allow"]), (Verdict::Allow, "r1".into()));
}

#[test]
fn a_capability_is_an_allow_rule_before_all_rules() {
    let text = "chio: policy/v1\nrules: [{id: r, effect: allow, identities: ['*'], scopes: ['**']}]\n\
                identities: {a: {capabilities: ['t:*', 't:x']}}";
    let policy = Policy::from_yaml(text, "test").unwrap();
    let decision = decide(&policy, &request("a", "t:x", 0));
    assert_eq!(policy.rule_id(decision.rule), "capability:a:t:*");
    assert_eq!(policy.reason(&decision, "a", "t:x"), "`a` holds `t:*`");
    assert_eq!(policy.rule_id(decide(&policy, &request("b", "t:x", 0)).rule), "r");
}

#[test]
fn a_window_holds_its_start_but_not_its_end() {
    let policy = rules(&["allow; not_before: 1970-01-01T00:00:01Z, expires_at: 1970-01-01T00:00:02Z"]);
    for (now, verdict, valid_until) in [
        (i64::MIN, Verdict::Deny, 1000),
        (999, Verdict::Deny, 1000),
        (1000, Verdict::Allow, 2000),
        (1999, Verdict::Allow, 2000),
        (2000, Verdict::Deny, i64::MAX),
        (i64::MAX, Verdict::Deny, i64::MAX),
    ] {
        let decision = decide(&policy, &request("a", "s", now));
        assert_eq!((decision.verdict, decision.valid_until), (verdict, valid_until), "at {now}");
    }
}

#[test]
fn a_decision_holds_until_the_next_boundary_of_any_matching_rule() {
    let policy = rules(&["allow", "deny; not_before: 1970-01-01T00:00:05Z", "delay; expires_at: 1970-01-01T00:00:03Z"]);
    assert_eq!(decide(&policy, &request("a", "s", 0)).valid_until, 3000);
    assert_eq!(decide(&policy, &request("a", "s", 3000)).valid_until, 5000);
    assert_eq!(decide(&policy, &request("a", "s", 5000)).valid_until, i64::MAX);
    assert_eq!(decide(&policy, &request("a", "other", 0)).valid_until, i64::MAX);
}

#[test]
fn a_decision_whose_conditions_read_now_holds_for_a_second() {
    let policy = rules(&["allow; when: now > 0"]);
    let decision = decide(&policy, &request("a", "s", 50));
    assert_eq!((decision.verdict, decision.valid_until, decision.errors.len()), (Verdict::Allow, 1050, 0));
    assert_eq!(decide(&policy, &request("a", "s", i64::MAX - 10)).valid_until, i64::MAX);
}

#[test]
fn guards_of_every_rule_that_held_are_due_unless_the_verdict_is_deny() {
    let names = |given: &[&str]| {
        let policy = rules(given);
        let decision = decide(&policy, &request("a", "s", 0));
        policy.guard_names(decision.guards).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&["allow; guards: [b]", "delay; guards: [a, c]"]), "a b c");
    assert_eq!(names(&["allow; guards: [b]", "delay; guards: [a], when: 'false'"]), "b");
    assert_eq!(names(&["allow; guards: [b]", "allow; guards: [a], when: tool == 't'"]), "b");
    assert_eq!(names(&["allow; guards: [b]", "deny"]), "");
    assert_eq!(names(&["allow"]), "");
}

#[test]
fn patterns_match_what_the_grammar_says() {
    for (pattern, yes, no) in [
        ("a:b", vec!["a:b"], vec!["a", "a:b:c", "a:B", "a:bb"]),
        ("a:*", vec!["a:b", "a:*x"], vec!["a", "a:b:c"]),
        ("a:b*", vec!["a:b", "a:bc"], vec!["a", "a:cb", "a:b:c"]),
        ("a:**", vec!["a:b", "a:b:c", "a:b:c:d"], vec!["a", "b:a"]),
        ("**", vec!["a", "a:b"], vec![]),
        ("*:b", vec!["a:b"], vec!["b", "a:c"]),
        ("g*:ß*", vec!["größe:ßß"], vec!["größe:s"]),
    ] {
        let text = format!("chio: policy/v1\nidentities: {{i: {{capabilities: ['{pattern}']}}}}");
        let policy = Policy::from_yaml(&text, "test").unwrap();
        for scope in yes {
            let expected = if scope.contains('*') { Verdict::Deny } else { Verdict::Allow };
            assert_eq!(decide(&policy, &request("i", scope, 0)).verdict, expected, "{pattern} {scope}");
        }
        for scope in no {
            assert_eq!(decide(&policy, &request("i", scope, 0)).verdict, Verdict::Deny, "{pattern} {scope}");
        }
    }
}

#[test]
fn malformed_requests_are_denied_with_a_code() {
    let text = "chio: policy/v1\nrules: [{id: r, effect: allow, identities: ['*'], scopes: ['**']}]";
    let policy = Policy::from_yaml(text, "test").unwrap();
    let huge = "a:".repeat(500_000);
    for (identity, scope, code) in [
        ("a", "", ErrorCode::InvalidScope),
        ("a", "a:", ErrorCode::InvalidScope),
        ("a", "a:*", ErrorCode::InvalidScope),
        ("a", &huge, ErrorCode::InvalidScope),
        ("", "a", ErrorCode::InvalidIdentity),
        ("*", "a", ErrorCode::InvalidIdentity),
        (&huge, "a", ErrorCode::InvalidIdentity),
    ] {
        let decision = decide(&policy, &request(identity, scope, 0));
        assert_eq!((decision.verdict, decision.rule), (Verdict::Deny, None));
        let errors: Vec<_> = decision.errors.iter().map(|error| (error.rule, error.code)).collect();
        assert_eq!(errors, [(None, code)]);
        assert!(policy.reason(&decision, identity, scope).len() <= 1024);
    }
}

#[test]
fn a_route_of_another_policy_is_resolved_again() {
    let (old, new) = (rules(&["allow"]), rules(&["deny"]));
    let route = old.route("a", "s");
    let mut scratch = Scratch::new();
    assert_eq!(new.decide_route(&route, &request("a", "s", 0), &mut scratch).verdict, Verdict::Deny);
}

#[test]
fn a_route_serves_every_policy_of_its_version() {
    let policy = |identities: &str| {
        Policy::from_yaml(&format!("chio: policy/v1\nidentities: {{{identities}}}"), "test").unwrap()
    };
    let (a, b) = ("a: {capabilities: [s, t]}", "b: {capabilities: [u]}");
    let (one, other) = (policy(&format!("{a}, {b}")), policy(&format!("{b}, {a}")));
    assert_eq!(one.version(), other.version());
    for (identity, scope) in [("a", "s"), ("a", "t"), ("b", "u")] {
        let route = one.route(identity, scope);
        let decision = other.decide_route(&route, &request(identity, scope, 0), &mut Scratch::new());
        assert_eq!(other.rule_id(decision.rule), format!("capability:{identity}:{scope}"));
    }
}

#[test]
fn conditions_see_the_attributes_of_the_identity_that_acts() {
    let text = "chio: policy/v1\nidentities: {a: {attributes: {team: red}}, b: {attributes: {team: blue}}, c: {}}\n\
                rules: [{id: r, effect: allow, identities: ['*'], scopes: [s], when: identity.attributes.team == 'red'}]";
    let policy = Policy::from_yaml(text, "test").unwrap();
    assert_eq!(decide(&policy, &request("a", "s", 0)).verdict, Verdict::Allow);
    assert_eq!(decide(&policy, &request("b", "s", 0)).errors.len(), 0);
    for identity in ["c", "d"] {
        let decision = decide(&policy, &request(identity, "s", 0));
        assert_eq!(decision.errors.first().map(|error| error.code), Some(ErrorCode::NoSuchField), "{identity}");
    }
}

#[test]
fn an_explanation_names_every_rule_that_matched_and_what_it_came_to() {
    let policy = rules(&[
        "allow; reason: fine",
        "deny; when: event.value.amount > 10, guards: [g]",
        "delay; when: event.value.missing == 1",
        "deny; expires_at: 1970-01-01T00:00:00Z",
    ]);
    let event = EventView { topic: "t", value: Some(b"{\"amount\": 3}"), ..EventView::default() };
    let explanation = policy.explain(&Request { event: Some(&event), ..request("a", "s", 7) });
    let outcomes: Vec<_> = explanation.rules.iter().map(|rule| rule.outcome).collect();
    assert_eq!(outcomes, [Outcome::True, Outcome::False, Outcome::Error, Outcome::OutsideWindow]);
    assert_eq!((explanation.verdict, explanation.rule.as_str()), (Verdict::Deny, "r2"));
    assert_eq!(explanation.reason, "the condition of delay rule `r2` erred: no_such_field");
    assert_eq!(
        explanation.why,
        "rule `r2` decided, because delay rules deny when their condition errs; the order is deny, escalate, delay, allow"
    );
    let json: serde_json::Value = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["rules"][3]["outcome"], "outside_window");
    assert_eq!(json["rules"][2]["error"], "no_such_field");
    assert_eq!(json["verdict"], "deny");
}
