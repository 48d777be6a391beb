//! Records what a look-up of media found on this host's disks, so that a later change can be noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{MediaError, identity};
use crate::model::content::FileId;

/// Most paths that are remembered. Of a larger directory only the first files are; a change of one that is
/// served is noticed when it is read.
const MOST: usize = 100_000;

/// The metadata by which a change of a file is noticed: other bytes, other permissions, and other bytes of
/// the same length with the same modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sight {
    pub id: FileId,
    /// When anything about the file was changed last (`st_ctime` of `stat(2)`), in nanoseconds since the
    /// epoch; 0 for what is known by its content.
    pub changed: i128,
}

impl Sight {
    /// The metadata of the file at `path`, made from `metadata`.
    pub fn of(path: &Path, metadata: &Metadata) -> Sight {
        let id = identity::at(path, metadata);
        let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        Sight { id, changed: if id.changed_at().is_some() { changed } else { 0 } }
    }

    /// The metadata of the file at `path` now, links followed; `None` if there is none or it can't be read.
    pub fn at(path: &Path) -> Option<Sight> {
        std::fs::metadata(path).ok().map(|metadata| Sight::of(path, &metadata))
    }
}

/// Paths that decided what was found, with what was there; `None` for nothing.
#[derive(Debug, Default)]
pub struct Seen {
    paths: Mutex<BTreeMap<PathBuf, Option<Sight>>>,
    /// What is still being read, and how far that is.
    busy: Mutex<BTreeMap<PathBuf, String>>,
    /// What could not be read; such a fault may end without any visible change.
    failed: Mutex<BTreeSet<PathBuf>>,
    /// Files whose bytes have not the digest that a manifest gives.
    refuted: Mutex<BTreeSet<PathBuf>>,
}

impl Seen {
    /// Looks at `path`, links followed, and remembers what is there.
    pub fn look(&self, path: &Path) {
        self.note(path, Sight::at(path));
    }

    /// Remembers what was found at `path`.
    pub fn note(&self, path: &Path, found: Option<Sight>) {
        let mut paths = lock(&self.paths);
        if paths.len() < MOST {
            paths.insert(path.to_path_buf(), found);
        }
    }

    /// Notes what follows from an error.
    pub(super) fn note_error(&self, error: &MediaError) {
        match error {
            MediaError::Busy { path, why } => {
                lock(&self.busy).insert(path.clone(), why.clone());
            }
            MediaError::Io { path, .. } => {
                lock(&self.failed).insert(path.clone());
            }
            MediaError::Checksum { path, .. } => {
                lock(&self.refuted).insert(path.clone());
            }
            _ => {}
        }
    }

    /// Whether something could not be read.
    pub fn has_failures(&self) -> bool {
        !lock(&self.failed).is_empty()
    }

    /// Whether the bytes of the file at `path` have not the digest that a manifest gives.
    pub fn is_refuted(&self, path: &Path) -> bool {
        lock(&self.refuted).contains(path)
    }

    /// What is not known yet because reading it takes long: path and progress.
    pub fn busy(&self) -> Vec<(PathBuf, String)> {
        lock(&self.busy).iter().map(|(path, why)| (path.clone(), why.clone())).collect()
    }

    /// The paths with what was found there.
    pub fn paths(&self) -> Vec<(PathBuf, Option<Sight>)> {
        lock(&self.paths).iter().map(|(path, found)| (path.clone(), *found)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
