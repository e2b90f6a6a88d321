//! Where a log's file lies: which file it is, which file system holds it, and making its directory entry durable.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::LogError;

/// Names a file whatever path leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// The identity of the file at `path`, or `None` when there is none.
///
/// The file is never opened here: closing a descriptor of a SQLite file drops all locks that this process holds on it
/// (<https://sqlite.org/howtocorrupt.html>, section 2.2).
pub(crate) fn file_id(path: &Path) -> Result<Option<FileId>, LogError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(FileId { device: metadata.dev(), inode: metadata.ino() })),
        Ok(_) => Err(LogError::Foreign { path: path.to_path_buf() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::from_io(path, &error)),
    }
}

/// `path` made absolute with its directory's links resolved, so that all names of a file agree on what lies beside it.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, LogError> {
    if let Ok(resolved) = path.canonicalize() {
        return Ok(resolved);
    }
    let name = path.file_name().ok_or_else(|| LogError::Options {
        detail: format!("`{}` names no file: give the receipt log a file name", path.display()),
    })?;
    let directory = directory_of(path);
    let directory = directory.canonicalize().map_err(|error| LogError::from_io(directory, &error))?;
    Ok(directory.join(name))
}

/// The directory that holds `path`; of a bare file name the working directory.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// File systems on which SQLite's locks or syncs do not hold, by the magic numbers of statfs(2) and the kernel's headers.
const REFUSED: [(u64, &str); 17] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x564C, "ncp"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0x0116_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "kafs"),
    (0x7375_7245, "coda"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
    (0x786F_4256, "vboxsf"),
];

/// Refuses a file system that is known not to keep SQLite's promises.
pub(crate) fn refuse_network(path: &Path) -> Result<(), LogError> {
    let directory = directory_of(path);
    match refused_kind(file_system_magic(directory)?) {
        Some(kind) => Err(LogError::NetworkFileSystem { path: path.to_path_buf(), kind: kind.to_owned() }),
        None => Ok(()),
    }
}

fn refused_kind(magic: u64) -> Option<&'static str> {
    REFUSED.iter().find(|(refused, _)| *refused == magic).map(|(_, kind)| *kind)
}

#[cfg(target_os = "linux")]
fn file_system_magic(directory: &Path) -> Result<u64, LogError> {
    let text = CString::new(directory.as_os_str().as_bytes())
        .map_err(|_| LogError::Options { detail: "the path of the receipt log holds a zero byte".to_owned() })?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `text` ends with zero, and `stat` is writable.
    if unsafe { libc::statfs(text.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(LogError::from_io(directory, &std::io::Error::last_os_error()));
    }
    // SAFETY: statfs succeeded, so it filled the structure.
    let kind = unsafe { stat.assume_init() }.f_type;
    // The type's width and sign differ between architectures; the magic numbers are 32 bits wide everywhere.
    Ok((kind as u64) & 0xFFFF_FFFF)
}

/// Elsewhere the numbers mean other things; the operations guide tells the operator to choose a local disk.
#[cfg(not(target_os = "linux"))]
fn file_system_magic(_directory: &Path) -> Result<u64, LogError> {
    Ok(0)
}

/// Whether this process may write the directory of `path`, and `path` itself if it exists.
pub(crate) fn is_writable(path: &Path) -> bool {
    let may = |path: &Path, mode| {
        // SAFETY: the text ends with zero.
        CString::new(path.as_os_str().as_bytes()).is_ok_and(|text| unsafe { libc::access(text.as_ptr(), mode) } == 0)
    };
    may(directory_of(path), libc::W_OK) && (may(path, libc::W_OK) || !may(path, libc::F_OK))
}

/// Makes the directory entry of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), LogError> {
    let directory = directory_of(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| LogError::from_io(directory, &error))
}

/// `path` with `suffix` appended to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
