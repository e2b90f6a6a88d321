//! Bodies are bit-identical to a slow, obvious rendering through `serde_json` and the canonicaliser, and read back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)] // A test fails by panicking.

use std::sync::Arc;

use chio_receipts::record::Parents;
use chio_receipts::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

const ISSUER: &str = "worker@log";

/// A draft with everything owned.
#[derive(Clone, Debug)]
struct Owned {
    kind: Kind,
    texts: [String; 4],
    verdict: Verdict,
    errors: Vec<(String, String)>,
    guards: Vec<(String, GuardVerdict, String)>,
    event: bool,
    places: [String; 4],
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
    time: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    parents: Vec<u128>,
    rejected: u32,
    attempt: Attempt,
    correlation: Option<String>,
    evidence: Option<Evidence>,
    duration: Option<u64>,
    error: Option<String>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", "[\u{0}-\u{7f}]{0,40}", "[a-z:]{1,20}", "x{1000,1040}", "é{500,520}"]
}

fn owned() -> impl Strategy<Value = Owned> {
    let attempt = prop_oneof![Just(Attempt::None), any::<u32>().prop_map(Attempt::Known), Just(Attempt::Ask)];
    let decision = (
        prop::sample::select(Kind::ALL),
        prop::array::uniform4(text()),
        prop::sample::select(Verdict::ALL),
        prop::collection::vec((text(), text()), 0..20),
        prop::collection::vec((text(), prop::sample::select(GuardVerdict::ALL), text()), 0..20),
    );
    let place = (
        any::<bool>(),
        prop::array::uniform4(text()),
        prop::option::of(-1i32..),
        prop::option::of(-2i64..),
        prop::option::of(-2i64..),
        any::<i64>(),
        any::<Option<Vec<u8>>>(),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    );
    let rest = (
        prop::collection::vec(any::<u128>(), 0..20),
        0..3u32,
        attempt,
        prop::option::of(text()),
        prop::option::of(prop::sample::select(Evidence::ALL)),
        any::<Option<u64>>(),
        prop::option::of(text()),
    );
    (decision, place, rest).prop_map(|(decision, place, rest)| {
        let (kind, texts, verdict, errors, guards) = decision;
        let (event, places, partition, offset, timestamp, time, key, value) = place;
        let (parents, rejected, attempt, correlation, evidence, duration, error) = rest;
        Owned {
            kind,
            texts,
            verdict,
            errors,
            guards,
            event,
            places,
            partition,
            offset,
            timestamp,
            time,
            key,
            value,
            parents,
            rejected,
            attempt,
            correlation,
            evidence,
            duration,
            error,
        }
    })
}

impl Owned {
    fn is_event(&self) -> bool {
        match self.kind {
            Kind::Consume | Kind::Produce => true,
            Kind::Invoke | Kind::Effect => false,
            _ => self.event,
        }
    }

    fn scope(&self) -> String {
        if self.texts[1].is_empty() { "s".to_owned() } else { self.texts[1].clone() }
    }

    fn templates(&self) -> (Arc<Template>, Arc<TargetTemplate>) {
        let errors: Vec<(&str, &str)> = self.errors.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let guards: Vec<GuardRun<'_>> =
            self.guards.iter().map(|(name, verdict, reason)| GuardRun { name, verdict: *verdict, reason }).collect();
        let template = Arc::new(Template::new(&TemplateFields {
            kind: self.kind,
            identity: &self.texts[0],
            scope: &self.scope(),
            verdict: self.kind.is_decision().then_some(self.verdict),
            rule: &self.texts[2],
            reason: &self.texts[3],
            errors: &errors,
            guards: &guards,
        }));
        let target = Arc::new(if self.is_event() {
            TargetTemplate::event(&EventTarget {
                cluster: &self.places[0],
                group: &self.places[1],
                identity: &self.texts[0],
                topic: &self.places[2],
                topic_id: &self.places[3],
                partition: self.partition,
            })
        } else {
            TargetTemplate::tool(&self.places[0])
        });
        (template, target)
    }

    fn push(&self, pending: &mut Pending, id: ReceiptId) -> Attempt {
        self.push_as(pending, id, &self.templates())
    }

