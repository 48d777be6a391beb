//! Trees that were applied in part: kept as one set of files, so that a restart finds the same
//! state. The files that it is built upon lie in a folder that no source can have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::load::Terms;
use super::{Invalid, Kept, Media, Ready, Reconciler, same};
use crate::daemon::parts::{Piece, roots};
use crate::media::Seen;
use crate::model::Name;
use crate::plan::partial::{Selection, compose};

/// Hidden, so that no inventory has it.
const BASE: &str = ".base/";
const NOTE: &str = ".base/.note.json";
/// How many partial applies may follow each other: each keeps the files before it.
pub const DEEPEST: usize = 4;

/// What was taken of which revision, on top of which.
#[derive(Serialize, Deserialize)]
struct Note {
    selection: Selection,
    revision: String,
    base: String,
    root: Option<PathBuf>,
    environment: Option<String>,
}

/// What a source has at one revision, in part, on top of what is served of it.
pub fn join(
    top: Piece,
    base: &Piece,
    environment: Option<&Arc<str>>,
    selection: Selection,
) -> Result<Piece, String> {
    let note = Note {
        selection,
        revision: top.revision.to_string(),
        base: base.revision.to_string(),
        root: base.root.clone(),
        environment: environment.map(ToString::to_string),
    };
    let revision = note.name().into();
    let note = serde_json::to_vec(&note).map_err(|error| error.to_string())?;
    let below = |path: &Arc<str>| -> Arc<str> { format!("{BASE}{path}").into() };
    let Piece { revision: _, root, mut files, mut copies } = top;
    files.extend(base.files.iter().map(|(path, bytes)| (below(path), bytes.clone())));
    copies.extend(base.copies.iter().map(|(path, copy)| (below(path), copy.clone())));
    files.insert(NOTE.into(), Bytes::from(note));
    Ok(Piece { revision, root, files, copies })
}

impl Note {
    /// What people call it.
    fn name(&self) -> String {
        format!("{} ({})", self.revision, self.selection)
    }
}

/// What a source's files are called if they were applied in part.
pub fn name_of(files: &BTreeMap<Arc<str>, Bytes>) -> Option<String> {
    let note: Note = serde_json::from_slice(files.get(NOTE)?).ok()?;
    Some(note.name())
}

/// How many partial applies lie on top of each other, those of all sources together. Each doubles
/// the work of the next load at worst.
pub fn depth(kept: &Kept) -> usize {
    let layers = |root: &str| {
        let noted = |layer: &usize| kept.files.contains_key(&*format!("{root}{}{NOTE}", BASE.repeat(*layer)));
        (0..).take_while(noted).count()
    };
    places(kept).iter().map(|root| layers(root)).sum()
}

/// Only what was applied last of each source, as if all of it had been.
pub fn tops(kept: &Kept) -> Kept {
    fn top<T: Clone>(map: &BTreeMap<Arc<str>, T>, places: &[Arc<str>]) -> BTreeMap<Arc<str>, T> {
        let is_below = |path: &str| {
            places.iter().any(|root| path.strip_prefix(&**root).is_some_and(|path| path.starts_with(BASE)))
        };
        map.iter()
            .filter(|(path, _)| !is_below(path))
            .map(|(path, one)| (path.clone(), one.clone()))
            .collect()
    }
    let places = places(kept);
    Kept { files: top(&kept.files, &places), copies: top(&kept.copies, &places), ..kept.clone() }
}

/// What the paths of each source begin with.
fn places(kept: &Kept) -> Vec<Arc<str>> {
    let roots = roots(kept, None);
    if roots.is_empty() { vec!["".into()] } else { roots }
}

/// Before and after the partial apply of the first source that has one; `None` where all are
/// served whole. What other sources have is the same in both.
fn split(kept: &Kept) -> Option<(Kept, Kept, Selection)> {
    let places = places(kept);
    let noted = |root: &Arc<str>| {
        let note: Note = serde_json::from_slice(kept.files.get(&*format!("{root}{NOTE}"))?).ok()?;
        Some((root.clone(), note))
    };
    let (place, note) = places.iter().find_map(noted)?;
    fn part<T: Clone>(map: &BTreeMap<Arc<str>, T>, place: &str, below: bool) -> BTreeMap<Arc<str>, T> {
        let inside = map.iter().filter_map(|(path, value)| {
            let Some(inside) = path.strip_prefix(place) else { return Some((path.clone(), value.clone())) };
            match (inside.strip_prefix(BASE), below) {
                _ if inside == NOTE => None,
                (Some(path), true) => Some((format!("{place}{path}").into(), value.clone())),
                (None, false) => Some((path.clone(), value.clone())),
                _ => None,
            }
        });
        inside.collect()
    }
    let alone = place.is_empty();
    let piece = |revision: String, root, environment, below| Kept {
        // The name of all sources together is nobody's base.
        revision: if alone { revision.into() } else { kept.revision.clone() },
        source: kept.source.clone(),
        root,
        environment,
        files: part(&kept.files, &place, below),
        copies: part(&kept.copies, &place, below),
    };
    let root = note.root.or_else(|| kept.root.clone().filter(|_| !alone));
    let top = piece(note.revision, kept.root.clone(), kept.environment.clone(), false);
    let base = piece(note.base, root, note.environment.map(Arc::from), true);
    Some((top, base, note.selection))
}

