//! Several sources as one inventory: the good part of each, and what waits to become one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::reconcile::part;
use crate::model::Name;
use crate::source::Snapshot;
use crate::store::Kept;

/// What one source held at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    pub revision: Arc<str>,
    /// Directory that files not held here are read from.
    pub root: Option<PathBuf>,
    pub files: BTreeMap<Arc<str>, Bytes>,
    pub copies: BTreeMap<Arc<str>, PathBuf>,
}

impl Piece {
    pub fn of(snapshot: &Snapshot) -> Piece {
        let revision = snapshot.revision.clone();
        Piece { revision, root: None, files: snapshot.inline(), copies: snapshot.copies() }
    }

    /// What was served of an only source.
    pub fn of_kept(kept: Kept) -> Piece {
        let Kept { revision, source: _, root, environment: _, files, copies } = kept;
        Piece { revision, root, files, copies }
    }
}

#[derive(Debug, Default)]
struct Part {
    /// What is served of it.
    good: Option<Piece>,
    /// The source's own revision that `good` is, or stands for where a tree was applied by hand.
    settled: Arc<str>,
    /// Seen and not adopted: what another source lacked may come.
    waiting: Option<Piece>,
    /// It said something since the start, if only that it is away.
    spoke: bool,
    /// Its revisions wait for a person's word.
    manual: bool,
}

/// The sources of this daemon.
#[derive(Debug)]
pub struct Parts {
    parts: BTreeMap<Name, Part>,
    /// What is served comes from sources that are configured no more.
    strange: bool,
}

impl Parts {
    pub fn new(names: impl IntoIterator<Item = Name>) -> Parts {
        let parts = names.into_iter().map(|name| (name, Part::default())).collect();
        Parts { parts, strange: false }
    }

    /// The revisions of this source wait for a person's word.
    pub fn ask_for(&mut self, name: &Name) {
        if let Some(part) = self.parts.get_mut(name) {
            part.manual = true;
        }
    }

    pub fn are_several(&self) -> bool {
        self.parts.len() > 1
    }

    /// Takes apart what was served when the daemon stopped.
    pub fn restore(&mut self, kept: &Kept) {
        let named = named(&kept.source);
        if !self.are_several() {
            if let (Some(part), true) = (self.parts.values_mut().next(), named.is_empty()) {
                part.settled = kept.source.clone();
                part.good = Some(Piece { copies: kept.copies.clone(), ..Piece::default() });
            }
            return;
        }
        self.strange = named.is_empty() || named.iter().any(|(name, _)| !self.parts.contains_key(name));
        let revisions: BTreeMap<Name, Arc<str>> = self::named(&kept.revision).into_iter().collect();
        for (name, settled) in named {
            let Some(part) = self.parts.get_mut(&name) else { continue };
            let root = format!("{name}:");
            let own = |path: &Arc<str>| path.strip_prefix(&*root).map(Arc::from);
            let files = kept.files.iter().filter_map(|(path, bytes)| Some((own(path)?, bytes.clone())));
            let copies = kept.copies.iter().filter_map(|(path, copy)| Some((own(path)?, copy.clone())));
            let (files, copies): (BTreeMap<_, _>, _) = (files.collect(), copies.collect());
            // The name of part of a revision has spaces.
            let partial = part::name_of(&files).map(Arc::from);
            let revision = partial.unwrap_or_else(|| revisions.get(&name).unwrap_or(&settled).clone());
            part.settled = settled;
            part.good = Some(Piece { revision, root: None, files, copies });
        }
    }

    /// An earlier revision is served again; what was served until now waits, unless something newer
    /// does.
    pub fn go_back(&mut self, kept: &Kept) {
        let several = self.are_several();
        for part in self.parts.values_mut() {
            let good = part.good.take();
            // The files of an only source are not held here.
            part.waiting = part.waiting.take().or(good.filter(|_| several));
            part.settled = "".into();
        }
        self.restore(kept);
    }

    /// Whether this revision of the source was adopted already.
    pub fn is_settled(&self, name: &Name, revision: &str) -> bool {
        self.parts.get(name).is_some_and(|part| &*part.settled == revision)
    }

    /// Whatever the sources hold next is news, even the same.
    pub fn unsettle(&mut self) {
        self.parts.values_mut().for_each(|part| part.settled = "".into());
    }

    /// The revision of the source that is served; empty if there is none.
    pub fn served(&self, name: &Name) -> &str {
        self.parts.get(name).and_then(|part| part.good.as_ref()).map_or("", |good| &good.revision)
    }

