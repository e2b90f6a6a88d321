//! What is done to a log and its keys while no issuer runs: rotation, trust files, withholding.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::json;

use chio_receipts::trust::Trust;
use chio_receipts::{ReceiptId, hex};
use chio_store::{LogError, keys};

use crate::errors;
use crate::log::locate;
use crate::signer::Signer;

/// Records that a key follows whatever keys the log's issuers signed with, and enters that into a trust file's text.
///
/// Gives JSON: `{"rotations": [{"issuer", "former", "last_checkpoint"}], "trust": text or null}`.
#[pyfunction]
#[pyo3(signature = (log, signer, trust = None))]
pub fn rotate_key<'py>(
    py: Python<'py>,
    log: PathBuf,
    signer: &Bound<'py, Signer>,
    trust: Option<&[u8]>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut trust = trust.map(read_trust).transpose()?;
    let present = &*signer.get().inner;
    let log = locate(py, &log)?;
    let rotations = py.detach(|| keys::rotate(&log, present)).map_err(|error| errors::log(py, &error))?;
    if let Some(trust) = &mut trust {
        keys::retire(trust, &rotations, present);
    }
    let listed: Vec<_> = rotations
        .iter()
        .map(|rotation| {
            json!({
                "issuer": rotation.issuer,
                "former": hex::encode(&rotation.former),
                "last_checkpoint": hex::encode(&rotation.last_checkpoint),
            })
        })
        .collect();
    let told = json!({"rotations": listed, "trust": trust.map(|trust| trust.to_json())});
    Ok(PyBytes::new(py, told.to_string().as_bytes()))
}

/// Reads the text of a trust file and writes it in its usual form; whatever is wrong with it is refused.
#[pyfunction]
pub fn check_trust<'py>(py: Python<'py>, trust: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, read_trust(trust)?.to_json().as_bytes()))
}

/// Appends the frames that another log exported to a file.
///
/// Gives JSON: `{"issuers": {name: batches}, "records", "duplicates"}`.
#[pyfunction]
pub fn import_frames<'py>(py: Python<'py>, log: PathBuf, file: PathBuf, trust: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let trust = read_trust(trust)?;
    let log = locate(py, &log)?;
    let imported = py.detach(|| chio_store::import(&log, &file, &trust)).map_err(|error| errors::log(py, &error))?;
    let told = json!({
        "issuers": imported.issuers,
        "records": imported.records,
        "duplicates": imported.duplicates,
    });
    Ok(PyBytes::new(py, told.to_string().as_bytes()))
}

/// What messages call the log at a location; a URL that cannot be used is refused.
#[pyfunction]
pub fn show_location(py: Python<'_>, location: PathBuf) -> PyResult<String> {
    Ok(locate(py, &location)?.to_string())
}

/// Replaces bodies by their leaf hashes, and gives the number of those replaced.
#[pyfunction]
pub fn withhold(py: Python<'_>, log: PathBuf, ids: Vec<String>) -> PyResult<usize> {
    let parse = |id: &String| {
        id.parse::<ReceiptId>().map_err(|error| {
            errors::log(py, &LogError::Query { detail: format!("`{}` is {error}", id.escape_debug()) })
        })
    };
    let ids = ids.iter().map(parse).collect::<PyResult<Vec<_>>>()?;
    let log = locate(py, &log)?;
    py.detach(|| chio_store::withhold(&log, &ids)).map_err(|error| errors::log(py, &error))
}

/// The trust of a trust file's text.
pub fn read_trust(text: &[u8]) -> PyResult<Trust> {
    Trust::from_json(text).map_err(|error| errors::signing_key(&error.to_string()))
}
