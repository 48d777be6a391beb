//! A revision: what the sources hold together, as it was read. What is served is made of one; it is stored, so
//! that a start without the sources serves the same.

pub mod former;
pub mod stored;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{FilePath, Name, Selection};

/// What all sources hold together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revision {
    /// The environment that is laid over the manifests.
    pub environment: Option<Arc<str>>,
    pub sources: Composition,
}

/// What a revision is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Composition {
    /// An only source, whose name is of no concern.
    One(SourceRevision),
    /// Each of several sources, by its name.
    Several(BTreeMap<Name, SourceRevision>),
}

/// What one source holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceRevision {
    /// What it is called: `main@sha1:…`, `dir@sha256:…`, or as a tree that was sent calls itself.
    pub revision: Arc<str>,
    /// The source's own revision that this is, or stands for where a tree was applied by hand. Empty where
    /// that is none: whatever the source holds next is news.
    pub settled: Arc<str>,
    /// Directory that files not held here are read from.
    pub root: Option<PathBuf>,
    /// By their paths in the inventory.
    pub files: BTreeMap<Arc<str>, Bytes>,
    /// Where files lie on disk, by their paths in the inventory.
    pub copies: BTreeMap<Arc<str>, PathBuf>,
    /// Where only part of it was applied: which part, and what the rest is.
    pub part: Option<Arc<PartialApply>>,
}

/// What a tree that is applied in part lies on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartialApply {
    /// What is taken of the tree.
    pub selection: Selection,
    /// Everything else is as in this.
    pub base: SourceRevision,
    /// The environment that is laid over that.
    pub environment: Option<Arc<str>>,
}

/// A tree of one source, whole or the upper or lower one of a partial apply.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `None` for an only source.
    pub source: Option<&'a Name>,
    /// How many partial applies lie on it.
    pub depth: usize,
    pub tree: &'a SourceRevision,
}

impl Default for Composition {
    fn default() -> Composition {
        Composition::One(SourceRevision::default())
    }
}

/// What the paths of a source's files begin with, where there are several.
pub fn root_of(source: &Name) -> String {
    format!("{source}:")
}

impl SourceRevision {
    /// What people call it: `hand (only web-1)` where part of it was taken.
    pub fn name(&self) -> Arc<str> {
        match &self.part {
            Some(part) => format!("{} ({})", self.revision, part.selection).into(),
            None => self.revision.clone(),
        }
    }

    /// Part of it on top of `base`, which has its own environment.
    pub fn in_part(
        self,
        selection: Selection,
        base: SourceRevision,
        environment: Option<Arc<str>>,
    ) -> SourceRevision {
        SourceRevision { part: Some(Arc::new(PartialApply { selection, base, environment })), ..self }
    }

    /// The same, which stands for nothing but itself.
    pub fn as_itself(self) -> SourceRevision {
        SourceRevision { settled: self.name(), ..self }
    }

    /// All of it, whatever part was taken.
    pub fn whole(&self) -> SourceRevision {
        SourceRevision { part: None, ..self.clone() }
    }

    /// It and what it lies on, the uppermost first.
    pub fn trees(&self) -> impl Iterator<Item = &SourceRevision> {
        std::iter::successors(Some(self), |tree| tree.part.as_deref().map(|part| &part.base))
    }
}

impl Revision {
    /// What one source alone is served as.
    pub fn of_one(source: SourceRevision) -> Revision {
        Revision { environment: None, sources: Composition::One(source) }
    }

    /// What people call it: of several sources, `lab:main@sha1:… net:dir@sha256:…`.
    pub fn name(&self) -> Arc<str> {
        match &self.sources {
            Composition::One(source) => source.name(),
            Composition::Several(sources) => {
                let named = sources.iter().map(|(name, one)| format!("{}{}", root_of(name), one.name()));
                named.collect::<Vec<_>>().join(" ").into()
            }
        }
    }

    /// Each source, by its name where there are several.
    pub fn sources(&self) -> impl Iterator<Item = (Option<&Name>, &SourceRevision)> {
        let (one, several) = match &self.sources {
            Composition::One(source) => (Some((None, source)), None),
            Composition::Several(sources) => (None, Some(sources)),
        };
        one.into_iter().chain(several.into_iter().flatten().map(|(name, source)| (Some(name), source)))
    }

