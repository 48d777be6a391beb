//! From a revision to what can be served.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::{Invalid, Ready, Reconciler, lock, same};
use crate::api::resource::ManifestProblem;
use crate::daemon::posted::{Posted, Sent};
use crate::daemon::secrets;
use crate::desired::{Desired, Media, Options, Subnet};
use crate::inventory::{Depth, Loaded, Memory, survey};
use crate::media::{Library, Patient, Seen, Shelf};
use crate::model::{Inventory, Name};
use crate::plan::partial::{choose, compose};
use crate::secret;
use crate::source::{self, Snapshot};
use crate::state::prototype::{LoadedPrototypes, Prototype, missing_file};
use crate::state::{Command, Composition, Revision, Secrets, SourceRevision, Verb};

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

impl Terms {
    /// For what is served or is to be: what is looked at outside the sources is noted in `seen`.
    pub(in crate::daemon) fn noting(media: Media, seen: &Arc<Seen>) -> Terms {
        Terms { without_keys: media == Media::Lenient, seen: seen.clone(), ..Terms::from(media) }
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
    /// What can be served of a revision, of which sources may be served in part. The settings of the source
    /// `leading` lead.
    pub(in crate::daemon) async fn load(
        &self,
        revision: &Arc<Revision>,
        leading: Option<&Name>,
        terms: impl Into<Terms>,
    ) -> Result<Ready, Invalid> {
        let (revision, leading, terms) = (revision.clone(), leading.cloned(), terms.into());
        let work = move |loader: &Loader| loader.load(&revision, leading.as_ref(), &terms);
        self.on_a_thread(work).await.unwrap_or_else(|why| Err(why.into()))
    }

    /// What the daemon makes of the manifests of a revision, as if all of it had been applied.
    pub(in crate::daemon) async fn loaded(
        &self,
        revision: &Arc<Revision>,
        leading: &Name,
        terms: &Terms,
    ) -> Result<Loaded, String> {
        let (revision, leading, terms) = (revision.clone(), leading.clone(), terms.clone());
        let work = move |loader: &Loader| loader.loaded(&revision, Some(&leading), &terms);
        self.on_a_thread(work).await?
    }

    /// What `check` would say of it: every environment, every firmware. Several sources are judged
    /// as they are served.
    pub(in crate::daemon) async fn surveyed(
        &self,
        revision: &Arc<Revision>,
        leading: &Name,
        terms: &Terms,
    ) -> Result<Loaded, String> {
        let Composition::One(_) = revision.sources else {
            return self.loaded(revision, leading, terms).await;
        };
        let (revision, terms) = (revision.clone(), terms.clone());
        let work = move |loader: &Loader| {
            let survey = |library: &dyn Library, options: &Options| match &revision.sources {
                Composition::One(only) => {
                    survey(revision.name(), &only.files, library, options, Depth::EveryFirmware)
                }
                Composition::Several(_) => Loaded::default(),
            };
            loader.with_library(&revision, &terms, survey)
        };
        self.on_a_thread(work).await
    }

    /// Loads what open claims run that were made from manifests that are served no more. The machine of a claim whose
    /// manifests can't be loaded boots its disk; of one whose media are gone the claim says so, and the next adoption looks
    /// again.
    pub(super) async fn load_prototypes(&self) {
        let missing = self.keeper.state().missing_prototypes();
        if missing.is_empty() {
            return;
        }
        let work = move |loader: &Loader| loader.prototypes(&missing);
        let stored = match self.on_a_thread(work).await {
            Ok(loaded) if loaded.prototypes.is_empty() => return,
            Ok(loaded) => {
                let command = Command::daemon(Verb::Prototypes(loaded.into()));
                self.keeper.ask_surely(command).await.map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        if let Err(why) = stored {
            tracing::warn!("what open claims run can't be loaded: {why}");
        }
    }

    /// Parsing and resolving take processor time: off the serving threads.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Loader) -> T + Send + 'static,
    ) -> Result<T, String> {
        let directory = |source: &super::Followed| match &source.place.inventory {
            Inventory::Directory(path) => Some(path.clone()),
            Inventory::Git(_) | Inventory::Own => None,
        };
        let loader = Loader {
            shelf: self.shelf.clone(),
            fallback: self.fallback.clone(),
            identity: self.identity.clone(),
            memory: self.memory.clone(),
            directories: self.sources.values().filter_map(directory).collect(),
            repositories: source::git::place(&self.state),
            posted: self.posted.to_path_buf(),
        };
        let done = tokio::task::spawn_blocking(move || work(&loader)).await;
        done.map_err(|error| format!("loading ended unexpectedly: {error}"))
    }
}

/// What a load needs beside the revision.
struct Loader {
    shelf: Shelf,
    fallback: Vec<Arc<Subnet>>,
    identity: Option<PathBuf>,
    memory: Arc<Mutex<Memory>>,
    /// The sources that are directories.
    directories: Vec<PathBuf>,
    /// Where the copies of files of repositories lie.
    repositories: PathBuf,
    /// Where the files of trees that were sent lie.
    posted: PathBuf,
}

impl Loader {
    fn load(&self, revision: &Revision, leading: Option<&Name>, terms: &Terms) -> Result<Ready, Invalid> {
        if let Some((before, after, selection)) = revision.split() {
            // What is served already is not held to media that went away since.
            let lenient = Terms { media: Media::Lenient, sent: None, ..terms.clone() };
            let before = self.load(&before, leading, &lenient)?;
            let after = self.load(&after, leading, terms)?;
            let part = if terms.sent.is_some() { choose } else { compose };
            let mut desired = part(&before.desired, &after.desired, selection)?;
            desired.revision = revision.name();
            let secrets = same::with_known(after.secrets, &before.secrets);
            return Ok(Ready { desired: Arc::new(desired), secrets });
        }
        let loaded = self.loaded(revision, leading, terms)?;
        if loaded.errors() > 0 {
            return Err((&loaded).into());
        }
        let secrets = self.decrypted(&loaded.desired, revision, terms)?;
        Ok(Ready { desired: loaded.desired, secrets })
    }

    /// What stored prototypes mean. What is wrong with other parts of their manifests does not matter.
    fn prototypes(&self, stored: &[(Arc<str>, Arc<Prototype>)]) -> LoadedPrototypes {
        let terms = Terms::noting(Media::Lenient, &Arc::default());
        let mut loaded = LoadedPrototypes::default();
        let mut secrets = Arc::new(Secrets::default());
        for (key, one) in stored {
            let Prototype { pool, revision } = &**one;
            let found = self.with_library(revision, &terms, |library, options| {
                Memory::default().load_revision(revision, None, library, options)
            });
            let desired = found.ok().map(|loaded| loaded.desired);
            let Some((own, desired)) =
                desired.and_then(|desired| Some((desired.pools.get(pool)?.clone(), desired)))
            else {
                tracing::warn!(
                    "what claims of pool {pool} run can't be loaded: their machines boot their disks"
                );
                continue;
            };
            if let Some(file) = missing_file(&own.prototype.boot) {
                tracing::warn!(
                    "file {file} of boot {}, which claims of pool {pool} run, is gone",
                    own.prototype.boot.name
                );
            }
            if let Ok(known) = self.decrypted(&desired, revision, &terms) {
                secrets = same::with_known(known, &secrets);
            }
            loaded.prototypes.push((key.clone(), own.prototype.clone()));
        }
        loaded.secrets = Arc::unwrap_or_clone(secrets);
        loaded
    }

    /// What the manifests mean, and every problem they have.
    fn loaded(&self, revision: &Revision, leading: Option<&Name>, terms: &Terms) -> Result<Loaded, String> {
        let loaded = self.with_library(revision, terms, |library, options| {
            lock(&self.memory).load_revision(revision, leading, library, options)
        });
        loaded.map_err(|error| error.to_string())
    }

    /// The secrets that the manifests name.
    fn decrypted(
        &self,
        desired: &Desired,
        revision: &Revision,
        terms: &Terms,
    ) -> Result<Arc<Secrets>, Invalid> {
        let named = desired.secrets.keys().map(secret::path);
        let files: BTreeMap<String, Bytes> =
            named.filter_map(|path| Some((path.clone(), revision.file(&path)?.clone()))).collect();
        let patient = Patient::new(&self.shelf, terms.seen.clone(), PATIENCE);
        let read = |key: &std::path::Path| patient.read(key, secrets::read);
        let (secrets, failures) = secrets::decrypt(desired, &files, self.identity.as_deref(), read);
        if failures.is_empty() || terms.without_keys {
            return Ok(Arc::new(secrets));
        }
        let first = desired.secrets.keys().find(|name| secrets.get(name.as_str()).is_none());
        let source = first.and_then(|name| revision.source_of(&secret::path(name)));
        let rows = failures.iter().map(|why| ManifestProblem::elsewhere(why)).collect();
        Err(Invalid { source: source.cloned(), problems: failures.join("\n"), rows })
    }

    /// Calls `work` with the media of a revision. Files outside the sources are not waited for long.
    fn with_library<T>(
        &self,
        revision: &Revision,
        terms: &Terms,
        work: impl FnOnce(&dyn Library, &Options) -> T,
    ) -> T {
        let copies = revision.copies();
        source::git::heal(&self.repositories, copies.values());
        let mut shelf = self.shelf.with_copies(copies.clone());
        // A tree that an earlier release took from a directory of this host: only the source's own.
        if let Some(root) = revision.root().filter(|root| self.is_source(root)) {
            shelf = shelf.with_directory(root.clone());
        }
        let patient = Patient::new(&shelf, terms.seen.clone(), PATIENCE);
        let library = Posted {
            shelf: &shelf,
            others: &patient,
            seen: terms.seen.clone(),
            revision,
            copies: &copies,
            folder: &self.posted,
            sent: terms.sent.as_ref(),
        };
        work(&library, &Options { media: terms.media, fallback: self.fallback.clone() })
    }

    /// Whether a source of this daemon is this directory.
    fn is_source(&self, root: &PathBuf) -> bool {
        let real = |path: &PathBuf| std::fs::canonicalize(path).ok();
        real(root).is_some_and(|root| self.directories.iter().filter_map(real).any(|own| own == root))
    }
}
