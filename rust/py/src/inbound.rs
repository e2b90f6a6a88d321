//! What receipts take from the headers of events: parents, correlation, and what the digest covers.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use chio_policy::HeaderNames;
use chio_receipts::ReceiptId;
use chio_rulings::headers::{RECEIPT, TRACE, correlation_text, is_digested};

use crate::event::Event;
use crate::record::Header;

/// What an output takes along from the event that is handled.
#[derive(Debug, Default)]
pub struct HandedOn<'py> {
    /// Its correlation text.
    pub correlation: Option<String>,
    /// The trace that it is part of.
    pub trace: Option<Bound<'py, PyBytes>>,
}

impl<'py> HandedOn<'py> {
    /// Reads the headers of an event once: the correlation text is that of the first header of `names` that is there.
    pub fn read(py: Python<'py>, event: &Event, names: &[String], wants_trace: bool) -> Self {
        let mut handed_on = Self::default();
        let mut rank = names.len();
        let outcome = event.each_header(|name, value| {
            let Some(value) = value else { return };
            if wants_trace && handed_on.trace.is_none() && name == TRACE.as_bytes() {
                handed_on.trace = Some(PyBytes::new(py, value));
            }
            if let Some(found) = names.iter().take(rank).position(|known| known.as_bytes() == name) {
                rank = found;
                handed_on.correlation = Some(correlation_text(value).into_owned());
            }
        });
        handed_on.correlation.take_if(|text| text.is_empty());
        if outcome.is_err() {
            handed_on.trace = None;
        }
        handed_on
    }
}

/// What was read for a list of events, in few allocations.
#[derive(Debug, Default)]
pub struct Inbound {
    parents: Vec<ReceiptId>,
    text: String,
    headers: Vec<Header>,
}

/// The part of one event.
#[derive(Debug, Default)]
pub struct Part {
    /// Asserted parents that are no receipt ids.
    pub rejected: u32,
    parents: Range<usize>,
    correlation: Range<usize>,
    headers: Range<usize>,
}

impl Inbound {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.parents.clear();
        self.text.clear();
        self.headers.clear();
    }

    /// Reads the headers of one event; those that `names` has are kept for the digest, the first of `correlation` that
    /// is there gives the correlation text.
    ///
    /// Unreadable headers count as one rejected parent, so that the receipt shows that there was something.
    pub fn read(&mut self, event: &Event, names: &HeaderNames, correlation: &[String]) -> Part {
        let (parents, text, kept) = (self.parents.len(), self.text.len(), self.headers.len());
        let mut rejected = 0;
        let mut rank = correlation.len();
        let outcome = event.each_header(|name, value| {
            if name == RECEIPT.as_bytes() {
                match ReceiptId::parse(value.unwrap_or_default()) {
                    Ok(id) => self.parents.push(id),
                    Err(_) => rejected += 1,
                }
            }
            let found = correlation.iter().position(|known| known.as_bytes() == name).unwrap_or(rank);
            if let Some(value) = value.filter(|_| found < rank) {
                rank = found;
                self.text.truncate(text);
                self.text.push_str(&correlation_text(value));
            }
            if !names.is_empty() {
                let name = String::from_utf8_lossy(name);
                if is_digested(names, &name) {
                    self.headers.push((name.into_owned(), value.map(<[u8]>::to_vec)));
                }
            }
        });
        Part {
            rejected: rejected + u32::from(outcome.is_err()),
            parents: parents..self.parents.len(),
            correlation: text..self.text.len(),
            headers: kept..self.headers.len(),
        }
    }

    /// Receipts that the event names as its parents.
    pub fn parents(&self, part: &Part) -> &[ReceiptId] {
        self.parents.get(part.parents.clone()).unwrap_or_default()
    }

    /// The correlation text, if there is one.
    pub fn correlation(&self, part: &Part) -> Option<&str> {
        self.text.get(part.correlation.clone()).filter(|text| !text.is_empty())
    }

    /// The headers that the digest covers.
    pub fn headers(&self, part: &Part) -> Vec<(&str, Option<&[u8]>)> {
        let kept = self.headers.get(part.headers.clone()).unwrap_or_default();
        kept.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }
}
