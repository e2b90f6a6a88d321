//! Verifying a whole log: every frame by itself, and how they follow each other.

mod chain;
mod ids;
mod report;

use std::collections::HashMap;

pub use chain::ChainEnd;
use chain::IssuerState;
use ids::EpochIds;
pub use report::{Finding, IssuerReport, Report};

use super::keys::{Keys, check_attestation};
use super::{Fault, VerifyError};
use crate::chain::Mode;
use crate::frame::{self, Frame, FrameError, Slot};
use crate::hex;
use crate::id::{self, ReceiptId};
use crate::record::{Outcome, Record};
use crate::tree;
use crate::trust::{KeyStatus, Trust, TrustedKey};
use crate::words::OutcomeWord;

/// Verifies a log that is fed to it frame by frame, in the order of the log; issuers may be mixed.
///
/// It goes on after a fault, so that the report shows all of them. Memory grows with the number of batches, not of
/// receipts.
pub struct LogVerifier<'t> {
    trust: &'t Trust,
    keys: Keys<'t>,
    /// Whether chains may start anywhere, and end before checkpoints that are known.
    starts_anywhere: bool,
    ends_anywhere: bool,
    issuers: HashMap<String, IssuerState>,
    /// Batches of transactions, by the hash of their checkpoint.
    transactions: HashMap<[u8; 32], Transaction>,
    /// Outcomes of batches that were not fed yet, by the hash of their checkpoint: an import may bring them first.
    early: HashMap<[u8; 32], Vec<Told>>,
    /// Which issuer and epoch has a tag, and the ids that it gave.
    tags: HashMap<u32, Tagged>,
    report: Report,
}

/// A batch whose effect is that of a transaction.
struct Transaction {
    issuer: String,
    outcome: Option<OutcomeWord>,
}

/// What an outcome record says.
struct Told {
    batch: [u8; 32],
    issuer: String,
    outcome: OutcomeWord,
    contradicts: Option<OutcomeWord>,
}

/// The ids of one issuer and epoch.
struct Tagged {
    issuer: String,
    epoch: u64,
    first: ReceiptId,
    last: ReceiptId,
}

/// Where a finding is.
#[derive(Clone, Copy)]
struct Place<'a> {
    issuer: Option<&'a str>,
    epoch: Option<u64>,
    seq: Option<u64>,
}

impl<'t> LogVerifier<'t> {
    /// A verifier of a log that starts at its beginning.
    pub fn new(trust: &'t Trust) -> Self {
        Self {
            trust,
            keys: Keys::new(trust),
            starts_anywhere: false,
            ends_anywhere: false,
            issuers: HashMap::new(),
            transactions: HashMap::new(),
            early: HashMap::new(),
            tags: HashMap::new(),
            report: Report::default(),
        }
    }

