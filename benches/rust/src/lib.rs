//! The workload that the benches share: policies of any size, events of 200 bytes, and an engine that decides them and
//! seals their receipts on one thread, without Python, Kafka or a disk.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up must not give figures")]

use std::fmt::Write as _;
use std::sync::Arc;

use chio_policy::{EventView, Kind, Policy, Request, Route, Scratch};
use chio_receipts::{
    Attempt, Chain, Compression, Content, Draft, Durability, EventTarget, IdSource, Mode, Pending, SealContext, Sealed,
    Signer, TargetTemplate, Template, TemplateFields, seal,
};
use zeroize::Zeroizing;

/// Who asks in all benches.
pub const IDENTITY: &str = "bench-agents";
/// Unix ms; fixed, so that every run does the same work.
pub const NOW: i64 = 1_800_000_000_000;
/// Length of an event's value in bytes.
pub const VALUE_BYTES: usize = 200;

const ISSUER: &str = "bench@00000000000000000000000000000000";
const TOPIC: &str = "bench";

/// Name of scope `number`.
#[must_use]
pub fn scope(number: usize) -> String {
    format!("events:consume:topic-{number}")
}

/// A policy that grants the first `scopes` scopes, and, if `condition` is given, denies where it holds.
#[must_use]
pub fn policy(scopes: usize, condition: Option<&str>) -> Policy {
    let mut text = format!("chio: policy/v1\nidentities:\n  {IDENTITY}:\n    capabilities:\n");
    for number in 0..scopes {
        let _ = writeln!(text, "      - \"{}\"", scope(number));
    }
    if let Some(condition) = condition {
        let _ = write!(
            text,
            "rules:\n  - id: too-risky\n    effect: deny\n    identities: [{IDENTITY}]\n    \
             scopes: [\"events:consume:*\"]\n    when: {condition}\n"
        );
    }
    Policy::from_yaml(&text, "bench.yaml").expect("the policy of the bench compiles")
}

/// The value of event `number`: a JSON object of exactly 200 bytes whose `risk` is `number % 100`.
#[must_use]
pub fn value(number: usize) -> Vec<u8> {
    let head = format!(
        "{{\"id\":\"evt-{number:09}\",\"agent\":\"agent-{:02}\",\"amount\":{},\"risk\":{},\"note\":\"",
        number % 97,
        number % 5_000,
        number % 100
    );
    format!("{head}{}\"}}", "x".repeat(VALUE_BYTES - head.len() - 2)).into_bytes()
}

/// An event of the bench topic over these bytes.
#[must_use]
pub fn event<'a>(value: &'a [u8], headers: &'a [(&'a str, Option<&'a [u8]>)]) -> EventView<'a> {
    EventView {
        topic: TOPIC,
        partition: Some(0),
        offset: Some(0),
        key: Some(b"agent-001"),
        timestamp: Some(NOW),
        headers,
        value: Some(value),
    }
}

/// A request to consume under `scope`.
#[must_use]
pub fn request<'a>(scope: &'a str, event: Option<&'a EventView<'a>>) -> Request<'a> {
    Request {
        identity: IDENTITY,
        scope,
        kind: Kind::Consume,
        now: NOW,
        event,
        tool: None,
        arguments: None,
        output: None,
    }
}

/// Decides and seals on one thread, as the consumer and its sealer do on two.
pub struct Engine {
    policy: Policy,
    scope: String,
    route: Route,
    scratch: Scratch,
    values: Vec<Vec<u8>>,
    template: Arc<Template>,
    target: Arc<TargetTemplate>,
    signer: Signer,
    ids: IdSource,
    chain: Chain,
    pending: Pending,
    offset: i64,
}

impl Engine {
    /// An engine over `policy`, with a batch of `batch` values to decide again and again.
    #[must_use]
    pub fn new(policy: Policy, batch: usize) -> Self {
        let scope = scope(0);
        let fields = TemplateFields {
            kind: chio_receipts::Kind::Consume,
            identity: IDENTITY,
            scope: &scope,
            verdict: Some(chio_receipts::Verdict::Allow),
            rule: "capability:bench-agents:events:consume:topic-0",
            reason: "the capability grants it",
            errors: &[],
            guards: &[],
        };
        let place = EventTarget {
            cluster: "4L6g3nShT-eMCtK--X86sw",
            group: "bench",
            identity: IDENTITY,
            topic: TOPIC,
            topic_id: "0fZ2bV1nS7yJ8u3h5k9wLQ",
            partition: Some(0),
        };
        Self {
            route: policy.route(IDENTITY, &scope),
            template: Arc::new(Template::new(&fields)),
            target: Arc::new(TargetTemplate::event(&place)),
            scope,
            policy,
            scratch: Scratch::new(),
            values: (0..batch).map(value).collect(),
            signer: Signer::from_seed(&Zeroizing::new([7; 32])),
            ids: IdSource::new(ISSUER, 0),
            chain: Chain::start(ISSUER),
            pending: Pending::new(),
            offset: 0,
        }
    }

    /// Decides every value of the batch; gives how many were allowed.
    pub fn decide(&mut self) -> usize {
        let mut allowed = 0;
        for value in &self.values {
            let event = event(value, &[]);
            self.scratch.reset();
            let decision =
                self.policy.decide_route(&self.route, &request(&self.scope, Some(&event)), &mut self.scratch);
            allowed += usize::from(decision.verdict == chio_policy::Verdict::Allow);
        }
        allowed
    }

    /// Issues a receipt for every value of the batch, with its content or without.
    pub fn push(&mut self, with_content: bool) {
        for value in &self.values {
            let mut draft = Draft::new(self.ids.next(NOW), NOW, &self.template, &self.target);
            draft.offset = Some(self.offset);
            draft.timestamp = Some(NOW);
            draft.attempt = Attempt::Known(1);
            if with_content {
                draft.content = Content::Event { key: Some(b"agent-001"), headers: &[], value: Some(value) };
            }
            self.offset += 1;
            self.pending.push(&draft).expect("a draft of the bench is well formed");
        }
    }

    /// Seals what was pushed into one signed batch.
    pub fn seal(&mut self) -> Sealed {
        let context = SealContext {
            signer: &self.signer,
            policy_version: self.policy.version(),
            mode: Mode::Recorded,
            durability: Durability::Full,
            time: NOW,
            digest_key: None,
            attestation: None,
            compression: Compression::None,
        };
        seal(&mut self.pending, &mut self.chain, &context, &mut |_| 1).expect("a batch of the bench seals")
    }

    /// The whole engine: decides, issues, seals; all receipts in one batch.
    pub fn run(&mut self) -> Sealed {
        let allowed = self.decide();
        assert_eq!(allowed, self.values.len(), "the policy of the bench allows everything");
        self.push(true);
        self.seal()
    }

    /// The signer's public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.signer.public_key()
    }

    /// Signs a hash as a checkpoint is signed.
    #[must_use]
    pub fn sign(&self, hash: &[u8; 32]) -> [u8; 64] {
        self.signer.sign(hash)
    }
}
