//! An issuer that seals varied receipts through the public interface.

use std::sync::Arc;

use chio_receipts::{
    Attempt, Chain, Compression, Content, Draft, Durability, EventTarget, Evidence, Export, GuardRun, GuardVerdict,
    IdSource, Kind, Mode, OutcomeDraft, OutcomeWord, Pending, Proven, ReceiptId, SealContext, Sealed, Shown, Signer,
    TargetTemplate, Template, TemplateFields, Trust, Verdict, frame, seal,
};
use zeroize::Zeroizing;

/// Unix ms at which every vector starts.
pub const START: i64 = 1_790_000_000_000;

/// The signer of a seed that is one byte repeated.
pub fn signer(seed: u8) -> Signer {
    Signer::from_seed(&Zeroizing::new([seed; 32]))
}

/// The mode of a transaction's batches.
pub fn transaction() -> Mode {
    Mode::Transaction { group: "billing".to_owned(), transactional_id: "billing-0".to_owned() }
}

/// An issuer with its chain and what it sealed.
pub struct World {
    pub chain: Chain,
    pub ids: IdSource,
    pub pending: Pending,
    pub seed: u8,
    pub now: i64,
    pub sealed: Vec<Sealed>,
}

/// How a batch is sealed, beyond the defaults.
#[derive(Clone)]
pub struct How {
    pub mode: Mode,
    pub durability: Durability,
    pub digest_key: Option<[u8; 32]>,
    pub attestation: Option<&'static str>,
    pub compression: Compression,
}

impl Default for How {
    fn default() -> Self {
        Self {
            mode: Mode::Recorded,
            durability: Durability::Full,
            digest_key: None,
            attestation: None,
            compression: Compression::None,
        }
    }
}

impl World {
    /// An issuer at its beginning.
    pub fn new(issuer: &str, seed: u8) -> Self {
        Self {
            chain: Chain::start(issuer),
            ids: IdSource::new(issuer, 0),
            pending: Pending::new(),
            seed,
            now: START,
            sealed: Vec::new(),
        }
    }

    /// Starts the next epoch, with another key if `seed` is another.
    pub fn next_epoch(&mut self, seed: u8) {
        self.seed = seed;
        self.chain.epoch += 1;
        self.chain.next_seq = 0;
        self.ids = IdSource::new(&self.chain.issuer, self.chain.epoch).not_before(self.now);
    }

    /// The next id, a millisecond later.
    pub fn id(&mut self) -> ReceiptId {
        self.now += 1;
        self.ids.next(self.now)
    }

    /// Seals what is pending; gives the frame.
    pub fn seal(&mut self, how: &How) -> Vec<u8> {
        let signer = signer(self.seed);
        let context = SealContext {
            signer: &signer,
            policy_version: [7; 32],
            mode: how.mode.clone(),
            durability: how.durability,
            time: self.now + 1,
            digest_key: how.digest_key.as_ref(),
            attestation: how.attestation.map(str::as_bytes),
            compression: how.compression,
        };
        let sealed =
            seal(&mut self.pending, &mut self.chain, &context, &mut |query| query.offset as u32 % 3 + 1).unwrap();
        let frame = sealed.frame.clone();
        self.sealed.push(sealed);
        frame
    }

    /// Seals a batch of `count` varied receipts.
    pub fn batch(&mut self, count: usize, how: &How) -> Vec<u8> {
        for variety in 0..count {
            self.push(variety);
        }
        self.seal(how)
    }

    /// Seals a batch of one outcome.
    pub fn outcome(
        &mut self,
        issuer: &str,
        batch: [u8; 32],
        outcome: OutcomeWord,
        contradicts: Option<OutcomeWord>,
    ) -> Vec<u8> {
        let id = self.id();
        let shown = Shown {
            cluster: "5L6g3nShT-eMCtK--X86sw",
            topic: "chio-checkpoints",
            partition: Some(2),
            offset: (outcome == OutcomeWord::Committed).then_some(40),
            from: Some(31),
            until: Some(44),
        };
        let draft = OutcomeDraft { id, time: self.now, batch, issuer, outcome, shown, contradicts };
        self.pending.push_outcome(&draft).unwrap();
        self.seal(&How::default())
    }

    /// Adds one receipt; `variety` chooses among all kinds and forms.
    pub fn push(&mut self, variety: usize) {
        let texts = ["plain", "", "ünï ‹ödé› 🦀", "\"quoted\\ \u{1}\u{8}\t\n\u{c}\r\u{1f}\u{7f}"];
        let text = texts[variety % texts.len()];
        match variety % 8 {
            0 => self.push_consume(variety, text, Verdict::Allow, Attempt::Known(1)),
            1 => self.push_consume(variety, text, Verdict::Deny, Attempt::Ask),
            2 => self.push_tool(Kind::Invoke, text, Some(b"{\"b\":[1,2.50,\"\\u00e9\"],\"a\":null}"), None),
            3 => self.push_tool(Kind::Effect, text, Some(b"\"done\""), None),
            4 => self.push_produce(variety, text),
            5 => self.push_tool(Kind::Effect, text, None, Some("timeout after 30 s")),
            6 => self.push_bare(Kind::Override, Some(Verdict::Allow), None),
            _ => self.push_bare(Kind::Rollback, None, Some(ReceiptId::from_parts(START as u64, 1, 2))),
        }
    }