    fn push_as(
        &self,
        pending: &mut Pending,
        id: ReceiptId,
        (template, target): &(Arc<Template>, Arc<TargetTemplate>),
    ) -> Attempt {
        let parents: Vec<ReceiptId> = self.parents.iter().map(|id| ReceiptId::from_u128(*id)).collect();
        let can_ask = target.partition_key().is_some() && self.offset.is_some_and(|offset| offset >= 0);
        let attempt = if self.attempt == Attempt::Ask && !can_ask { Attempt::None } else { self.attempt };
        let effect = self.kind == Kind::Effect;
        pending
            .push(&Draft {
                offset: self.offset,
                timestamp: self.timestamp,
                content: Content::Event {
                    key: self.key.as_deref(),
                    headers: &[("h", None)],
                    value: self.value.as_deref(),
                },
                parents: &parents,
                parents_rejected: self.rejected,
                attempt,
                correlation: self.correlation.as_deref(),
                rollback: (self.kind == Kind::Rollback).then_some(ReceiptId::from_u128(7)),
                evidence: self.evidence,
                duration_ms: self.duration.filter(|_| effect),
                error: self.error.as_deref().filter(|_| effect),
                ..Draft::new(id, self.time, template, target)
            })
            .unwrap();
        attempt
    }

    /// The same body, member by member, without regard to order or speed.
    fn reference(&self, id: ReceiptId, seq: u64, attempt: Attempt) -> Vec<u8> {
        let mut body = Map::new();
        let clip = |text: &str| text::clip(text).into_owned();
        let mut put = |name: &str, value: Value| {
            if value != Value::Null && value != json!("") && value != json!([]) && value != json!(0) {
                body.insert(name.to_owned(), value);
            }
        };
        put("rule", json!(clip(&self.texts[2])));
        put("reason", json!(clip(&self.texts[3])));
        put("scope", json!(clip(&self.scope())));
        if self.kind.is_decision() {
            put("verdict", json!(self.verdict.as_str()));
        }
        let item = |(rule, code): &(String, String)| json!({"rule": clip(rule), "code": clip(code)});
        put("errors", self.errors.iter().take(MAX_LIST).map(item).collect());
        put("errors_omitted", json!(self.errors.len().saturating_sub(MAX_LIST)));
        let run = |(name, verdict, reason): &(String, GuardVerdict, String)| {
            let mut run = json!({"name": clip(name), "verdict": verdict.as_str()});
            if !reason.is_empty() {
                run["reason"] = json!(clip(reason));
            }
            run
        };
        put("guards", self.guards.iter().take(MAX_LIST).map(run).collect());
        put("guards_omitted", json!(self.guards.len().saturating_sub(MAX_LIST)));
        let digest = digest::event(self.key.as_deref(), &[("h", None)], self.value.as_deref(), None);
        put("digest", json!(hex::encode(&digest)));
        put(
            "parents",
            self.parents.iter().take(MAX_LIST).map(|id| json!(ReceiptId::from_u128(*id).to_string())).collect(),
        );
        put("parents_rejected", json!(self.rejected as usize + self.parents.len().saturating_sub(MAX_LIST)));
        put(
            "attempt",
            match attempt {
                Attempt::None => json!(0),
                Attempt::Known(n) => number(n.into()),
                Attempt::Ask | Attempt::Again => json!(42),
            },
        );
        put("correlation", json!(clip(self.correlation.as_deref().unwrap_or_default())));
        put("evidence", json!(self.evidence.map(Evidence::as_str)));
        if self.kind == Kind::Rollback {
            put("rollback", json!(ReceiptId::from_u128(7).to_string()));
        }
        if self.kind == Kind::Effect {
            put("error", json!(clip(self.error.as_deref().unwrap_or_default())));
        }
        self.put_target(&mut body);
        if let (Kind::Effect, Some(duration)) = (self.kind, self.duration) {
            body.insert("duration_ms".to_owned(), number(duration));
        }
        for (name, value) in [
            ("id", json!(id.to_string())),
            ("identity", json!(clip(&self.texts[0]))),
            ("kind", json!(self.kind.as_str())),
            ("seq", number(seq)),
            ("time", number(self.time.max(0) as u64)),
            ("v", json!(1)),
        ] {
            body.insert(name.to_owned(), value);
        }
        jcs::canonicalize(&serde_json::to_vec(&body).unwrap()).unwrap()
    }

