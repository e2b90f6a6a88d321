//! The claim of an issuer's name: an OS lock that dies with the process.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::LogError;
use crate::fork::{self, Generation};

/// Processes of one configuration on one host that can share a log without names of their own.
const MAX_SLOTS: u32 = 1024;

/// The longest issuer name in bytes; the file that holds the lock shows part of it.
const MAX_NAME: usize = 256;

/// A claimed name. Dropping it gives the name back.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Dropped by hand, because a forked child must not close it.
    file: ManuallyDrop<File>,
    name: String,
    opened: Generation,
}

impl Claim {
    /// Claims exactly `name` beside `log`, or says who holds it.
    pub(crate) fn exact(log: &Path, name: &str) -> Result<Self, LogError> {
        check_name(name)?;
        match Self::attempt(log, name)? {
            Ok(claim) => Ok(claim),
            Err(holder) => Err(LogError::Claimed { issuer: name.to_owned(), holder }),
        }
    }

    /// Claims `{identity}@{host}#{slot}` with the lowest free slot.
    pub(crate) fn lowest_free(log: &Path, identity: &str) -> Result<Self, LogError> {
        let host = host_name();
        let mut last_holder = String::new();
        for slot in 0..MAX_SLOTS {
            let name = format!("{identity}@{host}#{slot}");
            check_name(&name)?;
            match Self::attempt(log, &name)? {
                Ok(claim) => return Ok(claim),
                Err(holder) => last_holder = holder,
            }
        }
        Err(LogError::Claimed { issuer: format!("{identity}@{host}#0…{}", MAX_SLOTS - 1), holder: last_holder })
    }

    /// The configured or found name, without the log's id.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The inner `Err` names the holder.
    fn attempt(log: &Path, name: &str) -> Result<Result<Self, String>, LogError> {
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
        if !fork::register_claim(file.as_raw_fd()) {
            return Err(LogError::Options {
                detail: format!(
                    "this process has {} receipt logs open for writing already: close some",
                    fork::MAX_CLAIMS
                ),
            });
        }
        let mut claim = Self { file: ManuallyDrop::new(file), name: name.to_owned(), opened };
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
        let holder = format!("process {} on {}", std::process::id(), host_name());
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        written.map_err(|error| LogError::from_io(&path, &error))?;
        Ok(Ok(claim))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // In a forked child the handler has closed this descriptor, and its number may belong to somebody else by now.
        if self.opened.is_current() {
            let _gate = fork::gate();
            // Unlocked and not only closed, because a child that was forked this instant may still have a copy to close.
            // SAFETY: the descriptor is open.
            unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_UN) };
            fork::forget_claim(self.file.as_raw_fd());
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
