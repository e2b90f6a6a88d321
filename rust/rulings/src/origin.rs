//! What led to a request.

use chio_receipts::ReceiptId;

/// What led to a request.
#[derive(Debug, Default)]
pub struct Origin {
    /// Receipts that led to it.
    pub parents: Vec<ReceiptId>,
    /// How many asserted parents were no receipt ids.
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

    /// Adds a parent unless it is known.
    pub fn add_parent(&mut self, id: ReceiptId) {
        if !self.parents.contains(&id) {
            self.parents.push(id);
        }
    }
}
