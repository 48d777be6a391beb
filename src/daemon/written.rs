//! What the manifests that are served say of one resource, as it is written there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::api::resource::{Overlay, Written};
use crate::manifest::{Environment, Kind, WrittenFile};
use crate::model::{FilePath, MANIFEST_MAX_BYTES, Name, Origin};
use crate::state::revision::{Layer, Revision};

/// What all files that are kept may take together, in bytes.
const KEPT_MAX: usize = 32 << 20;

/// Files that were read last, as they were read. To read one takes as long as a dozen answers out of it.
#[derive(Default)]
pub(super) struct WrittenFiles(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By the address and length of their bytes, which nobody else has as long as they are kept.
    files: HashMap<(usize, usize), KeptFile>,
    /// What they take together, in bytes.
    size: usize,
    /// Counts the uses.
    uses: u64,
}

struct KeptFile {
    _bytes: Bytes,
    file: Arc<WrittenFile>,
    size: usize,
    /// The number of its last use.
    last: u64,
}

fn place(bytes: &Bytes) -> (usize, usize) {
    (bytes.as_ptr().addr(), bytes.len())
}

impl Kept {
    fn find(&mut self, bytes: &Bytes) -> Option<Arc<WrittenFile>> {
        self.uses += 1;
        let kept = self.files.get_mut(&place(bytes))?;
        kept.last = self.uses;
        Some(kept.file.clone())
    }

    /// Keeps a file in the place of those that were not used for longest.
    fn keep(&mut self, bytes: &Bytes, file: &Arc<WrittenFile>) {
        let size = file.size() + bytes.len();
        let kept = KeptFile { _bytes: bytes.clone(), file: file.clone(), size, last: self.uses };
        self.size += size;
        self.size -= self.files.insert(place(bytes), kept).map_or(0, |same| same.size);
        while self.size > KEPT_MAX && self.files.len() > 1 {
            let oldest = self.files.iter().min_by_key(|(_, kept)| kept.last).map(|(place, _)| *place);
            self.size -= oldest.and_then(|place| self.files.remove(&place)).map_or(0, |kept| kept.size);
        }
    }
}

impl WrittenFiles {
    fn read(&self, bytes: &Bytes) -> Arc<WrittenFile> {
        if let Some(known) = lock(&self.0).find(bytes) {
            return known;
        }
        // Others are answered meanwhile.
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MANIFEST_MAX_BYTES);
        let file = Arc::new(text.map(WrittenFile::read).unwrap_or_default());
        lock(&self.0).keep(bytes, &file);
        file
    }

    /// What `revision` says of a resource that stands at `origin`.
    pub(super) fn of(&self, revision: &Revision, kind: Kind, name: &Name, origin: &Origin) -> Written {
        let is_source = |layer: &Layer<'_>| layer.source.map(Name::as_str) == origin.file.source();
        let mut spec = None;
        // Where part of a tree was applied, the resource may be one of those that stayed as they were.
        for layer in revision.layers().filter(is_source) {
            let Some(bytes) = layer.tree.files.get(origin.file.inside()) else { continue };
            if let Some((line, found)) = self.read(bytes).find(kind, name.as_str())
                && line == origin.line
            {
                spec = Some(found);
                break;
            }
        }
        Written { spec, overlays: self.overlays(revision, kind, name, origin) }
    }

    /// What the environment lays over it.
    fn overlays(&self, revision: &Revision, kind: Kind, name: &Name, origin: &Origin) -> Vec<Overlay> {
        let mut overlays = Vec::new();
        let Some(environment) = revision.environment.as_deref() else { return overlays };
        let paths = revision.sources().flat_map(|(_, source)| source.files.keys().map(|path| &**path));
        let Ok(environment) = Environment::choose(paths, Some(environment)) else { return overlays };
        for (source, tree) in revision.sources() {
            for (path, bytes) in tree.files.iter().filter(|(path, _)| environment.owns(path)) {
                let file = FilePath::new(source, path);
                if file == origin.file {
                    continue;
                }
                if let Some((line, spec)) = self.read(bytes).find(kind, name.as_str()) {
                    overlays.push(Overlay { origin: format!("{file}:{line}"), spec });
                }
            }
        }
        overlays
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_once_and_the_oldest_are_let_go() {
        let files = WrittenFiles::default();
        let text = |number: usize| {
            Bytes::from(format!("[deployment.d{number}]\naddress = \"auto\"\n# {}\n", "x".repeat(1 << 20)))
        };
        let all: Vec<Bytes> = (0..40).map(text).collect();
        let first = files.read(&all[0]);
        assert!(Arc::ptr_eq(&first, &files.read(&all[0])));
        for bytes in &all {
            assert!(files.read(bytes).find(Kind::Deployment, "x").is_none());
            assert!(Arc::ptr_eq(&first, &files.read(&all[0])), "used again and again");
        }
        let kept = lock(&files.0);
        assert!(kept.size <= KEPT_MAX && kept.files.len() > 20 && !kept.files.contains_key(&place(&all[1])));
    }
}