    fn push_consume(&mut self, variety: usize, text: &str, verdict: Verdict, attempt: Attempt) {
        let guards = [
            GuardRun { name: "pii", verdict: GuardVerdict::Deny, reason: text },
            GuardRun { name: "slow", verdict: GuardVerdict::Timeout, reason: "no answer after 50 ms" },
        ];
        let denied = verdict == Verdict::Deny;
        let template = Arc::new(Template::new(&TemplateFields {
            kind: Kind::Consume,
            identity: "research-agents",
            scope: "events:consume:research-tasks",
            verdict: Some(verdict),
            rule: if denied { "guard:pii" } else { "capability:research-agents:events:consume:*" },
            reason: text,
            errors: if denied { &[("large-refunds", "no_such_field")] } else { &[] },
            guards: if denied { &guards } else { &[] },
        }));
        let target = event_target("research-tasks", Some(3));
        let offset = if variety >= 8 { 1 << 53 } else { 0 } + variety as i64;
        let parents: Vec<ReceiptId> =
            (0..variety % 20).map(|n| ReceiptId::from_parts(START as u64, 9, n as u64)).collect();
        let value: &[u8] = if denied { b"" } else { b"{\"amount\":12}" };
        let draft = Draft {
            offset: Some(offset),
            timestamp: Some(START - 5),
            content: Content::Event {
                key: denied.then_some(b"k"),
                headers: &[("tenant", Some(b"a")), ("empty", Some(b"")), ("null", None)],
                value: Some(value),
            },
            parents: &parents,
            parents_rejected: variety as u32 % 2,
            attempt,
            correlation: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            evidence: denied.then_some(Evidence::BeforeAction),
            ..Draft::new(self.id(), self.now, &template, &target)
        };
        self.pending.push(&draft).unwrap();
    }

    fn push_produce(&mut self, variety: usize, text: &str) {
        let template = decision(Kind::Produce, "events:produce:answers", Verdict::Escalate, text);
        let target = event_target("answers", (variety % 16 == 4).then_some(0));
        let value = (variety % 16 == 4).then_some(&[0xff, 0x00, 0xfe][..]);
        let draft = Draft {
            content: Content::Event { key: None, headers: &[], value },
            ..Draft::new(self.id(), self.now, &template, &target)
        };
        self.pending.push(&draft).unwrap();
    }

    fn push_tool(&mut self, kind: Kind, text: &str, json: Option<&'static [u8]>, error: Option<&str>) {
        let template = match kind {
            Kind::Invoke => decision(kind, "tools:search", Verdict::Delay, text),
            _ => Arc::new(Template::new(&TemplateFields {
                kind,
                identity: "research-agents",
                scope: "",
                verdict: None,
                rule: "",
                reason: "",
                errors: &[],
                guards: &[],
            })),
        };
        let target = Arc::new(TargetTemplate::tool(if text.is_empty() { "search" } else { text }));
        let parent = ReceiptId::from_parts(START as u64, 4, 4);
        let draft = Draft {
            content: json.map_or(Content::None, Content::Arguments),
            parents: &[parent],
            duration_ms: (kind == Kind::Effect).then_some(if error.is_some() { 30_000 } else { 0 }),
            error,
            ..Draft::new(self.id(), self.now, &template, &target)
        };
        self.pending.push(&draft).unwrap();
    }

    fn push_bare(&mut self, kind: Kind, verdict: Option<Verdict>, rollback: Option<ReceiptId>) {
        let template = Arc::new(Template::new(&TemplateFields {
            kind,
            identity: "",
            scope: if verdict.is_some() { "data:pii:read" } else { "" },
            verdict,
            rule: "",
            reason: "",
            errors: &[],
            guards: &[],
        }));
        let target = Arc::new(TargetTemplate::none());
        let draft = Draft { rollback, ..Draft::new(self.id(), self.now, &template, &target) };
        self.pending.push(&draft).unwrap();
    }

    /// Adds a receipt whose body has exactly `len` bytes when it stands at `seq` 0 to 9.
    pub fn push_of_len(&mut self, len: usize) {
        let template = decision(Kind::Invoke, "tools:search", Verdict::Allow, "");
        let target = Arc::new(TargetTemplate::tool("search"));
        let id = self.id();
        let draft = Draft::new(id, self.now, &template, &target);
        let mut probe = Pending::new();
        probe.push(&Draft { correlation: Some("x"), ..draft }).unwrap();
        let mut world = Self { pending: probe, chain: self.chain.clone(), ..Self::new(&self.chain.issuer, self.seed) };
        world.chain.next_seq = 0;
        let frame = world.seal(&How::default());
        let frame = frame::decode(&frame).unwrap();
        let Some(frame::Slot::Body(body)) = frame.slot(0) else { unreachable!() };
        let correlation = "x".repeat(len + 1 - body.len());
        self.pending.push(&Draft { correlation: Some(&correlation), ..draft }).unwrap();
    }
}

fn event_target(topic: &str, partition: Option<i32>) -> Arc<TargetTemplate> {
    Arc::new(TargetTemplate::event(&EventTarget {
        cluster: "5L6g3nShT-eMCtK--X86sw",
        group: if topic == "answers" { "" } else { "research" },
        identity: "research-agents",
        topic,
        topic_id: "Jm2zqT9PQ0mM9nQk2h3aXw",
        partition,
    }))
}

fn decision(kind: Kind, scope: &str, verdict: Verdict, reason: &str) -> Arc<Template> {
    Arc::new(Template::new(&TemplateFields {
        kind,
        identity: "research-agents",
        scope,
        verdict: Some(verdict),
        rule: "",
        reason,
        errors: &[],
        guards: &[],
    }))
}

/// The export of the record at `index` of a frame.
pub fn export(frame: &[u8], index: usize) -> Export {
    let frame = frame::decode(frame).unwrap();
    Export { receipt: Proven::from_frame(&frame, index).unwrap(), outcome: None }
}

/// A trust file as a JSON value.
pub fn trust_value(trust: &Trust) -> serde_json::Value {
    serde_json::from_str(&trust.to_json()).unwrap()
}
