//! An output while somebody holds what it consists of: what its decision and its receipt look at.

use std::sync::Arc;

use pyo3::prelude::*;

use chio_conditions::EventView;
use chio_policy::{Decision, Reads, Request, Scratch};
use chio_receipts::{Content, Draft, PushError, ReceiptId};
use chio_rulings::headers::is_digested;
use chio_rulings::{Generation, Origin, Resolved, Ruling};

use crate::event::Event;
use crate::outlet::Outlet;

/// Name and value of a header.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// An output whose parts are borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a, 'py> {
    /// Where it is to go.
    pub outlet: &'a Outlet,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Headers, without those that the receipt states.
    pub headers: &'a [Header<'a>],
    /// Partition, if the caller chose one.
    pub partition: Option<i32>,
    /// The event being handled.
    pub event: Option<&'a Bound<'py, Event>>,
    /// What led to it.
    pub origin: &'a Origin,
    /// Correlation text.
    pub correlation: Option<&'a str>,
}

impl Offer<'_, '_> {
    /// What a policy says about the outlet in general.
    pub fn resolved(&self, generation: &Arc<Generation>) -> Arc<Resolved> {
        self.outlet.latest.under(generation, &self.outlet.question())
    }

    /// Decides by a policy; may call Python to read the headers of the event.
    pub fn decide(&self, py: Python<'_>, resolved: &Resolved, now: i64, scratch: &mut Scratch) -> PyResult<Decision> {
        let needs_headers = resolved.route.reads().contains(Reads::HEADERS);
        self.with_request(py, (&self.outlet.scope, needs_headers), now, &mut |request| {
            resolved.generation.policy.decide_route(&resolved.route, request, scratch)
        })
    }

    /// Calls `f` with the request, asked for a scope, with or without headers of the event.
    pub fn with_request<R>(
        &self,
        py: Python<'_>,
        (scope, needs_headers): (&str, bool),
        now: i64,
        f: &mut dyn FnMut(&Request<'_>) -> R,
    ) -> PyResult<R> {
        let output = EventView {
            topic: &self.outlet.topic,
            partition: self.partition,
            offset: None,
            key: self.key,
            timestamp: None,
            headers: self.headers,
            value: self.value,
        };
        let base = Request { scope, output: Some(&output), ..self.outlet.question().request(now) };
        let Some(event) = self.event.map(Bound::get) else { return Ok(f(&base)) };
        // Unreadable headers make the whole event absent, so that every condition that looks at it errs.
        let headers = if needs_headers { event.all_headers(py) } else { Some(Vec::new()) };
        Ok(event.with_view(headers.as_deref().unwrap_or_default(), |view| {
            f(&Request { event: headers.is_some().then_some(view), ..base })
        }))
    }

    /// Hands its receipt to the log; calls no Python.
    pub fn push(
        &self,
        issue: &mut chio_store::Issue<'_>,
        ruling: &Ruling,
        resolved: &Resolved,
        id: ReceiptId,
    ) -> Result<u64, PushError> {
        let names = ruling.generation.policy.header_names();
        let digested: Vec<_> = if names.is_empty() {
            Vec::new()
        } else {
            self.headers.iter().filter(|(name, _)| is_digested(names, name)).copied().collect()
        };
        resolved.with_template(ruling, &self.outlet.question(), |template| {
            issue.push(&Draft {
                content: Content::Event { key: self.key, headers: &digested, value: self.value },
                parents: &self.origin.parents,
                parents_rejected: self.origin.rejected,
                correlation: self.correlation,
                ..Draft::new(id, ruling.now, template, &self.outlet.address.target)
            })
        })
    }
}
