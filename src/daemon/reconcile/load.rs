//! From a kept revision to what can be served.

use std::sync::Arc;
use std::time::Duration;

use super::{Invalid, Ready, Reconciler, lock};
use crate::daemon::load::{Depth, Loaded, survey};
use crate::daemon::parts::roots;
use crate::daemon::secrets;
use crate::desired::{Desired, Media, Options};
use crate::manifest::Environment;
use crate::media::{Library, Patient, Seen};
use crate::model::Name;
use crate::store::Kept;

/// How long a load waits for disks and file servers, all files together: whatever takes longer is asked
/// for again.
const PATIENCE: Duration = Duration::from_secs(3);

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
        media: Media,
        seen: &Arc<Seen>,
    ) -> Result<Ready, Invalid> {
        let loaded = self.loaded_seen(kept.clone(), moving, media, seen).await.map_err(Invalid)?;
        let identity = self.identity.clone();
        let patient = Patient::new(&self.shelf, seen.clone(), PATIENCE);
        let work = move || {
            if loaded.errors() > 0 {
                return Err(Invalid(loaded.report()));
            }
            let secrets = secrets::decrypt(&loaded.desired, &kept.files, identity.as_deref(), |key| {
                patient.read(key, secrets::read)
            });
            Ok(Ready { desired: loaded.desired, secrets: Arc::new(secrets.map_err(Invalid)?) })
        };
        let ended = |error| Err(Invalid(format!("loading ended unexpectedly: {error}")));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(ended)
    }

    /// What the daemon would serve of it.
    pub(in crate::daemon) async fn loaded(
        &self,
        kept: Arc<Kept>,
        moving: Option<&Name>,
        media: Media,
    ) -> Result<Loaded, String> {
        self.loaded_seen(kept, moving, media, &Arc::default()).await
    }

    async fn loaded_seen(
        &self,
        kept: Arc<Kept>,
        moving: Option<&Name>,
        media: Media,
        seen: &Arc<Seen>,
    ) -> Result<Loaded, String> {
        let roots = roots(&kept, moving);
        let memory = self.memory.clone();
        self.read(kept, media, seen.clone(), move |kept, library, options| {
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
        self.read(kept, Media::Required, Arc::default(), |kept, library, options| {
            Ok(survey(kept.revision.clone(), &kept.files, library, options, Depth::EveryFirmware))
        })
        .await
    }

    /// Parsing and resolving take processor time: off the serving threads. Files outside the source are
    /// not waited for long.
    async fn read(
        &self,
        kept: Arc<Kept>,
        media: Media,
        seen: Arc<Seen>,
        work: impl FnOnce(&Kept, &dyn Library, &Options) -> Result<Loaded, String> + Send + 'static,
    ) -> Result<Loaded, String> {
        let mut shelf = self.shelf.with_copies(kept.copies.clone());
        if let Some(root) = kept.root.as_ref().filter(|root| root.is_dir()) {
            shelf = shelf.with_directory(root.clone());
        }
        let options = Options { media, fallback: self.fallback.clone() };
        let task =
            tokio::task::spawn_blocking(move || work(&kept, &Patient::new(&shelf, seen, PATIENCE), &options));
        task.await.unwrap_or_else(|error| Err(format!("loading ended unexpectedly: {error}")))
    }
}