    /// Lets every issuer's chain start anywhere and end anywhere: for a part of a log.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.starts_anywhere = true;
        self.ends_anywhere = true;
        self
    }

    /// Lets every issuer's chain end anywhere: for what a log is continued with.
    #[must_use]
    pub fn continued(mut self) -> Self {
        self.ends_anywhere = true;
        self
    }

    /// Lets the chain of `issuer`, of which nothing was fed yet, go on from where a log holds its end.
    pub fn follow_on(&mut self, issuer: &str, end: ChainEnd) {
        self.issuers.insert(issuer.to_owned(), IssuerState::at(end));
    }

    /// Takes all frames of a stream; what follows a malformed one is not read.
    pub fn feed_stream(&mut self, stream: &[u8]) {
        let mut rest = stream;
        loop {
            match frame::split(rest) {
                Ok(None) => return,
                Ok(Some((frame, tail))) => {
                    self.feed(frame);
                    rest = tail;
                }
                Err(error) => {
                    self.find(Place { issuer: None, epoch: None, seq: None }, VerifyError::new(Fault::Frame, error));
                    return;
                }
            }
        }
    }

    /// Takes the next frame of the log.
    pub fn feed(&mut self, bytes: &[u8]) {
        match frame::decode(bytes) {
            Ok(frame) => self.frame(&frame),
            Err(error) => {
                let fault = match error {
                    FrameError::Checkpoint(_) => Fault::Checkpoint,
                    FrameError::Container(_) | FrameError::Record(_) => Fault::Frame,
                };
                self.find(Place { issuer: None, epoch: None, seq: None }, VerifyError::new(fault, error));
            }
        }
        self.report.frames += 1;
    }

    /// What was found, once all frames are fed.
    pub fn finish(mut self) -> Report {
        self.check_last_checkpoints();
        let mut issuers: Vec<IssuerReport> =
            std::mem::take(&mut self.issuers).into_iter().map(|(issuer, state)| state.report(issuer)).collect();
        issuers.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        self.report.issuers = issuers;
        let open = |transaction: &&Transaction| matches!(transaction.outcome, None | Some(OutcomeWord::Unknown));
        self.report.transactions = self.transactions.len() as u64;
        self.report.unresolved = self.transactions.values().filter(open).count() as u64;
        self.report
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        let checkpoint = &frame.checkpoint;
        let hash = frame.checkpoint_hash();
        let issuer = checkpoint.issuer.as_str();
        let place = Place { issuer: Some(issuer), epoch: Some(checkpoint.epoch), seq: Some(checkpoint.first_seq) };
        let key = match self.keys.check(checkpoint, &hash, &frame.signature) {
            Ok(key) => key,
            Err(error) => return self.find(place, error),
        };
        self.follow(place, frame, &hash, key);
        if let Err(error) = check_attestation(checkpoint, frame.attestation, true) {
            self.find(place, error);
        }
        if let Mode::Transaction { .. } = checkpoint.mode {
            let transaction = Transaction { issuer: issuer.to_owned(), outcome: None };
            self.transactions.entry(hash).or_insert(transaction);
        }
        for told in self.early.remove(&hash).unwrap_or_default() {
            self.report.outcomes_elsewhere -= 1;
            self.told(place, told);
        }
        if tree::root(&frame.leaves()) == checkpoint.root {
            self.records(place, frame);
        } else {
            self.find(place, VerifyError::new(Fault::Root, "the leaves of this batch do not lead to its root"));
        }
    }

    /// Checks how the batch follows the issuer's last one.
    fn follow(&mut self, place: Place<'_>, frame: &Frame<'_>, hash: &[u8; 32], key: &TrustedKey) {
        let checkpoint = &frame.checkpoint;
        let partial = self.starts_anywhere;
        let state =
            self.issuers.entry(checkpoint.issuer.clone()).or_insert_with(|| IssuerState::before(checkpoint, partial));
        for fault in state.follow(checkpoint, hash, key) {
            self.find(place, fault);
        }
    }

    fn records(&mut self, place: Place<'_>, frame: &Frame<'_>) {
        let checkpoint = &frame.checkpoint;
        let tag = id::tag(&checkpoint.issuer, checkpoint.epoch);
        let is_recorded = checkpoint.mode == Mode::Recorded;
        let ids_of = |issuers: &mut HashMap<String, IssuerState>, ids: EpochIds| {
            issuers.get_mut(&checkpoint.issuer).map(|state| std::mem::replace(&mut state.ids, ids))
        };
        let mut epoch_ids = ids_of(&mut self.issuers, EpochIds::default()).unwrap_or_default();
        let mut ids: Option<(ReceiptId, ReceiptId)> = None;
        for (index, slot) in frame.slots().enumerate() {
            let seq = checkpoint.first_seq.saturating_add(index as u64);
            let place = Place { seq: Some(seq), ..place };
            let body = match slot {
                Slot::Body(body) => body,
                Slot::Withheld(_) => {
                    self.report.withheld += 1;
                    continue;
                }
            };
            let record = match Record::parse(body) {
                Ok(record) => record,
                Err(error) => {
                    self.find(place, VerifyError::new(Fault::Record, error));
                    continue;
                }
            };
            if record.seq() != seq {
                self.find(place, VerifyError::new(Fault::Seq, format!("`seq` is {} at place {seq}", record.seq())));
            }
            let id = record.id();
            let taken = match id.tag() == tag {
                true => epoch_ids.take(id, ids.map(|(_, last)| last), is_recorded),
                false => Err("is of another issuer or epoch"),
            };
            if let Err(what) = taken {
                self.find(place, VerifyError::new(Fault::Id, format!("id `{id}` {what}")));
            }
            ids = Some(ids.map_or((id, id), |(first, last)| (first.min(id), last.max(id))));
            match record {
                Record::Receipt(_) => self.report.receipts += 1,
                Record::Outcome(outcome) => self.outcome(place, &outcome),
            }
        }
        ids_of(&mut self.issuers, epoch_ids);
        if let Some((first, last)) = ids {
            self.note_tag(place, tag, first, last);
        }
    }

    /// Two epochs whose tags agree by chance have different times; the same ids under two issuers do not.
    fn note_tag(&mut self, place: Place<'_>, tag: u32, first: ReceiptId, last: ReceiptId) {
        let (issuer, epoch) = (place.issuer.unwrap_or_default(), place.epoch.unwrap_or_default());
        let tagged = self.tags.entry(tag).or_insert_with(|| Tagged { issuer: issuer.to_owned(), epoch, first, last });
        if tagged.issuer == issuer && tagged.epoch == epoch {
            tagged.first = tagged.first.min(first);
            tagged.last = tagged.last.max(last);
        } else if first <= tagged.last && tagged.first <= last {
            let detail = format!("ids overlap with those of issuer `{}`, epoch {}", tagged.issuer, tagged.epoch);
            self.find(place, VerifyError::new(Fault::Id, detail));
        }
    }

    fn outcome(&mut self, place: Place<'_>, outcome: &Outcome<'_>) {
        self.report.outcomes += 1;
        let Outcome { batch, outcome: word, contradicts, .. } = *outcome;
        self.told(place, Told { batch, issuer: outcome.issuer.decode().into_owned(), outcome: word, contradicts });
    }

    fn told(&mut self, place: Place<'_>, told: Told) {
        let batch = hex::encode(&told.batch);
        let detail = match self.transactions.get_mut(&told.batch) {
            None if self.issuers.get(&told.issuer).is_some_and(|state| state.knows(&told.batch)) => {
                format!("batch `{batch}` is not that of a transaction")
            }
            None => {
                self.report.outcomes_elsewhere += 1;
                self.early.entry(told.batch).or_default().push(told);
                return;
            }
            Some(transaction) if transaction.issuer != told.issuer => format!("batch `{batch}` is of another issuer"),
            Some(transaction) => match transaction.outcome {
                Some(known) if known != told.outcome && told.contradicts != Some(known) => {
                    format!("batch `{batch}` is `{}` already", known.as_str())
                }
                _ => {
                    transaction.outcome = Some(told.outcome);
                    return;
                }
            },
        };
        self.find(place, VerifyError::new(Fault::Outcome, detail));
    }

    /// Every checkpoint that the trust file knows must have been seen.
    fn check_last_checkpoints(&mut self) {
        let trust = self.trust;
        for key in &trust.keys {
            for last in &key.last_checkpoints {
                let state = self.issuers.get(&last.issuer);
                if state.is_some_and(|state| state.passed(&key.key_id())) {
                    continue;
                }
                let hash = hex::encode(&last.hash);
                let place = Place { issuer: Some(&last.issuer), epoch: None, seq: None };
                let signed = state.is_some_and(|state| state.signed_by(&key.key_id()));
                if key.status == KeyStatus::Compromised && signed {
                    let detail =
                        format!("this log does not lead to checkpoint `{hash}`, the last before the compromise");
                    self.find(place, VerifyError::new(Fault::KeyCompromised, detail));
                } else if !self.ends_anywhere {
                    let detail = format!("the log ends before checkpoint `{hash}`, which the trust file knows");
                    self.find(place, VerifyError::new(Fault::Truncated, detail));
                }
            }
        }
    }

    fn find(&mut self, place: Place<'_>, error: VerifyError) {
        self.report.add(Finding {
            fault: error.fault,
            frame: self.report.frames,
            issuer: place.issuer.map(str::to_owned),
            epoch: place.epoch,
            seq: place.seq,
            detail: error.detail,
        });
    }
}
