//! What a served name stands for: bytes in memory, or a stretch of a file on disk.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// A run of bytes inside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Byte offset from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The identity of a file at the time it was read; another identity means other bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Modification time in nanoseconds since the epoch.
    pub modified: i128,
}

/// The bytes behind a name.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Bytes),
    /// The concatenation of `extents` of the file at `path`, which is to be read only while
    /// its identity is still `id`.
    File {
        path: Arc<Path>,
        id: FileId,
        extents: Arc<[Extent]>,
    },
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { extents, .. } => extents.iter().map(|extent| extent.length).sum(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
