//! Sealing: drafts become bodies with places, leaves, a tree, a signed checkpoint and a frame.

use std::borrow::Cow;

use crate::body::{self, Renderer, Sealing};
use crate::chain::{Chain, Mode, SealContext, SealError};
use crate::checkpoint::{self, BatchFacts};
use crate::draft::{Attempt, AttemptQuery};
use crate::frame::{self, Coverage, FrameMeta, Writer};
use crate::id;
use crate::jcs;
use crate::lanes::Lanes;
use crate::pending::{Entry, Pending, Waiting};
use crate::text::MAX_TEXT;
use crate::tree;

/// A sealed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The batch as it is stored.
    pub frame: Vec<u8>,
    /// What a store indexes it by.
    pub meta: FrameMeta,
    /// Hash of the checkpoint; the next batch names it.
    pub checkpoint_hash: [u8; 32],
    /// Root of the tree.
    pub root: [u8; 32],
    /// The attempt of each record in order; 0 where attempts are not counted.
    pub attempts: Vec<u32>,
}

/// Seals all drafts as one batch, advances the chain and empties the arena.
///
/// `attempts` answers for drafts with [`Attempt::Ask`] or [`Attempt::Again`], in the order of the batch; earlier drafts of
/// the same batch are not in the log yet, so the callee counts the requests that it was asked about itself. An answer of 0
/// counts as 1.
///
/// # Errors
/// [`SealError`]; chain and drafts are then as they were.
pub fn seal(
    pending: &mut Pending,
    chain: &mut Chain,
    context: &SealContext<'_>,
    attempts: &mut dyn FnMut(&AttemptQuery) -> u32,
) -> Result<Sealed, SealError> {
    let attestation = check(pending, chain, context)?;
    let count = u32::try_from(pending.len()).map_err(|_| SealError::TooLarge)?;
    let digests = digests(pending, context.digest_key);
    let attempts: Vec<u32> = pending
        .entries
        .iter()
        .zip(&digests)
        .map(|(entry, digest)| attempt_of(pending, entry, digest.as_ref(), attempts))
        .collect();

    let mut writer = Writer::new(count, pending.len() * 640);
    let mut renderer = Renderer::default();
    for (place, (entry, (digest, attempt))) in pending.entries.iter().zip(digests.iter().zip(&attempts)).enumerate() {
        let sealing = Sealing { seq: chain.next_seq + place as u64, digest: *digest, attempt: *attempt };
        writer.body(|out| renderer.render(out, pending, entry, &sealing));
    }
    let mut leaves = Vec::with_capacity(pending.len());
    tree::leaves_of_padded(&writer.padded(), &mut leaves);
    let root = tree::root(&leaves);

    let batch = BatchFacts { count, root, attestation: attestation.as_deref().map(checkpoint::attestation_hash) };
    let checkpoint = checkpoint::render(chain, context, &batch);
    let checkpoint_hash = checkpoint::hash(&checkpoint);
    let signature = context.signer.sign(&checkpoint_hash);
    let frame = writer
        .finish(context.compression, &checkpoint, attestation.as_deref().unwrap_or_default(), &signature)
        .ok_or(SealError::TooLarge)?;

    let meta = meta(pending, chain, context, count, checkpoint_hash).ok_or(SealError::Empty)?;
    chain.next_seq += u64::from(count);
    chain.running_count = meta.running_count;
    chain.previous = checkpoint_hash;
    pending.clear();
    Ok(Sealed { frame, meta, checkpoint_hash, root, attempts })
}

/// What sealing requires; gives the attestation in canonical form.
fn check<'a>(pending: &Pending, chain: &Chain, context: &SealContext<'a>) -> Result<Option<Cow<'a, [u8]>>, SealError> {
    if pending.is_empty() {
        return Err(SealError::Empty);
    }
    if chain.issuer.is_empty() || chain.issuer.len() > MAX_TEXT {
        return Err(SealError::Issuer);
    }
    if let Mode::Transaction { group, transactional_id } = &context.mode
        && (group.is_empty() || transactional_id.is_empty())
    {
        return Err(SealError::Transaction);
    }
    let tag = id::tag(&chain.issuer, chain.epoch);
    if let Some(foreign) = pending.entries.iter().map(Entry::id).find(|id| id.tag() != tag) {
        return Err(SealError::ForeignId(foreign));
    }
    let canonical = context.attestation.map(jcs::canonicalize).transpose().map_err(SealError::Attestation)?;
    Ok(canonical.map(Cow::Owned))
}

/// The digest of each record, where it has content.
fn digests(pending: &Pending, key: Option<&[u8; 32]>) -> Vec<Option<[u8; 32]>> {
    let content = |entry: &Entry| match entry {
        Entry::Receipt(waiting) if waiting.content.len > 0 => Some(waiting.content),
        _ => None,
    };
    let messages: Vec<&[u8]> =
        pending.entries.iter().filter_map(content).map(|span| span.of(&pending.content)).collect();
    let mut hashes = Vec::with_capacity(messages.len());
    Lanes::new(key).each(&messages, &mut hashes);
    let mut hashes = hashes.into_iter();
    pending.entries.iter().map(|entry| content(entry).and_then(|_| hashes.next())).collect()
}

fn attempt_of(
    pending: &Pending,
    entry: &Entry,
    digest: Option<&[u8; 32]>,
    ask: &mut dyn FnMut(&AttemptQuery) -> u32,
) -> u32 {
    let Entry::Receipt(waiting) = entry else { return 0 };
    if let Some(known) = body::known_attempt(waiting.attempt) {
        return known;
    }
    let partition = pending.targets.get(waiting.target as usize).and_then(|target| target.partition);
    let timestamp = (waiting.timestamp >= 0).then_some(waiting.timestamp);
    partition.map_or(1, |partition| {
        let again = waiting.attempt == Attempt::Again;
        ask(&AttemptQuery { partition, offset: waiting.offset, digest: digest.copied(), timestamp, again }).max(1)
    })
}

fn meta(
    pending: &Pending,
    chain: &Chain,
    context: &SealContext<'_>,
    count: u32,
    checkpoint_hash: [u8; 32],
) -> Option<FrameMeta> {
    let mut coverage = frame::CoverageMap::default();
    for entry in &pending.entries {
        if let Entry::Receipt(waiting) = entry
            && let Some(partition) = covered(pending, waiting)
        {
            coverage.add(partition, waiting.offset);
        }
    }
    let coverage: Vec<Coverage> = coverage.finish();
    Some(FrameMeta {
        issuer: chain.issuer.clone(),
        epoch: chain.epoch,
        first_seq: chain.next_seq,
        count,
        running_count: chain.running_count + u64::from(count),
        min_id: Some(pending.entries.first()?.id()),
        max_id: Some(pending.entries.last()?.id()),
        policy_version: context.policy_version,
        previous: chain.previous,
        checkpoint_hash,
        mode: match &context.mode {
            Mode::Transaction { group, transactional_id } => Mode::Transaction {
                group: crate::text::clip(group).into_owned(),
                transactional_id: crate::text::clip(transactional_id).into_owned(),
            },
            other => other.clone(),
        },
        time: context.time.max(0),
        key_id: context.signer.key_id(),
        durability: context.durability,
        coverage,
    })
}

/// The partition that a consume receipt covers.
fn covered(pending: &Pending, waiting: &Waiting) -> Option<crate::request::PartitionKey> {
    let template = pending.templates.get(waiting.template as usize)?;
    let target = pending.targets.get(waiting.target as usize)?;
    if template.kind != crate::words::Kind::Consume || waiting.offset < 0 {
        return None;
    }
    target.partition
}
