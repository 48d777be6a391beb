//! The revision that is served, as it was read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Record, SavedRevision};

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

impl Kept {
    /// A revision of its parts.
    pub fn of(revision: &SavedRevision, files: BTreeMap<Arc<str>, Bytes>) -> Kept {
        let SavedRevision { revision, source, root, environment, copies } = revision.clone();
        Kept { revision, source, root, environment, files, copies }
    }

    /// All but the files.
    pub fn without_files(&self) -> SavedRevision {
        let Kept { revision, source, root, environment, files: _, copies } = self;
        SavedRevision {
            revision: revision.clone(),
            source: source.clone(),
            root: root.clone(),
            environment: environment.clone(),
            copies: copies.clone(),
        }
    }

    /// The records that turn `before`, which is stored, into this one. Revisions differ in a file or two: only those
    /// are written.
    pub fn records(&self, before: &Kept) -> Vec<Record> {
        let mut records = vec![Record::Revision(self.without_files().into())];
        let is_new = |path: &Arc<str>, bytes: &Bytes| before.files.get(path) != Some(bytes);
        let new = self.files.iter().filter(|(path, bytes)| is_new(path, bytes));
        records.extend(new.map(|(path, bytes)| Record::File(path.clone(), Some(bytes.clone()))));
        let gone = before.files.iter().filter(|(path, _)| !self.files.contains_key(*path));
        records.extend(gone.map(|(path, _)| Record::File(path.clone(), None)));
        records
    }
}
