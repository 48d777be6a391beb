//! The revision that is served, but for its files. One record without a key. Value: revision, source, root
//! (optional), environment (optional), then a list of copies: path in the inventory, path on disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::bytes::{Reader, field, number, optional};
use super::{Kind, Only, Record};

/// Where a revision comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedRevision {
    pub revision: Arc<str>,
    /// The source's own revision at that time; another one where a tree was applied by hand.
    pub source: Arc<str>,
    /// Directory that files not stored here are read from.
    pub root: Option<PathBuf>,
    /// The environment it was served for.
    pub environment: Option<Arc<str>>,
    /// Where the files lie on disk, by their path in the inventory.
    pub copies: BTreeMap<Arc<str>, PathBuf>,
}

pub struct Revision;

impl Kind for Revision {
    const NAME: &'static str = "kept";
    type Key = Only;
    type Value = SavedRevision;

    fn write_key(_: &Only, _: &mut Vec<u8>) {}

    fn read_key(bytes: &[u8]) -> Option<Only> {
        bytes.is_empty().then_some(Only)
    }

    fn write(value: &SavedRevision, out: &mut Vec<u8>) {
        let SavedRevision { revision, source, root, environment, copies } = value;
        field(revision.as_bytes(), out);
        field(source.as_bytes(), out);
        optional(root.as_ref().map(|root| root.as_os_str().as_bytes()), out);
        optional(environment.as_ref().map(|environment| environment.as_bytes()), out);
        number(copies.len() as u64, out);
        for (path, copy) in copies {
            field(path.as_bytes(), out);
            field(copy.as_os_str().as_bytes(), out);
        }
    }

    fn read(_: Only, bytes: &[u8]) -> Option<Record> {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let mut reader = Reader(bytes);
        let (revision, source) = (reader.text()?.into(), reader.text()?.into());
        let root = reader.optional()?.map(path);
        let environment = reader.optional_text()?.map(Arc::from);
        let copies = reader.list(|reader| Some((reader.text()?.into(), path(reader.field()?))))?;
        let copies = copies.into_iter().collect();
        Some(Record::Revision(Arc::new(SavedRevision { revision, source, root, environment, copies })))
    }

    fn deletion(_: Only) -> Option<Record> {
        None
    }
}
