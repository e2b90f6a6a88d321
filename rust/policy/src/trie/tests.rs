#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use super::{Builder, MAX_WALK, Summary, Trie};
use crate::decision::{GuardSet, Verdict};
use crate::pattern;

fn trie(patterns: &[String]) -> Trie {
    let parsed: Vec<_> = patterns.iter().map(|text| pattern::scope(text).unwrap()).collect();
    let mut builder = Builder::new();
    for (rule, scope) in parsed.iter().enumerate() {
        assert!(builder.add(pattern::Segment::Literal("i"), scope, u32::try_from(rule).unwrap()));
    }
    let summary = Summary { effect: Verdict::Allow, guards: GuardSet::default(), fixed: true };
    builder.finish(&vec![summary; patterns.len()])
}

/// The visited nodes and the found rules.
fn walk(trie: &Trie, scope: &str) -> (u64, Vec<u32>) {
    let mut found = Vec::new();
    let visited = trie.walk("i", scope, &mut |leaf| found.extend_from_slice(trie.all(leaf))).unwrap();
    found.sort_unstable();
    (visited, found)
}

/// Every combination of the choices, `depth` segments long, with `last` behind.
fn combinations(choices: &[&str], depth: u32, last: &str) -> Vec<String> {
    let count = choices.len().pow(depth);
    (0..count)
        .map(|mut number| {
            let mut pattern = String::new();
            for _ in 0..depth {
                pattern += choices[number % choices.len()];
                pattern += ":";
                number /= choices.len();
            }
            pattern + last
        })
        .collect()
}

#[test]
fn many_wildcards_before_one_literal_cost_one_branch() {
    let patterns: Vec<_> = (0..5000).map(|number| format!("*:*:*:a{number}")).collect();
    let trie = trie(&patterns);
    assert_eq!(trie.worst(), 6);
    let (visited, found) = walk(&trie, "x:y:z:a77");
    assert_eq!((visited, found), (6, vec![77]));
}

#[test]
fn no_request_visits_more_nodes_than_the_bound_says() {
    for (patterns, request) in [
        (combinations(&["*", "a"], 10, "z"), "a:a:a:a:a:a:a:a:a:a:b"),
        (combinations(&["a*", "aa*", "*"], 7, "z"), "aaa:aaa:aaa:aaa:aaa:aaa:aaa:b"),
        (combinations(&["a*", "*"], 11, "**"), "ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:ab:b"),
    ] {
        let trie = trie(&patterns);
        let (visited, _) = walk(&trie, request);
        assert!(visited <= trie.worst(), "{visited} of {}", trie.worst());
        assert!(trie.worst() <= MAX_WALK);
        // The request is made to follow every branch, so the bound is met up to the last, missing segment.
        assert!(visited * 2 >= trie.worst() / 2, "{visited} of {}", trie.worst());
    }
}

#[test]
fn a_request_that_is_too_short_or_too_long_stops_at_the_first_node() {
    let trie = trie(&combinations(&["*", "a"], 10, "z"));
    for request in ["a", "a:a:a:a:a:a:a:a:a", "a:a:a:a:a:a:a:a:a:a:a:a"] {
        assert_eq!(walk(&trie, request), (1, vec![]));
    }
}

#[test]
fn prefixes_of_one_node_cost_one_look_up_per_length() {
    let patterns: Vec<_> = (0..10_000).map(|number| format!("p{number}*")).collect();
    let trie = trie(&patterns);
    // Lengths 2 to 5 exist, whatever the number of prefixes.
    assert_eq!(trie.worst(), 2 + 4);
    assert_eq!(walk(&trie, "p1234x"), (6, vec![1, 12, 123, 1234]));
}

#[test]
fn probes_are_short_whatever_the_names() {
    for patterns in [
        (0..50_000).map(|number| format!("events:consume:topic-{number}")).collect::<Vec<_>>(),
        (0..50_000).map(|number| format!("{}:{}", number / 224, number % 224)).collect(),
        (1..=500).map(|length| "a".repeat(length)).collect(),
    ] {
        let trie = trie(&patterns);
        assert!(trie.longest_probe() <= 16, "{}", trie.longest_probe());
    }
}
