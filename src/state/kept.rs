//! The revision that is served, as it was read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// A revision as it was read: what a start without the source serves, and what the source's next
/// revision is compared with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub revision: Arc<str>,
    /// The source's own revision at that time; another one where a tree was applied by hand.
    pub source: Arc<str>,
    /// Directory that files not kept here are read from.
    pub root: Option<PathBuf>,
    /// The environment it was served for.
    pub environment: Option<Arc<str>>,
    pub files: BTreeMap<Arc<str>, Bytes>,
    /// Where the files lie on disk, by their path in the inventory.
    pub copies: BTreeMap<Arc<str>, PathBuf>,
}
