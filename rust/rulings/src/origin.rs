//! What led to a request.

use chio_receipts::{MAX_LIST, ReceiptId};
use smallvec::SmallVec;

/// What led to a request.
#[derive(Debug, Default)]
pub struct Origin {
    /// Receipts that led to it.
    pub parents: SmallVec<[ReceiptId; 1]>,
    /// How many asserted parents were no receipt ids, or too many.
    pub rejected: u32,
    /// Correlation text.
    pub correlation: Option<String>,
}

impl Origin {
    /// Adds parents by their spelling; what is none is counted.
    pub fn add_parents<'a>(&mut self, spelled: impl IntoIterator<Item = &'a [u8]>) {
        for text in spelled {
            match ReceiptId::parse(text) {
                Ok(id) => self.add_parent(id),
                Err(_) => self.rejected += 1,
            }
        }
    }

    /// Adds a parent unless it is known; those beyond what a receipt holds are counted.
    pub fn add_parent(&mut self, id: ReceiptId) {
        if self.parents.contains(&id) {
            return;
        }
        if self.parents.len() < MAX_LIST { self.parents.push(id) } else { self.rejected += 1 }
    }
}
