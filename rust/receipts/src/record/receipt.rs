//! The receipt: its members, reading them, and what its kind requires of them.

use super::target::{self, Target};
use crate::id::ReceiptId;
use crate::request::{PartitionKey, PartitionParts};
use crate::scan::{Cursor, ScanError, Text};
use crate::template::MAX_LIST;
use crate::words::{Evidence, GuardVerdict, Kind, Verdict};

/// A receipt, read from its body. Texts are borrowed as they are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// Its id.
    pub id: ReceiptId,
    /// Position in the issuer's epoch.
    pub seq: u64,
    /// Time of the decision, Unix ms.
    pub time: u64,
    /// What it is about.
    pub kind: Kind,
    /// Who acts.
    pub identity: Text<'a>,
    /// Permission that was asked for.
    pub scope: Option<Text<'a>>,
    /// What was decided; present exactly for decisions.
    pub verdict: Option<Verdict>,
    /// Rule that decided.
    pub rule: Option<Text<'a>>,
    /// Why.
    pub reason: Option<Text<'a>>,
    /// Where the event lives, or the tool.
    pub target: Target<'a>,
    /// Digest of the content.
    pub digest: Option<[u8; 32]>,
    /// What led to this.
    pub parents: Parents<'a>,
    /// How many asserted parents were no receipt ids or beyond the limit.
    pub parents_rejected: u64,
    /// The request, for people.
    pub request: Option<Text<'a>>,
    /// Which attempt at the request; from 1.
    pub attempt: Option<u64>,
    /// Correlation text of the application.
    pub correlation: Option<Text<'a>>,
    /// The receipt that this one takes back.
    pub rollback: Option<ReceiptId>,
    /// When it was durable, where that is not the default.
    pub evidence: Option<Evidence>,
    /// How long the tool call took, ms.
    pub duration_ms: Option<u64>,
    /// What the tool call failed with.
    pub error: Option<Text<'a>>,
    /// JSON array of {code, rule}: conditions that erred.
    pub errors: Option<&'a str>,
    /// How many more erred.
    pub errors_omitted: u64,
    /// JSON array of {name, reason, verdict}: guards that ran.
    pub guards: Option<&'a str>,
    /// How many more ran.
    pub guards_omitted: u64,
}

/// The parents of a receipt, as they are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parents<'a>(&'a str);

impl Parents<'_> {
    /// The ids in order.
    pub fn iter(&self) -> impl Iterator<Item = ReceiptId> + '_ {
        self.0.split('"').filter_map(|piece| piece.parse().ok())
    }
}

impl Receipt<'_> {
    /// Key of the partition that the event is in, for this receipt's identity and group; `None` where it has none.
    pub fn partition_key(&self) -> Option<PartitionKey> {
        let Target::Event { cluster, group, partition, topic, topic_id, .. } = self.target else { return None };
        let text = |text: Option<Text<'_>>| text.map(|text| text.decode().into_owned()).unwrap_or_default();
        Some(PartitionKey::new(&PartitionParts {
            cluster: &text(cluster),
            topic_id: &text(topic_id),
            group: &text(group),
            identity: &self.identity.decode(),
            topic: &topic.decode(),
            partition: i32::try_from(partition?).ok()?,
        }))
    }

    /// Offset of the event.
    pub fn offset(&self) -> Option<u64> {
        match self.target {
            Target::Event { offset, .. } => offset,
            _ => None,
        }
    }
}

/// The members of a receipt after `{`, in canonical order.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Receipt<'a>, ScanError> {
    let attempt = cursor.member(b",\"attempt\":").then(|| cursor.positive()).transpose()?;
    let correlation = cursor.member(b",\"correlation\":").then(|| cursor.some_text()).transpose()?;
    let digest = cursor.member(b",\"digest\":").then(|| cursor.hex()).transpose()?;
    let duration_ms = cursor.member(b",\"duration_ms\":").then(|| cursor.integer()).transpose()?;
    let error = cursor.member(b",\"error\":").then(|| cursor.some_text()).transpose()?;
    let (errors, errors_omitted) = list(cursor, b",\"errors\":", b",\"errors_omitted\":", policy_error)?;
    let evidence = cursor.member(b",\"evidence\":").then(|| cursor.word(Evidence::from_word)).transpose()?;
    let (guards, guards_omitted) = list(cursor, b",\"guards\":", b",\"guards_omitted\":", guard_run)?;
    cursor.need(b",\"id\":", "expected `id`")?;
    let id = cursor.id()?;
    cursor.need(b",\"identity\":", "expected `identity`")?;
    let identity = cursor.text()?;
    cursor.need(b",\"kind\":", "expected `kind`")?;
    let kind = cursor.word(Kind::from_word)?;
    let parents = if cursor.member(b",\"parents\":") { parents(cursor)? } else { Parents::default() };
    let parents_rejected =
        cursor.member(b",\"parents_rejected\":").then(|| cursor.positive()).transpose()?.unwrap_or(0);
    let reason = cursor.member(b",\"reason\":").then(|| cursor.some_text()).transpose()?;
    let request = cursor.member(b",\"request\":").then(|| cursor.some_text()).transpose()?;
    let rollback = cursor.member(b",\"rollback\":").then(|| cursor.id()).transpose()?;
    let rule = cursor.member(b",\"rule\":").then(|| cursor.some_text()).transpose()?;
    let scope = cursor.member(b",\"scope\":").then(|| cursor.some_text()).transpose()?;
    cursor.need(b",\"seq\":", "expected `seq`")?;
    let seq = cursor.integer()?;
    let target = if cursor.member(b",\"target\":") { target::read(cursor)? } else { Target::None };
    cursor.need(b",\"time\":", "expected `time`")?;
    let time = cursor.integer()?;
    cursor.need(b",\"v\":1", "expected `v` of 1")?;
    let verdict = cursor.member(b",\"verdict\":").then(|| cursor.word(Verdict::from_word)).transpose()?;
    let receipt = Receipt {
        id,
        seq,
        time,
        kind,
        identity,
        scope,
        verdict,
        rule,
        reason,
        target,
        digest,
        parents,
        parents_rejected,
        request,
        attempt,
        correlation,
        rollback,
        evidence,
        duration_ms,
        error,
        errors,
        errors_omitted,
        guards,
        guards_omitted,
    };
    check(cursor, &receipt)?;
    Ok(receipt)
}

