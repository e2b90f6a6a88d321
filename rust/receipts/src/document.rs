//! Reads the documents that people hand around: exports and trust files.
//!
//! They need not be canonical, but they are as strict as everything else: one reading, whoever reads.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a document of which `objects` names the parts that must be objects.
///
/// A derived reader would also take a list that holds a struct's members in their order, which no other reader does.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8], objects: impl Fn(&Value) -> bool) -> Result<T, String> {
    let unread = |error: serde_json::Error| error.to_string().to_lowercase();
    crate::jcs::canonicalize(json).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(json).map_err(unread)?;
    if !objects(&value) {
        return Err("a list stands where an object is expected".to_owned());
    }
    // From the text again, so that errors tell line and column.
    serde_json::from_slice(json).map_err(unread)
}
