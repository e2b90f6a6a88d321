//! Documents and requests made to hurt: an error or a bounded cost, never a panic.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use chio_policy::{Kind, Policy, Request, Scratch, Verdict};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

fn request<'a>(identity: &'a str, scope: &'a str) -> Request<'a> {
    Request { identity, scope, kind: Kind::Consume, now: 0, event: None, tool: None, arguments: None, output: None }
}

#[test]
fn a_hundred_thousand_rules_compile_and_decide() {
    let mut text = String::from("chio: policy/v1\nrules:\n");
    for number in 0..100_000 {
        writeln!(
            text,
            "- {{id: r{number}, effect: allow, identities: [a{}, 'b*'], scopes: ['s:{number}:*', 't{number}*:**'], when: kind == 'consume'}}",
            number % 100
        )
        .unwrap();
    }
    let start = Instant::now();
    let policy = Policy::from_yaml(&text, "test").unwrap();
    let compiled = start.elapsed();
    assert_eq!(policy.rule_count(), 100_000);
    let mut scratch = Scratch::new();
    assert_eq!(policy.decide(&request("a7", "s:7:x"), &mut scratch).verdict, Verdict::Allow);
    assert_eq!(policy.decide(&request("bb", "t99999y:x:y"), &mut scratch).verdict, Verdict::Allow);
    assert_eq!(policy.decide(&request("a7", "s:8:x"), &mut scratch).verdict, Verdict::Deny);
    // A build without optimisation on a busy machine stays far below this; a quadratic step would not.
    assert!(compiled < Duration::from_secs(60), "{compiled:?}");
}

#[test]
fn patterns_that_let_one_request_match_in_too_many_ways_are_refused() {
    let mut text = String::from("chio: policy/v1\nidentities:\n  a:\n    capabilities:\n");
    for number in 0..1u32 << 15 {
        let segments: Vec<_> =
            (0..15).map(|bit| if number >> bit & 1 == 0 { "'*" } else { "a*" }.trim_matches('\'')).collect();
        writeln!(text, "      - '{}:x{number}'", segments.join(":")).unwrap();
    }
    let policy = Policy::from_yaml(&text, "test");
    match policy {
        Err(error) => assert!(error.message.contains("write `**`"), "{error}"),
        Ok(policy) => {
            let scope = vec!["a"; 16].join(":");
            assert_eq!(policy.decide(&request("a", &scope), &mut Scratch::new()).verdict, Verdict::Deny);
        }
    }
}

#[test]
fn too_many_pairs_of_identities_and_scopes_are_refused() {
    let list = |name: char| (0..2001).map(|n| format!("{name}{n}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "chio: policy/v1\nrules: [{{id: r, effect: allow, identities: [{}], scopes: [{}]}}]",
        list('i'),
        list('s')
    );
    let error = Policy::from_yaml(&text, "test").unwrap_err();
    assert!(error.to_string().contains("rule `r`: the policy has more than"), "{error}");
}

#[test]
fn a_megabyte_as_a_scope_costs_no_more_than_a_look_at_its_length() {
    let policy = Policy::from_yaml("chio: policy/v1\nidentities: {a: {capabilities: ['**']}}", "test").unwrap();
    let scope = "a".repeat(1 << 20);
    let mut scratch = Scratch::new();
    let start = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(policy.decide(&request("a", &scope), &mut scratch).verdict, Verdict::Deny);
    }
    // 10 GB of text in a second would be impossible if it were read.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

proptest::proptest! {
    #[test]
    fn no_request_panics(identity in "\\PC{0,20}|[a*:]{0,6}", scope in "\\PC{0,40}|[ab*:]{0,12}") {
        let text = "chio: policy/v1\nrules: [{id: r, effect: allow, identities: ['*', 'a*'], scopes: ['**', 'a*:b*:*']}]";
        let policy = Policy::from_yaml(text, "test").unwrap();
        let request = request(&identity, &scope);
        let decision = policy.decide(&request, &mut Scratch::new());
        proptest::prop_assert_eq!(decision.verdict == Verdict::Allow, decision.errors.is_empty());
        proptest::prop_assert_eq!(policy.explain(&request).verdict, decision.verdict);
    }
}