    fn put_target(&self, body: &mut Map<String, Value>) {
        if !self.is_event() {
            body.insert("target".to_owned(), json!({"tool": text::clip(&self.places[0])}));
            return;
        }
        let known = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok());
        let topic = if self.places[2].len() <= 512 {
            self.places[2].clone()
        } else {
            let hash = blake3::hash(self.places[2].as_bytes()).to_hex();
            let end = self.places[2].floor_char_boundary(512 - 35);
            format!("{}…{}", &self.places[2][..end], &hash[..32])
        };
        let mut target = json!({"topic": topic});
        for (name, text) in [("cluster", 0), ("group", 1), ("topic_id", 3)] {
            if !self.places[text].is_empty() {
                target[name] = json!(text::clip(&self.places[text]));
            }
        }
        let partition = known(self.partition.map(i64::from));
        for (name, value) in
            [("partition", partition), ("offset", known(self.offset)), ("timestamp", known(self.timestamp))]
        {
            if let Some(value) = value {
                target[name] = number(value);
            }
        }
        body.insert("target".to_owned(), target);
        if let (Some(partition), Some(offset)) = (partition, known(self.offset)) {
            body.insert("request".to_owned(), json!(format!("chio-kafka-{topic}-{partition}-{offset}")));
        }
    }
}

