//! The files of one revision.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// Everything below the inventory's root at one revision; hidden files and folders left out.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// `main@sha1:…` for git, `dir@sha256:…` (over sorted paths and bytes) for a directory.
    pub revision: Arc<str>,
    /// By path relative to the inventory's root, `/` between parts.
    pub files: BTreeMap<Arc<str>, Body>,
}

/// One file.
#[derive(Clone, Debug)]
pub enum Body {
    /// Small files (manifests, templates, secrets): at most `Body::INLINE_MAX` bytes.
    Inline { bytes: Bytes, path: Option<PathBuf> },
    /// Larger ones, to be read from this path (for git: a content-addressed copy).
    OnDisk { path: PathBuf, length: u64 },
}

impl Snapshot {
    /// The files that are held in memory.
    pub fn inline(&self) -> BTreeMap<Arc<str>, Bytes> {
        let bytes = |body: &Body| match body {
            Body::Inline { bytes, .. } => Some(bytes.clone()),
            Body::OnDisk { .. } => None,
        };
        self.files.iter().filter_map(|(path, body)| Some((path.clone(), bytes(body)?))).collect()
    }

    /// Where the files lie on disk.
    pub fn copies(&self) -> BTreeMap<Arc<str>, PathBuf> {
        let path = |body: &Body| match body {
            Body::Inline { path, .. } => path.clone(),
            Body::OnDisk { path, .. } => Some(path.clone()),
        };
        self.files.iter().filter_map(|(name, body)| Some((name.clone(), path(body)?))).collect()
    }
}

impl Body {
    /// Largest file that is held in memory, in bytes.
    pub const INLINE_MAX: u64 = 1 << 20;
}
