//! Pushing, sealing and reading back: what is refused, what stays as it was, and that reading is total.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)] // A test fails by panicking.

use std::sync::Arc;

use chio_receipts::*;
use proptest::prelude::*;
use zeroize::Zeroizing;

const ISSUER: &str = "worker@log";

fn signer() -> Signer {
    Signer::from_seed(&Zeroizing::new([1; 32]))
}

fn template(kind: Kind) -> Arc<Template> {
    Arc::new(Template::new(&TemplateFields {
        kind,
        identity: "w",
        scope: if kind.is_decision() { "events:consume:t" } else { "" },
        verdict: kind.is_decision().then_some(Verdict::Allow),
        rule: "",
        reason: "",
        errors: &[],
        guards: &[],
    }))
}

fn target() -> Arc<TargetTemplate> {
    let target = EventTarget { cluster: "c", group: "g", identity: "w", topic: "t", topic_id: "i", partition: Some(3) };
    Arc::new(TargetTemplate::event(&target))
}

fn context(signer: &Signer) -> SealContext<'_> {
    SealContext {
        signer,
        policy_version: [1; 32],
        mode: Mode::Recorded,
        durability: Durability::Full,
        time: 5,
        digest_key: None,
        attestation: None,
        compression: Compression::None,
    }
}

fn fill(pending: &mut Pending, ids: &mut IdSource, offsets: &[i64], attempt: Attempt) {
    let (template, target) = (template(Kind::Consume), target());
    for offset in offsets {
        let draft = Draft {
            offset: Some(*offset),
            timestamp: Some(7),
            content: Content::Event { key: None, headers: &[], value: Some(b"v") },
            attempt,
            ..Draft::new(ids.next(1), 1, &template, &target)
        };
        pending.push(&draft).unwrap();
    }
}

#[test]
fn drafts_that_do_not_fit_their_kind_are_refused() {
    let (consume, invoke, effect, rollback) =
        (template(Kind::Consume), template(Kind::Invoke), template(Kind::Effect), template(Kind::Rollback));
    let (event, tool, none) = (target(), Arc::new(TargetTemplate::tool("t")), Arc::new(TargetTemplate::none()));
    let id = ReceiptId::from_u128(5);
    let bare = |template, target| Draft::new(id, 1, template, target);
    let refused = |draft: &Draft<'_>| {
        let mut pending = Pending::new();
        let error = pending.push(draft).unwrap_err();
        assert!(pending.is_empty() && pending.bytes() == 0, "{error}");
        error
    };
    for draft in [
        bare(&consume, &tool),
        bare(&invoke, &event),
        bare(&effect, &event),
        bare(&rollback, &event),
        Draft { rollback: Some(id), ..bare(&consume, &event) },
        Draft { duration_ms: Some(1), ..bare(&consume, &event) },
        Draft { error: Some("x"), ..bare(&invoke, &tool) },
        Draft { attempt: Attempt::Ask, ..bare(&consume, &event) },
        Draft { attempt: Attempt::Ask, offset: Some(-1), ..bare(&consume, &event) },
        Draft { attempt: Attempt::Ask, offset: Some(1), ..bare(&consume, &none) },
    ] {
        assert!(matches!(refused(&draft), PushError::Kind(_)), "{draft:?}");
    }
    let arguments = Draft { content: Content::Arguments(b"{\"a\":1,\"a\":2}"), ..bare(&invoke, &tool) };
    assert!(matches!(refused(&arguments), PushError::Arguments(_)));
    let other = Arc::new(TargetTemplate::event(&EventTarget {
        cluster: "",
        group: "",
        identity: "someone",
        topic: "t",
        topic_id: "",
        partition: None,
    }));
    assert!(matches!(refused(&bare(&consume, &other)), PushError::Identity { .. }));
}

#[test]
fn ids_must_ascend() {
    let mut pending = Pending::new();
    let push = |pending: &mut Pending, id| {
        pending.push(&Draft::new(ReceiptId::from_u128(id), 1, &template(Kind::Consume), &target()))
    };
    push(&mut pending, 5).unwrap();
    for id in [5, 4] {
        assert!(matches!(push(&mut pending, id), Err(PushError::IdOrder { .. })));
    }
    push(&mut pending, 6).unwrap();
    assert_eq!(pending.len(), 2);
}

