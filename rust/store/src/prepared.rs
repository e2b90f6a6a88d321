//! Batches of transactions that are not resolved yet.

use chio_receipts::checkpoint::Checkpoint;
use chio_receipts::{Mode, frame};

use crate::batch_store::BatchInfo;
use crate::error::LogError;
use crate::reader::LogReader;

/// A batch in state `prepared`, with what it says about its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedBatch {
    /// The batch.
    pub batch: BatchInfo,
    /// Consumer group.
    pub group: String,
    /// `transactional.id` of the producer.
    pub transactional_id: String,
    /// Signature over its checkpoint.
    pub signature: [u8; 64],
    /// What the transaction was about to do: canonical JSON.
    pub attestation: Option<String>,
}

impl LogReader {
    /// Every batch whose transaction is not resolved, in the order of the log.
    ///
    /// # Errors
    /// What reading the log fails with.
    pub fn prepared(&self) -> Result<Vec<PreparedBatch>, LogError> {
        self.store().prepared()?.into_iter().map(|info| self.read_prepared(info)).collect()
    }

    fn read_prepared(&self, batch: BatchInfo) -> Result<PreparedBatch, LogError> {
        let damaged = |detail: String| LogError::corrupt(self.shown(), format!("batch {}: {detail}", batch.batch));
        let bytes = self.frame(batch.batch)?;
        let signed = frame::signed(&bytes).map_err(|error| damaged(error.to_string()))?;
        let checkpoint = Checkpoint::parse(signed.checkpoint_text).map_err(|error| damaged(error.to_string()))?;
        let Mode::Transaction { group, transactional_id } = checkpoint.mode else {
            return Err(damaged("is listed as prepared and is no transaction's".to_owned()));
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|error| damaged(error.to_string()));
        let attestation = signed.attestation.map(text).transpose()?;
        Ok(PreparedBatch { batch, group, transactional_id, signature: signed.signature, attestation })
    }
}
