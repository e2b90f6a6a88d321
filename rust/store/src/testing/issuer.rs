//! Batches for a store, sealed without a log.

use chio_receipts::{
    Attempt, AttemptQuery, Chain, Compression, Content, Draft, Durability, IdSource, Mode, OutcomeDraft, OutcomeWord,
    Pending, ReceiptId, SealContext, Shown, Signer, seal,
};
use zeroize::Zeroizing;

use super::Sample;
use crate::batch_store::{NewBatch, OutcomeOf};

/// The time of everything, Unix ms.
pub(super) const NOW: i64 = 1_700_000_000_000;

/// Seals batches of one issuer.
pub(super) struct Issuer {
    pub(super) chain: Chain,
    pub(super) ids: IdSource,
    pub(super) signer: Signer,
    pub(super) offset: i64,
}

impl Issuer {
    pub(super) fn new(name: &str) -> Self {
        let signer = Signer::from_seed(&Zeroizing::new([9; 32]));
        Self { chain: Chain::start(name), ids: IdSource::new(name, 0), signer, offset: 0 }
    }

    pub(super) fn next_epoch(&mut self) {
        let issuer = self.chain.issuer.clone();
        self.chain = Chain { epoch: self.chain.epoch + 1, next_seq: 0, ..self.chain.clone() };
        self.ids = IdSource::new(&issuer, self.chain.epoch).not_before(NOW + 1_000_000);
    }

    pub(super) fn seal(&mut self, pending: &mut Pending, mode: Mode, outcomes: Vec<OutcomeOf>) -> NewBatch {
        let context = SealContext {
            signer: &self.signer,
            policy_version: [1; 32],
            mode,
            durability: Durability::Full,
            time: NOW,
            digest_key: None,
            attestation: None,
            compression: Compression::None,
        };
        let mut first = |_: &AttemptQuery| 1;
        NewBatch { sealed: seal(pending, &mut self.chain, &context, &mut first).unwrap(), outcomes }
    }

    /// A batch of `count` consume receipts at the next offsets.
    pub(super) fn batch_of(&mut self, count: i64, mode: Mode) -> NewBatch {
        let ids: Vec<ReceiptId> = (0..count).map(|_| self.ids.next(NOW)).collect();
        self.batch_with(&ids, mode)
    }

    /// A batch of consume receipts with these ids at the next offsets.
    pub(super) fn batch_with(&mut self, ids: &[ReceiptId], mode: Mode) -> NewBatch {
        let sample = Sample::new("agents", "orders", 0);
        let mut pending = Pending::new();
        for id in ids {
            let draft = Draft {
                offset: Some(self.offset),
                content: Content::Event { key: None, headers: &[], value: Some(b"v") },
                attempt: Attempt::Ask,
                ..Draft::new(*id, NOW, &sample.template, &sample.target)
            };
            pending.push(&draft).unwrap();
            self.offset += 1;
        }
        self.seal(&mut pending, mode, Vec::new())
    }

    pub(super) fn batch(&mut self) -> NewBatch {
        self.batch_of(3, Mode::Recorded)
    }

    pub(super) fn outcome(&mut self, of: [u8; 32], outcome: OutcomeWord, contradicts: Option<OutcomeWord>) -> NewBatch {
        let mut pending = Pending::new();
        let issuer = self.chain.issuer.clone();
        let id = self.ids.next(NOW);
        let draft =
            OutcomeDraft { id, time: NOW, batch: of, issuer: &issuer, outcome, shown: Shown::default(), contradicts };
        pending.push_outcome(&draft).unwrap();
        self.seal(&mut pending, Mode::Recorded, vec![OutcomeOf { checkpoint: of, outcome, contradicts }])
    }
}
