//! What rules, guards and earlier receipts come to together.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use std::sync::Arc;

use chio_conditions::{EventView, Kind};
use chio_policy::{Decision, Policy, Request, Scratch, Verdict};
use chio_receipts::{GuardVerdict, IdSource, ReceiptId, TargetTemplate, Template};
use chio_rulings::{Generation, Issued, Latest, Question, Recalled, Ruling, Run};

const POLICY: &str = r#"
chio: policy/v1
identities:
  agents: {capabilities: ["tools:search:*"]}
rules:
  - {id: free, effect: allow, identities: ["*"], scopes: [events:free]}
  - {id: checked, effect: allow, identities: ["*"], scopes: [events:checked], guards: [pii, spam]}
  - {id: never, effect: deny, identities: ["*"], scopes: [events:never], guards: [pii], reason: nobody may}
  - {id: human, effect: escalate, identities: ["*"], scopes: [events:human], guards: [pii]}
  - {id: large, effect: deny, identities: ["*"], scopes: [events:large], when: event.value.amount > 10}
"#;

const ALWAYS: [&str; 1] = ["size"];

fn always() -> Vec<String> {
    ALWAYS.map(str::to_owned).to_vec()
}

fn generation() -> Arc<Generation> {
    let policy = Policy::from_yaml(POLICY, "policy.yaml").expect("the policy of these tests");
    Arc::new(Generation::new(Arc::new(policy)))
}

fn question(scope: &str) -> Question<'_> {
    Question { identity: "agents", scope, kind: Kind::Consume }
}

fn decided(generation: &Arc<Generation>, scope: &str) -> Decision {
    let event = EventView {
        topic: "orders",
        partition: None,
        offset: None,
        key: None,
        timestamp: None,
        headers: &[],
        value: Some(b"{}"),
    };
    let request = Request { event: Some(&event), ..question(scope).request(1000) };
    generation.policy.decide(&request, &mut Scratch::new())
}

fn ruling(scope: &str) -> Ruling {
    let generation = generation();
    let decision = decided(&generation, scope);
    Ruling::new(generation, decision, 1000)
}

fn run(name: &str, verdict: GuardVerdict, reason: &str) -> Run {
    Run { name: name.to_owned(), verdict, reason: reason.to_owned() }
}

fn due(ruling: &Ruling, always: &[String]) -> Vec<String> {
    ruling.due(always).map(str::to_owned).collect()
}

fn id() -> ReceiptId {
    IdSource::new("issuer", 0).next(1000)
}

#[test]
fn guards_that_always_run_come_before_those_that_rules_name() {
    assert_eq!(due(&ruling("events:checked"), &always()), ["size", "pii", "spam"]);
    assert_eq!(due(&ruling("events:free"), &always()), ["size"]);
    assert_eq!(due(&ruling("events:free"), &[]), [""; 0]);
    let named = vec!["pii".to_owned()];
    assert_eq!(due(&ruling("events:checked"), &named), ["pii", "spam"], "none is due twice");
}

#[test]
fn a_denial_has_no_guards_due_and_any_other_verdict_has() {
    let denied = ruling("events:never");
    assert_eq!(denied.verdict(), Verdict::Deny);
    assert!(!denied.is_due(&always()));
    let escalated = ruling("events:human");
    assert_eq!(escalated.verdict(), Verdict::Escalate);
    assert_eq!(due(&escalated, &[]), ["pii"]);
}

#[test]
fn only_what_is_due_counts_and_only_once() {
    let mut ruling = ruling("events:checked");
    let said = [("stranger", GuardVerdict::Deny), ("pii", GuardVerdict::Allow), ("pii", GuardVerdict::Deny)];
    ruling.record(said.map(|(name, verdict)| run(name, verdict, "")).to_vec(), &[]);
    assert_eq!(ruling.runs.len(), 1);
    assert_eq!(ruling.verdict(), Verdict::Allow);
    assert_eq!(due(&ruling, &[]), ["spam"]);
}

#[test]
fn whatever_a_guard_says_but_allow_denies_by_its_own_name() {
    for verdict in GuardVerdict::ALL.iter().copied().filter(|verdict| *verdict != GuardVerdict::Allow) {
        for scope in ["events:checked", "events:human"] {
            let mut ruling = ruling(scope);
            ruling.record(vec![run("pii", verdict, "a name in it")], &[]);
            let told = ruling.snapshot(&question(scope), &[]);
            assert_eq!((told.verdict, &*told.rule, &*told.reason), ("deny", "guard:pii", "a name in it"));
        }
    }
}

#[test]
fn a_guard_that_gives_no_reason_gets_one() {
    let mut ruling = ruling("events:checked");
    ruling.record(vec![run("pii", GuardVerdict::Deny, "")], &[]);
    assert_eq!(ruling.snapshot(&question("events:checked"), &[]).reason, "guard `pii` denied");
}

#[test]
fn without_guards_the_rule_and_its_reason_speak() {
    let told = ruling("events:never").snapshot(&question("events:never"), &[]);
    assert_eq!((told.verdict, &*told.rule, &*told.reason), ("deny", "never", "nobody may"));
    let told = ruling("events:unknown").snapshot(&question("events:unknown"), &[]);
    assert_eq!((told.verdict, &*told.rule), ("deny", ""));
    assert!(!told.reason.is_empty());
}

#[test]
fn a_condition_that_errs_is_told_with_its_rule() {
    let told = ruling("events:large").snapshot(&question("events:large"), &[]);
    assert_eq!(told.verdict, "deny");
    assert_eq!(told.errors, [("large".to_owned(), "no_such_field")]);
}

