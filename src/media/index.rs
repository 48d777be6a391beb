//! What a tree of files holds: resolved once when a boot is loaded, plain numbers afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::model::content::FileId;
use crate::model::{Content, Extent};

/// The files of one ISO image or directory, by path (no leading slash, `/` between parts).
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// What a person would call it: volume label of an image, else the file's name.
    pub label: String,
    /// Every regular file, and every link that leads to one.
    pub files: BTreeMap<Box<str>, Entry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file on disk that holds the bytes: the image itself, or the file in a directory.
    pub path: Arc<Path>,
    pub id: FileId,
    pub extents: Arc<[Extent]>,
}

impl Entry {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.length).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn content(&self) -> Content {
        Content::File { path: self.path.clone(), id: self.id, extents: self.extents.clone() }
    }
}
