//! Follows the source: each snapshot is loaded whole or not at all, and handed to the keeper.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::keeper::{Adopted, Keeper, Proposal};
use super::load::{Depth, Loaded, load, survey};
use super::{now, secrets};
use crate::api::types::{Apply, Outcome, SourceStatus, Tree};
use crate::config::Write;
use crate::desired::{Desired, Media, Options, Subnet};
use crate::manifest::Environment;
use crate::media::Shelf;
use crate::model::Name;
use crate::plan::{self, Consent, Hold};
use crate::source::{Body, Snapshot, SourceConfig, Update};
use crate::store::Kept;
use crate::table::{Event, Secrets, Stage, Table};

/// From manifests to the keeper.
pub struct Reconciler {
    keeper: Keeper,
    shelf: Shelf,
    fallback: Option<Arc<Subnet>>,
    /// Where this host's private keys of age are.
    identity: Option<PathBuf>,
    /// The environment that is served.
    environment: Option<Arc<str>>,
    /// What is followed, and what verbs may do to it.
    source: SourceConfig,
    writes: Write,
    /// Held while a revision is adopted. True: a verb has written since the source last told
    /// what it holds, so that what it tells next may be older than what is served.
    turn: tokio::sync::Mutex<bool>,
    status: watch::Sender<SourceStatus>,
    /// The snapshot that a safety rule holds, so that applying the same files settles it.
    held: Mutex<Option<Arc<Kept>>>,
    /// The source's latest revision that was adopted, or that a tree applied by hand stands for.
    settled: Mutex<Arc<str>>,
}

/// What is followed.
#[derive(Debug)]
pub struct Follow {
    /// The inventory, for people.
    pub location: String,
    pub environment: Option<Name>,
    pub source: SourceConfig,
    /// What verbs may do to it.
    pub writes: Write,
}

/// A revision that can be served.
struct Ready {
    desired: Arc<Desired>,
    secrets: Arc<Secrets>,
}

/// Manifests that can't be served: every problem, as `check` prints them.
struct Invalid(String);

impl Reconciler {
    pub fn new(
        keeper: Keeper,
        shelf: Shelf,
        fallback: Option<Arc<Subnet>>,
        identity: Option<PathBuf>,
        follow: Follow,
    ) -> Reconciler {
        let Follow { location, environment, source, writes } = follow;
        let loading = SourceStatus {
            location,
            condition: "Loading".into(),
            since: now().to_string(),
            ..SourceStatus::default()
        };
        Reconciler {
            keeper,
            shelf,
            fallback,
            identity,
            source,
            writes,
            turn: tokio::sync::Mutex::new(false),
            environment: environment.map(|name| name.as_str().into()),
            status: watch::channel(loading).0,
            held: Mutex::new(None),
            settled: Mutex::default(),
        }
    }

    pub(super) fn source(&self) -> &SourceConfig {
        &self.source
    }

