//! A batch built by hand from any bodies and any checkpoint, so that well-signed nonsense can be made too.

use chio_receipts::{Export, Proven, ProvenContent, Signer, checkpoint, hex, jcs, tree};
use serde_json::{Value, json};

/// A batch, sealed by hand.
pub struct Batch {
    pub bodies: Vec<String>,
    pub checkpoint: String,
    pub signature: [u8; 64],
    pub attestation: Option<String>,
}

/// The canonical text of a JSON value.
pub fn canonical(value: &Value) -> String {
    String::from_utf8(jcs::canonicalize(value.to_string().as_bytes()).unwrap()).unwrap()
}

impl Batch {
    /// Signs `bodies` under the first checkpoint of an issuer, with some of its members changed; null removes one.
    pub fn new(signer: &Signer, issuer: &str, bodies: &[String], changes: Value) -> Self {
        let leaves: Vec<tree::Hash> = bodies.iter().map(|body| tree::leaf(body.as_bytes())).collect();
        let mut members = json!({
            "count": bodies.len(), "durability": "full", "epoch": 0, "first_seq": 0, "issuer": issuer,
            "key_id": hex::encode(&signer.key_id()), "mode": "recorded", "policy_version": "07".repeat(32),
            "previous": "00".repeat(32), "root": hex::encode(&tree::root(&leaves)), "running_count": bodies.len(),
            "time": 1_790_000_000_500_u64, "v": 1
        });
        for (name, value) in changes.as_object().unwrap() {
            members[name] = value.clone();
        }
        members.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        Self::with_text(signer, bodies, canonical(&members))
    }

    /// Signs `bodies` under a checkpoint of any text.
    pub fn with_text(signer: &Signer, bodies: &[String], checkpoint: String) -> Self {
        let signature = signer.sign(&checkpoint::hash(checkpoint.as_bytes()));
        Self { bodies: bodies.to_vec(), checkpoint, signature, attestation: None }
    }

    /// The export of the record at `index`.
    pub fn export(&self, index: usize) -> Export {
        let leaves: Vec<tree::Hash> = self.bodies.iter().map(|body| tree::leaf(body.as_bytes())).collect();
        let receipt = Proven {
            content: ProvenContent::Body(self.bodies[index].clone()),
            index: index as u64,
            proof: tree::proof(&leaves, index).unwrap(),
            checkpoint: self.checkpoint.clone(),
            signature: self.signature,
            attestation: self.attestation.clone(),
        };
        Export { receipt, outcome: None }
    }

    /// The frame, put together from the drawing in the specification.
    pub fn frame(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for body in &self.bodies {
            records.extend((body.len() as u32).to_le_bytes());
        }
        for body in &self.bodies {
            records.extend(body.as_bytes());
            records.resize(records.len() + body.len().next_multiple_of(64) - body.len(), b' ');
        }
        let attestation = self.attestation.as_deref().unwrap_or_default();
        let total = 96 + records.len() + self.checkpoint.len() + attestation.len();
        let mut out = b"CHF1".to_vec();
        let lens = [records.len(), records.len(), self.checkpoint.len(), attestation.len()];
        for field in [0, total, self.bodies.len()].into_iter().chain(lens) {
            out.extend((field as u32).to_le_bytes());
        }
        out.extend(self.signature);
        out.extend(records);
        out.extend(self.checkpoint.as_bytes());
        out.extend(attestation.as_bytes());
        out
    }

    /// Hash of the checkpoint.
    pub fn hash(&self) -> [u8; 32] {
        checkpoint::hash(self.checkpoint.as_bytes())
    }
}
