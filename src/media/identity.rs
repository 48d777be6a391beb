//! Which file on disk this is, so that a replaced or changed file is noticed.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::MediaError;
use crate::model::content::FileId;

/// The identity of the file that `metadata` describes.
pub fn of(metadata: &Metadata) -> FileId {
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    }
}

/// The same for the file at `path`: a sealed copy is known by its content.
pub(super) fn at(path: &Path, metadata: &Metadata) -> FileId {
    let found = of(metadata);
    let name = path.file_name().and_then(|name| name.to_str()).filter(|_| found.modified == FileId::SEAL);
    name.and_then(|name| FileId::of_content(name, found.size)).unwrap_or(found)
}

/// An error of the operating system about `path`, as a message.
pub(super) fn failed(path: &Path, error: &io::Error) -> MediaError {
    match error.kind() {
        io::ErrorKind::NotFound => MediaError::Missing { path: path.to_path_buf(), beside: Vec::new() },
        _ => MediaError::Io { path: path.to_path_buf(), why: error.to_string() },
    }
}
