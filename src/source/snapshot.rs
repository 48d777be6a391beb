//! The files of one revision.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{MANIFEST_MAX_BYTES, Time, printable};

/// Everything below the inventory's root at one revision; hidden files and folders left out.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `main@sha1:…` for git, `dir@sha256:…` (over sorted paths and bytes) for a directory.
    pub revision: Arc<str>,
    /// What the commit says of itself; `None` for a directory.
    pub commit: Option<Commit>,
    /// By path relative to the inventory's root, `/` between parts.
    pub files: BTreeMap<Arc<str>, Body>,
    /// What is no part of the revision though it lies in its place.
    pub left_out: BTreeMap<Arc<str>, LeftOut>,
}

/// What a commit says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// `NAME <ADDRESS>`
    pub author: Arc<str>,
    /// The first line of its message.
    pub subject: Arc<str>,
    /// When it was committed.
    pub at: Time,
}

/// A link, a name or a special file that no manifest can use: of no concern while none names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub why: String,
    /// Where it leads on this host, for a link of a directory that leads out of the inventory: it may
    /// lead into a media directory.
    pub link: Option<PathBuf>,
}

impl LeftOut {
    pub fn because(why: impl Into<String>) -> LeftOut {
        LeftOut { why: why.into(), link: None }
    }
}

/// One file.
#[derive(Clone, Debug)]
pub enum Body {
    /// Manifests, and other small files (templates, secrets): at most [`Body::held_max`] bytes.
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

    /// Where the files lie on disk, and the links that lead out of a directory.
    pub fn copies(&self) -> BTreeMap<Arc<str>, PathBuf> {
        let path = |body: &Body| match body {
            Body::Inline { path, .. } => path.clone(),
            Body::OnDisk { path, .. } => Some(path.clone()),
        };
        let files = self.files.iter().filter_map(|(name, body)| Some((name.clone(), path(body)?)));
        let links = self.left_out.iter().filter_map(|(name, one)| Some((name.clone(), one.link.clone()?)));
        links.chain(files).collect()
    }

    /// One line for each thing that was left out.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.left_out
            .iter()
            .map(|(path, one)| printable::line(&format!("{path} is left out: {}", one.why)).into_owned())
    }
}

impl Body {
    /// Largest file that is held in memory, in bytes, unless it is a manifest.
    pub const INLINE_MAX: u64 = 1 << 20;
    /// Largest manifest, in bytes.
    pub const MANIFEST_MAX: u64 = MANIFEST_MAX_BYTES as u64;
    /// Most bytes of all files of one inventory that are held together: a mistake such as
    /// `directory = "/srv"` must not fill the memory.
    pub const ALL_MAX: u64 = 1 << 30;

    /// How many bytes of a file of this name are held in memory. A manifest is never left out for its size,
    /// which would remove its machines silently: one that is too large is held with one byte more than it
    /// may have, so that the parser reports it.
    pub fn held_max(name: &str) -> u64 {
        match name.ends_with(".toml") {
            true => Body::MANIFEST_MAX + 1,
            false => Body::INLINE_MAX,
        }
    }

    /// Whether a file of this name and length is held in memory.
    pub fn is_held(name: &str, length: u64) -> bool {
        name.ends_with(".toml") || length <= Body::INLINE_MAX
    }
}
