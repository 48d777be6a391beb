//! The sources that a daemon follows, as one revision: what is served of each, and what waits to be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::Name;
use crate::state::{Composition, Revision, SourceRevision};

/// What is known of one source.
#[derive(Debug, Default)]
struct SourceState {
    /// What is served of it. The files of an only source are not held here: they are put together with nothing.
    served: Option<SourceRevision>,
    /// The source's own revision that `served` is, or stands for where a tree was applied by hand.
    settled: Arc<str>,
    /// Seen and not adopted: what another source lacked may come.
    waiting: Option<SourceRevision>,
    /// It was heard of since the start, if only that it is away.
    is_heard: bool,
    /// Its revisions wait for a person's word.
    is_manual: bool,
}

/// All of them.
#[derive(Debug)]
pub struct SourceSet {
    sources: BTreeMap<Name, SourceState>,
    /// What is served comes from sources that are configured no more.
    from_unconfigured: bool,
}

impl SourceSet {
    pub fn new(names: impl IntoIterator<Item = Name>) -> SourceSet {
        let sources = names.into_iter().map(|name| (name, SourceState::default())).collect();
        SourceSet { sources, from_unconfigured: false }
    }

    /// The revisions of this source wait for a person's word.
    pub fn set_manual(&mut self, name: &Name) {
        if let Some(source) = self.sources.get_mut(name) {
            source.is_manual = true;
        }
    }

    pub fn are_several(&self) -> bool {
        self.sources.len() > 1
    }

    /// What is served, as it was stored.
    pub fn restore(&mut self, revision: &Revision) {
        match (&revision.sources, self.are_several()) {
            (Composition::One(only), false) => {
                if let Some(source) = self.sources.values_mut().next() {
                    source.settled = only.settled.clone();
                    source.served = Some(without_files(only));
                }
            }
            // Another source was followed, under whatever name: its revision is none of this one's.
            (Composition::Several(_), false) => {}
            (Composition::One(_), true) => self.from_unconfigured = true,
            (Composition::Several(stored), true) => {
                self.from_unconfigured = stored.keys().any(|name| !self.sources.contains_key(name));
                for (name, one) in stored {
                    let Some(source) = self.sources.get_mut(name) else { continue };
                    source.settled = one.settled.clone();
                    source.served = Some(one.clone());
                }
            }
        }
    }

    /// An earlier revision is served again; what was served until now waits, unless something newer
    /// does.
    pub fn go_back(&mut self, revision: &Revision) {
        let several = self.are_several();
        for source in self.sources.values_mut() {
            // The files of an only source are not held here.
            let served = source.served.take().filter(|_| several);
            // What it stood for is forgotten: it comes back as itself.
            let served = served.map(SourceRevision::as_itself);
            source.waiting = source.waiting.take().or(served);
            source.settled = "".into();
        }
        self.restore(revision);
    }

    /// Whether this revision of the source was adopted already.
    pub fn is_settled(&self, name: &Name, revision: &str) -> bool {
        self.sources.get(name).is_some_and(|source| &*source.settled == revision)
    }

    /// Whatever the sources hold next is news, even the same.
    pub fn unsettle(&mut self) {
        self.sources.values_mut().for_each(|source| source.settled = "".into());
    }

    /// What is served of the source, with its files where there are several.
    pub fn served(&self, name: &Name) -> Option<&SourceRevision> {
        self.sources.get(name)?.served.as_ref()
    }

    /// What that is called; empty if there is nothing.
    pub fn served_name(&self, name: &Name) -> Arc<str> {
        self.served(name).map(SourceRevision::name).unwrap_or_default()
    }

    /// Whether only part of a tree is served of the source.
    pub fn is_in_part(&self, name: &Name) -> bool {
        self.served(name).is_some_and(|served| served.part.is_some())
    }

    /// A revision was seen.
    pub fn wait(&mut self, name: &Name, revision: SourceRevision) {
        let Some(source) = self.sources.get_mut(name) else { return };
        source.is_heard = true;
        source.waiting = Some(revision);
    }

