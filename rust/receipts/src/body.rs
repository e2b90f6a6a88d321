//! Rendering a waiting receipt into its body.
//!
//! Bodies of one batch are mostly laid out alike. One that is laid out like the last one is a copy of that, with the values
//! that differ written over: a third of the work of putting it together.

use crate::draft::Attempt;
use crate::hex;
use crate::number;
use crate::pending::{Entry, Pending, Waiting};
use crate::words::Evidence;

/// What sealing adds to a draft.
#[derive(Clone, Copy)]
pub(crate) struct Sealing {
    pub(crate) seq: u64,
    pub(crate) digest: Option<[u8; 32]>,
    /// 0 for attempts that are not counted.
    pub(crate) attempt: u32,
}

/// Renders the bodies of one batch, all into one buffer.
#[derive(Default)]
pub(crate) struct Renderer {
    /// The last receipt's body that others can be copied from.
    last: Option<Body>,
    /// Place and length of each of its values, in the order of [`each_value`].
    values: Vec<(usize, usize)>,
}

struct Body {
    start: usize,
    len: usize,
    form: Form,
}

/// Which members a body has, beside the lengths of its values.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    template: u32,
    target: u32,
    parents: u32,
    parents_rejected: u32,
    evidence: Option<Evidence>,
    has_attempt: bool,
    has_digest: bool,
    has_offset: bool,
    has_timestamp: bool,
}

impl Form {
    /// `None` for a body with members that few have.
    fn of(waiting: &Waiting, sealing: &Sealing) -> Option<Self> {
        let is_common = waiting.rollback.is_none() && waiting.duration_ms.is_none() && waiting.error.len == 0;
        is_common.then_some(Self {
            template: waiting.template,
            target: waiting.target,
            parents: waiting.parents_len,
            parents_rejected: waiting.parents_rejected,
            evidence: waiting.evidence,
            has_attempt: sealing.attempt > 0,
            has_digest: sealing.digest.is_some(),
            has_offset: waiting.offset >= 0,
            has_timestamp: waiting.timestamp >= 0,
        })
    }
}

impl Renderer {
    /// Appends the body of `entry` in canonical form.
    pub(crate) fn render(&mut self, out: &mut Vec<u8>, pending: &Pending, entry: &Entry, sealing: &Sealing) {
        match entry {
            Entry::Outcome { before, after, .. } => {
                out.extend_from_slice(before.of(&pending.text));
                number::push(out, sealing.seq);
                out.extend_from_slice(after.of(&pending.text));
            }
            Entry::Receipt(waiting) => {
                let form = Form::of(waiting, sealing);
                if !self.copy(out, form, (pending, waiting, sealing)) {
                    self.write(out, form, (pending, waiting, sealing));
                }
            }
        }
    }

    /// Appends a copy of the last body with other values; false, and nothing was done, if it is laid out otherwise.
    fn copy(&mut self, out: &mut Vec<u8>, form: Option<Form>, source: Source<'_>) -> bool {
        let Some(last) = self.last.as_mut().filter(|last| Some(last.form) == form) else { return false };
        let start = out.len();
        out.extend_from_within(last.start..last.start + last.len);
        let mut places = self.values.iter();
        let mut fits = true;
        each_value(source, |value| {
            let place = places.next().filter(|(_, len)| *len == value.len());
            match place.and_then(|(at, len)| out.get_mut(start + at..)?.get_mut(..*len)) {
                Some(slot) => slot.copy_from_slice(value),
                None => fits = false,
            }
        });
        fits &= places.next().is_none();
        if fits {
            last.start = start;
        } else {
            out.truncate(start);
        }
        fits
    }