    /// Every tree of every source.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        self.sources().flat_map(|(source, one)| {
            one.trees().enumerate().map(move |(depth, tree)| Layer { source, depth, tree })
        })
    }

    /// How many partial applies lie on top of each other, those of all sources together. Each doubles the
    /// work of the next load at worst.
    pub fn depth(&self) -> usize {
        self.layers().filter(|layer| layer.depth > 0).count()
    }

    /// The same sources, each changed by `change`.
    pub fn map(&self, mut change: impl FnMut(&SourceRevision) -> SourceRevision) -> Revision {
        let sources = match &self.sources {
            Composition::One(source) => Composition::One(change(source)),
            Composition::Several(sources) => {
                Composition::Several(sources.iter().map(|(name, one)| (name.clone(), change(one))).collect())
            }
        };
        Revision { environment: self.environment.clone(), sources }
    }

    /// Only what was applied last of each source, as if all of it had been.
    pub fn whole(&self) -> Revision {
        self.map(SourceRevision::whole)
    }

    /// The same, and no revision of any source: whatever they hold next is news.
    pub fn unsettled(&self) -> Revision {
        self.map(|source| SourceRevision { settled: "".into(), ..source.clone() })
    }

    /// Before and after the partial apply of the first source that has one, with what is taken of the later;
    /// `None` where all are served whole. What other sources have is the same in both.
    pub fn split(&self) -> Option<(Revision, Revision, &Selection)> {
        let part = self.sources().find_map(|(_, source)| source.part.as_deref())?;
        let replaced = |with: &dyn Fn(&SourceRevision) -> SourceRevision| {
            let mut is_done = false;
            self.map(|source| {
                let is_it = !is_done && source.part.is_some();
                is_done |= is_it;
                if is_it { with(source) } else { source.clone() }
            })
        };
        let before = replaced(&|_| part.base.clone());
        let before = Revision { environment: part.environment.clone(), ..before };
        Some((before, replaced(&SourceRevision::whole), &part.selection))
    }

    /// Where sources are served in part: the trees that the pools are of. An apply that names what it takes leaves pools as
    /// they are; one that names what it leaves out takes all others.
    pub fn of_pools(&self) -> Revision {
        let mut of = self.clone();
        while let Some((before, after, selection)) = of.split() {
            of = if selection.only.is_empty() { after } else { before };
        }
        of
    }

    /// The file at a path, in whichever source has it.
    pub fn file(&self, path: &str) -> Option<&Bytes> {
        self.sources().find_map(|(_, source)| source.files.get(path))
    }

    /// The source that has a file at this path; `None` for an only one.
    pub fn source_of(&self, path: &str) -> Option<&Name> {
        self.sources().find(|(_, source)| source.files.contains_key(path))?.0
    }

    /// The file that people see as `shown`.
    pub fn find(&self, shown: &str) -> Option<&Bytes> {
        match &self.sources {
            Composition::One(source) => source.files.get(shown),
            Composition::Several(sources) => {
                let (source, path) = shown.split_once(':')?;
                sources.get(source)?.files.get(path)
            }
        }
    }

    /// Where the files lie on disk, by their paths as people see them.
    pub fn copies(&self) -> BTreeMap<Arc<str>, PathBuf> {
        let all = self.sources().flat_map(|(name, source)| {
            source.copies.iter().map(move |(path, copy)| (FilePath::new(name, path), copy))
        });
        all.map(|(path, copy)| (path.shown().clone(), copy.clone())).collect()
    }

    /// Directory that files not held here are read from.
    pub fn root(&self) -> Option<&PathBuf> {
        self.sources().find_map(|(_, source)| source.root.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(revision: &str, text: &'static str) -> SourceRevision {
        let files = [("a.toml".into(), Bytes::from_static(text.as_bytes()))].into();
        SourceRevision { revision: revision.into(), settled: revision.into(), files, ..Default::default() }
    }

    fn only(name: &str) -> Selection {
        Selection { only: vec![name.into()], except: vec![] }
    }

    #[test]
    fn partial_applies_come_apart_as_they_were_joined() {
        let mut base = tree("one", "1");
        for number in 1..4 {
            let joined = tree("next", "2").in_part(only("x"), base.clone(), Some("lab".into()));
            assert_eq!(&*joined.name(), "next (only x)");
            let revision = Revision::of_one(joined.clone());
            let (before, after, selection) = revision.split().unwrap();
            assert_eq!((after, selection), (Revision::of_one(tree("next", "2")), &only("x")));
            let environment = Some("lab".into());
            assert_eq!(before, Revision { environment, ..Revision::of_one(base) });
            assert_eq!(revision.depth(), number);
            assert_eq!(revision.whole(), Revision::of_one(tree("next", "2")));
            base = joined;
        }
        assert!(Revision::of_one(tree("one", "1")).split().is_none());
    }

    #[test]
    fn one_source_comes_apart_and_the_others_stay() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let all = |b: SourceRevision| Revision {
            environment: None,
            sources: Composition::Several(
                [(name("a"), tree("1", "1")), (name("b"), b), (name("net"), tree("1", "1"))].into(),
            ),
        };
        let revision = all(tree("2", "2").in_part(only("x"), tree("1", "1"), None));
        assert_eq!((&*revision.name(), revision.depth()), ("a:1 b:2 (only x) net:1", 1));
        let (before, after, _) = revision.split().unwrap();
        assert_eq!((before, after), (all(tree("1", "1")), all(tree("2", "2"))));
        let found =
            ["a:a.toml", "b:a.toml", "net:a.toml", "c:a.toml", "a.toml"].map(|path| revision.find(path));
        assert_eq!(
            found.map(|found| found.map(|bytes| &**bytes)),
            [Some(&b"1"[..]), Some(b"2"), Some(b"1"), None, None]
        );
    }
}
