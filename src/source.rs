//! Where manifests come from: a directory or a git repository, as a stream of snapshots.

pub mod directory;
pub mod git;
pub mod replace;
pub mod snapshot;
mod text;
pub mod watch;
pub mod write;

use std::path::PathBuf;
use std::sync::Arc;

pub use snapshot::{Body, Snapshot};
pub use watch::{Handle, Update, spawn};

use crate::model::{Inventory, Span};

/// What to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    pub inventory: Inventory,
    /// How often a directory is read although nothing was reported; `None`: as its file system
    /// needs.
    pub poll: Option<Span>,
    /// The daemon's state directory: copies of repositories are kept in it.
    pub state: PathBuf,
    /// How repositories are fetched; `Fetcher::default()` but in tests.
    pub fetcher: git::Fetcher,
}

/// Why a source gave no snapshot. None of these means that the source is empty: what was loaded
/// before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The root, or something in it, can't be read.
    #[error("{}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    /// A symbolic link that leads out of the inventory: what it names is no part of the revision.
    #[error("{}: the link leads out of the inventory, to {}", path.display(), target.display())]
    Escapes { path: PathBuf, target: PathBuf },
    /// A file's name is not UTF-8.
    #[error("{}: the name is not UTF-8", path.display())]
    Name { path: PathBuf },
    /// More files than a mistake such as `directory = "/"` should be allowed to read.
    #[error("{}: more than {most} files: is this the inventory's directory?", path.display())]
    Crowded { path: PathBuf, most: usize },
    /// A file that no manifest, template or script is, or all of them together.
    #[error("{}: {why}", path.display())]
    Bulky { path: PathBuf, why: String },
    /// The commit lacks a signature that counts.
    #[error("not signed by an allowed key: {why}")]
    Untrusted { revision: Arc<str>, why: String },
    /// The repository, branch, tag or commit can't be had.
    #[error("{0}")]
    Git(String),
}

impl SourceError {
    /// The condition it puts the source into: the source is away, or it is there and what it
    /// holds can't be used.
    pub fn condition(&self) -> &'static str {
        match self {
            SourceError::Unreadable { .. } | SourceError::Git(_) => "Unreachable",
            SourceError::Untrusted { .. } => "Untrusted",
            SourceError::Escapes { .. }
            | SourceError::Name { .. }
            | SourceError::Crowded { .. }
            | SourceError::Bulky { .. } => "Invalid",
        }
    }

    /// The revision that was refused, where that is known.
    pub fn revision(&self) -> Option<&str> {
        match self {
            SourceError::Untrusted { revision, .. } => Some(revision),
            _ => None,
        }
    }
}