    /// Puts the body together: the members in the order of their names, which RFC 8785 asks for.
    fn write(&mut self, out: &mut Vec<u8>, form: Option<Form>, source: Source<'_>) {
        let (pending, waiting, sealing) = source;
        // INVARIANT (interned): `push` stores indices of templates and targets that it put there.
        let (Some(template), Some(target)) =
            (pending.templates.get(waiting.template as usize), pending.targets.get(waiting.target as usize))
        else {
            return;
        };
        let start = out.len();
        self.values.clear();
        let mut value = |out: &mut Vec<u8>, text: &[u8]| {
            self.values.push((out.len() - start, text.len()));
            out.extend_from_slice(text);
        };
        out.push(b'{');
        if sealing.attempt > 0 {
            out.extend_from_slice(b"\"attempt\":");
            number::with_text(sealing.attempt.into(), |text| value(out, text));
            out.push(b',');
        }
        value(out, waiting.correlation.of(&pending.text));
        if let Some(digest) = &sealing.digest {
            out.extend_from_slice(b"\"digest\":\"");
            value(out, hex::pairs(digest).as_flattened());
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
        value(out, &waiting.id.spelled());
        out.extend_from_slice(&template.identity_kind);
        for (i, parent) in pending.parents_of(waiting).iter().enumerate() {
            out.extend_from_slice(if i == 0 { b",\"parents\":[\"" } else { b",\"" });
            value(out, &parent.spelled());
            out.push(b'"');
        }
        if waiting.parents_len > 0 {
            out.push(b']');
        }
        if waiting.parents_rejected > 0 {
            out.extend_from_slice(b",\"parents_rejected\":");
            number::push(out, u64::from(waiting.parents_rejected));
        }
        out.extend_from_slice(&template.reason);
        let offset = u64::try_from(waiting.offset).ok();
        if let (Some(offset), false) = (offset, target.request.is_empty()) {
            out.extend_from_slice(&target.request);
            value(out, itoa::Buffer::new().format(offset).as_bytes());
            out.push(b'"');
        }
        if let Some(id) = waiting.rollback {
            out.extend_from_slice(b",\"rollback\":\"");
            out.extend_from_slice(&id.spelled());
            out.push(b'"');
        }
        out.extend_from_slice(&template.rule_scope);
        out.extend_from_slice(b",\"seq\":");
        number::with_text(sealing.seq, |text| value(out, text));
        out.extend_from_slice(&target.head);
        if !target.tail.is_empty() {
            if let Some(offset) = offset {
                out.extend_from_slice(b"\"offset\":");
                number::with_text(offset, |text| value(out, text));
                out.push(b',');
            }
            out.extend_from_slice(&target.partition_member);
            if let Ok(timestamp) = u64::try_from(waiting.timestamp) {
                out.extend_from_slice(b"\"timestamp\":");
                number::with_text(timestamp, |text| value(out, text));
                out.push(b',');
            }
            out.extend_from_slice(&target.tail);
        }
        out.extend_from_slice(b",\"time\":");
        number::with_text(waiting.time, |text| value(out, text));
        out.extend_from_slice(&template.tail);
        self.last = form.map(|form| Body { start, len: out.len() - start, form });
    }
}

/// What a receipt's body is made of.
type Source<'a> = (&'a Pending, &'a Waiting, &'a Sealing);

/// Calls `each` with the values that differ between bodies of the same form, in the order in which [`Renderer::write`] writes
/// them.
fn each_value((pending, waiting, sealing): Source<'_>, mut each: impl FnMut(&[u8])) {
    // INVARIANT (interned): as for `write`.
    let Some(target) = pending.targets.get(waiting.target as usize) else { return };
    if sealing.attempt > 0 {
        number::with_text(sealing.attempt.into(), &mut each);
    }
    each(waiting.correlation.of(&pending.text));
    if let Some(digest) = &sealing.digest {
        each(hex::pairs(digest).as_flattened());
    }
    each(&waiting.id.spelled());
    for parent in pending.parents_of(waiting) {
        each(&parent.spelled());
    }
    let offset = u64::try_from(waiting.offset).ok();
    if let (Some(offset), false) = (offset, target.request.is_empty()) {
        each(itoa::Buffer::new().format(offset).as_bytes());
    }
    number::with_text(sealing.seq, &mut each);
    if !target.tail.is_empty() {
        if let Some(offset) = offset {
            number::with_text(offset, &mut each);
        }
        if let Ok(timestamp) = u64::try_from(waiting.timestamp) {
            number::with_text(timestamp, &mut each);
        }
    }
    number::with_text(waiting.time, &mut each);
}

/// The attempt that a draft came with; `None` if it is to be asked for.
pub(crate) fn known_attempt(attempt: Attempt) -> Option<u32> {
    match attempt {
        Attempt::None => Some(0),
        Attempt::Known(number) => Some(number),
        Attempt::Ask | Attempt::Again => None,
    }
}