    /// What is served of the source, where there are several.
    pub fn good(&self, name: &Name) -> Option<Piece> {
        self.parts.get(name)?.good.clone()
    }

    /// A revision that was seen.
    pub fn wait(&mut self, name: &Name, piece: Piece) {
        let Some(part) = self.parts.get_mut(name) else { return };
        part.spoke = true;
        part.waiting = Some(piece);
    }

    /// The source went back to what is served.
    pub fn rest(&mut self, name: &Name) {
        let Some(part) = self.parts.get_mut(name) else { return };
        part.spoke = true;
        part.waiting = None;
    }

    /// The source can't be read. What it waits with is dropped unless that waits for a person.
    pub fn away(&mut self, name: &Name, waits: bool) {
        let Some(part) = self.parts.get_mut(name) else { return };
        part.spoke = true;
        part.waiting = part.waiting.take().filter(|_| waits);
    }

    /// The files that are served of a source, or are about to be; none where there is one source.
    pub fn files(&self, name: &Name) -> BTreeMap<Arc<str>, Bytes> {
        let piece = self.parts.get(name).and_then(|part| part.good.as_ref().or(part.waiting.as_ref()));
        piece.map(|piece| piece.files.clone()).unwrap_or_default()
    }

    pub fn waiting(&self, name: &Name) -> Option<Piece> {
        self.parts.get(name)?.waiting.clone()
    }

    /// The sources with something that waits.
    pub fn queue(&self) -> Vec<Name> {
        self.parts.iter().filter(|(_, part)| part.waiting.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The files on disk that are served, or may be soon.
    pub fn copies(&self) -> BTreeSet<PathBuf> {
        let pieces = self.parts.values().flat_map(|part| part.good.iter().chain(&part.waiting));
        pieces.flat_map(|piece| piece.copies.values().cloned()).collect()
    }

    /// Where the files of a source lie on disk, those that are served first.
    pub fn copies_of(&self, name: &Name) -> BTreeMap<Arc<str>, PathBuf> {
        let pieces = self.parts.get(name).into_iter().flat_map(|part| part.waiting.iter().chain(&part.good));
        pieces.flat_map(|piece| piece.copies.clone()).collect()
    }

    /// Everything that would be served with `piece` as the part of `name`; `settled` is the
    /// source's own revision that it is or stands for. Where what is served
    /// comes from sources that are gone, the names of those without which nothing may be judged:
    /// their machines would look removed.
    pub fn with(&self, name: &Name, piece: &Piece, settled: &str) -> Result<Kept, Vec<Name>> {
        let missing: Vec<Name> = self
            .parts
            .iter()
            .filter(|(other, part)| *other != name && part.good.is_none() && !part.spoke)
            .map(|(other, _)| other.clone())
            .collect();
        if self.strange && !missing.is_empty() {
            return Err(missing);
        }
        if !self.are_several() {
            let source = settled.into();
            let Piece { revision, root, files, copies } = piece.clone();
            return Ok(Kept { revision, source, root, files, copies, ..Kept::default() });
        }
        let mut kept = Kept::default();
        let mut revisions = Vec::new();
        let mut settleds = Vec::new();
        for (other, part) in &self.parts {
            let moved = other == name;
            let Some((found, own)) = (if moved { Some((piece, settled)) } else { self.beside(part) }) else {
                continue;
            };
            kept.root = kept.root.or_else(|| found.root.clone());
            let root = |path: &Arc<str>| -> Arc<str> { format!("{other}:{path}").into() };
            kept.files.extend(found.files.iter().map(|(path, bytes)| (root(path), bytes.clone())));
            kept.copies.extend(found.copies.iter().map(|(path, copy)| (root(path), copy.clone())));
            revisions.push(format!("{other}:{}", found.revision));
            settleds.push(format!("{other}:{own}"));
        }
        kept.revision = revisions.join(" ").into();
        kept.source = settleds.join(" ").into();
        Ok(kept)
    }

    /// What is served of a source beside another that moves, and the source's own revision. Those that
    /// replace former sources begin together: one alone would give up what the others have of them.
    fn beside<'a>(&self, part: &'a Part) -> Option<(&'a Piece, &'a str)> {
        let waits = part.waiting.as_ref().filter(|_| self.strange && !part.manual);
        match &part.good {
            Some(good) => Some((good, &part.settled)),
            None => waits.map(|piece| (piece, &*piece.revision)),
        }
    }

    /// `piece` is served now; `settled` is the source's own revision that it is or stands for.
    pub fn adopt(&mut self, name: &Name, piece: Piece, settled: Arc<str>) {
        if self.strange {
            // What was put together with it is served, too; it is told so when its turn comes.
            let begun = self.parts.iter().filter(|(other, part)| *other != name && part.good.is_none());
            let begun: Vec<(Name, Piece)> = begun
                .filter_map(|(other, part)| Some((other.clone(), self.beside(part)?.0.clone())))
                .collect();
            for (other, piece) in begun {
                let Some(part) = self.parts.get_mut(&other) else { continue };
                (part.settled, part.good) = (piece.revision.clone(), Some(piece));
            }
        }
        self.strange = false;
        // The files of an only source are put together with nothing: they need not be held.
        let piece = if self.are_several() { piece } else { Piece { files: BTreeMap::new(), ..piece } };
        if let Some(part) = self.parts.get_mut(name) {
            let manual = part.manual;
            *part = Part { good: Some(piece), settled, waiting: None, spoke: true, manual };
        }
    }
}

/// What the paths of a kept revision's sources begin with, the one of `first` before all others.
pub fn roots(kept: &Kept, first: Option<&Name>) -> Vec<Arc<str>> {
    let mut names: Vec<Name> = named(&kept.source).into_iter().map(|(name, _)| name).collect();
    names.sort_by_key(|name| Some(name) != first);
    names.into_iter().map(|name| format!("{name}:").into()).collect()
}

/// The same sources, and no revision of them.
pub fn unsettled(source: &str) -> String {
    named(source).iter().map(|(name, _)| format!("{name}:")).collect::<Vec<_>>().join(" ")
}

/// `net:main@sha1:… lab:dir@sha256:…`; nothing where there is one source, whose revision has no
/// name before a colon: `main@sha1` is none.
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

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn piece(revision: &str, path: &str) -> Piece {
        Piece { revision: revision.into(), files: [(path.into(), Bytes::new())].into(), ..Piece::default() }
    }

