//! Where manifests come from: a directory or a git repository, as a stream of snapshots.

pub mod directory;
pub mod git;
pub mod replace;
pub mod snapshot;
mod text;
pub mod watch;
pub mod write;

use std::path::PathBuf;

pub use snapshot::{Body, Snapshot};
pub use watch::{Handle, Update, spawn};

use crate::model::Inventory;

/// What to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    pub inventory: Inventory,
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
    /// The repository, branch, tag or commit can't be had.
    #[error("{0}")]
    Git(String),
}