#[test]
fn a_refused_sealing_leaves_everything_as_it_was() {
    let signer = signer();
    let (mut pending, mut ids, mut chain) = (Pending::new(), IdSource::new(ISSUER, 0), Chain::start(ISSUER));
    assert_eq!(seal(&mut pending, &mut chain, &context(&signer), &mut |_| 1), Err(SealError::Empty));
    fill(&mut pending, &mut ids, &[1, 2], Attempt::None);
    let transaction = Mode::Transaction { group: String::new(), transactional_id: "t".to_owned() };
    let bad = [
        (SealContext { attestation: Some(b"{"), ..context(&signer) }, chain.clone()),
        (SealContext { mode: transaction, ..context(&signer) }, chain.clone()),
        (context(&signer), Chain { epoch: 1, ..chain.clone() }),
        (context(&signer), Chain { issuer: "x".repeat(1025), ..chain.clone() }),
        (context(&signer), Chain { issuer: String::new(), ..chain.clone() }),
    ];
    for (context, mut chain) in bad {
        let before = chain.clone();
        assert!(seal(&mut pending, &mut chain, &context, &mut |_| 1).is_err());
        assert_eq!((pending.len(), chain), (2, before));
    }
    let sealed = seal(&mut pending, &mut chain, &context(&signer), &mut |_| 1).unwrap();
    assert!(pending.is_empty());
    let end = Chain { next_seq: 2, running_count: 2, previous: sealed.checkpoint_hash, ..Chain::start(ISSUER) };
    assert_eq!(chain, end);
}

#[test]
fn attempts_are_asked_for_in_order_with_what_identifies_the_request() {
    let signer = signer();
    let (mut pending, mut ids, mut chain) = (Pending::new(), IdSource::new(ISSUER, 0), Chain::start(ISSUER));
    fill(&mut pending, &mut ids, &[9, 4], Attempt::Ask);
    fill(&mut pending, &mut ids, &[10], Attempt::Known(7));
    let mut asked = Vec::new();
    let sealed = seal(&mut pending, &mut chain, &context(&signer), &mut |query| {
        asked.push(*query);
        query.offset as u32 % 9
    })
    .unwrap();
    let digest = Some(digest::event(None, &[], Some(b"v"), None));
    let partition = target().partition_key().unwrap();
    let query = |offset| AttemptQuery { partition, offset, digest, timestamp: Some(7), again: false };
    assert_eq!(asked, [query(9), query(4)]);
    assert_eq!(sealed.attempts, [1, 4, 7]);
    assert_eq!(sealed.meta.coverage, [Coverage { partition, first: 4, last: 10 }]);
}

#[test]
fn compression_and_withholding_change_neither_root_nor_signature() {
    let signer = signer();
    let (mut pending, mut sealed) = (Pending::new(), Vec::new());
    for compression in [Compression::None, Compression::Zlib, Compression::Lz4] {
        let mut ids = IdSource::new(ISSUER, 0);
        fill(&mut pending, &mut ids, &[1, 2, 3], Attempt::None);
        let context = SealContext { compression, ..context(&signer) };
        sealed.push(seal(&mut pending, &mut Chain::start(ISSUER), &context, &mut |_| 1).unwrap());
    }
    for packed in &sealed[1..] {
        assert_eq!(packed.checkpoint_hash, sealed[0].checkpoint_hash);
        assert!(packed.frame.len() < sealed[0].frame.len());
    }
    let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &[ISSUER])] };
    for sealed in &sealed {
        let frame = frame::decode(&sealed.frame).unwrap();
        for compression in [Compression::None, Compression::Zlib, Compression::Lz4] {
            let hidden = frame::withhold(&frame, compression, |place| place != 1).unwrap();
            let mut verifier = LogVerifier::new(&trust);
            verifier.feed(&hidden);
            let report = verifier.finish();
            assert!(report.is_ok(), "{:?}", report.findings);
            assert_eq!((report.receipts, report.withheld), (1, 2));
            assert_eq!(frame::decode(&hidden).unwrap().compression, compression);
            assert_eq!(frame::meta(&hidden).unwrap().min_id, frame::meta(&hidden).unwrap().max_id);
        }
    }
}

#[test]
fn exports_read_back_as_they_were_written() {
    let signer = signer();
    let (mut pending, mut ids, mut chain) = (Pending::new(), IdSource::new(ISSUER, 0), Chain::start(ISSUER));
    fill(&mut pending, &mut ids, &[1, 2, 3], Attempt::Known(1));
    let context = SealContext { attestation: Some(b"{ }"), ..context(&signer) };
    let sealed = seal(&mut pending, &mut chain, &context, &mut |_| 1).unwrap();
    let frame = frame::decode(&sealed.frame).unwrap();
    let export = Export { receipt: Proven::from_frame(&frame, 1).unwrap(), outcome: Proven::from_frame(&frame, 2) };
    assert_eq!(Export::from_json(export.to_json().as_bytes()), Ok(export));
    assert!(Proven::from_frame(&frame, 3).is_none());
}

