//! Names of headers, and what receipts take from them.

use std::borrow::Cow;
use std::ffi::CStr;

use chio_policy::HeaderNames;

/// Names the receipt of a record's own decision; on what follows from the record, its parent.
pub const RECEIPT: &str = text(RECEIPT_TERMINATED);
/// As the client's library takes it.
pub const RECEIPT_TERMINATED: &CStr = c"X-Chio-Receipt";
/// Names the scope by which a record was produced.
pub const SCOPE: &str = text(SCOPE_TERMINATED);
/// As the client's library takes it.
pub const SCOPE_TERMINATED: &CStr = c"X-Chio-Scope";
/// Says on a DLQ record why the event was denied.
pub const REASON: &str = "X-Chio-Denial-Reason";
/// Names on a DLQ record the topic of the event.
pub const TOPIC: &str = "X-Chio-Original-Topic";
/// Names on a DLQ record the request.
pub const REQUEST: &str = "X-Chio-Request";
/// Carries the trace that a record is part of (W3C Trace Context).
pub const TRACE: &str = text(TRACE_TERMINATED);
/// As the client's library takes it.
pub const TRACE_TERMINATED: &CStr = c"traceparent";
/// Carry a correlation text unless the application names others; the first one found counts.
pub const CORRELATION: [&str; 2] = [TRACE, "X-Correlation-Id"];

/// How the names of our own headers begin.
const OWN_PREFIX: &str = "X-Chio-";
/// At most so many bytes of a correlation text are kept.
const LONGEST_CORRELATION: usize = 1024;

/// A name without its NUL.
const fn text(name: &'static CStr) -> &'static str {
    match name.to_str() {
        Ok(name) => name,
        Err(_) => "",
    }
}

/// Whether the digest covers the header of this name: the policy looks at it, and it is none of those that a producer adds
/// when the receipt is issued already.
pub fn is_digested(names: &HeaderNames, name: &str) -> bool {
    names.contains(name) && !name.starts_with(OWN_PREFIX)
}

/// Whether a header says of a produced record what its receipt says, so that the caller's own is left out.
pub fn is_stated_by_receipt(name: &str) -> bool {
    matches!(name, RECEIPT | SCOPE)
}

/// The correlation text of a header's value.
pub fn correlation_text(value: &[u8]) -> Cow<'_, str> {
    let value = value.get(..LONGEST_CORRELATION).unwrap_or(value);
    str::from_utf8(value).map_or_else(|_| String::from_utf8_lossy(value), Cow::Borrowed)
}

/// The correlation text among headers: of the first of `names` that one of them bears, the preferred name first.
pub fn correlation_in<'h>(
    headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    names: &[String],
) -> Option<Cow<'h, str>> {
    let (mut found, mut rank) = (None, names.len());
    for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        if let Some(better) = names.iter().take(rank).position(|known| known.as_bytes() == name) {
            (found, rank) = (Some(value), better);
        }
    }
    found.map(correlation_text)
}

/// The trace among headers.
pub fn trace_in<'h>(headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> Option<&'h [u8]> {
    headers.into_iter().find_map(|(name, value)| value.filter(|_| name == TRACE.as_bytes()))
}
