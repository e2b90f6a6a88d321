//! Verifying one receipt from its export.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::{Value, json};

use chio_receipts::trust::Trust;
use chio_receipts::{Export, hex, verify};

use crate::upkeep::read_trust;

/// Verifies an export's text against a trust file's text.
///
/// Gives JSON: `{"id", "issuer", "epoch", "seq", "checkpoint", "state"}`, or `{"fault", "detail"}`.
#[pyfunction]
pub fn verify_export<'py>(py: Python<'py>, export: &[u8], trust: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let trust = read_trust(trust)?;
    let told = py.detach(|| verified(export, &trust));
    Ok(PyBytes::new(py, told.to_string().as_bytes()))
}

fn verified(export: &[u8], trust: &Trust) -> Value {
    let export = match Export::from_json(export) {
        Ok(export) => export,
        Err(detail) => return json!({"fault": "document", "detail": detail}),
    };
    match verify::receipt(&export, trust) {
        Ok(verified) => json!({
            "id": verified.id.map(|id| id.to_string()),
            "issuer": verified.checkpoint.issuer,
            "epoch": verified.checkpoint.epoch,
            "seq": verified.seq,
            "checkpoint": hex::encode(&verified.checkpoint_hash),
            "state": verified.state.as_str(),
        }),
        Err(error) => json!({"fault": error.fault.as_str(), "detail": error.detail}),
    }
}