    /// The source went back to what is served.
    pub fn rest(&mut self, name: &Name) {
        let Some(source) = self.sources.get_mut(name) else { return };
        source.is_heard = true;
        source.waiting = None;
    }

    /// The source can't be read. What it waits with is dropped unless that waits for a person.
    pub fn away(&mut self, name: &Name, waits: bool) {
        let Some(source) = self.sources.get_mut(name) else { return };
        source.is_heard = true;
        source.waiting = source.waiting.take().filter(|_| waits);
    }

    /// The files that are served of a source, or are about to be; none where there is one source. Of a tree
    /// that was applied in part, all of it.
    pub fn files(&self, name: &Name) -> BTreeMap<Arc<str>, Bytes> {
        let of =
            |source: &SourceState| Some(source.served.as_ref().or(source.waiting.as_ref())?.files.clone());
        self.sources.get(name).and_then(of).unwrap_or_default()
    }

    pub fn waiting(&self, name: &Name) -> Option<&SourceRevision> {
        self.sources.get(name)?.waiting.as_ref()
    }

    /// The sources with something that waits.
    pub fn queue(&self) -> Vec<Name> {
        let waiting = self.sources.iter().filter(|(_, source)| source.waiting.is_some());
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// The files on disk that are served, or may be soon.
    pub fn copies(&self) -> BTreeSet<PathBuf> {
        let revisions = self.sources.values().flat_map(|one| one.served.iter().chain(&one.waiting));
        let trees = revisions.flat_map(SourceRevision::trees);
        trees.flat_map(|tree| tree.copies.values().cloned()).collect()
    }

    /// Where the files of a source lie on disk, those that are served first.
    pub fn copies_of(&self, name: &Name) -> BTreeMap<Arc<str>, PathBuf> {
        let source = self.sources.get(name).into_iter();
        let revisions = source.flat_map(|source| source.waiting.iter().chain(&source.served));
        revisions.flat_map(|revision| revision.copies.clone()).collect()
    }

    /// Everything that would be served with `revision` as that of `name`. Where what is served
    /// comes from sources that are gone, the names of those without which nothing may be judged:
    /// their machines would look removed.
    pub fn with(&self, name: &Name, revision: &SourceRevision) -> Result<Revision, Vec<Name>> {
        let is_missing = |source: &SourceState| source.served.is_none() && !source.is_heard;
        let missing = self.sources.iter().filter(|(other, source)| *other != name && is_missing(source));
        let missing: Vec<Name> = missing.map(|(other, _)| other.clone()).collect();
        if self.from_unconfigured && !missing.is_empty() {
            return Err(missing);
        }
        if !self.are_several() {
            return Ok(Revision::of_one(revision.clone()));
        }
        let part = |(other, source): (&Name, &SourceState)| {
            let found = if other == name { revision.clone() } else { self.beside(source)? };
            Some((other.clone(), found))
        };
        let sources = Composition::Several(self.sources.iter().filter_map(part).collect());
        Ok(Revision { environment: None, sources })
    }

    /// What is served of a source beside another that moves. Those that replace former sources begin together:
    /// one alone would give up what the others have of them.
    fn beside(&self, source: &SourceState) -> Option<SourceRevision> {
        match &source.served {
            Some(served) => Some(SourceRevision { settled: source.settled.clone(), ..served.clone() }),
            None => source.waiting.clone().filter(|_| self.from_unconfigured && !source.is_manual),
        }
    }

    /// The revision is served now.
    pub fn adopt(&mut self, name: &Name, revision: SourceRevision) {
        if self.from_unconfigured {
            // What was put together with it is served, too; it is shown so when its turn comes.
            let begun = self.sources.iter().filter(|(other, one)| *other != name && one.served.is_none());
            let begun: Vec<(Name, SourceRevision)> =
                begun.filter_map(|(other, one)| Some((other.clone(), self.beside(one)?))).collect();
            for (other, revision) in begun {
                let Some(source) = self.sources.get_mut(&other) else { continue };
                (source.settled, source.served) = (revision.settled.clone(), Some(revision));
            }
        }
        self.from_unconfigured = false;
        let revision = if self.are_several() { revision } else { without_files(&revision) };
        if let Some(source) = self.sources.get_mut(name) {
            source.settled = revision.settled.clone();
            source.served = Some(revision);
            source.waiting = None;
            source.is_heard = true;
        }
    }
}

/// What it is called, where its files lie on disk, and of which part it is.
fn without_files(revision: &SourceRevision) -> SourceRevision {
    let part = revision.part.as_ref().map(|part| {
        let (selection, environment) = (part.selection.clone(), part.environment.clone());
        Arc::new(crate::state::PartialApply { selection, base: without_files(&part.base), environment })
    });
    SourceRevision {
        revision: revision.revision.clone(),
        settled: revision.settled.clone(),
        root: revision.root.clone(),
        files: BTreeMap::new(),
        copies: revision.copies.clone(),
        part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FilePath, Selection};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn tree(revision: &str, path: &str) -> SourceRevision {
        let files = [(path.into(), Bytes::new())].into();
        SourceRevision { revision: revision.into(), settled: revision.into(), files, ..Default::default() }
    }

    fn paths(revision: &Revision) -> Vec<String> {
        let files =
            revision.sources().flat_map(|(name, source)| source.files.keys().map(move |path| (name, path)));
        files.map(|(name, path)| FilePath::new(name, path).to_string()).collect()
    }

    #[test]
    fn one_source_is_itself() {
        let mut set = SourceSet::new([name("inventory")]);
        let revision = set.with(&name("inventory"), &tree("a=b@sha1:1", "x")).unwrap();
        assert_eq!((&*revision.name(), paths(&revision)), ("a=b@sha1:1", vec!["x".to_owned()]));
        set.restore(&revision);
        assert!(set.is_settled(&name("inventory"), "a=b@sha1:1") && !set.is_in_part(&name("inventory")));
        assert!(set.served(&name("inventory")).unwrap().files.is_empty());
    }

    #[test]
    fn a_name_with_brackets_is_no_part_and_a_part_needs_none() {
        let mut set = SourceSet::new([name("inventory")]);
        set.adopt(&name("inventory"), tree("release (final)", "x"));
        assert!(!set.is_in_part(&name("inventory")));
        let selection = Selection { only: vec!["web-1".into()], except: vec![] };
        set.adopt(&name("inventory"), tree("hand", "x").in_part(selection, tree("1", "x"), None));
        assert!(set.is_in_part(&name("inventory")));
        assert_eq!(&*set.served_name(&name("inventory")), "hand (only web-1)");
    }

    #[test]
    fn each_source_stays_until_its_next_good_revision() {
        let (net, lab) = (name("net"), name("lab"));
        let mut set = SourceSet::new([net.clone(), lab.clone()]);
        set.adopt(&net, tree("main@sha1:1", "n"));
        let by_hand = SourceRevision { settled: "dir@sha256:2".into(), ..tree("hand", "l") };
        let revision = set.with(&lab, &by_hand).unwrap();
        assert_eq!(paths(&revision), ["lab:l", "net:n"]);
        assert_eq!(&*revision.name(), "lab:hand net:main@sha1:1");
        let mut again = SourceSet::new([net.clone(), lab.clone()]);
        again.restore(&revision);
        assert_eq!(paths(&again.with(&net, &tree("main@sha1:3", "m")).unwrap()), ["lab:l", "net:m"]);
        assert!(again.is_settled(&lab, "dir@sha256:2"));
        again.unsettle();
        let later = again.with(&net, &tree("main@sha1:3", "m")).unwrap();
        assert!(later.sources().all(|(_, one)| &*one.settled != "dir@sha256:2"));
    }

    #[test]
    fn nothing_is_judged_before_those_that_replace_a_former_source_were_heard() {
        let (net, lab) = (name("net"), name("lab"));
        let mut set = SourceSet::new([net.clone(), lab.clone()]);
        set.restore(&Revision::of_one(tree("main@sha1:1", "x")));
        assert_eq!(set.with(&net, &tree("main@sha1:2", "n")), Err(vec![lab.clone()]));
        set.away(&lab, false);
        assert!(set.with(&net, &tree("main@sha1:2", "n")).is_ok());
    }
}