/// What the kind requires and excludes.
fn check(cursor: &Cursor<'_>, receipt: &Receipt<'_>) -> Result<(), ScanError> {
    let kind = receipt.kind;
    if kind.is_decision() != receipt.verdict.is_some() || (kind.is_decision() && receipt.scope.is_none()) {
        return cursor.error("a decision has scope and verdict, an effect or rollback no verdict");
    }
    let fits = match (kind, &receipt.target) {
        (Kind::Consume | Kind::Produce, target) => !matches!(target, Target::Tool(_)),
        (Kind::Invoke | Kind::Effect, target) => matches!(target, Target::Tool(_)),
        (Kind::Override | Kind::Rollback, _) => true,
    };
    if !fits {
        return cursor.error("target does not fit the kind");
    }
    if receipt.rollback.is_some() != (kind == Kind::Rollback) {
        return cursor.error("a rollback, and only that, names the receipt that it takes back");
    }
    if kind != Kind::Effect && (receipt.duration_ms.is_some() || receipt.error.is_some()) {
        return cursor.error("only an effect has a duration or an error");
    }
    if !request_fits(receipt) {
        return cursor.error("request does not follow from the target");
    }
    Ok(())
}

/// `chio-kafka-{topic}-{partition}-{offset}` stands exactly where all three are known.
fn request_fits(receipt: &Receipt<'_>) -> bool {
    let request = receipt.request.map(|request| request.spelled());
    let Target::Event { offset: Some(offset), partition: Some(partition), topic, .. } = receipt.target else {
        return request.is_none();
    };
    let mut numbers = (itoa::Buffer::new(), itoa::Buffer::new());
    request
        .and_then(|request| request.strip_prefix("chio-kafka-"))
        .and_then(|request| request.strip_prefix(topic.spelled()))
        .and_then(|request| request.strip_prefix('-'))
        .and_then(|request| request.strip_prefix(numbers.0.format(partition)))
        .and_then(|request| request.strip_prefix('-'))
        .is_some_and(|request| request == numbers.1.format(offset))
}

/// A list that may be absent, and the number of items that were left out of it, which is there only if it is full.
fn list<'a>(
    cursor: &mut Cursor<'a>,
    name: &'static [u8],
    omitted: &'static [u8],
    item: impl FnMut(&mut Cursor<'a>) -> Result<(), ScanError>,
) -> Result<(Option<&'a str>, u64), ScanError> {
    if !cursor.member(name) {
        return Ok((None, 0));
    }
    let start = cursor.at();
    let count = cursor.list(MAX_LIST, item)?;
    let spelled = cursor.since(start);
    if count == MAX_LIST && cursor.member(omitted) {
        return Ok((Some(spelled), cursor.positive()?));
    }
    Ok((Some(spelled), 0))
}

fn policy_error(cursor: &mut Cursor<'_>) -> Result<(), ScanError> {
    cursor.open()?;
    cursor.need(b",\"code\":", "expected `code`")?;
    cursor.text()?;
    cursor.need(b",\"rule\":", "expected `rule`")?;
    cursor.text()?;
    cursor.close()
}

fn guard_run(cursor: &mut Cursor<'_>) -> Result<(), ScanError> {
    cursor.open()?;
    cursor.need(b",\"name\":", "expected `name`")?;
    cursor.text()?;
    if cursor.member(b",\"reason\":") {
        cursor.some_text()?;
    }
    cursor.need(b",\"verdict\":", "expected `verdict`")?;
    cursor.word(GuardVerdict::from_word)?;
    cursor.close()
}

fn parents<'a>(cursor: &mut Cursor<'a>) -> Result<Parents<'a>, ScanError> {
    let start = cursor.at();
    cursor.list(MAX_LIST, |cursor| cursor.id().map(drop))?;
    Ok(Parents(cursor.since(start)))
}
