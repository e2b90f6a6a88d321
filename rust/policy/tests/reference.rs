//! What `docs/policy-reference.md` says is true.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

use chio_policy::{ErrorCode, Kind, Policy, Request, Scratch};

const REFERENCE: &str = include_str!("../../../docs/policy-reference.md");

/// The code blocks of one language, fences excluded.
fn blocks(language: &str) -> Vec<&'static str> {
    let parts: Vec<_> = REFERENCE.split("```").collect();
    let code = parts.iter().skip(1).step_by(2);
    code.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

#[test]
fn every_policy_of_the_reference_compiles() {
    let policies = blocks("yaml");
    assert_eq!(policies.len(), 4);
    for text in policies {
        if let Err(error) = Policy::from_yaml(text, "policy-reference.md") {
            panic!("{error}\n{text}");
        }
    }
}

#[test]
fn what_the_reference_calls_refused_is_refused_where_it_says() {
    for text in blocks("yaml refused") {
        assert_eq!(Policy::from_yaml(text, "policy-reference.md").unwrap_err().line, Some(4));
    }
    assert_eq!(blocks("yaml refused").len(), 1);
}

#[test]
fn the_canonical_form_is_the_one_shown() {
    let policy = Policy::from_yaml(blocks("yaml")[0], "policy-reference.md").unwrap();
    assert_eq!(policy.canonical(), blocks("json")[0].trim());
}

#[test]
fn every_error_code_is_in_the_table() {
    for code in ErrorCode::ALL {
        assert!(REFERENCE.contains(&format!("| `{}` |", code.as_str())), "{code}");
    }
}

#[test]
fn the_decisions_of_the_example_are_as_the_table_says() {
    let policy = Policy::from_yaml(blocks("yaml")[2], "policy-reference.md").unwrap();
    let table = REFERENCE.split("| identity | scope | when | verdict | rule |\n").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert_eq!(rows.len(), 7);
    for row in rows {
        let now = match row[2] {
            "2026-06-01T00:00:00Z" => 1_780_272_000_000,
            "2026-12-31T00:00:00Z" => 1_798_675_200_000,
            "2027-01-02T00:00:00Z" => 1_798_848_000_000,
            other => panic!("{other}"),
        };
        let request = Request {
            identity: row[0],
            scope: row[1],
            kind: Kind::Consume,
            now,
            event: None,
            tool: None,
            arguments: None,
            output: None,
        };
        let decision = policy.decide(&request, &mut Scratch::new());
        assert_eq!((decision.verdict.as_str(), policy.rule_id(decision.rule)), (row[3], row[4]), "{row:?}");
    }
}
