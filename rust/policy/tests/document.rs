//! What a document may say, and what it is told when it says something else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

use chio_policy::{Policy, PolicyError};

fn yaml(text: &str) -> Result<Policy, PolicyError> {
    Policy::from_yaml(text, "policy.yaml")
}

fn json(text: &str) -> Result<Policy, PolicyError> {
    Policy::from_json(text, "policy.json")
}

/// A document with one rule that has these further lines.
fn with_rule(lines: &str) -> String {
    format!("chio: policy/v1\nrules:\n  - id: r\n    effect: allow\n    identities: [a]\n    scopes: [s]\n{lines}")
}

const FULL: &str = r#"
chio: policy/v1
identities:
  research-agents:
    capabilities: [events:consume:research-tasks, "tools:search:*"]
  refund-agents:
    attributes: {team: payments, limit: 1000, ratio: 1.0, nested: {a: [1, null, true]}}
rules:
  - id: large-refunds-need-a-human
    effect: escalate
    identities: [refund-agents]
    scopes: ["tools:refund:*"]
    when: arguments.amount > 1000
    not_before: 2026-01-01T00:00:00Z
    expires_at: 2027-01-01T01:00:00+01:00
    guards: [pii, abuse]
    reason: refunds over 1000 need approval
"#;

const FULL_JSON: &str = r#"{"rules": [{
    "reason": "refunds over 1000 need approval", "guards": ["abuse", "pii"], "expires_at": "2027-01-01T00:00:00.0Z",
    "not_before": "2026-01-01T00:00:00.000Z", "when": " arguments.amount > 1000\n", "scopes": ["tools:refund:*"],
    "identities": ["refund-agents"], "effect": "escalate", "id": "large-refunds-need-a-human"}],
  "identities": {
    "refund-agents": {"attributes": {"nested": {"a": [1, null, true]}, "ratio": 1.0, "limit": 1000, "team": "payments"}},
    "research-agents": {"capabilities": ["events:consume:research-tasks", "tools:search:*"]}},
  "chio": "policy/v1"}"#;

#[test]
fn equal_meaning_in_yaml_and_json_gives_the_equal_version() {
    let (a, b) = (yaml(FULL).unwrap(), json(FULL_JSON).unwrap());
    assert_eq!(a.canonical(), b.canonical());
    assert_eq!(a.version(), b.version());
    assert_eq!(a.version(), *blake3::hash(a.canonical().as_bytes()).as_bytes());
}

#[test]
fn the_canonical_form_is_a_policy_with_itself_as_canonical_form() {
    let policy = yaml(FULL).unwrap();
    assert_eq!(json(policy.canonical()).unwrap().canonical(), policy.canonical());
    // JSON is YAML, too.
    assert_eq!(yaml(policy.canonical()).unwrap().canonical(), policy.canonical());
}

#[test]
fn every_difference_in_meaning_changes_the_version() {
    let base = yaml(FULL).unwrap().version();
    for (from, to) in [
        ("escalate", "delay"),
        ("1000 need", "1001 need"),
        ("amount > 1000", "amount > 1001"),
        ("ratio: 1.0", "ratio: 1"),
        ("team: payments", "team: other"),
        ("00:00:00Z", "00:00:01Z"),
        ("[pii, abuse]", "[pii]"),
        ("research-tasks, \"tools:search:*\"", "research-tasks, \"tools:search:**\""),
        ("[events:consume:research-tasks, \"tools:search:*\"]", "[\"tools:search:*\", events:consume:research-tasks]"),
    ] {
        assert!(FULL.contains(from), "{from}");
        assert_ne!(yaml(&FULL.replacen(from, to, 1)).unwrap().version(), base, "{from} -> {to}");
    }
}

