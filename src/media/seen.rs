//! What a look-up of media found on this host's disks, so that it can be noticed when something there
//! has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::identity;
use crate::model::content::FileId;

/// Most paths that are remembered. Of a directory with more files only the first are: those that
/// are served are noticed in any case when they are read.
const MOST: usize = 100_000;

/// Paths that decided what was found, with the identity of what was there; `None` for nothing.
#[derive(Debug, Default)]
pub struct Seen {
    paths: Mutex<BTreeMap<PathBuf, Option<FileId>>>,
    /// What is still being read, and how far that is.
    busy: Mutex<BTreeMap<PathBuf, String>>,
}

impl Seen {
    /// Looks at `path`, links followed, and remembers what is there.
    pub fn look(&self, path: &Path) {
        self.note(path, identity_of(path));
    }

    /// Remembers what was found at `path`.
    pub fn note(&self, path: &Path, found: Option<FileId>) {
        let mut paths = lock(&self.paths);
        if paths.len() < MOST {
            paths.insert(path.to_path_buf(), found);
        }
    }

    pub(super) fn note_busy(&self, path: &Path, why: &str) {
        lock(&self.busy).insert(path.to_path_buf(), why.to_owned());
    }

    /// What was not found out because it takes long: path, and how far it is.
    pub fn busy(&self) -> Vec<(PathBuf, String)> {
        lock(&self.busy).iter().map(|(path, why)| (path.clone(), why.clone())).collect()
    }

    /// The paths with what was found there.
    pub fn paths(&self) -> Vec<(PathBuf, Option<FileId>)> {
        lock(&self.paths).iter().map(|(path, found)| (path.clone(), *found)).collect()
    }

    /// Adds what another look-up found.
    pub fn join(&self, other: &Seen) {
        let (paths, busy) = (lock(&other.paths).clone(), lock(&other.busy).clone());
        lock(&self.paths).extend(paths);
        lock(&self.busy).extend(busy);
    }
}

/// What is at `path` now, links followed; `None` if nothing is there or it can't be looked at.
pub fn identity_of(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|metadata| identity::of(&metadata))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