    pub(super) fn writes(&self) -> Write {
        self.writes
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.keeper.table()
    }

    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, bool> {
        self.turn.lock().await
    }

    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }

    /// Runs until the source ends.
    pub async fn run(self: Arc<Self>, mut updates: mpsc::Receiver<Update>) {
        while let Some(update) = updates.recv().await {
            match update {
                Update::Snapshot(snapshot) => self.follow(snapshot).await,
                Update::Failed(reason) => self.fell("Unreachable", None, reason),
            }
        }
    }

    /// Serves what was served when the daemon stopped, before anybody asks the source.
    pub async fn restore(&self, kept: Kept) {
        let (kept, revision) = (Arc::new(kept.clone()), kept.revision);
        // Another environment of the same revision is news.
        if kept.environment == self.environment {
            *lock(&self.settled) = kept.source.clone();
        }
        // A kernel that lies where the source was may be gone with it; addresses and answers are not.
        let loaded = self.load(kept.clone(), Media::IfPresent).await;
        let adopted = match loaded {
            Ok(ready) => self.propose(ready, None, Consent::default(), None).await,
            Err(Invalid(problems)) => Err(problems),
        };
        match adopted {
            Ok(_) => {
                self.tell(format!("{revision} is served as before"));
                self.status.send_modify(|status| {
                    status.condition = "Cached".into();
                    status.reason = "the source was not read yet".into();
                    status.applied = revision.to_string();
                });
            }
            Err(why) => tracing::warn!("{revision} can't be served as before: {why}"),
        }
    }

    /// The source tells that it holds something else.
    async fn follow(&self, told: Snapshot) {
        let mut turn = self.turn.lock().await;
        let snapshot = match std::mem::take(&mut *turn) {
            false => told,
            true => match self.source.read().await {
                Ok(reading) => reading.snapshot,
                Err(error) => {
                    *turn = true;
                    return self.fell("Unreachable", None, error.to_string());
                }
            },
        };
        self.adopt(snapshot, Consent::default()).await;
    }

    /// Loads a snapshot and serves it, or says why not. The caller holds the turn.
    pub(super) async fn adopt(&self, snapshot: Snapshot, consent: Consent) {
        let revision = snapshot.revision.clone();
        if *lock(&self.settled) == revision && !self.keeper.table().desired.revision.is_empty() {
            return self.settle(&revision);
        }
        let kept = Arc::new(self.kept_of(&snapshot));
        let ready = match self.load(kept.clone(), Media::Required).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => return self.fell("Invalid", Some(&revision), problems),
        };
        match self.propose(ready, Some(kept.clone()), consent, None).await {
            Ok(Adopted::Applied(plan)) => {
                *lock(&self.held) = None;
                *lock(&self.settled) = revision.clone();
                self.tell(format!("{revision} is live: {}", plan::report::summary(&plan)));
                self.settle(&revision);
            }
            Ok(Adopted::Held(_, holds)) => {
                *lock(&self.held) = Some(kept);
                self.fell("Held", Some(&revision), reasons(&holds));
            }
            Ok(Adopted::Stale(_)) => unreachable!("a proposal without an expected table is never stale"),
            Err(error) => self.fell("Invalid", Some(&revision), error),
        }
    }

    /// `POST /v1/plan`.
    pub async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        match self.load(self.kept(tree), Media::Required).await {
            Ok(Ready { desired, secrets: _ }) => {
                let plan = plan::diff(&desired, &self.keeper.table());
                let holds = plan::hold(&plan, &desired.safety, &Consent::default());
                Ok(Outcome::Planned { plan, holds })
            }
            Err(Invalid(problems)) => Ok(Outcome::Invalid { problems }),
        }
    }

    /// `POST /v1/apply`.
    pub async fn apply(&self, request: Apply) -> Result<Outcome, String> {
        let Apply { tree, consent, expected } = request;
        if let Some(problems) = self.foreign(&tree) {
            return Ok(Outcome::Invalid { problems });
        }
        let kept = self.kept(tree);
        let ready = match self.load(kept.clone(), Media::Required).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => return Ok(Outcome::Invalid { problems }),
        };
        Ok(match self.propose(ready, Some(kept.clone()), consent, expected).await? {
            Adopted::Applied(plan) => {
                self.tell(format!("{} was applied by hand: {}", plan.to, plan::report::summary(&plan)));
                *lock(&self.settled) = kept.source.clone();
                lock(&self.held).take_if(|held| same_text(held, &kept));
                self.settle(&kept.source);
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    /// Why a tree can't be applied here: the next commit would put the daemon's own environment back.
    fn foreign(&self, tree: &Tree) -> Option<String> {
        let (wanted, own) = (tree.environment.as_deref()?, self.environment.as_deref());
        let serves = match own {
            Some(own) if own == wanted => return None,
            Some(own) => format!("serves environment `{own}`"),
            None => "serves no environment".to_owned(),
        };
        Some(format!(
            "this daemon {serves}, not `{wanted}`; `environment` in [inventory] of its settings chooses"
        ))
    }

    /// A tree that was sent, which from now on stands for the source's latest revision.
    fn kept(&self, tree: Tree) -> Arc<Kept> {
        let files = tree.bytes();
        let Tree { revision, root, environment, files: _, sealed: _ } = tree;
        Arc::new(Kept {
            revision: revision.into(),
            source: self.status.borrow().attempted.as_str().into(),
            root: root.map(PathBuf::from),
            environment: environment.map(Arc::from).or(self.environment.clone()),
            files,
            copies: BTreeMap::new(),
        })
    }

    async fn propose(
        &self,
        ready: Ready,
        kept: Option<Arc<Kept>>,
        consent: Consent,
        expected: Option<(String, u64)>,
    ) -> Result<Adopted, String> {
        let Ready { desired, secrets } = ready;
        let proposal = Proposal { desired, kept, secrets, consent, expected };
        self.keeper.adopt(proposal).await.map_err(|error| error.to_string())
    }

    /// What can be served, secrets decrypted.
    async fn load(&self, kept: Arc<Kept>, media: Media) -> Result<Ready, Invalid> {
        let loaded = self.loaded(kept.clone(), media).await.map_err(Invalid)?;
        let identity = self.identity.clone();
        let work = move || {
            if loaded.errors() > 0 {
                return Err(Invalid(loaded.report()));
            }
            let secrets = secrets::decrypt(&loaded.desired, &kept.files, identity.as_deref());
            Ok(Ready { desired: loaded.desired, secrets: Arc::new(secrets.map_err(Invalid)?) })
        };
        let ended = |error| Err(Invalid(format!("loading ended unexpectedly: {error}")));
        tokio::task::spawn_blocking(work).await.unwrap_or_else(ended)
    }

    /// A snapshot as it is remembered.
    pub(super) fn kept_of(&self, snapshot: &Snapshot) -> Kept {
        let revision = snapshot.revision.clone();
        let (files, copies) = (snapshot.inline(), copies(snapshot));
        let environment = self.environment.clone();
        Kept { revision: revision.clone(), source: revision, root: None, environment, files, copies }
    }

    /// What the daemon would serve of it.
    pub(super) async fn loaded(&self, kept: Arc<Kept>, media: Media) -> Result<Loaded, String> {
        self.read(kept, media, |kept, shelf, options| {
            let environment = Environment::choose(&kept.files, kept.environment.as_deref());
            let environment = environment.map_err(|error| error.to_string())?;
            let revision = kept.revision.clone();
            Ok(load(revision, &kept.files, &environment, shelf, options, Depth::OneFirmware))
        })
        .await
    }

    /// What `check` would say of it: every environment, every firmware.
    pub(super) async fn surveyed(&self, kept: Arc<Kept>) -> Result<Loaded, String> {
        self.read(kept, Media::Required, |kept, shelf, options| {
            Ok(survey(kept.revision.clone(), &kept.files, shelf, options, Depth::EveryFirmware))
        })
        .await
    }

    /// Parsing and resolving take processor time and read images: off the serving threads.
    async fn read(
        &self,
        kept: Arc<Kept>,
        media: Media,
        work: impl FnOnce(&Kept, &Shelf, &Options) -> Result<Loaded, String> + Send + 'static,
    ) -> Result<Loaded, String> {
        let mut shelf = self.shelf.with_copies(kept.copies.clone());
        if let Some(root) = kept.root.as_ref().filter(|root| root.is_dir()) {
            shelf = shelf.with_directory(root.clone());
        }
        let options = Options { media, fallback: self.fallback.clone() };
        let task = tokio::task::spawn_blocking(move || work(&kept, &shelf, &options));
        task.await.unwrap_or_else(|error| Err(format!("loading ended unexpectedly: {error}")))
    }

    fn settle(&self, revision: &str) {
        let applied = self.keeper.table().desired.revision.to_string();
        self.status.send_modify(|status| {
            if status.condition != "Ready" {
                status.since = now().to_string();
            }
            status.condition = "Ready".into();
            status.reason.clear();
            status.applied = applied;
            status.attempted = revision.into();
        });
    }

    /// The last good state goes on being served; everybody can see why.
    fn fell(&self, condition: &str, revision: Option<&str>, reason: String) {
        tracing::warn!(condition, revision, "{reason}");
        let shown = revision.map(|revision| format!("{revision}: ")).unwrap_or_default();
        let first = reason.lines().next().unwrap_or("").to_owned();
        self.note(format!("{shown}{condition}: {first}"));
        self.status.send_modify(|status| {
            if status.condition != condition {
                status.since = now().to_string();
            }
            status.condition = condition.into();
            status.reason = reason;
            if let Some(revision) = revision {
                status.attempted = revision.into();
            }
        });
    }

    fn tell(&self, text: String) {
        self.note(text);
    }

    fn note(&self, text: String) {
        self.keeper.note(Event::new(now(), Stage::Daemon, text));
    }
}

/// Where the snapshot's files lie on disk.
fn copies(snapshot: &Snapshot) -> BTreeMap<Arc<str>, PathBuf> {
    let path = |body: &Body| match body {
        Body::Inline { path, .. } => path.clone(),
        Body::OnDisk { path, .. } => Some(path.clone()),
    };
    snapshot.files.iter().filter_map(|(name, body)| Some((name.clone(), path(body)?))).collect()
}

/// Whether a tree that was sent has the same texts as a snapshot.
fn same_text(held: &Kept, sent: &Kept) -> bool {
    let tree = |kept: &Kept| Tree::of_files(kept.files.iter().map(|(path, bytes)| (&**path, bytes)));
    tree(held) == tree(sent)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn reasons(holds: &[Hold]) -> String {
    let line = |hold: &Hold| format!("{} ({}); {}", hold.reason, hold.names.join(", "), hold.cure);
    holds.iter().map(line).collect::<Vec<_>>().join("\n")
}