impl Reconciler {
    /// As [`Reconciler::load`]; what is looked at outside the sources is noted in `seen`.
    pub(super) async fn load_seen(
        &self,
        kept: Arc<Kept>,
        moving: Option<&Name>,
        media: Media,
        seen: &Arc<Seen>,
    ) -> Result<Ready, Invalid> {
        let without_keys = media == Media::Lenient;
        self.load(kept, moving, Terms { media, without_keys, sent: None, seen: seen.clone() }).await
    }

    /// Loads a tree, whole or in part.
    pub(super) async fn load(
        &self,
        kept: Arc<Kept>,
        moving: Option<&Name>,
        terms: impl Into<Terms>,
    ) -> Result<Ready, Invalid> {
        let terms = terms.into();
        let Some((top, base, selection)) = split(&kept) else {
            return self.load_whole(kept, moving, terms).await;
        };
        // What is served already is not held to media that went away since.
        let lenient = Terms { media: Media::Lenient, sent: None, ..terms.clone() };
        let before = Box::pin(self.load(Arc::new(base), moving, lenient)).await?;
        let after = Box::pin(self.load(Arc::new(top), moving, terms)).await?;
        let mut desired = compose(&before.desired, &after.desired, &selection).map_err(Invalid)?;
        desired.revision = kept.revision.clone();
        let secrets = same::with_known(after.secrets, &before.secrets);
        Ok(Ready { desired: Arc::new(desired), secrets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::parts::Parts;

    fn piece(revision: &str, text: &'static str) -> Piece {
        Piece {
            revision: revision.into(),
            files: [("a.toml".into(), Bytes::from_static(text.as_bytes()))].into(),
            ..Piece::default()
        }
    }

    fn only(name: &str) -> Selection {
        Selection { only: vec![name.into()], except: vec![] }
    }

    #[test]
    fn parts_come_apart_as_they_were_joined() {
        let alone = |piece: &Piece| Kept {
            revision: piece.revision.clone(),
            files: piece.files.clone(),
            ..Kept::default()
        };
        let mut base = piece("one", "1");
        for number in 0..DEEPEST {
            let top = piece("next", "2");
            let joined = join(top.clone(), &base, None, only("x")).unwrap();
            let (back, below, selection) = split(&alone(&joined)).unwrap();
            assert_eq!((back, below, selection), (alone(&top), alone(&base), only("x")), "{number}");
            assert_eq!(
                (name_of(&joined.files).unwrap(), depth(&alone(&joined))),
                ("next (only x)".into(), number + 1)
            );
            assert_eq!(tops(&alone(&joined)).files, top.files);
            base = joined;
        }
        assert!(split(&alone(&piece("one", "1"))).is_none());
    }

    #[test]
    fn one_source_comes_apart_and_the_others_stay() {
        let mut parts = Parts::new(["a", "b", "net"].map(|name| name.parse().unwrap()));
        for name in ["a", "b", "net"] {
            parts.adopt(&name.parse().unwrap(), piece("1", "1"), "1".into());
        }
        let whole = |name: &str, piece: &Piece| parts.with(&name.parse().unwrap(), piece, "2").unwrap();
        let joined = join(piece("2", "2"), &piece("1", "1"), None, only("x")).unwrap();
        let kept = whole("b", &joined);
        assert_eq!((&*kept.revision, depth(&kept)), ("a:1 b:2 (only x) net:1", 1));
        let (after, before, selection) = split(&kept).unwrap();
        assert_eq!(after.files, whole("b", &piece("2", "2")).files);
        assert_eq!(before.files, whole("b", &piece("1", "1")).files);
        assert_eq!((selection, tops(&kept).files), (only("x"), after.files));
        assert!(split(&before).is_none());
    }
}
