//! From a revision to what can be served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Invalid, Ready, Reconciler, lock, same};
use crate::daemon::posted::{Posted, Sent};
use crate::daemon::secrets;
use crate::desired::{Desired, Media, Options};
use crate::inventory::{Depth, Loaded, survey};
use crate::manifest::Environment;
use crate::media::{Library, Patient, Seen};
use crate::model::Name;
use crate::plan::partial::compose;
use crate::secret;
use crate::source::{self, Snapshot};
use crate::state::revision::Joined;
use crate::state::{Revision, SourceRevision};

/// How long a load waits for disks and file servers, all files together: files that take longer are looked
/// at again later.
pub(in crate::daemon) const PATIENCE: Duration = Duration::from_secs(3);

/// What a load may count on.
#[derive(Clone)]
pub(in crate::daemon) struct Terms {
    pub media: Media,
    /// Secrets that can't be decrypted now are left out: those that are served stay served.
    pub without_keys: bool,
    /// For a tree that was sent.
    pub sent: Option<Arc<Sent>>,
    /// What is looked at outside the sources is noted here.
    pub seen: Arc<Seen>,
}

impl From<Media> for Terms {
    fn from(media: Media) -> Terms {
        Terms { media, without_keys: false, sent: None, seen: Arc::default() }
    }
}

/// What one source holds, as it was read just now.
pub(in crate::daemon) fn read_of(snapshot: &Snapshot) -> SourceRevision {
    let revision = snapshot.revision.clone();
    SourceRevision {
        settled: revision.clone(),
        revision,
        files: snapshot.inline(),
        copies: snapshot.copies(),
        ..SourceRevision::default()
    }
}

impl Reconciler {
    /// As [`Reconciler::load`]; what is looked at outside the sources is noted in `seen`.
    pub(super) async fn load_seen(
        &self,
        revision: &Revision,
        moving: Option<&Name>,
        media: Media,
        seen: &Arc<Seen>,
    ) -> Result<Ready, Invalid> {
        let without_keys = media == Media::Lenient;
        self.load(revision, moving, Terms { media, without_keys, sent: None, seen: seen.clone() }).await
    }

    /// Loads a revision of which sources may be served in part; `moving` is the source whose settings lead.
    pub(super) async fn load(
        &self,
        revision: &Revision,
        moving: Option<&Name>,
        terms: impl Into<Terms>,
    ) -> Result<Ready, Invalid> {
        let terms = terms.into();
        let Some((before, after, selection)) = revision.split() else {
            return self.load_whole(revision, moving, terms).await;
        };
        // What is served already is not held to media that went away since.
        let lenient = Terms { media: Media::Lenient, sent: None, ..terms.clone() };
        let before = Box::pin(self.load(&before, moving, lenient)).await?;
        let after = Box::pin(self.load(&after, moving, terms)).await?;
        let mut desired = compose(&before.desired, &after.desired, selection).map_err(Invalid)?;
        desired.revision = revision.name();
        let secrets = same::with_known(after.secrets, &before.secrets);
        Ok(Ready { desired: Arc::new(desired), secrets })
    }

    /// What it comes to where sources are served in part; the error is every problem.
    pub(in crate::daemon) async fn desired_of(
        &self,
        revision: &Revision,
        moving: &Name,
    ) -> Result<Arc<Desired>, String> {
        let loaded = self.load(revision, Some(moving), Media::Required).await;
        loaded.map(|ready| ready.desired).map_err(|Invalid(problems)| problems)
    }

    /// What can be served, secrets decrypted.
    async fn load_whole(
        &self,
        revision: &Revision,
        moving: Option<&Name>,
        terms: Terms,
    ) -> Result<Ready, Invalid> {
        let (seen, without_keys) = (terms.seen.clone(), terms.without_keys);
        let loaded = self.loaded(revision, moving, terms).await.map_err(Invalid)?;
        let named = loaded.desired.secrets.iter().map(secret::path);
        let files: BTreeMap<String, Bytes> =
            named.filter_map(|path| Some((path.clone(), revision.file(&path)?.clone()))).collect();
        let identity = self.identity.clone();
        let patient = Patient::new(&self.shelf, seen.clone(), PATIENCE);
        let work = move || {
            if loaded.errors() > 0 {
                return Err(Invalid(loaded.report()));
            }
            let (secrets, failures) = secrets::decrypt(&loaded.desired, &files, identity.as_deref(), |key| {
                patient.read(key, secrets::read)
            });
            match failures.is_empty() || without_keys {
                true => Ok(Ready { desired: loaded.desired, secrets: Arc::new(secrets) }),
                false => Err(Invalid(failures.join("\n"))),
            }
        };
        let ended = |error| Err(Invalid(format!("loading ended unexpectedly: {error}")));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(ended)
    }

    /// What the daemon would serve of it.
    pub(in crate::daemon) async fn loaded(
        &self,
        revision: &Revision,
        moving: Option<&Name>,
        terms: impl Into<Terms>,
    ) -> Result<Loaded, String> {
        let (memory, name) = (self.memory.clone(), revision.name());
        let overlay = revision.environment.clone();
        self.read(revision.joined(moving), terms.into(), move |joined, library, options| {
            let mut memory = lock(&memory);
            let sources = memory.sources(&joined.files, &joined.roots);
            let inside =
                sources.iter().map(|(file, source)| (sources.inside(file).into(), source.bytes.clone()));
            let environment = Environment::choose(&inside.collect(), overlay.as_deref());
            let environment = environment.map_err(|error| error.to_string())?;
            Ok(memory.load_sources(name, sources, &environment, library, options, Depth::OneFirmware))
        })
        .await
    }

    /// What `check` would say of it: every environment, every firmware. Several sources are judged
    /// as they are served.
    pub(in crate::daemon) async fn surveyed(
        &self,
        revision: &Revision,
        moving: &Name,
    ) -> Result<Loaded, String> {
        if self.sources.len() > 1 {
            return self.loaded(revision, Some(moving), Media::Required).await;
        }
        let name = revision.name();
        self.read(revision.joined(None), Media::Required.into(), move |joined, library, options| {
            Ok(survey(name, &joined.files, library, options, Depth::EveryFirmware))
        })
        .await
    }

    /// Parsing and resolving take processor time: off the serving threads. Files outside the source are
    /// not waited for long.
    async fn read(
        &self,
        joined: Joined,
        terms: Terms,
        work: impl FnOnce(&Joined, &dyn Library, &Options) -> Result<Loaded, String> + Send + 'static,
    ) -> Result<Loaded, String> {
        let mut shelf = self.shelf.with_copies(joined.copies.clone());
        // A tree that an earlier release took from a directory of this host: only the source's own.
        if let Some(root) = joined.root.as_ref().filter(|root| self.is_source(root)) {
            shelf = shelf.with_directory(root.clone());
        }
        let Terms { media, without_keys: _, sent, seen } = terms;
        let place = source::git::place(&self.state);
        let (options, folder) = (Options { media, fallback: self.fallback.clone() }, self.posted.clone());
        let task = tokio::task::spawn_blocking(move || {
            let Joined { files, copies, .. } = &joined;
            source::git::heal(&place, copies.values());
            let patient = Patient::new(&shelf, seen.clone(), PATIENCE);
            let (shelf, folder, sent) = (&shelf, &*folder, sent.as_deref());
            let library = Posted { shelf, others: &patient, seen, files, copies, folder, sent };
            work(&joined, &library, &options)
        });
        task.await.unwrap_or_else(|error| Err(format!("loading ended unexpectedly: {error}")))
    }
}