    fn paths(kept: &Kept) -> Vec<&str> {
        kept.files.keys().map(|path| &**path).collect()
    }

    #[test]
    fn one_source_is_itself() {
        let mut parts = Parts::new([name("inventory")]);
        let kept = parts.with(&name("inventory"), &piece("a=b@sha1:1", "x"), "a=b@sha1:1").unwrap();
        assert_eq!((&*kept.revision, paths(&kept)), ("a=b@sha1:1", vec!["x"]));
        assert!(roots(&kept, None).is_empty());
        parts.restore(&kept);
        assert!(parts.is_settled(&name("inventory"), "a=b@sha1:1"));
    }

    #[test]
    fn each_part_stays_until_its_next_good_one() {
        let (net, lab) = (name("net"), name("lab"));
        let mut parts = Parts::new([net.clone(), lab.clone()]);
        parts.adopt(&net, piece("main@sha1:1", "n"), "main@sha1:1".into());
        let kept = parts.with(&lab, &piece("hand", "l"), "dir@sha256:2").unwrap();
        assert_eq!(paths(&kept), ["lab:l", "net:n"]);
        assert_eq!(&*kept.source, "lab:dir@sha256:2 net:main@sha1:1");
        assert_eq!(roots(&kept, Some(&net)).iter().map(|root| &**root).collect::<Vec<_>>(), ["net:", "lab:"]);
        let mut again = Parts::new([net.clone(), lab.clone()]);
        again.restore(&kept);
        assert_eq!(
            paths(&again.with(&net, &piece("main@sha1:3", "m"), "main@sha1:3").unwrap()),
            ["lab:l", "net:m"]
        );
        assert!(again.is_settled(&lab, "dir@sha256:2"));
    }

    #[test]
    fn nothing_is_judged_before_those_that_replace_a_former_source_spoke() {
        let (net, lab) = (name("net"), name("lab"));
        let mut parts = Parts::new([net.clone(), lab.clone()]);
        parts.restore(&Kept { source: "main@sha1:1".into(), ..Kept::default() });
        assert_eq!(parts.with(&net, &piece("main@sha1:2", "n"), "main@sha1:2"), Err(vec![lab.clone()]));
        parts.away(&lab, false);
        assert!(parts.with(&net, &piece("main@sha1:2", "n"), "main@sha1:2").is_ok());
    }
}
