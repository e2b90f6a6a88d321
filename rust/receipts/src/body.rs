//! Rendering a waiting receipt into its body.

use crate::draft::Attempt;
use crate::hex;
use crate::number;
use crate::pending::{Entry, Pending, Waiting};

/// What sealing adds to a draft.
#[derive(Clone, Copy)]
pub(crate) struct Sealing {
    pub(crate) seq: u64,
    pub(crate) digest: Option<[u8; 32]>,
    /// 0 for attempts that are not counted.
    pub(crate) attempt: u32,
}

/// Appends the body of `entry` in canonical form.
pub(crate) fn render(out: &mut Vec<u8>, pending: &Pending, entry: &Entry, sealing: &Sealing) {
    match entry {
        Entry::Outcome { before, after, .. } => {
            out.extend_from_slice(before.of(&pending.text));
            number::push(out, sealing.seq);
            out.extend_from_slice(after.of(&pending.text));
        }
        Entry::Receipt(waiting) => render_receipt(out, pending, waiting, sealing),
    }
}

/// The members in the order of their names, which RFC 8785 asks for.
fn render_receipt(out: &mut Vec<u8>, pending: &Pending, waiting: &Waiting, sealing: &Sealing) {
    // INVARIANT (interned): `push` stores indices of templates and targets that it put there.
    let (Some(template), Some(target)) =
        (pending.templates.get(waiting.template as usize), pending.targets.get(waiting.target as usize))
    else {
        return;
    };
    out.push(b'{');
    if sealing.attempt > 0 {
        out.extend_from_slice(b"\"attempt\":");
        number::push(out, u64::from(sealing.attempt));
        out.push(b',');
    }
    out.extend_from_slice(waiting.correlation.of(&pending.text));
    if let Some(digest) = &sealing.digest {
        out.extend_from_slice(b"\"digest\":\"");
        hex::push(out, digest);
        out.extend_from_slice(b"\",");
    }
    if let Some(duration) = waiting.duration_ms {
        out.extend_from_slice(b"\"duration_ms\":");
        number::push(out, duration);
        out.push(b',');
    }
    out.extend_from_slice(waiting.error.of(&pending.text));
    out.extend_from_slice(&template.errors);
    if let Some(evidence) = waiting.evidence {
        out.extend_from_slice(b"\"evidence\":\"");
        out.extend_from_slice(evidence.as_str().as_bytes());
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(&template.guards);
    out.extend_from_slice(b"\"id\":\"");
    out.extend_from_slice(&waiting.id.spelled());
    out.extend_from_slice(&template.identity_kind);
    render_parents(out, pending, waiting);
    out.extend_from_slice(&template.reason);
    let offset = u64::try_from(waiting.offset).ok();
    if let (Some(offset), false) = (offset, target.request.is_empty()) {
        out.extend_from_slice(&target.request);
        out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
        out.push(b'"');
    }
    if let Some(id) = waiting.rollback {
        out.extend_from_slice(b",\"rollback\":\"");
        out.extend_from_slice(&id.spelled());
        out.push(b'"');
    }
    out.extend_from_slice(&template.rule_scope);
    out.extend_from_slice(b",\"seq\":");
    number::push(out, sealing.seq);
    out.extend_from_slice(&target.head);
    if !target.tail.is_empty() {
        if let Some(offset) = offset {
            out.extend_from_slice(b"\"offset\":");
            number::push(out, offset);
            out.push(b',');
        }
        out.extend_from_slice(&target.partition_member);
        if let Ok(timestamp) = u64::try_from(waiting.timestamp) {
            out.extend_from_slice(b"\"timestamp\":");
            number::push(out, timestamp);
            out.push(b',');
        }
        out.extend_from_slice(&target.tail);
    }
    out.extend_from_slice(b",\"time\":");
    number::push(out, waiting.time);
    out.extend_from_slice(&template.tail);
}

fn render_parents(out: &mut Vec<u8>, pending: &Pending, waiting: &Waiting) {
    let start = waiting.parents_start as usize;
    let parents = pending.parents.get(start..start + waiting.parents_len as usize).unwrap_or_default();
    for (i, parent) in parents.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b",\"parents\":[\"" } else { b",\"" });
        out.extend_from_slice(&parent.spelled());
        out.push(b'"');
    }
    if !parents.is_empty() {
        out.push(b']');
    }
    if waiting.parents_rejected > 0 {
        out.extend_from_slice(b",\"parents_rejected\":");
        number::push(out, u64::from(waiting.parents_rejected));
    }
}

/// The attempt that a draft came with; `None` if it is to be asked for.
pub(crate) fn known_attempt(attempt: Attempt) -> Option<u32> {
    match attempt {
        Attempt::None => Some(0),
        Attempt::Known(number) => Some(number),
        Attempt::Ask | Attempt::Again => None,
    }
}