#[test]
fn trust_files_read_back_and_refuse_what_is_wrong() {
    let mut key = TrustedKey::active(signer().public_key(), &["a", "b*"]);
    key.status = KeyStatus::Retired;
    key.last_checkpoints = vec![LastCheckpoint { issuer: "a".to_owned(), hash: [3; 32] }];
    let trust = Trust { keys: vec![key.clone()] };
    let text = trust.to_json();
    assert_eq!(Trust::from_json(text.as_bytes()), Ok(trust));
    assert!(key.may_sign_for("a") && key.may_sign_for("b") && key.may_sign_for("bc") && !key.may_sign_for("aa"));
    let public = hex::encode(&key.public_key);
    for (from, to) in [
        ("\"v\": 1", "\"v\": 2"),
        ("\"v\": 1", "\"v\": 1, \"v\": 1"),
        ("\"v\": 1", "\"v\": 1, \"w\": 1"),
        ("\"b*\"", "\"b**\""),
        ("\"b*\"", "\"*b\""),
        ("\"b*\"", "\"\""),
        ("\"retired\"", "\"gone\""),
        (public.as_str(), "00"),
        (hex::encode(&key.key_id()).as_str(), &"0".repeat(32)),
        (hex::encode(&[3; 32]).as_str(), "x"),
        ("\"last_checkpoints\"", "\"last\""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert!(Trust::from_json(changed.as_bytes()).is_err(), "{to}");
    }
}

fn compressions() -> impl Strategy<Value = Compression> {
    prop::sample::select(vec![Compression::None, Compression::Zlib, Compression::Lz4])
}

proptest! {
    #[test]
    fn any_batch_reads_back_the_same_however_it_is_stored(
        values in prop::collection::vec(("\\PC{0,40}", prop::collection::vec(any::<u8>(), 0..60), 0..1_i64 << 53), 1..80),
        compression in compressions(), keep: u64,
    ) {
        let signer = signer();
        let (template, target) = (template(Kind::Consume), target());
        let sealed = |compression| {
            let (mut pending, mut ids) = (Pending::new(), IdSource::new(ISSUER, 0));
            for (text, value, offset) in &values {
                let draft = Draft {
                    offset: Some(*offset),
                    content: Content::Event { key: None, headers: &[], value: Some(value) },
                    correlation: Some(text),
                    ..Draft::new(ids.next(1), 1, &template, &target)
                };
                pending.push(&draft).unwrap();
            }
            let context = SealContext { compression, ..context(&signer) };
            seal(&mut pending, &mut Chain::start(ISSUER), &context, &mut |_| 1).unwrap().frame
        };
        let (plain, stored) = (sealed(Compression::None), sealed(compression));
        let (plain, stored) = (frame::decode(&plain).unwrap(), frame::decode(&stored).unwrap());
        prop_assert_eq!(stored.compression, compression);
        prop_assert!(plain.slots().eq(stored.slots()));
        let hide = |place: usize| keep >> (place % 64) & 1 == 0;
        let (plain, stored) = (
            frame::withhold(&plain, Compression::None, hide).unwrap(),
            frame::withhold(&stored, compression, hide).unwrap(),
        );
        prop_assert!(frame::decode(&plain).unwrap().slots().eq(frame::decode(&stored).unwrap().slots()));
    }

    #[test]
    fn reading_any_bytes_ends_without_a_panic(bytes: Vec<u8>, text in "\\PC*") {
        let _ = frame::decode(&bytes);
        let _ = frame::decode(&[b"CHF1".as_slice(), &bytes].concat());
        let _ = frame::split(&bytes);
        let _ = Record::parse(&bytes);
        let _ = Checkpoint::parse(&bytes);
        let _ = jcs::canonicalize(&bytes);
        let _ = jcs::canonicalize(text.as_bytes());
        let _ = Export::from_json(&bytes);
        let _ = Trust::from_json(&bytes);
    }

    #[test]
    fn reading_a_damaged_frame_ends_without_a_panic(
        compression in compressions(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index,
    ) {
        let signer = signer();
        let (mut pending, mut ids) = (Pending::new(), IdSource::new(ISSUER, 0));
        fill(&mut pending, &mut ids, &[1, 2, 3], Attempt::Known(1));
        let context = SealContext { compression, ..context(&signer) };
        let mut bytes = seal(&mut pending, &mut Chain::start(ISSUER), &context, &mut |_| 1).unwrap().frame;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &[ISSUER])] };
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            let _ = frame::meta(bytes);
            let mut verifier = LogVerifier::new(&trust);
            verifier.feed_stream(bytes);
            verifier.finish();
        }
    }

    #[test]
    fn doubles_keep_their_value_in_canonical_form(number in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO) {
        let form = jcs::canonicalize(format!("{number:e}").as_bytes()).unwrap();
        let form = std::str::from_utf8(&form).unwrap();
        prop_assert_eq!(form.parse::<f64>().unwrap(), number);
        prop_assert_eq!(jcs::canonicalize(form.as_bytes()).unwrap(), form.as_bytes());
    }

    #[test]
    fn strings_keep_their_value_in_canonical_form(text in "\\PC*|[\u{0}-\u{7f}]*") {
        let mut form = Vec::new();
        jcs::write_string(&mut form, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&form).unwrap(), text.clone());
        prop_assert_eq!(jcs::canonicalize(serde_json::to_string(&text).unwrap().as_bytes()).unwrap(), form);
    }
}