#[test]
fn a_fault_names_source_line_and_rule_and_says_what_to_write() {
    let error = yaml(&with_rule("    when: [x]\n")).unwrap_err();
    assert_eq!(error.to_string(), "policy.yaml:7: rule `r`: `when` is a list; write a string");
    assert_eq!((error.line, error.rule.as_deref()), (Some(7), Some("r")));
    let error = json("{\"chio\": \"policy/v1\",\n\"rules\": [{\"id\": \"q\",\n\"effekt\": \"allow\"}]}").unwrap_err();
    assert!(
        error.to_string().starts_with("policy.json:3: rule `q`: member `effekt` of a rule is not known; write `id`")
    );
    let error = yaml(&with_rule("    when: arguments. >\n")).unwrap_err();
    assert_eq!((error.line, error.rule.as_deref()), (Some(7), Some("r")), "{error}");
}

#[test]
fn faults_of_documents_are_refused_with_a_hint() {
    let deep =
        format!("chio: policy/v1\nidentities: {{a: {{attributes: {{x: {}1{}}}}}}}", "[".repeat(64), "]".repeat(64));
    let deeper = "[".repeat(1_000_000);
    let rule = |line: &str| with_rule(&format!("    {line}\n"));
    let cases: &[(&str, &str)] = &[
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("[]", "the document is a list"),
        ("rules: []", "empty list"),
        ("identities: {}", "`chio` is missing"),
        ("chio: policy/v2", "write `chio: policy/v1`"),
        ("chio: 1.0", "quotes"),
        ("chio: policy/v1\nextra: 1", "member `extra`"),
        ("chio: policy/v1\nchio: policy/v1", "twice"),
        ("chio: policy/v1\n---\nchio: policy/v1", "second document"),
        ("chio: policy/v1\nidentities: {no: {}}", "quotes"),
        ("chio: policy/v1\nidentities: {1: {}}", "quotes"),
        ("chio: policy/v1\nidentities: {a b: {}}", "malformed"),
        ("chio: policy/v1\nidentities: {\"a*\": {}}", "patterns of identities stand in rules"),
        ("chio: policy/v1\nidentities: {a: {}, a: {}}", "twice"),
        ("chio: policy/v1\nidentities: {a: {capabilities: []}}", "empty list"),
        ("chio: policy/v1\nidentities: {a: {capabilities: [s, s]}}", "keep one"),
        ("chio: policy/v1\nidentities: {a: {capabilities: s}}", "write a list"),
        ("chio: policy/v1\nidentities: {a: {capabilities: [1.0]}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {capabilities: [no]}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {capabilities: [*]}}", "quotes"),
        ("chio: policy/v1\nidentities:\n  a:\n    capabilities:\n      - *:x\n", "quotes"),
        ("chio: policy/v1\nidentities: {a: {capabilities: [**]}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {capabilities: ['**:a']}}", "last segment"),
        ("chio: policy/v1\nidentities: {a: {capabilities: ['x*y']}}", "end of a name"),
        ("chio: policy/v1\nidentities: {a: &x {}}", "anchors"),
        ("chio: policy/v1\nidentities: {a: &x {}, b: *x}", "anchors"),
        ("chio: policy/v1\nidentities: {a: {<<: {}}}", "merge"),
        ("chio: !!str policy/v1", "tags"),
        ("chio: policy/v1\nidentities: {? [a] : {}}", "name"),
        ("chio: policy/v1\nidentities: {a: }", "missing"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: 0x10}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: 010}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: 1_000}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: 1:30}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: .inf}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: .5}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: Yes}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: ~}}}", "quotes"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: 18446744073709551616}}}", "out of range"),
        ("chio: policy/v1\nidentities: {a: {attributes: {x: 1e999}}}", "out of range"),
        ("chio: policy/v1\n\tidentities: {}", "not valid YAML"),
        ("chio: policy/v1\nrules: {}", "write a list"),
        ("chio: policy/v1\nrules: [x]", "a rule is a string"),
        ("chio: policy/v1\nrules: [{effect: allow}]", "no `id`"),
        ("chio: policy/v1\nrules: [{id: r}]", "`effect` is missing"),
        ("chio: policy/v1\nrules: [{id: r, effect: allow, scopes: [s]}]", "`identities` is missing"),
        ("chio: policy/v1\nrules: [{id: r, effect: allow, identities: [a]}]", "`scopes` is missing"),
        ("chio: policy/v1\nrules: [{id: r, effect: permit, identities: [a], scopes: [s]}]", "write `allow`"),
        ("chio: policy/v1\nrules: [{id: 'capability:x', effect: allow, identities: [a], scopes: [s]}]", "reserved"),
        ("chio: policy/v1\nrules: [{id: 'guard:x', effect: allow, identities: [a], scopes: [s]}]", "reserved"),
        (
            "chio: policy/v1\nrules: [{id: r, effect: deny, identities: [a], scopes: [s]}, \
             {id: r, effect: deny, identities: [a], scopes: [s]}]",
            "has this id already",
        ),
        (&rule("identity: [a]"), "`identity`"),
        (&rule("when: ''"), "empty"),
        (&rule("when: true"), "quotes"),
        (&rule("not_before: 2026-01-01"), "RFC 3339"),
        (&rule("not_before: 2026-02-30T00:00:00Z"), "RFC 3339"),
        (&rule("not_before: 1767225600000"), "quotes"),
        (&rule("{not_before: 1}"), "not valid YAML"),
        (&rule("not_before: 2026-01-02T00:00:00Z\n    expires_at: 2026-01-02T00:00:00Z"), "later"),
        (&rule("guards: []"), "empty list"),
        (&rule("guards: [a, a]"), "twice"),
        (&rule("guards: ['a b']"), "malformed"),
        (&rule("reason: ''"), "reason"),
        (&deep, "nested"),
        (&deeper, "recursion limit"),
    ];
    for (text, part) in cases {
        let start: String = text.chars().take(120).collect();
        let error = yaml(text).map(|_| ()).expect_err(&start).to_string();
        assert!(error.contains(part), "{start:?}: {error}");
        assert!(error.len() < 700 && !error.ends_with('.'), "{error}");
    }
}

