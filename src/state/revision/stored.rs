//! How a revision is stored: a description of its trees, and each file by a key that says which tree it is of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::super::record::Record;
use super::former::FormerRevision;
use super::{Composition, Layer, PartialApply, Revision, SourceRevision, root_of};
use crate::model::{Name, Selection};

/// A revision without its files.
#[derive(Clone, Debug, PartialEq)]
pub enum SavedRevision {
    /// As earlier versions stored it.
    Former(FormerRevision),
    Trees(SavedTrees),
}

/// Its trees, without their files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedTrees {
    pub environment: Option<Arc<str>>,
    /// The trees of each source together, the uppermost first.
    pub trees: Vec<SavedTree>,
}

/// One tree of a source, without its files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedTree {
    /// `None` for an only source.
    pub source: Option<Name>,
    pub revision: Arc<str>,
    pub settled: Arc<str>,
    pub root: Option<PathBuf>,
    pub copies: BTreeMap<Arc<str>, PathBuf>,
    /// What is taken of it on top of the next tree, and the environment of that.
    pub part: Option<(Selection, Option<Arc<str>>)>,
}

/// Between the paths of a source and those of what lies below a partial apply. Hidden, so that no inventory has it.
pub(super) const BELOW: &str = ".base/";
/// Where earlier versions described a partial apply, among the files below it.
pub(super) const NOTE: &str = ".note.json";

/// What the keys of a tree's files begin with.
pub(super) fn prefix(source: Option<&Name>, depth: usize) -> String {
    source.map(root_of).unwrap_or_default() + &BELOW.repeat(depth)
}

impl Layer<'_> {
    /// What the keys of its files begin with.
    pub fn prefix(&self) -> String {
        prefix(self.source, self.depth)
    }
}

/// What `files` has of one tree, by the paths in it.
pub(super) fn of_tree<T: Clone>(files: &BTreeMap<Arc<str>, T>, prefix: &str) -> BTreeMap<Arc<str>, T> {
    let from: Arc<str> = prefix.into();
    let own = files.range(from..).take_while(|(key, _)| key.starts_with(prefix));
    let own = own.filter_map(|(key, value)| {
        let path = &key[prefix.len()..];
        let is_other = path.starts_with(BELOW) || path == NOTE;
        (!is_other).then(|| (if prefix.is_empty() { key.clone() } else { path.into() }, value.clone()))
    });
    own.collect()
}

impl Revision {
    /// A revision of its description and the files that are stored.
    pub fn of(saved: &SavedRevision, files: &BTreeMap<Arc<str>, Bytes>) -> Revision {
        match saved {
            SavedRevision::Former(former) => former.revision(files),
            SavedRevision::Trees(saved) => saved.revision(files),
        }
    }

    /// All but the files.
    pub fn without_files(&self) -> SavedRevision {
        let saved = |layer: Layer<'_>| {
            let SourceRevision { revision, settled, root, files: _, copies, part } = layer.tree;
            SavedTree {
                source: layer.source.cloned(),
                revision: revision.clone(),
                settled: settled.clone(),
                root: root.clone(),
                copies: copies.clone(),
                part: part.as_ref().map(|part| (part.selection.clone(), part.environment.clone())),
            }
        };
        let (environment, trees) = (self.environment.clone(), self.layers().map(saved).collect());
        SavedRevision::Trees(SavedTrees { environment, trees })
    }

    /// The records that turn `before`, which is stored, into this one. Revisions differ in a file or two: only
    /// those are written.
    pub fn records(&self, before: &Revision) -> Vec<Record> {
        let mut records = vec![Record::Revision(self.without_files().into())];
        let (old, new) = (by_place(before), by_place(self));
        let is_new = |key: &str| {
            new.iter().any(|((source, depth), tree)| {
                let path = key.strip_prefix(&*prefix(source.as_ref(), *depth));
                path.is_some_and(|path| tree.files.contains_key(path))
            })
        };
        for ((source, depth), tree) in &old {
            let (prefix, now) = (prefix(source.as_ref(), *depth), new.get(&(source.clone(), *depth)));
            let gone = tree.files.keys().filter(|path| now.is_none_or(|now| !now.files.contains_key(*path)));
            let gone = gone.map(|path| key(&prefix, path)).filter(|key| !is_new(key));
            records.extend(gone.map(|key| Record::File(key, None)));
            if *depth > 0 {
                // What an earlier version may have left there.
                records.push(Record::File(format!("{prefix}{NOTE}").into(), None));
            }
        }
        for ((source, depth), tree) in &new {
            let (prefix, known) = (prefix(source.as_ref(), *depth), old.get(&(source.clone(), *depth)));
            let stored = |path: &Arc<str>| known.and_then(|tree| tree.files.get(path));
            let news = tree.files.iter().filter(|(path, bytes)| stored(path) != Some(*bytes));
            records.extend(news.map(|(path, bytes)| Record::File(key(&prefix, path), Some(bytes.clone()))));
        }
        records
    }
}

/// Each tree by its source and the number of partial applies that lie on it.
fn by_place(revision: &Revision) -> BTreeMap<(Option<Name>, usize), &SourceRevision> {
    revision.layers().map(|layer| ((layer.source.cloned(), layer.depth), layer.tree)).collect()
}

/// The key of a file, which says which tree it is of.
pub fn key(prefix: &str, path: &Arc<str>) -> Arc<str> {
    if prefix.is_empty() { path.clone() } else { format!("{prefix}{path}").into() }
}

impl SavedTrees {
    fn revision(&self, files: &BTreeMap<Arc<str>, Bytes>) -> Revision {
        let mut sources: Vec<(Option<Name>, SourceRevision)> = Vec::new();
        // The trees of a source stand together; each lies on the next.
        for of_source in self.trees.chunk_by(|one, next| one.source == next.source) {
            let source = of_source[0].source.as_ref();
            let mut below: Option<SourceRevision> = None;
            for (depth, tree) in of_source.iter().enumerate().rev() {
                below = Some(tree.revision(source, depth, files, below));
            }
            sources.extend(below.map(|tree| (source.cloned(), tree)));
        }
        let sources = match sources.as_slice() {
            [(None, only)] => Composition::One(only.clone()),
            [] => Composition::default(),
            _ => Composition::Several(
                sources.into_iter().filter_map(|(name, source)| Some((name?, source))).collect(),
            ),
        };
        Revision { environment: self.environment.clone(), sources }
    }
}

impl SavedTree {
    /// The tree, over the one below it.
    fn revision(
        &self,
        source: Option<&Name>,
        depth: usize,
        files: &BTreeMap<Arc<str>, Bytes>,
        below: Option<SourceRevision>,
    ) -> SourceRevision {
        let SavedTree { source: _, revision, settled, root, copies, part } = self;
        let (revision, settled, root) = (revision.clone(), settled.clone(), root.clone());
        let part = part.as_ref().zip(below).map(|((selection, environment), base)| {
            let (selection, environment) = (selection.clone(), environment.clone());
            Arc::new(PartialApply { selection, base, environment })
        });
        let files = of_tree(files, &prefix(source, depth));
        SourceRevision { revision, settled, root, files, copies: copies.clone(), part }
    }
}
