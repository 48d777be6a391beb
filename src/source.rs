//! Where manifests come from: a directory or a git repository, as a stream of snapshots.

pub mod directory;
pub mod download;
pub mod git;
pub mod gpg;
pub mod replace;
pub mod snapshot;
pub(crate) mod tls;
pub mod watch;
pub mod write;

use std::path::PathBuf;
use std::sync::Arc;

pub use snapshot::{Body, Commit, LeftOut, Snapshot};
pub use watch::{Handle, Update, spawn};

use crate::model::{Inventory, SourceCondition, Span};

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
    /// A file that is named like a manifest and can't be read: leaving it out would remove its machines
    /// from the inventory silently.
    #[error("{}: {why}, and what is called `.toml` is a manifest", path.display())]
    NoManifest { path: PathBuf, why: String },
    /// More files than a mistake such as `directory = "/"` should be allowed to read.
    #[error("{}: more than {most} files: is this the inventory's directory?", path.display())]
    Crowded { path: PathBuf, most: usize },
    /// A file that no manifest, template or script is, or all of them together.
    #[error("{}: {why}", path.display())]
    Bulky { path: PathBuf, why: String },
    /// The state directory does not take the repository, or the copy of a file.
    #[error("can't store what the repository holds: {}: {why}", path.display())]
    Copy { path: PathBuf, why: String },
    /// The commit lacks a signature that counts.
    #[error("not signed by an allowed key: {why}")]
    Untrusted { revision: Arc<str>, why: String },
    /// The copy of the repository in the state directory is damaged.
    #[error("reading the mirror failed: {0}")]
    Mirror(String),
    /// The repository, branch, tag or commit can't be read.
    #[error("{0}")]
    Git(String),
}

impl SourceError {
    /// The condition it puts the source into: the source is away, or it is there and what it
    /// holds can't be used.
    pub fn condition(&self) -> SourceCondition {
        match self {
            SourceError::Unreadable { .. } | SourceError::Mirror(_) | SourceError::Git(_) => {
                SourceCondition::Unreachable
            }
            SourceError::Copy { .. } => SourceCondition::NotStored,
            SourceError::Untrusted { .. } => SourceCondition::Untrusted,
            SourceError::NoManifest { .. } | SourceError::Crowded { .. } | SourceError::Bulky { .. } => {
                SourceCondition::Invalid
            }
        }
    }

    /// Why the source could not be read; `None` where it was, and what it holds can't be used.
    pub fn unread(&self) -> Option<Arc<str>> {
        match self {
            SourceError::Unreadable { .. }
            | SourceError::Copy { .. }
            | SourceError::Mirror(_)
            | SourceError::Git(_) => Some(self.to_string().into()),
            SourceError::NoManifest { .. }
            | SourceError::Crowded { .. }
            | SourceError::Bulky { .. }
            | SourceError::Untrusted { .. } => None,
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
