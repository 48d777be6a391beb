//! From a kept revision to what can be served.

use std::sync::Arc;
use std::time::Duration;

use super::{Invalid, Ready, Reconciler, lock};
use crate::daemon::parts::roots;
use crate::daemon::posted::{Posted, Sent};
use crate::daemon::secrets;
use crate::desired::{Desired, Media, Options};
use crate::inventory::{Depth, Loaded, survey};
use crate::manifest::Environment;
use crate::media::{Library, Patient, Seen};
use crate::model::Name;
use crate::source;
use crate::store::Kept;

/// How long a load waits for disks and file servers, all files together: whatever takes longer is asked
/// for again.
pub(in crate::daemon) const PATIENCE: Duration = Duration::from_secs(3);

/// What a load may count on.
#[derive(Clone)]
pub(in crate::daemon) struct Terms {
    pub media: Media,
    /// Secrets that can't be decrypted now are left out: what is served already goes on being served.
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

impl Reconciler {
    /// What it comes to where sources are served in part; the error is every problem.
    pub(in crate::daemon) async fn desired_of(
        &self,
        kept: Arc<Kept>,
        moving: &Name,
    ) -> Result<Arc<Desired>, String> {
        let loaded = self.load(kept, Some(moving), Media::Required).await;
        loaded.map(|ready| ready.desired).map_err(|Invalid(problems)| problems)
    }

    /// What can be served, secrets decrypted.
    pub(super) async fn load_whole(
        &self,
        kept: Arc<Kept>,
        moving: Option<&Name>,
        terms: Terms,
    ) -> Result<Ready, Invalid> {
        let (seen, without_keys) = (terms.seen.clone(), terms.without_keys);
        let loaded = self.loaded(kept.clone(), moving, terms).await.map_err(Invalid)?;
        let identity = self.identity.clone();
        let patient = Patient::new(&self.shelf, seen.clone(), PATIENCE);
        let work = move || {
            if loaded.errors() > 0 {
                return Err(Invalid(loaded.report()));
            }
            let (secrets, failures) =
                secrets::decrypt(&loaded.desired, &kept.files, identity.as_deref(), |key| {
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
        kept: Arc<Kept>,
        moving: Option<&Name>,
        terms: impl Into<Terms>,
    ) -> Result<Loaded, String> {
        let roots = roots(&kept, moving);
        let memory = self.memory.clone();
        self.read(kept, terms.into(), move |kept, library, options| {
            let mut memory = lock(&memory);
            let sources = memory.sources(&kept.files, &roots);
            let inside =
                sources.iter().map(|(file, source)| (sources.inside(file).into(), source.bytes.clone()));
            let environment = Environment::choose(&inside.collect(), kept.environment.as_deref());
            let environment = environment.map_err(|error| error.to_string())?;
            let revision = kept.revision.clone();
            Ok(memory.load_sources(revision, sources, &environment, library, options, Depth::OneFirmware))
        })
        .await
    }

    /// What `check` would say of it: every environment, every firmware. Several sources are judged
    /// as they are served.
    pub(in crate::daemon) async fn surveyed(&self, kept: Arc<Kept>, moving: &Name) -> Result<Loaded, String> {
        if self.sources.len() > 1 {
            return self.loaded(kept, Some(moving), Media::Required).await;
        }
        self.read(kept, Media::Required.into(), |kept, library, options| {
            Ok(survey(kept.revision.clone(), &kept.files, library, options, Depth::EveryFirmware))
        })
        .await
    }

    /// Parsing and resolving take processor time: off the serving threads. Files outside the source are
    /// not waited for long.
    async fn read(
        &self,
        kept: Arc<Kept>,
        terms: Terms,
        work: impl FnOnce(&Kept, &dyn Library, &Options) -> Result<Loaded, String> + Send + 'static,
    ) -> Result<Loaded, String> {
        let mut shelf = self.shelf.with_copies(kept.copies.clone());
        // A tree that an earlier release took from a directory of this host: only the source's own.
        if let Some(root) = kept.root.as_ref().filter(|root| self.is_source(root)) {
            shelf = shelf.with_directory(root.clone());
        }
        let Terms { media, without_keys: _, sent, seen } = terms;
        let place = source::git::place(&self.state);
        let (options, folder) = (Options { media, fallback: self.fallback.clone() }, self.posted.clone());
        let task = tokio::task::spawn_blocking(move || {
            let Kept { files, copies, .. } = &*kept;
            source::git::heal(&place, copies.values());
            let patient = Patient::new(&shelf, seen.clone(), PATIENCE);
            let (shelf, folder, sent) = (&shelf, &*folder, sent.as_deref());
            let library = Posted { shelf, others: &patient, seen, files, copies, folder, sent };
            work(&kept, &library, &options)
        });
        task.await.unwrap_or_else(|error| Err(format!("loading ended unexpectedly: {error}")))
    }
}