fn number(value: u64) -> Value {
    if value <= number::MAX_SAFE { json!(value) } else { json!(value.to_string()) }
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

/// What changes from receipt to receipt of one kind, and mostly keeps its length.
#[derive(Clone, Debug)]
struct Turn {
    by: i64,
    content: u8,
    parent: u128,
    other: Option<Owned>,
    /// Another template and target, whose texts are as long.
    mirrored: [bool; 2],
    /// Whether offset, timestamp and attempt are left out.
    without: [bool; 3],
}

fn turn() -> impl Strategy<Value = Turn> {
    let by = prop_oneof![4 => 0i64..20, 1 => Just(i64::MAX / 2)];
    let other = prop::option::weighted(0.2, owned());
    let mirrored = prop::array::uniform2(prop::bool::weighted(0.2));
    let without = prop::array::uniform3(prop::bool::weighted(0.2));
    (by, any::<u8>(), any::<u128>(), other, mirrored, without).prop_map(
        |(by, content, parent, other, mirrored, without)| Turn { by, content, parent, other, mirrored, without },
    )
}

impl Owned {
    fn turned(&self, turn: &Turn) -> Self {
        let later = |number: Option<i64>| number.map(|number| number.saturating_add(turn.by));
        let shown = |number: Option<i64>, at: usize| later(number).filter(|_| !turn.without[at]);
        Self {
            offset: shown(self.offset, 0),
            timestamp: shown(self.timestamp, 1),
            time: self.time.saturating_add(turn.by),
            value: self.value.as_ref().map(|value| value.iter().map(|byte| byte ^ turn.content).collect()),
            parents: self.parents.iter().map(|parent| parent ^ turn.parent).collect(),
            correlation: self.correlation.as_ref().map(|text| text.chars().rev().collect()),
            evidence: self.evidence.filter(|_| turn.content > 9),
            rejected: self.rejected + u32::from(turn.content % 8 == 7),
            attempt: match self.attempt {
                _ if turn.without[2] => Attempt::None,
                Attempt::Known(number) => Attempt::Known(number.saturating_add(turn.content.into())),
                other => other,
            },
            ..self.mirrored(turn.mirrored)
        }
    }

    fn mirrored(&self, [template, target]: [bool; 2]) -> Self {
        let mirror = |text: &String| text.chars().rev().collect::<String>();
        let mut mirrored = self.clone();
        if template {
            mirrored.texts[2] = mirror(&self.texts[2]);
        }
        if target {
            mirrored.places = self.places.each_ref().map(mirror);
        }
        mirrored
    }
}

proptest! {
    #[test]
    fn bodies_that_are_laid_out_alike_render_like_the_reference(draft in owned(), turns in prop::collection::vec(turn(), 1..20)) {
        let signer = Signer::from_seed(&Zeroizing::new([1; 32]));
        let mut ids = IdSource::new(ISSUER, 3);
        let (mut pending, mut expected) = (Pending::new(), Vec::new());
        let (plain, mirrored) = (draft.templates(), draft.mirrored([true, true]).templates());
        for turn in &turns {
            let turned = draft.turned(turn);
            let [template, target] = turn.mirrored.map(|is_mirrored| if is_mirrored { &mirrored } else { &plain });
            let templates = (Arc::clone(&template.0), Arc::clone(&target.1));
            let (id, seq) = (ids.next(turned.time), 95 + expected.len() as u64);
            let attempt = turned.push_as(&mut pending, id, &templates);
            expected.push(turned.reference(id, seq, attempt));
            if let Some(other) = &turn.other {
                let (id, seq) = (ids.next(other.time), seq + 1);
                let attempt = other.push(&mut pending, id);
                expected.push(other.reference(id, seq, attempt));
            }
        }
        let mut chain = Chain { next_seq: 95, epoch: 3, ..Chain::start(ISSUER) };
        let sealed = seal(&mut pending, &mut chain, &context(&signer), &mut |_| 42).unwrap();
        let decoded = frame::decode(&sealed.frame).unwrap();
        prop_assert_eq!(decoded.slots().count(), expected.len());
        for (slot, expected) in decoded.slots().zip(&expected) {
            let Slot::Body(body) = slot else { panic!("a body") };
            prop_assert_eq!(String::from_utf8_lossy(body), String::from_utf8_lossy(expected));
        }
    }

    #[test]
    fn a_batch_renders_exactly_like_the_reference_and_verifies(drafts in prop::collection::vec(owned(), 1..20), first_seq in any::<u32>()) {
        let signer = Signer::from_seed(&Zeroizing::new([1; 32]));
        let mut ids = IdSource::new(ISSUER, 3);
        let mut pending = Pending::new();
        let mut expected = Vec::new();
        for (i, draft) in drafts.iter().enumerate() {
            let id = ids.next(draft.time);
            let attempt = draft.push(&mut pending, id);
            expected.push(draft.reference(id, u64::from(first_seq) + i as u64, attempt));
        }
        let mut chain = Chain { issuer: ISSUER.to_owned(), epoch: 3, next_seq: first_seq.into(), running_count: 9, previous: [4; 32] };
        let sealed = seal(&mut pending, &mut chain, &context(&signer), &mut |_| 42).unwrap();
        let decoded = frame::decode(&sealed.frame).unwrap();
        let bodies: Vec<Vec<u8>> = decoded.slots().map(|slot| match slot { Slot::Body(body) => body.to_vec(), Slot::Withheld(_) => vec![] }).collect();
        for (body, expected) in bodies.iter().zip(&expected) {
            prop_assert_eq!(String::from_utf8_lossy(body), String::from_utf8_lossy(expected));
        }
        prop_assert_eq!(frame::meta(&sealed.frame).unwrap(), sealed.meta);
        let leaves: Vec<[u8; 32]> = expected.iter().map(|body| tree::leaf(body)).collect();
        prop_assert_eq!(tree::root(&leaves), sealed.root);
        let trust = Trust { keys: vec![TrustedKey::active(signer.public_key(), &["worker@*"])] };
        let mut verifier = LogVerifier::new(&trust).partial();
        verifier.feed(&sealed.frame);
        let report = verifier.finish();
        prop_assert!(report.is_ok(), "{:?}", report.findings);
        prop_assert_eq!(report.receipts, drafts.len() as u64);
        for (draft, body) in drafts.iter().zip(&bodies) {
            let Record::Receipt(receipt) = Record::parse(body).unwrap() else { panic!("a receipt") };
            prop_assert_eq!(receipt.identity.decode(), text::clip(&draft.texts[0]));
            let parents: Vec<u128> = Parents::iter(&receipt.parents).map(ReceiptId::as_u128).collect();
            prop_assert_eq!(&parents[..], &draft.parents[..draft.parents.len().min(MAX_LIST)]);
        }
    }

    #[test]
    fn a_body_that_is_accepted_is_its_own_canonical_form(draft in owned(), at: prop::sample::Index, byte: u8) {
        let signer = Signer::from_seed(&Zeroizing::new([1; 32]));
        let mut pending = Pending::new();
        draft.push(&mut pending, IdSource::new(ISSUER, 0).next(1));
        let sealed = seal(&mut pending, &mut Chain::start(ISSUER), &context(&signer), &mut |_| 1).unwrap();
        let frame = frame::decode(&sealed.frame).unwrap();
        let Some(Slot::Body(body)) = frame.slot(0) else { panic!("a body") };
        let mut changed = body.to_vec();
        let at = at.index(changed.len());
        changed[at] = byte;
        if Record::parse(&changed).is_ok() {
            prop_assert_eq!(jcs::canonicalize(&changed).unwrap(), changed);
        }
    }
}
