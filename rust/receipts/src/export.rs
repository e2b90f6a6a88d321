//! The export of one receipt: everything that is needed to verify it offline, as one JSON document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document;
use crate::frame::{Frame, Slot};
use crate::hex;
use crate::tree::{self, Hash};

/// One record with the proof that it is part of a signed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The body, or its leaf if it is withheld.
    pub content: ProvenContent,
    /// Place in the batch.
    pub index: u64,
    /// Audit path from the leaf upwards.
    pub proof: Vec<Hash>,
    /// The checkpoint's text.
    pub checkpoint: String,
    /// Signature over the checkpoint.
    pub signature: [u8; 64],
    /// The attestation's text, where the batch has one and it is to be shown.
    pub attestation: Option<String>,
}

/// The body of a proven record, or its leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvenContent {
    /// The body's text.
    Body(String),
    /// The leaf of a withheld body.
    Leaf(Hash),
}

/// A receipt and, for a transaction's, what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The receipt.
    pub receipt: Proven,
    /// The outcome of its batch.
    pub outcome: Option<Proven>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportDocument {
    v: u32,
    receipt: ProvenDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<ProvenDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvenDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
    index: u64,
    proof: Vec<String>,
    checkpoint: String,
    signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attestation: Option<String>,
}

impl Proven {
    /// The record at `place` of a frame; `None` if there is none, or its body is no UTF-8.
    pub fn from_frame(frame: &Frame<'_>, place: usize) -> Option<Self> {
        let content = match frame.slot(place)? {
            Slot::Body(body) => ProvenContent::Body(str::from_utf8(body).ok()?.to_owned()),
            Slot::Withheld(leaf) => ProvenContent::Leaf(leaf),
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self {
            content,
            index: place as u64,
            proof: tree::proof(&frame.leaves(), place)?,
            checkpoint: text(frame.checkpoint_text)?,
            signature: frame.signature,
            attestation: frame.attestation.and_then(text),
        })
    }

    fn document(&self) -> ProvenDocument {
        let (body, leaf) = match &self.content {
            ProvenContent::Body(body) => (Some(body.clone()), None),
            ProvenContent::Leaf(leaf) => (None, Some(hex::encode(leaf))),
        };
        ProvenDocument {
            body,
            leaf,
            index: self.index,
            proof: self.proof.iter().map(|hash| hex::encode(hash)).collect(),
            checkpoint: self.checkpoint.clone(),
            signature: hex::encode(&self.signature),
            attestation: self.attestation.clone(),
        }
    }

    fn from_document(document: ProvenDocument) -> Result<Self, String> {
        let hash = |name: &str, text: &str| {
            hex::decode(text.as_bytes()).ok_or_else(|| format!("`{name}` is not 64 lower-case hexadecimal digits"))
        };
        let content = match (document.body, document.leaf) {
            (Some(body), None) => ProvenContent::Body(body),
            (None, Some(leaf)) => ProvenContent::Leaf(hash("leaf", &leaf)?),
            _ => return Err("exactly one of `body` and `leaf` must be given".to_owned()),
        };
        Ok(Self {
            content,
            index: document.index,
            proof: document.proof.iter().map(|text| hash("proof", text)).collect::<Result<_, _>>()?,
            checkpoint: document.checkpoint,
            signature: hex::decode(document.signature.as_bytes())
                .ok_or("`signature` is not 128 lower-case hexadecimal digits")?,
            attestation: document.attestation,
        })
    }
}

impl Export {
    /// Reads an export.
    ///
    /// # Errors
    /// What is wrong, as a sentence: unknown or duplicate members, malformed hexadecimal, an unknown version.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let document: ExportDocument = document::read(json, |export| {
            let proven = [export.get("receipt"), export.get("outcome").filter(|outcome| !outcome.is_null())];
            export.is_object() && proven.into_iter().flatten().all(Value::is_object)
        })?;
        if document.v != 1 {
            return Err(format!("version {} of the export is not known", document.v));
        }
        Ok(Self {
            receipt: Proven::from_document(document.receipt)?,
            outcome: document.outcome.map(Proven::from_document).transpose()?,
        })
    }

    /// The export as JSON text.
    pub fn to_json(&self) -> String {
        let document = ExportDocument {
            v: 1,
            receipt: self.receipt.document(),
            outcome: self.outcome.as_ref().map(Proven::document),
        };
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }
}
