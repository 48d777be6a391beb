//! Revisions as versions until November 2026 stored them: all files in one map under `SOURCE:` and `.base/`, the
//! sources' own revisions as words of one text, and partial applies as notes among the files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::stored::{BELOW, NOTE, of_tree};
use super::{Composition, PartialApply, Revision, SourceRevision};
use crate::model::{Name, Selection};

/// Such a revision without its files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FormerRevision {
    /// `main@sha1:…`; of several sources `net:main@sha1:… lab:dir@sha256:…`.
    pub revision: Arc<str>,
    /// The same of the sources' own revisions at that time.
    pub source: Arc<str>,
    pub root: Option<PathBuf>,
    pub environment: Option<Arc<str>>,
    /// Of all sources and layers.
    pub copies: BTreeMap<Arc<str>, PathBuf>,
}

/// What was taken of which tree, on top of which.
#[derive(Deserialize)]
struct Note {
    selection: Selection,
    revision: String,
    base: String,
    root: Option<PathBuf>,
    environment: Option<String>,
}

impl FormerRevision {
    pub fn revision(&self, files: &BTreeMap<Arc<str>, Bytes>) -> Revision {
        let FormerRevision { revision, source, root, environment, copies } = self;
        let settled = named(source);
        let sources = if settled.is_empty() {
            let own = SourceRevision {
                revision: revision.clone(),
                settled: source.clone(),
                root: root.clone(),
                ..SourceRevision::default()
            };
            Composition::One(tree(own, "", files, copies))
        } else {
            // The name of a part has blanks, and stands in its note.
            let revisions: BTreeMap<Name, Arc<str>> = named(revision).into_iter().collect();
            let mut root = root.clone();
            let source = |(name, settled): (Name, Arc<str>)| {
                let own = SourceRevision {
                    revision: revisions.get(&name).unwrap_or(&settled).clone(),
                    settled,
                    root: root.take(),
                    ..SourceRevision::default()
                };
                let tree = tree(own, &super::root_of(&name), files, copies);
                (name, tree)
            };
            Composition::Several(settled.into_iter().map(source).collect())
        };
        Revision { environment: environment.clone(), sources }
    }
}

/// A tree with its files, and with what lies below it.
fn tree(
    own: SourceRevision,
    prefix: &str,
    files: &BTreeMap<Arc<str>, Bytes>,
    copies: &BTreeMap<Arc<str>, PathBuf>,
) -> SourceRevision {
    let below = format!("{prefix}{BELOW}");
    let note = files.get(&*format!("{below}{NOTE}"));
    let note: Option<Note> = note.and_then(|note| serde_json::from_slice(note).ok());
    let own = SourceRevision { files: of_tree(files, prefix), copies: of_tree(copies, prefix), ..own };
    let Some(Note { selection, revision, base, root, environment }) = note else { return own };
    let base = SourceRevision { revision: base.into(), root, ..SourceRevision::default() };
    let base = tree(base, &below, files, copies);
    let part = Arc::new(PartialApply { selection, base, environment: environment.map(Arc::from) });
    SourceRevision { revision: revision.into(), part: Some(part), ..own }
}

/// `net:main@sha1:… lab:dir@sha256:…`; nothing where there is one source, whose revision has no name before a
/// colon: `main@sha1` is none.
fn named(source: &str) -> Vec<(Name, Arc<str>)> {
    let part = |word: &str| {
        let (name, revision) = word.split_once(':')?;
        Some((name.parse().ok()?, revision.into()))
    };
    source.split(' ').filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Record;

    fn files(of: &[(&str, &str)]) -> BTreeMap<Arc<str>, Bytes> {
        of.iter().map(|(path, text)| (Arc::from(*path), Bytes::from((*text).to_owned()))).collect()
    }

    fn former(revision: &str, source: &str) -> FormerRevision {
        FormerRevision { revision: revision.into(), source: source.into(), ..FormerRevision::default() }
    }

    const UPPER: &str = r#"{"selection":{"only":["x"],"except":[]},"revision":"two","base":"one (only y)","root":null,"environment":"lab"}"#;
    const LOWER: &str = r#"{"selection":{"only":["y"],"except":[]},"revision":"one","base":"zero","root":"/srv","environment":null}"#;

    #[test]
    fn an_only_source_is_itself() {
        let stored = files(&[("a.toml", "2"), ("secrets/a.age", "s")]);
        let read = former("main@sha1:1", "main@sha1:1").revision(&stored);
        assert_eq!((&*read.name(), read.depth()), ("main@sha1:1", 0));
        assert!(matches!(read.sources, Composition::One(only) if only.files == stored));
    }

    #[test]
    fn partial_applies_are_read_from_their_notes() {
        let stored = files(&[
            ("a:a.toml", "2"),
            ("a:.base/a.toml", "1"),
            ("a:.base/.note.json", UPPER),
            ("a:.base/.base/a.toml", "0"),
            ("a:.base/.base/.note.json", LOWER),
            ("net:a.toml", "n"),
        ]);
        let read = former("a:two (only x) net:n1", "a:main@sha1:9 net:n1").revision(&stored);
        assert_eq!((&*read.name(), read.depth()), ("a:two (only x) net:n1", 2));
        let Composition::Several(sources) = &read.sources else { panic!("{read:?}") };
        let trees: Vec<&SourceRevision> = sources["a"].trees().collect();
        let text = |tree: &SourceRevision| String::from_utf8(tree.files["a.toml"].to_vec()).unwrap();
        let shown: Vec<String> =
            trees.iter().map(|tree| format!("{} {}", tree.revision, text(tree))).collect();
        assert_eq!(shown, ["two 2", "one 1", "zero 0"]);
        assert_eq!((&*trees[0].settled, trees[2].root.as_deref()), ("main@sha1:9", Some("/srv".as_ref())));
        assert!(trees.iter().all(|tree| tree.files.len() == 1), "{trees:?}");
        // Stored by this version and read again it is the same; only the description is written anew.
        let records = read.records(&read);
        let again = Revision::of(&read.without_files(), &stored);
        assert_eq!(again, read);
        let of_files = records.iter().filter(|record| !matches!(record, Record::Revision(_)));
        assert!(
            of_files.clone().all(|record| matches!(record, Record::File(path, None) if path.ends_with(NOTE))),
            "{records:?}"
        );
        assert_eq!(of_files.count(), 2);
    }
}
