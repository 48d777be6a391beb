//! The revision that is served, but for its files. One record without a key.
//!
//! Value: an empty field, the largest number (which no length is) and the version of what follows, 2: the
//! environment (optional) and a list of trees. A tree: its source (optional), its revision, the source's own
//! revision, root (optional), a list of copies (path in the inventory, path on disk), and 0, or 1 and what is
//! taken of it: a list of names, a list of exceptions, the environment (optional) of the next tree, on which it
//! lies.
//!
//! Versions until November 2026 wrote revision, source, root (optional), environment (optional), then a list of copies.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::{Reader, field, number, optional};
use super::{Kind, Only, Record};
use crate::model::Selection;
use crate::state::revision::former::FormerRevision;
use crate::state::revision::stored::{SavedRevision, SavedTree, SavedTrees};

/// In the place of a length, where an earlier version wrote that of a text.
const VERSIONED: u64 = u64::MAX;
/// The version that is written.
const VERSION: u64 = 2;

pub(super) struct Revision;

impl Kind for Revision {
    const NAME: &'static str = "kept";
    type Key = Only;
    type Value = SavedRevision;

    fn write_key(_: &Only, _: &mut Vec<u8>) {}

    fn read_key(bytes: &[u8]) -> Option<Only> {
        bytes.is_empty().then_some(Only)
    }

    fn write(value: &SavedRevision, out: &mut Vec<u8>) {
        match value {
            SavedRevision::Former(former) => write_former(former, out),
            SavedRevision::Trees(saved) => {
                field(b"", out);
                number(VERSIONED, out);
                number(VERSION, out);
                optional(saved.environment.as_deref().map(str::as_bytes), out);
                number(saved.trees.len() as u64, out);
                saved.trees.iter().for_each(|tree| write_tree(tree, out));
            }
        }
    }

    fn read(_: Only, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let mut head = Reader(bytes);
        let is_versioned = head.field().is_some_and(<[u8]>::is_empty) && head.number() == Some(VERSIONED);
        let saved = match is_versioned {
            true if head.number() == Some(VERSION) => SavedRevision::Trees(SavedTrees {
                environment: head.optional_text()?.map(Arc::from),
                trees: head.list(read_tree)?,
            }),
            // A later one.
            true => return None,
            false => SavedRevision::Former(read_former(&mut reader)?),
        };
        Some(Record::Revision(Arc::new(saved)))
    }

    fn deletion(_: Only) -> Option<Record> {
        None
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn write_tree(tree: &SavedTree, out: &mut Vec<u8>) {
    let SavedTree { source, revision, settled, root, copies, part } = tree;
    optional(source.as_ref().map(|name| name.as_str().as_bytes()), out);
    field(revision.as_bytes(), out);
    field(settled.as_bytes(), out);
    optional(root.as_deref().map(|root: &Path| root.as_os_str().as_bytes()), out);
    write_copies(copies, out);
    number(u64::from(part.is_some()), out);
    if let Some((Selection { only, except }, environment)) = part {
        for names in [only, except] {
            number(names.len() as u64, out);
            names.iter().for_each(|name| field(name.as_bytes(), out));
        }
        optional(environment.as_deref().map(str::as_bytes), out);
    }
}

fn read_tree(reader: &mut Reader<'_>) -> Option<SavedTree> {
    let source = reader.optional_name()?;
    let (revision, settled) = (reader.text()?.into(), reader.text()?.into());
    let root = reader.optional()?.map(path);
    let copies = read_copies(reader)?;
    let names = |reader: &mut Reader<'_>| reader.list(|reader| reader.text().map(str::to_owned));
    let part = match reader.number()? {
        0 => None,
        1 => {
            let selection = Selection { only: names(reader)?, except: names(reader)? };
            Some((selection, reader.optional_text()?.map(Arc::from)))
        }
        _ => return None,
    };
    Some(SavedTree { source, revision, settled, root, copies, part })
}

fn write_copies(copies: &BTreeMap<Arc<str>, PathBuf>, out: &mut Vec<u8>) {
    number(copies.len() as u64, out);
    for (path, copy) in copies {
        field(path.as_bytes(), out);
        field(copy.as_os_str().as_bytes(), out);
    }
}

fn read_copies(reader: &mut Reader<'_>) -> Option<BTreeMap<Arc<str>, PathBuf>> {
    let copies = reader.list(|reader| Some((reader.text()?.into(), path(reader.field()?))))?;
    Some(copies.into_iter().collect())
}

fn write_former(former: &FormerRevision, out: &mut Vec<u8>) {
    let FormerRevision { revision, source, root, environment, copies } = former;
    field(revision.as_bytes(), out);
    field(source.as_bytes(), out);
    optional(root.as_ref().map(|root| root.as_os_str().as_bytes()), out);
    optional(environment.as_ref().map(|environment| environment.as_bytes()), out);
    write_copies(copies, out);
}

fn read_former(reader: &mut Reader<'_>) -> Option<FormerRevision> {
    let (revision, source) = (reader.text()?.into(), reader.text()?.into());
    let root = reader.optional()?.map(path);
    let environment = reader.optional_text()?.map(Arc::from);
    Some(FormerRevision { revision, source, root, environment, copies: read_copies(reader)? })
}
