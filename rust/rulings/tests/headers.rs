//! What receipts take from headers, and what led to a request.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use chio_policy::Policy;
use chio_receipts::IdSource;
use chio_rulings::Origin;
use chio_rulings::headers::{
    CORRELATION, RECEIPT, SCOPE, correlation_in, correlation_text, is_digested, is_stated_by_receipt, trace_in,
};

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

#[test]
fn the_digest_covers_what_conditions_look_at_and_never_our_own() {
    let policy = |when: &str| {
        let text = format!(
            "chio: policy/v1\nrules:\n  - {{id: r, effect: allow, identities: ['*'], scopes: [a], when: '{when}'}}\n"
        );
        Policy::from_yaml(&text, "policy.yaml").expect("the policy of this test")
    };
    let named = policy(r#"event.headers["tenant"] == "a" || event.headers["X-Chio-Scope"] == "b""#);
    let covered = |name| is_digested(named.header_names(), name);
    assert!(covered("tenant"));
    assert!(!covered("other") && !covered(SCOPE) && !covered(RECEIPT));
    let none = policy("true");
    assert!(!is_digested(none.header_names(), "tenant"));
}

#[test]
fn a_producer_states_receipt_and_scope_itself_and_passes_the_rest_on() {
    assert!(is_stated_by_receipt("X-Chio-Receipt") && is_stated_by_receipt("X-Chio-Scope"));
    for name in CORRELATION.iter().chain(&["X-Chio-Denial-Reason", "x-chio-receipt"]) {
        assert!(!is_stated_by_receipt(name), "{name}");
    }
}

#[test]
fn a_correlation_text_is_cut_and_always_a_text() {
    assert_eq!(correlation_text(b"00-abc-01"), "00-abc-01");
    assert_eq!(correlation_text(&[b'x'; 2000]).len(), 1024);
    assert_eq!(correlation_text(b"a\xffb"), "a\u{fffd}b");
    let cut_within_a_character = "\u{e9}".repeat(1000).into_bytes();
    assert!(correlation_text(cut_within_a_character.get(1..).unwrap_or_default()).contains('\u{fffd}'));
}

#[test]
fn the_preferred_header_gives_the_correlation_wherever_it_stands() {
    let names = CORRELATION.map(str::to_owned);
    let header = |name: &'static str, value: Option<&'static str>| (name.as_bytes(), value.map(str::as_bytes));
    let other = header("X-Correlation-Id", Some("order-7"));
    let (trace, absent) = (header("traceparent", Some("00-abc-01")), header("traceparent", None));
    let found = |headers: &[Header<'static>]| correlation_in(headers.iter().copied(), &names);
    assert_eq!(found(&[other, trace]).as_deref(), Some("00-abc-01"));
    assert_eq!(found(&[trace, other]).as_deref(), Some("00-abc-01"));
    assert_eq!(found(&[other, header("X-Correlation-Id", Some("late"))]).as_deref(), Some("order-7"));
    assert_eq!(found(&[absent, other]).as_deref(), Some("order-7"));
    assert_eq!(found(&[header("tenant", Some("a"))]), None);
    assert_eq!(trace_in([other, absent, trace, header("traceparent", Some("late"))]), trace.1);
    assert_eq!(trace_in([other]), None);
}

#[test]
fn a_parent_counts_once_and_what_is_no_id_is_counted() {
    let id = IdSource::new("issuer", 1).next(1000);
    let mut origin = Origin::default();
    origin.add_parent(id);
    let spelled = id.to_string();
    origin.add_parents([spelled.as_bytes(), b"rcpt_", b"", b"\xff"]);
    assert_eq!(origin.parents.as_slice(), [id]);
    assert_eq!(origin.rejected, 3);
}
