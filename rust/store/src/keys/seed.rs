//! The secret half: 32 bytes in hexadecimal, in a file of mode 0600 or in an environment variable.
//!
//! Every buffer that held a secret is zeroised, and no error message shows what was read.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use chio_receipts::{Signer, hex};
use zeroize::Zeroizing;

use crate::error::LogError;
use crate::place::{beside, sync_directory};

/// Bytes of an Ed25519 seed (RFC 8032, section 5.1.5).
const SEED: usize = 32;

/// The longest file that can hold a seed with a line end and some blanks.
const MAX_FILE: u64 = 256;

/// Reads the signer whose seed is in the file at `path`.
///
/// # Errors
/// `LogError::Key` when the file is missing, readable by group or others (the message holds the `chmod` to run), owned by
/// somebody else, or does not hold 64 hexadecimal digits.
pub fn load(path: &Path) -> Result<Signer, LogError> {
    let place = path.display().to_string();
    let refuse = |detail: String| LogError::Key { place: place.clone(), detail };
    let mut file = OpenOptions::new()
        .read(true)
        // A named pipe would block the open for ever.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| refuse(format!("cannot be read: {error}; create it with `chio-fast key generate`")))?;
    check_private(&file, path)?;
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
    (&mut file).take(MAX_FILE).read_to_end(&mut text).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    decode(&text)
        .map(|seed| Signer::from_seed(&seed))
        .ok_or_else(|| refuse(format!("is no key file: write {} hexadecimal digits", 2 * SEED)))
}

/// Reads the signer whose seed is in the environment variable `name`, in hexadecimal.
///
/// # Errors
/// `LogError::Key` when the variable is not set or does not hold 64 hexadecimal digits.
pub fn from_env(name: &str) -> Result<Signer, LogError> {
    let refuse = |detail: String| LogError::Key { place: format!("${name}"), detail };
    let value = std::env::var_os(name).ok_or_else(|| refuse("is not set".to_owned()))?;
    let text = Zeroizing::new(value.into_encoded_bytes());
    decode(&text)
        .map(|seed| Signer::from_seed(&seed))
        .ok_or_else(|| refuse(format!("holds no key: set it to {} hexadecimal digits", 2 * SEED)))
}

/// Creates a new seed from the operating system's random source, in a new file of mode 0600, durable on return.
///
/// # Errors
/// `LogError::Key` when the file exists (a key is never overwritten) or cannot be written.
pub fn create(path: &Path) -> Result<Signer, LogError> {
    let refuse = |detail: String| LogError::Key { place: path.display().to_string(), detail };
    let seed = random_seed().map_err(|error| refuse(format!("no random bytes: {error}")))?;
    let signer = Signer::from_seed(&seed);
    // Written under another name first: whoever finds a key finds a whole one, also after a crash.
    let draft = beside(path, &format!("-new-{}", hex::encode(&signer.key_id())));
    let linked = write_seed(&draft, &seed).and_then(|()| std::fs::hard_link(&draft, path));
    let _ = std::fs::remove_file(&draft);
    linked.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            refuse("exists already: keys are never overwritten, choose another path".to_owned())
        }
        _ => refuse(format!("cannot be created: {error}")),
    })?;
    sync_directory(path)?;
    Ok(signer)
}

/// Puts a new key in the place of the one at `path`, which is kept as `{path}-retired-{key id}`. Returns the new signer.
///
/// # Errors
/// `LogError::Key` when there is no usable key at `path`, or nothing can be written there.
pub fn replace(path: &Path) -> Result<Signer, LogError> {
    let refuse = |error: std::io::Error| LogError::Key {
        place: path.display().to_string(),
        detail: format!("cannot be replaced: {error}"),
    };
    let former = load(path)?;
    let retired = beside(path, &format!("-retired-{}", hex::encode(&former.key_id())));
    let next = beside(path, "-next");
    // A key that an earlier attempt left half way is taken up again.
    let signer = if next.exists() { load(&next)? } else { create(&next)? };
    match std::fs::hard_link(path, &retired) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(refuse(error)),
        _ => {}
    }
    std::fs::rename(&next, path).map_err(refuse)?;
    sync_directory(path)?;
    Ok(signer)
}

fn write_seed(path: &Path, seed: &[u8; SEED]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut text = Zeroizing::new(Vec::with_capacity(2 * SEED + 1));
    for byte in seed {
        for nibble in [byte >> 4, byte & 15] {
            text.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        }
    }
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

/// Refuses a key that others could have read.
pub(crate) fn check_private(file: &File, path: &Path) -> Result<(), LogError> {
    let refuse = |detail: String| LogError::Key { place: path.display().to_string(), detail };
    let metadata = file.metadata().map_err(|error| refuse(format!("cannot be examined: {error}")))?;
    if !metadata.is_file() {
        return Err(refuse("is not a regular file: name the key file itself".to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(refuse(format!("has mode {mode:04o}, so others can read it: run `chmod 600 {}`", path.display())));
    }
    // SAFETY: the call has no arguments and cannot fail.
    let user = unsafe { libc::geteuid() };
    // Root may read everybody's files, and services are often started by it.
    if metadata.uid() != user && user != 0 {
        return Err(refuse(format!(
            "belongs to user {}, not to {user}: run `chown {user} {}`",
            metadata.uid(),
            path.display()
        )));
    }
    Ok(())
}

fn decode(text: &[u8]) -> Option<Zeroizing<[u8; SEED]>> {
    let text = text.trim_ascii();
    if text.len() != 2 * SEED {
        return None;
    }
    let mut seed = Zeroizing::new([0u8; SEED]);
    for (byte, pair) in seed.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(seed)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn random_seed() -> std::io::Result<Zeroizing<[u8; SEED]>> {
    let mut seed = Zeroizing::new([0u8; SEED]);
    fill_random(seed.as_mut_slice())?;
    Ok(seed)
}

/// Fills `buffer` from the operating system's random source.
pub(crate) fn fill_random(buffer: &mut [u8]) -> std::io::Result<()> {
    File::open("/dev/urandom")?.read_exact(buffer)
}