#[test]
fn json_is_strict() {
    let deep = "[".repeat(1_000_000);
    for (text, part) in [
        ("", "missing"),
        ("{", "name"),
        ("{\"chio\": \"policy/v1\"} x", "after the document"),
        ("{\"chio\": \"policy/v1\",}", "name"),
        ("{'chio': 1}", "double quotes"),
        ("{\"chio\": \"policy/v1\", \"chio\": \"policy/v1\"}", "twice"),
        ("{\"chio\": \"policy/v1\", \"\\u0063hio\": \"policy/v1\"}", "twice"),
        ("{\"chio\": NaN}", "NaN"),
        ("{\"chio\": 01}", "01"),
        ("{\"chio\": \"a\u{1}\"}", "does not allow"),
        ("{\"chio\": \"\\ud800\"}", "does not allow"),
        ("{\"chio\": \"abc", "not closed"),
        ("\u{feff}{}", "unexpected"),
        ("// a\n{}", "unexpected"),
        (&deep, "nested"),
    ] {
        let error = json(text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(part), "{text:.60}: {error}");
    }
}

#[test]
fn a_document_that_grants_nothing_is_a_policy() {
    for text in ["chio: policy/v1", "chio: policy/v1\nidentities: {}", "chio: policy/v1\nidentities: {a: {}}"] {
        assert!(yaml(text).is_ok(), "{text}");
    }
    assert_eq!(yaml("chio: policy/v1\nidentities: {}").unwrap().canonical(), "{\"chio\":\"policy/v1\"}");
}

#[test]
fn sixty_four_guards_fit_and_no_more() {
    let policy = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("g{n:02}")).collect();
        yaml(&with_rule(&format!("    guards: [{}]\n", names.join(", "))))
    };
    assert_eq!(policy(64).unwrap().guards().len(), 64);
    assert!(policy(65).unwrap_err().message.contains("64"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = (yaml(&text), json(&text));
    }

    #[test]
    fn no_damage_to_a_document_panics(at in 0..FULL.len(), with in proptest::prelude::any::<u8>(), cut in 0..4usize) {
        for source in [FULL, FULL_JSON] {
            let mut bytes = source.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes.splice(at..(at + cut).min(bytes.len()), [with]);
            let text = String::from_utf8_lossy(&bytes);
            let _ = (yaml(&text), json(&text));
        }
    }
}
