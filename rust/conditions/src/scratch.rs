//! What one request's evaluations share: the JSON texts, scanned once.

use crate::json::{Plan, Scan};
use crate::program::{Document, Side};
use crate::{Env, ErrorCode, EventView, Kind};

/// Which members of the three documents a set of conditions needs.
pub(crate) type Plans = [Plan; 3];

/// Space that evaluation reuses: the scanned fields of one request.
///
/// Call [`Scratch::reset`] for every request; between two resets every evaluation must get the same environment.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The set of conditions whose plans the scans followed; 0 for none.
    set: u64,
    scanned: [Option<Result<(), ErrorCode>>; 3],
    scans: [Scan; 3],
}

impl Scratch {
    /// Empty scratch space.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was scanned, keeps the memory.
    pub fn reset(&mut self) {
        self.scanned = [None; 3];
    }

    /// Forgets what was scanned for another set of conditions.
    pub(crate) fn serve(&mut self, set: u64) {
        if self.set != set {
            self.reset();
            self.set = set;
        }
    }

    /// Scans a document unless that was done for this request.
    pub(crate) fn load(&mut self, document: Document, plans: &Plans, env: &Env<'_>) {
        let index = document.index();
        let (Some(scanned), Some(scan), Some(plan)) =
            (self.scanned.get_mut(index), self.scans.get_mut(index), plans.get(index))
        else {
            return;
        };
        if scanned.is_none() {
            *scanned = Some(match env.text(document) {
                Ok(Some(text)) => scan.scan(text, plan),
                Ok(None) => {
                    scan.set_null(plan);
                    Ok(())
                }
                Err(error) => Err(error),
            });
        }
    }

    /// The scan of a document that was loaded.
    pub(crate) fn scan(&self, document: Document) -> Result<&Scan, ErrorCode> {
        let index = document.index();
        self.scanned.get(index).copied().flatten().ok_or(ErrorCode::Internal)??;
        self.scans.get(index).ok_or(ErrorCode::Internal)
    }
}

impl<'a> Env<'a> {
    /// One of the two records.
    pub(crate) fn record(&self, side: Side) -> Result<&'a EventView<'a>, ErrorCode> {
        match side {
            Side::Event => self.event,
            Side::Output => self.output.filter(|_| self.kind == Kind::Produce),
        }
        .ok_or(ErrorCode::NoSuchVariable)
    }

    /// The name of the tool.
    pub(crate) fn tool_name(&self) -> Result<&'a str, ErrorCode> {
        self.tool.filter(|_| self.kind == Kind::Invoke).ok_or(ErrorCode::NoSuchVariable)
    }

    /// The text of a document; `None` for the null value of a tombstone.
    pub(crate) fn text(&self, document: Document) -> Result<Option<&'a [u8]>, ErrorCode> {
        match document {
            Document::Event => Ok(self.record(Side::Event)?.value),
            Document::Output => Ok(self.record(Side::Output)?.value),
            Document::Arguments => {
                let arguments = self.arguments.filter(|_| self.kind == Kind::Invoke);
                arguments.map(Some).ok_or(ErrorCode::NoSuchVariable)
            }
        }
    }
}
