//! The trust file on disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use chio_receipts::hex;
use chio_receipts::trust::Trust;

use super::fill_random;
use crate::error::LogError;
use crate::place::{beside, sync_directory};

/// The largest trust file that is read: thousands of keys.
const MAX_FILE: u64 = 16 << 20;

/// Reads the trust file at `path`.
///
/// # Errors
/// `LogError::Key` when it is missing, too large or not a trust file.
pub fn read_trust(path: &Path) -> Result<Trust, LogError> {
    let refuse = |detail: String| LogError::Key { place: path.display().to_string(), detail };
    let length = std::fs::metadata(path).map_err(|error| refuse(format!("cannot be read: {error}")))?.len();
    if length > MAX_FILE {
        return Err(refuse(format!("has {length} bytes: a trust file has at most {MAX_FILE}")));
    }
    let text = std::fs::read(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    Trust::from_json(&text).map_err(|error| refuse(error.to_string()))
}

/// Writes the trust file at `path`; whoever reads it meanwhile sees the former one or this one, whole.
///
/// # Errors
/// `LogError::Key` when it cannot be written.
pub fn write_trust(path: &Path, trust: &Trust) -> Result<(), LogError> {
    let refuse = |error: std::io::Error| LogError::Key {
        place: path.display().to_string(),
        detail: format!("cannot be written: {error}"),
    };
    let mut random = [0; 8];
    fill_random(&mut random).map_err(refuse)?;
    let draft = beside(path, &format!("-new-{}", hex::encode(&random)));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        file.write_all(trust.to_json().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&draft);
        refuse(error)
    })?;
    sync_directory(path)
}
