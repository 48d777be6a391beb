//! What the manifests that are served say of one resource, as it is written there.

use std::sync::Arc;

use bytes::Bytes;

use crate::api::resource::{Overlay, Written};
use crate::manifest::{Environment, Kind, WrittenFile};
use crate::model::{FilePath, MANIFEST_MAX_BYTES, Name, Origin};
use crate::state::revision::{Layer, Revision};

/// A file below this size is quicker read again than looked for.
const SMALL: usize = 16 << 10;
/// What all files that are kept may take together, in bytes.
const KEPT_MAX: usize = 32 << 20;

/// Large files that were read last, as they were read; the last one is the latest.
#[derive(Default)]
pub(super) struct WrittenFiles {
    kept: Vec<(Bytes, Arc<WrittenFile>)>,
}

impl WrittenFiles {
    fn read(&mut self, bytes: &Bytes) -> Arc<WrittenFile> {
        let is_it = |(other, _): &(Bytes, _)| {
            std::ptr::eq(other.as_ptr(), bytes.as_ptr()) && other.len() == bytes.len()
        };
        if let Some(at) = self.kept.iter().position(is_it) {
            let found = self.kept.remove(at);
            let file = found.1.clone();
            self.kept.push(found);
            return file;
        }
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MANIFEST_MAX_BYTES);
        let file = Arc::new(text.map(WrittenFile::read).unwrap_or_default());
        if bytes.len() >= SMALL {
            self.kept.push((bytes.clone(), file.clone()));
            let size = |kept: &Vec<(Bytes, Arc<WrittenFile>)>| {
                kept.iter().map(|(_, file)| file.size()).sum::<usize>()
            };
            while self.kept.len() > 1 && size(&self.kept) > KEPT_MAX {
                self.kept.remove(0);
            }
        }
        file
    }

    /// What `revision` says of a resource that stands at `origin`.
    pub(super) fn of(&mut self, revision: &Revision, kind: Kind, name: &Name, origin: &Origin) -> Written {
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
    fn overlays(&mut self, revision: &Revision, kind: Kind, name: &Name, origin: &Origin) -> Vec<Overlay> {
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