#[test]
fn what_is_told_names_the_guards_due_and_with_a_receipt_those_that_ran() {
    let mut ruling = ruling("events:checked");
    let scope = question("events:checked");
    assert_eq!(ruling.snapshot(&scope, &always()).guards, ["size", "pii", "spam"]);
    ruling.record(vec![run("spam", GuardVerdict::Allow, "")], &[]);
    ruling.issued = Some(Issued::sealed(id(), 1));
    let told = ruling.snapshot(&scope, &always());
    assert_eq!(told.guards, ["spam"]);
    assert_eq!(told.receipt_id, Some(id().to_string()));
}

#[test]
fn a_decision_is_stale_once_the_policy_or_the_time_has_moved_on_unless_it_has_its_receipt() {
    let mut ruling = ruling("events:free");
    let same = Arc::clone(&ruling.generation);
    assert!(!ruling.is_stale(&same, i64::MAX - 1));
    assert!(ruling.is_stale(&generation(), 1000), "another policy in force, even with the same rules");
    ruling.decision.valid_until = 2000;
    assert!(!ruling.is_stale(&same, 1999));
    assert!(ruling.is_stale(&same, 2000));
    ruling.issued = Some(Issued::taken(id()));
    assert!(!ruling.is_stale(&generation(), 3000));
}

#[test]
fn a_new_decision_keeps_what_guards_said_about_the_content() {
    let mut ruling = ruling("events:checked");
    ruling.record(vec![run("pii", GuardVerdict::Deny, "a name in it")], &[]);
    let next = generation();
    ruling.renew(&next, decided(&next, "events:checked"), 5000);
    assert_eq!(ruling.now, 5000);
    assert_eq!(ruling.verdict(), Verdict::Deny);
}

#[test]
fn an_earlier_decision_that_stands_overrides_rules_and_guards() {
    let mut ruling = ruling("events:large");
    ruling.recalled = Some(Box::new(Recalled {
        id: id(),
        standing: Some((Verdict::Allow, "free".to_owned())),
        reason: Some("decided before".to_owned()),
    }));
    assert!(!ruling.is_due(&always()));
    let told = ruling.snapshot(&question("events:large"), &always());
    assert_eq!((told.verdict, &*told.rule, &*told.reason), ("allow", "free", "decided before"));
    assert!(told.errors.is_empty(), "what erred now did not decide");
}

#[test]
fn an_earlier_receipt_that_does_not_stand_is_a_parent_and_a_reason_only() {
    let mut ruling = ruling("events:never");
    ruling.recalled = Some(Box::new(Recalled { id: id(), standing: None, reason: Some("duplicate".to_owned()) }));
    let told = ruling.snapshot(&question("events:never"), &[]);
    assert_eq!((told.verdict, &*told.rule, &*told.reason), ("deny", "never", "duplicate"));
    let asserted = IdSource::new("another", 1).next(1000);
    assert_eq!(*ruling.parents(&[asserted]), [id(), asserted], "the recalled one first: no other takes its place");
}

#[test]
fn rulings_with_the_same_outcome_share_a_template_and_particular_ones_do_not() {
    let latest = Latest::default();
    let generation = generation();
    let question = question("events:checked");
    let plain = || Ruling::new(Arc::clone(&generation), decided(&generation, "events:checked"), 1000);
    let resolved = latest.under(&generation, &question);
    let shared = resolved.with_template(&plain(), &question, Arc::clone);
    assert!(Arc::ptr_eq(&shared, &resolved.with_template(&plain(), &question, Arc::clone)));
    let mut checked = plain();
    checked.record(vec![run("pii", GuardVerdict::Allow, "")], &[]);
    assert!(!Arc::ptr_eq(&shared, &resolved.with_template(&checked, &question, Arc::clone)));
}

#[test]
fn a_question_is_resolved_once_per_policy() {
    let latest = Latest::default();
    let (first, second) = (generation(), generation());
    let question = question("events:free");
    assert!(Arc::ptr_eq(&latest.under(&first, &question), &latest.under(&first, &question)));
    assert!(!Arc::ptr_eq(&latest.under(&first, &question), &latest.under(&second, &question)));
    assert!(Arc::ptr_eq(&latest.under(&second, &question).generation, &second));
}

#[test]
fn the_receipt_says_what_is_told() {
    let mut ruling = ruling("events:human");
    ruling.record(vec![run("pii", GuardVerdict::Timeout, "not in time")], &[]);
    let template = ruling.template(&question("events:human"));
    let sealed = seal(template);
    for part in [r#""verdict":"deny""#, r#""rule":"guard:pii""#, r#""reason":"not in time""#, r#""kind":"consume""#] {
        assert!(sealed.contains(part), "{part} in {sealed}");
    }
}

/// The body of a receipt with this template.
fn seal(template: Template) -> String {
    use chio_receipts::{Chain, Compression, Draft, Durability, Mode, Pending, SealContext, Signer, frame};
    let mut pending = Pending::new();
    let target = Arc::new(TargetTemplate::none());
    pending.push(&Draft::new(id(), 1000, &Arc::new(template), &target)).expect("a draft that fits");
    let context = SealContext {
        signer: &Signer::from_seed(&[7; 32].into()),
        policy_version: [0; 32],
        mode: Mode::Recorded,
        durability: Durability::Full,
        time: 1000,
        digest_key: None,
        attestation: None,
        compression: Compression::None,
    };
    let sealed = chio_receipts::seal(&mut pending, &mut Chain::start("issuer"), &context, &mut |_| 1).expect("a seal");
    let frame = frame::decode(&sealed.frame).expect("the frame that was sealed");
    let body = frame.slots().find_map(|slot| match slot {
        chio_receipts::Slot::Body(body) => Some(body.to_vec()),
        chio_receipts::Slot::Withheld(_) => None,
    });
    String::from_utf8(body.expect("a body")).expect("UTF-8")
}
