//! The claim of an issuer's name: a lock that dies with the process, of a file or of a database session.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::batch_store::BatchStore;
use crate::error::LogError;
use crate::fork::{self, Generation};

/// Processes of one configuration on one host that can share a log without names of their own.
const MAX_SLOTS: u32 = 1024;

/// The longest issuer name in bytes; the file that holds the lock shows part of it.
const MAX_NAME: usize = 256;

/// Claims exactly `name` in `store`, or says who holds it.
pub(crate) fn exact(store: &mut dyn BatchStore, name: &str) -> Result<(), LogError> {
    check_name(name)?;
    store.claim(name)?.map_err(|holder| LogError::Claimed { issuer: name.to_owned(), holder })
}

/// Claims `{identity}@{host}#{slot}` with the lowest free slot, and returns that name.
pub(crate) fn lowest_free(store: &mut dyn BatchStore, identity: &str) -> Result<String, LogError> {
    let host = host_name();
    let mut last_holder = String::new();
    for slot in 0..MAX_SLOTS {
        let name = format!("{identity}@{host}#{slot}");
        check_name(&name)?;
        match store.claim(&name)? {
            Ok(()) => return Ok(name),
            Err(holder) => last_holder = holder,
        }
    }
    Err(LogError::Claimed { issuer: format!("{identity}@{host}#0…{}", MAX_SLOTS - 1), holder: last_holder })
}

/// This process, as those who find a name claimed are told of it.
pub(crate) fn this_process() -> String {
    format!("process {} on {}", std::process::id(), host_name())
}

/// A name claimed by a lock file beside a log. Dropping it gives the name back.
#[derive(Debug)]
pub(crate) struct FileClaim {
    /// Dropped by hand, because a forked child must not close it.
    file: ManuallyDrop<File>,
    opened: Generation,
}

impl FileClaim {
    /// Claims `name` beside the log at `log`; the inner `Err` names the holder.
    pub(crate) fn attempt(log: &Path, name: &str) -> Result<Result<Self, String>, LogError> {
        let opened = Generation::current();
        let path = lock_path(log, name)?;
        // A fork between opening and registering would leave the child with a lock that it does not know of.
        let gate = fork::gate();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| LogError::from_io(&path, &error))?;
        fork::register_descriptor(file.as_raw_fd())?;
        let mut claim = Self { file: ManuallyDrop::new(file), opened };
        drop(gate);
        let file = &mut *claim.file;
        // SAFETY: the descriptor is open for the length of the call.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = std::io::Error::last_os_error();
            return match error.kind() {
                std::io::ErrorKind::WouldBlock => Ok(Err(read_holder(file))),
                _ => Err(LogError::from_io(&path, &error)),
            };
        }
        let written = file.set_len(0).and_then(|()| file.rewind());
        let written = written.and_then(|()| file.write_all(this_process().as_bytes()));
        written.map_err(|error| LogError::from_io(&path, &error))?;
        Ok(Ok(claim))
    }
}

impl Drop for FileClaim {
    fn drop(&mut self) {
        // In a forked child the handler has closed this descriptor, and its number may belong to somebody else by now.
        if self.opened.is_current() {
            let _gate = fork::gate();
            // Unlocked and not only closed, because a child that was forked this instant may still have a copy to close.
            // SAFETY: the descriptor is open.
            unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_UN) };
            fork::forget_descriptor(self.file.as_raw_fd());
            // SAFETY: `drop` runs once, and nobody uses the file after it.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

fn check_name(name: &str) -> Result<(), LogError> {
    let detail = if name.is_empty() {
        "issuer name is empty: give a name, or leave it out".to_owned()
    } else if name.len() > MAX_NAME {
        format!("issuer name has {} bytes: use at most {MAX_NAME}", name.len())
    } else if name.chars().any(char::is_control) {
        format!("issuer name `{}` holds control characters: use printable ones", name.escape_debug())
    } else {
        return Ok(());
    };
    Err(LogError::Options { detail })
}

/// `<log>-claims/<readable part>-<hash of the name>.lock`
fn lock_path(log: &Path, name: &str) -> Result<PathBuf, LogError> {
    let mut directory = log.as_os_str().to_owned();
    directory.push("-claims");
    let directory = PathBuf::from(directory);
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(LogError::from_io(&directory, &error));
        }
        _ => {}
    }
    let readable: String =
        name.chars().take(64).map(|c| if c.is_ascii_alphanumeric() || "-_@#".contains(c) { c } else { '_' }).collect();
    let hash = blake3::hash(name.as_bytes()).to_hex();
    Ok(directory.join(format!("{readable}-{}.lock", hash.get(..16).unwrap_or_default())))
}

fn read_holder(file: &mut File) -> String {
    let mut holder = String::new();
    match file.take(256).read_to_string(&mut holder) {
        Ok(length) if length > 0 => holder,
        _ => "another process".to_owned(),
    }
}

/// The host's name, for people; uniqueness comes from the lock.
pub(crate) fn host_name() -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: the buffer is writable for the length given, less one byte that stays zero.
    let failed = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) } != 0;
    let name = buffer.split(|&byte| byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(name) {
        Ok(name) if !failed && !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}
