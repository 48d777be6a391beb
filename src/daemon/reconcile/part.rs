//! Trees that were applied in part: kept as one set of files, so that a restart finds the same
//! state. The files that it is built upon lie in a folder that no source can have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Invalid, Kept, Media, Ready, Reconciler};
use crate::model::Name;
use crate::plan::partial::{Selection, compose};
use crate::table::Secrets;

/// Hidden, so that no inventory has it.
const BASE: &str = ".base/";
const NOTE: &str = ".base/.note.json";
/// How many partial applies may follow each other: each keeps the files before it.
const DEEPEST: usize = 4;

/// What was taken of which revision, on top of which.
#[derive(Serialize, Deserialize)]
struct Note {
    selection: Selection,
    revision: String,
    base: String,
    root: Option<PathBuf>,
    environment: Option<String>,
}

/// `top` in part, on top of `base`.
pub fn join(top: Kept, base: &Kept, selection: Selection) -> Result<Kept, String> {
    let deep = format!("{}{NOTE}", BASE.repeat(DEEPEST - 1));
    if base.files.contains_key(deep.as_str()) {
        return Err("too many partial applies in a row: apply everything first".into());
    }
    let note = Note {
        selection,
        revision: top.revision.to_string(),
        base: base.revision.to_string(),
        root: base.root.clone(),
        environment: base.environment.as_ref().map(ToString::to_string),
    };
    let revision = format!("{} ({})", top.revision, note.selection).into();
    let note = serde_json::to_vec(&note).map_err(|error| error.to_string())?;
    let below = |path: &Arc<str>| -> Arc<str> { format!("{BASE}{path}").into() };
    let Kept { revision: _, source, root, environment, mut files, mut copies } = top;
    files.extend(base.files.iter().map(|(path, bytes)| (below(path), bytes.clone())));
    copies.extend(base.copies.iter().map(|(path, copy)| (below(path), copy.clone())));
    files.insert(NOTE.into(), Bytes::from(note));
    Ok(Kept { revision, source, root, environment, files, copies })
}

/// The parts again; `None` for a whole tree.
fn split(kept: &Kept) -> Option<(Kept, Kept, Selection)> {
    let note: Note = serde_json::from_slice(kept.files.get(NOTE)?).ok()?;
    fn part<T: Clone>(map: &BTreeMap<Arc<str>, T>, below: bool) -> BTreeMap<Arc<str>, T> {
        let inside = map.iter().filter(|(path, _)| &***path != NOTE);
        let inside = inside.filter_map(|(path, value)| match (path.strip_prefix(BASE), below) {
            (Some(path), true) => Some((path.into(), value.clone())),
            (None, false) => Some((path.clone(), value.clone())),
            _ => None,
        });
        inside.collect()
    }
    let piece = |revision: String, root, environment, below| Kept {
        revision: revision.into(),
        source: kept.source.clone(),
        root,
        environment,
        files: part(&kept.files, below),
        copies: part(&kept.copies, below),
    };
    let top = piece(note.revision, kept.root.clone(), kept.environment.clone(), false);
    let base = piece(note.base, note.root, note.environment.map(Arc::from), true);
    Some((top, base, note.selection))
}

impl Reconciler {
    /// Loads a tree, whole or in part.
    pub(super) async fn load(
        &self,
        kept: Arc<Kept>,
        moving: Option<&Name>,
        media: Media,
    ) -> Result<Ready, Invalid> {
        let Some((top, base, selection)) = split(&kept) else {
            return self.load_whole(kept, moving, media).await;
        };
        // What is served already is not held to media that went away since.
        let before = Box::pin(self.load(Arc::new(base), moving, Media::IfPresent)).await?;
        let after = self.load_whole(Arc::new(top), moving, media).await?;
        let mut desired = compose(&before.desired, &after.desired, &selection).map_err(Invalid)?;
        desired.revision = kept.revision.clone();
        let secrets = match (&*before.secrets, &*after.secrets) {
            (Secrets::Known(old), Secrets::Known(new)) => {
                let both = old.iter().chain(new).map(|(name, text)| (name.clone(), text.clone()));
                Arc::new(Secrets::Known(both.collect()))
            }
            _ => after.secrets.clone(),
        };
        Ok(Ready { desired: Arc::new(desired), secrets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_apart_as_they_were_joined() {
        let kept = |revision: &str, text: &'static str| Kept {
            revision: revision.into(),
            files: [("a.toml".into(), Bytes::from_static(text.as_bytes()))].into(),
            ..Kept::default()
        };
        let only = |name: &str| Selection { only: vec![name.into()], except: vec![] };
        let mut base = kept("one", "1");
        for number in 0..DEEPEST {
            let top = kept("next", "2");
            let joined = join(top.clone(), &base, only("x")).unwrap();
            let (back, below, selection) = split(&joined).unwrap();
            assert_eq!((&back, &below, selection), (&top, &base, only("x")), "{number}");
            base = joined;
        }
        assert!(join(kept("last", "3"), &base, only("x")).is_err());
        assert!(split(&kept("one", "1")).is_none());
    }
}
