//! Follows the source: each snapshot is loaded whole or not at all, and handed to the keeper.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::keeper::{Adopted, Keeper, Proposal};
use super::load::{Depth, load};
use super::now;
use crate::api::types::{Apply, Outcome, SourceStatus, Tree};
use crate::desired::{Desired, Media, Options, Subnet};
use crate::media::Shelf;
use crate::plan::{self, Consent, Hold};
use crate::source::{Body, Snapshot, Update};
use crate::table::{Event, Secrets, Stage};

/// From manifests to the keeper.
pub struct Reconciler {
    keeper: Keeper,
    shelf: Shelf,
    fallback: Option<Arc<Subnet>>,
    status: watch::Sender<SourceStatus>,
    /// The snapshot that a safety rule holds, so that applying the same files settles it.
    held: Mutex<Option<BTreeMap<Arc<str>, Bytes>>>,
}

/// Manifests that can't be served: every problem, as `check` prints them.
struct Invalid(String);

impl Reconciler {
    pub fn new(keeper: Keeper, shelf: Shelf, fallback: Option<Arc<Subnet>>, location: String) -> Reconciler {
        let loading = SourceStatus {
            location,
            condition: "Loading".into(),
            since: now().to_string(),
            ..SourceStatus::default()
        };
        Reconciler { keeper, shelf, fallback, status: watch::channel(loading).0, held: Mutex::new(None) }
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

    /// Loads what the source holds now and adopts it, or says why not.
    async fn follow(&self, snapshot: Snapshot) {
        let revision = snapshot.revision.clone();
        let files = inline(&snapshot);
        let root = None;
        let loaded = self.load(revision.clone(), files.clone(), root, copies(&snapshot)).await;
        let desired = match loaded {
            Ok(desired) => desired,
            Err(Invalid(problems)) => return self.fell("Invalid", Some(&revision), problems),
        };
        match self.propose(desired, Consent::default(), None).await {
            Ok(Adopted::Applied(plan)) => {
                *self.held() = None;
                if !plan.is_empty() || plan.from != plan.to {
                    self.tell(format!("{revision} is live: {}", plan::report::summary(&plan)));
                }
                self.settle(&revision);
            }
            Ok(Adopted::Held(_, holds)) => {
                *self.held() = Some(files);
                self.fell("Held", Some(&revision), reasons(&holds));
            }
            Ok(Adopted::Stale(_)) => unreachable!("a proposal without an expected table is never stale"),
            Err(error) => self.fell("Invalid", Some(&revision), error),
        }
    }

    /// `POST /v1/plan`.
    pub async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        match self.load_tree(&tree).await {
            Ok(desired) => {
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
        let desired = match self.load_tree(&tree).await {
            Ok(desired) => desired,
            Err(Invalid(problems)) => return Ok(Outcome::Invalid { problems }),
        };
        Ok(match self.propose(desired, consent, expected).await? {
            Adopted::Applied(plan) => {
                self.tell(format!("{} was applied by hand: {}", plan.to, plan::report::summary(&plan)));
                let same = self.held().as_ref().is_some_and(|held| same_text(held, &tree));
                if same {
                    *self.held() = None;
                }
                self.settle(&plan.to);
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    async fn propose(
        &self,
        desired: Arc<Desired>,
        consent: Consent,
        expected: Option<(String, u64)>,
    ) -> Result<Adopted, String> {
        let proposal = Proposal { desired, secrets: Arc::new(Secrets::default()), consent, expected };
        self.keeper.adopt(proposal).await.map_err(|error| error.to_string())
    }

    async fn load_tree(&self, tree: &Tree) -> Result<Arc<Desired>, Invalid> {
        let files = tree.files.iter().map(|(path, text)| (path.as_str().into(), Bytes::from(text.clone())));
        let root = tree.root.as_ref().map(PathBuf::from);
        self.load(tree.revision.as_str().into(), files.collect(), root, BTreeMap::new()).await
    }

    /// Parsing and resolving take processor time and read images: off the serving threads.
    async fn load(
        &self,
        revision: Arc<str>,
        files: BTreeMap<Arc<str>, Bytes>,
        root: Option<PathBuf>,
        copies: BTreeMap<Arc<str>, PathBuf>,
    ) -> Result<Arc<Desired>, Invalid> {
        let mut shelf = self.shelf.with_copies(copies);
        if let Some(root) = root.filter(|root: &PathBuf| Path::is_dir(root)) {
            shelf = shelf.with_directory(root);
        }
        let options = Options { media: Media::Required, fallback: self.fallback.clone() };
        let work = move || load(revision, &files, &shelf, &options, Depth::OneFirmware);
        match tokio::task::spawn_blocking(work).await {
            Ok(loaded) if loaded.errors() == 0 => Ok(loaded.desired),
            Ok(loaded) => Err(Invalid(loaded.report())),
            Err(error) => Err(Invalid(format!("loading ended unexpectedly: {error}"))),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<BTreeMap<Arc<str>, Bytes>>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn settle(&self, revision: &str) {
        self.status.send_modify(|status| {
            if status.condition != "Ready" {
                status.since = now().to_string();
            }
            status.condition = "Ready".into();
            status.reason.clear();
            status.applied = revision.into();
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
        tracing::info!("{text}");
        self.note(text);
    }

    fn note(&self, text: String) {
        self.keeper.note(Event::new(now(), Stage::Daemon, text));
    }
}

fn inline(snapshot: &Snapshot) -> BTreeMap<Arc<str>, Bytes> {
    let bytes = |body: &Body| match body {
        Body::Inline { bytes, .. } => Some(bytes.clone()),
        Body::OnDisk { .. } => None,
    };
    snapshot.files.iter().filter_map(|(path, body)| Some((path.clone(), bytes(body)?))).collect()
}

/// Where the snapshot's files lie on disk.
fn copies(snapshot: &Snapshot) -> BTreeMap<Arc<str>, PathBuf> {
    let path = |body: &Body| match body {
        Body::Inline { path, .. } => path.clone(),
        Body::OnDisk { path, .. } => Some(path.clone()),
    };
    snapshot.files.iter().filter_map(|(name, body)| Some((name.clone(), path(body)?))).collect()
}

fn same_text(held: &BTreeMap<Arc<str>, Bytes>, tree: &Tree) -> bool {
    let text = |bytes: &Bytes| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let texts = held.iter().filter_map(|(path, bytes)| Some((path.to_string(), text(bytes)?)));
    texts.collect::<BTreeMap<_, _>>() == tree.files
}

fn reasons(holds: &[Hold]) -> String {
    let line = |hold: &Hold| format!("{} ({}); {}", hold.reason, hold.names.join(", "), hold.cure);
    holds.iter().map(line).collect::<Vec<_>>().join("\n")
}
