//! The questions that the other rooms ask of a collection of media.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Parts;
use super::index::{Entry, Index};

/// Finds images and files by the names that manifests give them.
pub trait Library {
    /// The index of an ISO image or a directory. With `sha256` (hexadecimal digits) the image's
    /// bytes must have that digest.
    fn image(&self, file: &str, sha256: Option<&str>) -> Result<Arc<Index>, MediaError>;

    /// A single file, by its path relative to the inventory.
    fn file(&self, path: &str) -> Result<Entry, MediaError>;

    /// The initrd of an agent with these parts; `None` from a library that only examines them: the first
    /// module of each package, or all of them if `thorough`.
    fn agent(&self, parts: &Parts, thorough: bool) -> Result<Option<Entry>, MediaError>;
}

/// Why an image or a file can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Nothing of that name in any of the places searched.
    #[error("{}: no such file", path.display())]
    Missing {
        path: PathBuf,
        /// What else lies in its folder, if that is there.
        beside: Vec<String>,
    },
    /// The file exists and is no image that can be read.
    #[error("{}: not a usable image: {why}", path.display())]
    NotAnImage { path: PathBuf, why: String },
    /// The image names bytes beyond its own end: a download that was cut short.
    #[error("{}: the image is truncated: {why}", path.display())]
    Truncated { path: PathBuf, why: String },
    /// The bytes are not the ones the manifest asks for.
    #[error("{}: sha256 is {found}, the manifest asks for {expected}", path.display())]
    Checksum { path: PathBuf, expected: String, found: String },
    /// A link leads out of the inventory, to a place that is no media directory.
    #[error("{}: the link leads out of the inventory, to {}", path.display(), target.display())]
    Outside { path: PathBuf, target: PathBuf },
    /// A package of modules can't be used.
    #[error("{}: {why}", path.display())]
    BadPackage { path: PathBuf, why: String },
    /// A package of modules for another kernel than the boot's.
    #[error("{}: its modules are for {modules}, and {kernel}", path.display())]
    OtherKernel {
        path: PathBuf,
        /// The boot's kernel, and its release.
        kernel: String,
        modules: String,
    },
    /// The program at `path` can't run as the agent of a machine.
    #[error("{}: {why}", path.display())]
    NoAgent { path: PathBuf, why: String },
    /// The list that stands for an image, at this path in the inventory, can't be used.
    #[error("{}: {why}", path.display())]
    BadList { path: PathBuf, why: String },
    /// It is still being read.
    #[error("{}: {why}", path.display())]
    Busy { path: PathBuf, why: String },
    /// The operating system refused, or the path may not be used.
    #[error("{}: {why}", path.display())]
    Io { path: PathBuf, why: String },
}

impl MediaError {
    /// What can't be used: a path on disk, or a name of a manifest.
    pub fn path(&self) -> &Path {
        match self {
            MediaError::Missing { path, .. }
            | MediaError::NotAnImage { path, .. }
            | MediaError::Truncated { path, .. }
            | MediaError::Checksum { path, .. }
            | MediaError::Outside { path, .. }
            | MediaError::OtherKernel { path, .. }
            | MediaError::NoAgent { path, .. }
            | MediaError::BadPackage { path, .. }
            | MediaError::BadList { path, .. }
            | MediaError::Busy { path, .. }
            | MediaError::Io { path, .. } => path,
        }
    }

    /// What is wrong, without the path.
    pub fn why(&self) -> String {
        match self {
            MediaError::Missing { .. } => "no such file".into(),
            MediaError::NotAnImage { why, .. }
            | MediaError::Truncated { why, .. }
            | MediaError::NoAgent { why, .. }
            | MediaError::BadPackage { why, .. }
            | MediaError::BadList { why, .. }
            | MediaError::Busy { why, .. }
            | MediaError::Io { why, .. } => why.clone(),
            MediaError::Outside { target, .. } => {
                format!("the link leads out of the inventory, to {}", target.display())
            }
            MediaError::OtherKernel { kernel, modules, .. } => {
                format!("its modules are for {modules}, and {kernel}")
            }
            MediaError::Checksum { found, .. } => format!("its sha256 is {found}"),
        }
    }
}
