//! What is served is looked at again when the media or the key behind it have changed: the source
//! itself need not say anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::load::Terms;
use super::outside::{Changed, Watched};
use super::same::{self, with_boots};
use super::show::Lack;
use super::{Invalid, Ready, Reconciler, lock};
use crate::api::resource::Written;
use crate::desired::{Boot, Desired, Media};
use crate::manifest::Kind;
use crate::media::Seen;
use crate::model::{Name, Origin, SourceCondition};
use crate::plan::Consent;
use crate::state::Revision;

/// A revision that is served.
#[derive(Clone)]
pub(super) struct Served {
    pub revision: Arc<Revision>,
    /// What was found outside the source when it was loaded; `None` if that is not known.
    pub seen: Option<Arc<Seen>>,
}

impl Reconciler {
    /// From now on this is served.
    pub(super) fn serves(&self, revision: Arc<Revision>, seen: Option<Arc<Seen>>) {
        *lock(&self.served) = Some(Served { revision, seen });
    }

    /// What the manifests that are served say of the resource that stands at `origin`.
    pub(in crate::daemon) async fn written(&self, kind: Kind, name: &Name, origin: &Origin) -> Written {
        let Some(served) = lock(&self.served).clone() else { return Written::default() };
        let (files, name, origin) = (self.written.clone(), name.clone(), origin.clone());
        // A large file takes a while: off the serving threads.
        let read = move || files.of(&served.revision, kind, &name, &origin);
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    /// Remembers what the last try to load something of a source found outside it.
    pub(super) fn tried(&self, name: &Name, revision: &Arc<str>, seen: Arc<Seen>) {
        lock(&self.tries).insert(name.clone(), (revision.clone(), seen));
    }

    /// What that was, if it was about this revision.
    pub(super) fn take_tried(&self, name: &Name, revision: &str) -> Option<Arc<Seen>> {
        let mut tries = lock(&self.tries);
        let (about, seen) = tries.remove(name)?;
        (*about == *revision).then_some(seen)
    }

    /// Everything outside the sources that may change what is served or would be.
    pub(super) fn watched(&self) -> Watched {
        let served = lock(&self.served).as_ref().and_then(|served| served.seen.clone());
        let tries: Vec<Arc<Seen>> = lock(&self.tries).values().map(|(_, seen)| seen.clone()).collect();
        served.into_iter().chain(tries).flat_map(|seen| seen.paths()).collect()
    }

    /// Whether something could not be found out yet.
    pub(super) fn is_busy(&self) -> bool {
        let served = lock(&self.served)
            .as_ref()
            .is_some_and(|served| served.seen.as_ref().is_none_or(|seen| !seen.busy().is_empty()));
        served || lock(&self.tries).values().any(|(_, seen)| !seen.busy().is_empty())
    }

    /// Whether something could not be read.
    pub(super) fn has_failures(&self) -> bool {
        let served = lock(&self.served).as_ref().and_then(|served| served.seen.clone());
        served.is_some_and(|seen| seen.has_failures())
            || lock(&self.tries).values().any(|(_, seen)| seen.has_failures())
    }

    /// Looks again at what depends on any of the `changed` paths, or could not be found out; with `failed`,
    /// at what could not be read.
    pub(super) async fn look_again(&self, changed: &Changed, failed: bool) {
        let _turn = self.turn.lock().await;
        let concerns = |seen: &Seen| {
            let differs = |(path, before): &(_, _)| changed.get(path).is_some_and(|now| now != before);
            let again = !seen.busy().is_empty() || (failed && seen.has_failures());
            again || seen.paths().iter().any(differs)
        };
        let served = lock(&self.served).clone();
        if let Some(served) = served.filter(|served| served.seen.as_deref().is_none_or(concerns)) {
            self.refresh(served).await;
        }
        let tries: Vec<(Name, Arc<Seen>)> =
            lock(&self.tries).iter().map(|(name, (_, seen))| (name.clone(), seen.clone())).collect();
        for (name, seen) in tries {
            if lock(&self.set).waiting(&name).is_none() {
                lock(&self.tries).remove(&name);
            } else if concerns(&seen) {
                self.attempt(&name, Consent::default()).await;
            }
        }
        self.retry().await;
    }

    /// Adopts what could not be stored, now that the state directory can be written again.
    pub(super) async fn attempt_unstored(&self) {
        let _turn = self.turn.lock().await;
        let names: Vec<Name> = lock(&self.tries).keys().cloned().collect();
        for name in names {
            // A revision that waits for a person keeps waiting.
            let is_held = lock(&self.waiting).contains_key(&name);
            if !is_held && lock(&self.set).waiting(&name).is_some() {
                self.attempt(&name, Consent::default()).await;
            }
        }
        self.retry().await;
    }

    /// Loads what is served anew and adopts what has become of its media and secrets. What can't be
    /// used now is served as it was, and the source's condition says so.
    async fn refresh(&self, served: Served) {
        let revision = served.revision;
        let state = self.keeper.state();
        if state.desired().revision != revision.name() {
            // It could not be adopted, so nothing of it can be refreshed.
            self.serves(revision, Some(Arc::default()));
            return;
        }
        let seen = Arc::new(Seen::default());
        let (ready, invalid) = match self.load(&revision, None, Terms::noting(Media::Required, &seen)).await {
            Ok(ready) => (Some(ready), None),
            Err(invalid) => {
                let lenient = self.load(&revision, None, Terms::noting(Media::Lenient, &seen)).await.ok();
                let keeping = |ready: Ready| Ready {
                    desired: keeping(ready.desired, state.desired(), &seen),
                    secrets: same::with_known(ready.secrets, state.secrets()),
                };
                (lenient.map(keeping), Some(invalid))
            }
        };
        self.serves(revision.clone(), Some(seen.clone()));
        let differs = |ready: &Ready| {
            ready.desired.boots != state.desired().boots || *ready.secrets != **state.secrets()
        };
        if let Some(ready) = ready.filter(differs) {
            match self.keeper.adopt(ready.proposal(None, Consent::default())).await {
                Ok(_) => self.note("media or secrets have changed: they are served as they are now".into()),
                Err(error) => {
                    tracing::warn!(%error, "media have changed and can't be served as they are now")
                }
            }
        }
        self.show_refreshed(&revision, &seen, invalid);
    }

    /// Shows what is missing of what is served, on the source whose manifest names it.
    fn show_refreshed(&self, served: &Revision, seen: &Seen, invalid: Option<Invalid>) {
        let former = std::mem::take(&mut *lock(&self.degraded));
        if let Some(Invalid { source, problems, .. }) = invalid {
            let followed = source.as_ref().filter(|source| self.sources.contains_key(*source));
            let Some(name) = followed.or(self.sources.keys().next()) else { return };
            let lack = Lack::of(seen, problems.clone());
            // The source itself has something else to show.
            if lock(&self.set).waiting(name).is_some() || self.pause(name, "").is_some() {
                let is_news = former.get(name).is_none_or(|former| former.first() != lack.first());
                let text = format!("what is served lacks something: {}", lack.first());
                lock(&self.degraded).insert(name.clone(), lack);
                if is_news {
                    self.tell(name, text);
                }
                self.show_lack(name);
            } else {
                let revision = match self.sources.len() {
                    1 => served.name(),
                    _ => lock(&self.set).served_name(name),
                };
                self.unusable(name, &revision, seen, problems);
                lock(&self.degraded).insert(name.clone(), lack);
            }
        }
        for name in former.into_keys() {
            if lock(&self.degraded).contains_key(&name) {
                continue;
            }
            self.show_lack(&name);
            let is_free = lock(&self.set).waiting(&name).is_none() && self.pause(&name, "").is_none();
            if is_free {
                self.settle(&name, &self.attempted(&name));
            }
        }
    }

    /// Shows why a revision can't be loaded: what is still being read, or what is wrong.
    pub(super) fn unusable(&self, name: &Name, revision: &Arc<str>, seen: &Seen, problems: String) {
        let busy = seen.busy();
        let Lack { condition, reason } = Lack::of(seen, problems);
        let Some((first, _)) = busy.first() else {
            return self.set_condition(name, condition, Some(revision), reason);
        };
        let begins = format!("waiting for {}: ", first.display());
        // How far it is is no news for the log.
        let same = self.statuses.borrow().get(name).is_some_and(|status| {
            status.condition == SourceCondition::Waiting
                && status.attempted == **revision
                && status.reason.starts_with(&begins)
        });
        match same {
            true => self.change(name, |status| status.reason = reason),
            false => self.set_condition(name, condition, Some(revision), reason),
        }
    }
}

/// The same, with the boots of `before` where the files of the new ones are missing, unless they are known
/// to hold something else than they should.
fn keeping(desired: Arc<Desired>, before: &Desired, seen: &Seen) -> Arc<Desired> {
    let lacks = |boot: &Boot| boot.files().chain(&boot.agent).any(|file| file.entry.is_none());
    let is_refuted = |boot: &Boot| {
        boot.files().filter_map(|file| file.entry.as_ref()).any(|entry| seen.is_refuted(&entry.path))
    };
    let stays = |(name, boot): (&Name, &Arc<Boot>)| {
        let old = before.boots.get(name).filter(|old| lacks(boot) && !lacks(old) && !is_refuted(old))?;
        Some((name.clone(), old.clone()))
    };
    let stay: BTreeMap<Name, Arc<Boot>> = desired.boots.iter().filter_map(stays).collect();
    with_boots(desired, stay)
}
