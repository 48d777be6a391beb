//! Open files, shared by TFTP and HTTP. A thousand machines reading one image share one handle, and
//! those that fetch one boot program by TFTP its bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, ISOFS_SUPER_MAGIC, MSDOS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC,
    TMPFS_MAGIC, fstatfs,
};

use super::reads::Reads;
use crate::media::{identity, regular};
use crate::model::Extent;
use crate::model::content::FileId;

/// Most handles kept.
const MAX_KEPT: usize = 256;
/// A handle that is not used for so long is closed, so that images can be unmounted or deleted.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Most names of what is held.
const MAX_HELD: usize = 64;

/// Why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{path} has changed since it was indexed; it is served again after the next look at it")]
    Changed { path: String },
}

/// File systems of this host's own disks and memory, of which what the kernel holds in memory is there at once.
const LOCAL: [FsType; 11] = [
    EXT4_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    TMPFS_MAGIC,
    OVERLAYFS_SUPER_MAGIC,
    ISOFS_SUPER_MAGIC,
    MSDOS_SUPER_MAGIC,
    // XFS (which `nix` has for glibc alone), UDF, SquashFS, F2FS and ZFS (statfs(2), linux/magic.h).
    FsType(0x5846_5342),
    FsType(0x1501_3346),
    FsType(0x7371_7368),
    FsType(0xf2f5_2010),
    FsType(0x2fc1_2fc1),
];

/// An open file.
#[derive(Clone, Debug)]
pub struct Handle {
    pub file: Arc<File>,
    /// Whether what the kernel knows of it is there at once. A file server is asked again and again, even for
    /// what lies in the page cache: each call into its file system may wait for it.
    pub is_local: bool,
}

/// Open handles by path and identity. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Files {
    reads: Reads,
    kept: Arc<Mutex<HashMap<Key, Kept>>>,
    held: Arc<Mutex<HashMap<Parts, Weak<[u8]>>>>,
}

/// Parts of a file: its path, its identity, where they lie in it.
pub type Parts = (Arc<Path>, FileId, Arc<[Extent]>);

type Key = (Arc<Path>, FileId);

struct Kept {
    handle: Handle,
    asked: Instant,
}

impl Files {
    pub fn new() -> Files {
        Files::default()
    }

    /// What waits for the file systems of all files.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The bytes of these parts of a file, if a transfer holds them in memory.
    pub fn held(&self, parts: &Parts) -> Option<Bytes> {
        self.lock_held().get(parts).and_then(Weak::upgrade).map(Bytes::from_owner)
    }

    /// Shares these bytes with other transfers until the last one ends.
    pub fn hold(&self, parts: Parts, bytes: Vec<u8>) -> Bytes {
        let bytes: Arc<[u8]> = bytes.into();
        let mut held = self.lock_held();
        held.retain(|_, bytes| bytes.strong_count() > 0);
        if held.len() < MAX_HELD {
            held.insert(parts, Arc::downgrade(&bytes));
        }
        Bytes::from_owner(bytes)
    }

    fn lock_held(&self) -> MutexGuard<'_, HashMap<Parts, Weak<[u8]>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file at `path`, if it still is the one with this identity.
    pub async fn open(&self, path: &Arc<Path>, id: FileId) -> Result<Handle, FileError> {
        let kept = self.kept_handle(path, id);
        if let Some(handle) = kept.as_ref().filter(|handle| handle.is_local) {
            unchanged(&handle.file, path, id)?;
            return Ok(handle.clone());
        }
        let opening = Arc::clone(path);
        let opened = self.reads.run(id.device, path, move || {
            let handle = kept.map_or_else(|| open_regular(&opening), Ok)?;
            Ok(unchanged(&handle.file, &opening, id).map(|()| handle))
        });
        let handle = opened.await.map_err(|source| unreadable(path, source))??;
        Ok(self.keep(path, id, handle))
    }

    fn kept_handle(&self, path: &Arc<Path>, id: FileId) -> Option<Handle> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get_mut(&(Arc::clone(path), id))?;
        found.asked = Instant::now();
        Some(found.handle.clone())
    }

    /// The handle to use: another one if another task was faster.
    fn keep(&self, path: &Arc<Path>, id: FileId, handle: Handle) -> Handle {
        let now = Instant::now();
        let key = (Arc::clone(path), id);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, kept| now.duration_since(kept.asked) < MAX_IDLE);
        if kept.len() >= MAX_KEPT && !kept.contains_key(&key) {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.asked).map(|(key, _)| key.clone());
            oldest.and_then(|key| kept.remove(&key));
        }
        kept.entry(key).or_insert_with(|| Kept { handle, asked: now }).handle.clone()
    }
}

/// Refuses a file that was written to: bytes of two states are never mixed.
pub fn unchanged(file: &File, path: &Path, id: FileId) -> Result<(), FileError> {
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    if id.is_kept_by(&identity::of(&metadata)) {
        Ok(())
    } else {
        Err(FileError::Changed { path: path.display().to_string() })
    }
}

/// What took a file's place may be anything.
fn open_regular(path: &Path) -> io::Result<Handle> {
    let file = regular::open(path).map(|(file, _)| file).map_err(|error| io::Error::other(error.why()))?;
    let is_local = fstatfs(&file).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()));
    Ok(Handle { file: Arc::new(file), is_local })
}

fn unreadable(path: &Path, source: io::Error) -> FileError {
    FileError::Unreadable { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str) -> (Arc<Path>, FileId) {
        let path = folder.join(name);
        std::fs::write(&path, "first").unwrap();
        let id = identity::of(&std::fs::metadata(&path).unwrap());
        (Arc::from(path), id)
    }

    #[tokio::test]
    async fn a_changed_file_is_refused_even_with_a_kept_handle() {
        let folder = tempfile::tempdir().unwrap();
        let (path, id) = written(folder.path(), "x");
        let files = Files::new();
        let first = files.open(&path, id).await.unwrap();
        assert!(Arc::ptr_eq(&first.file, &files.open(&path, id).await.unwrap().file));
        std::fs::write(&path, "second!").unwrap();
        let error = files.open(&path, id).await.unwrap_err();
        assert!(error.to_string().contains("has changed since it was indexed"), "{error}");
        assert!(matches!(Files::new().open(&path, id).await, Err(FileError::Changed { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Files::new().open(&path, id).await, Err(FileError::Unreadable { .. })));
    }

    #[tokio::test]
    async fn only_so_many_handles_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new();
        for number in 0..MAX_KEPT + 10 {
            let (path, id) = written(folder.path(), &number.to_string());
            files.open(&path, id).await.unwrap();
        }
        assert_eq!(files.kept.lock().unwrap().len(), MAX_KEPT);
    }
}
