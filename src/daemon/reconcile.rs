//! Follows the source: each snapshot is loaded whole or not at all, and handed to the keeper.

mod control;
mod order;
mod part;
mod ticket;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::keeper::{Adopted, Keeper, Proposal};
use super::load::{Depth, Memory};
use super::{now, preview, secrets};
use crate::api::types::{Apply, Order, Outcome, SourceStatus, Tree};
use crate::desired::{Desired, Media, Options, Subnet};
use crate::manifest::Environment;
use crate::media::Shelf;
use crate::model::Name;
use crate::plan::{self, Consent, Hold};
use crate::source::{Snapshot, Update};
use crate::store::{History, Kept};
use crate::table::{Event, Secrets, Stage};
use control::Control;
use waiting::{Waiting, plan_id};

/// From manifests to the keeper.
pub struct Reconciler {
    keeper: Keeper,
    shelf: Shelf,
    fallback: Vec<Arc<Subnet>>,
    /// Where this host's private keys of age are.
    identity: Option<PathBuf>,
    /// The environment that is served.
    environment: Option<Arc<str>>,
    status: watch::Sender<SourceStatus>,
    /// Whether revisions of the source wait for somebody's approval.
    manual: bool,
    history: History,
    /// The revision that waits for somebody's word.
    waiting: Mutex<Option<Arc<Waiting>>>,
    /// The source's latest revision, while it is not adopted.
    latest: Mutex<Option<Arc<Kept>>>,
    control: Mutex<Control>,
    /// Saved plans that were applied since the start.
    used: Mutex<BTreeSet<String>>,
    /// The control changed.
    steered: Notify,
    /// Revisions and orders are dealt with one at a time.
    turn: tokio::sync::Mutex<()>,
    /// What loads found out before.
    memory: Arc<Mutex<Memory>>,
    /// The source's latest revision that was adopted, or that a tree applied by hand stands for.
    settled: Mutex<Arc<str>>,
}

/// How a source is followed.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The inventory, for people.
    pub location: String,
    pub environment: Option<Name>,
    /// Whether its revisions wait for approval.
    pub manual: bool,
    /// The daemon's state directory.
    pub state: PathBuf,
    /// What people told an earlier daemon about following it.
    pub control: Option<Vec<u8>>,
}

/// A revision that can be served.
#[derive(Clone)]
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
        fallback: Vec<Arc<Subnet>>,
        identity: Option<PathBuf>,
        follow: Follow,
    ) -> Reconciler {
        let Follow { location, environment, manual, state, control } = follow;
        let control = control.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default();
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
            environment: environment.map(|name| name.as_str().into()),
            status: watch::channel(loading).0,
            manual,
            history: History::new(&state),
            waiting: Mutex::default(),
            latest: Mutex::default(),
            control: Mutex::new(control),
            used: Mutex::default(),
            steered: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            memory: Arc::default(),
            settled: Mutex::default(),
        }
    }

    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }

    /// Runs until the source ends.
    pub async fn run(self: Arc<Self>, mut updates: mpsc::Receiver<Update>) {
        loop {
            let ends = lock(&self.control).ends();
            let left = ends.map(|ends| Duration::from_millis(ends.since(now()).0 + 1));
            tokio::select! {
                update = updates.recv() => match update {
                    Some(Update::Snapshot(snapshot)) => self.follow(snapshot).await,
                    Some(Update::Failed(reason)) => self.fell("Unreachable", None, reason),
                    None => return,
                },
                () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {
                    if let Err(error) = self.order(Order::Resume).await {
                        tracing::warn!(%error, "the suspension could not be ended");
                    }
                }
                () = self.steered.notified() => {}
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

    /// Takes note of what the source holds now, and adopts it if nothing speaks against it.
    async fn follow(&self, snapshot: Snapshot) {
        let _turn = self.turn.lock().await;
        let revision = snapshot.revision.clone();
        let (files, copies) = (snapshot.inline(), snapshot.copies());
        self.consider(Arc::new(Kept {
            revision: revision.clone(),
            source: revision,
            root: None,
            environment: self.environment.clone(),
            files,
            copies,
        }))
        .await;
    }

    /// Loads a revision of the source and adopts it, or says why not.
    async fn consider(&self, kept: Arc<Kept>) {
        let revision = kept.revision.clone();
        *lock(&self.waiting) = None;
        *lock(&self.latest) = Some(kept.clone());
        let control = lock(&self.control).clone();
        let pause = control.pause(now()).or_else(|| control.rejection(&revision));
        if let Some((condition, why)) = pause {
            return self.fell(condition, Some(&revision), why);
        }
        if *lock(&self.settled) == revision && !self.keeper.table().desired.revision.is_empty() {
            return self.adopted(kept).await;
        }
        let ready = match self.load(kept.clone(), Media::Required).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => return self.fell("Invalid", Some(&revision), problems),
        };
        if self.manual && !plan::diff(&ready.desired, &self.keeper.table()).is_empty() {
            return self.wait(kept, ready, "Waiting", Vec::new());
        }
        match self.propose(ready.clone(), Some(kept.clone()), Consent::default(), None).await {
            Ok(Adopted::Applied(plan)) => {
                self.tell(format!("{revision} is live: {}", plan::report::summary(&plan)));
                self.adopted(kept).await;
            }
            Ok(Adopted::Held(_, holds)) => self.wait(kept, ready, "Held", holds),
            Ok(Adopted::Stale(_)) => unreachable!("a proposal without an expected table is never stale"),
            Err(error) => self.fell("Invalid", Some(&revision), error),
        }
    }

    /// Keeps a loaded revision until somebody approves or rejects it.
    fn wait(&self, kept: Arc<Kept>, ready: Ready, condition: &'static str, holds: Vec<Hold>) {
        let plan = plan::diff(&ready.desired, &self.keeper.table());
        let id = plan_id(&plan);
        let mut reason = reasons(&holds);
        if reason.is_empty() {
            reason = plan::report::summary(&plan);
        }
        reason += &format!("\nplan {id} waits: voldemortctl get plans, approve {id}, reject {id}");
        self.fell(condition, Some(&kept.revision), reason);
        *lock(&self.waiting) = Some(Arc::new(Waiting { kept, ready, condition, since: now() }));
    }

    /// A revision of the source is live.
    async fn adopted(&self, kept: Arc<Kept>) {
        *lock(&self.waiting) = None;
        *lock(&self.latest) = None;
        *lock(&self.settled) = kept.source.clone();
        self.settle(&kept.source);
        let history = self.history.clone();
        let written = tokio::task::spawn_blocking(move || history.add(&kept)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the revision is live, but can't be kept for a later pin");
        }
    }

    /// `POST /v1/plan`.
    pub async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        let kept = self.kept(tree)?;
        match self.load(kept, Media::Required).await {
            Ok(Ready { desired, secrets }) => {
                let table = self.keeper.table();
                let changed = preview::changed_secrets(&table.secrets, &secrets, &desired);
                let work = move || {
                    let plan = preview::preview(&desired, &table, &changed, now());
                    let holds = plan::hold(&plan, &desired.safety, &Consent::default());
                    Outcome::Planned { plan, holds }
                };
                tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
            }
            Err(Invalid(problems)) => Ok(Outcome::Invalid { problems }),
        }
    }

    /// `POST /v1/apply`.
    pub async fn apply(&self, request: Apply) -> Result<Outcome, String> {
        let _turn = self.turn.lock().await;
        let Apply { tree, consent, expected, ticket } = request;
        if let Some(problems) = self.foreign(&tree) {
            return Ok(Outcome::Invalid { problems });
        }
        let moved = ticket.as_ref().map(|ticket| self.moved(ticket, &tree)).unwrap_or_default();
        if !moved.is_empty() {
            return Ok(Outcome::Moved { reasons: moved });
        }
        let expected = expected.or(ticket.as_ref().map(|ticket| (ticket.lineage.clone(), ticket.serial)));
        let kept = self.kept(tree)?;
        let ready = match self.load(kept.clone(), Media::Required).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => return Ok(Outcome::Invalid { problems }),
        };
        if let Some(pinned) = self.pinned() {
            let plan = plan::diff(&ready.desired, &self.keeper.table());
            return Ok(Outcome::Held { plan, holds: vec![pinned] });
        }
        Ok(match self.propose(ready, Some(kept.clone()), consent, expected).await? {
            Adopted::Applied(plan) => {
                self.tell(format!("{} was applied by hand: {}", plan.to, plan::report::summary(&plan)));
                lock(&self.used).extend(ticket.map(|ticket| ticket.id));
                self.adopted(kept).await;
                self.paused();
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
    fn kept(&self, tree: Tree) -> Result<Arc<Kept>, String> {
        let files = tree.bytes();
        let Tree { revision, root, environment, files: _, sealed: _, selection } = tree;
        let whole = Kept {
            revision: revision.into(),
            source: self.status.borrow().attempted.as_str().into(),
            root: root.map(PathBuf::from),
            environment: environment.map(Arc::from).or(self.environment.clone()),
            files,
            copies: BTreeMap::new(),
        };
        if selection.is_all() {
            return Ok(Arc::new(whole));
        }
        let applied = self.keeper.table().desired.revision.clone();
        let base = self.history.find(&applied).ok_or("nothing is served yet: apply everything first")?;
        part::join(whole, &base, selection).map(Arc::new)
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

    /// Parsing and resolving take processor time and read images: off the serving threads.
    async fn load_whole(&self, kept: Arc<Kept>, media: Media) -> Result<Ready, Invalid> {
        let mut shelf = self.shelf.with_copies(kept.copies.clone());
        if let Some(root) = kept.root.as_ref().filter(|root| root.is_dir()) {
            shelf = shelf.with_directory(root.clone());
        }
        let options = Options { media, fallback: self.fallback.clone() };
        let identity = self.identity.clone();
        let memory = self.memory.clone();
        let work = move || {
            let environment = Environment::choose(&kept.files, kept.environment.as_deref());
            let environment = environment.map_err(|error| Invalid(error.to_string()))?;
            let revision = kept.revision.clone();
            let mut memory = lock(&memory);
            let loaded =
                memory.load(revision, &kept.files, &environment, &shelf, &options, Depth::OneFirmware);
            drop(memory);
            if loaded.errors() > 0 {
                return Err(Invalid(loaded.report()));
            }
            let secrets = secrets::decrypt(&loaded.desired, &kept.files, identity.as_deref());
            Ok(Ready { desired: loaded.desired, secrets: Arc::new(secrets.map_err(Invalid)?) })
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(loaded) => loaded,
            Err(error) => Err(Invalid(format!("loading ended unexpectedly: {error}"))),
        }
    }

    fn settle(&self, revision: &str) {
        let applied = self.keeper.table().desired.revision.to_string();
        self.status.send_modify(|status| {
            if status.condition != "Ready" {
                status.since = now().to_string();
            }
            status.condition = "Ready".into();
            status.reason = match applied.ends_with(')') {
                true => "applied in part: the rest is as before until everything is applied".into(),
                false => String::new(),
            };
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn reasons(holds: &[Hold]) -> String {
    let line = |hold: &Hold| format!("{} ({}); {}", hold.reason, hold.names.join(", "), hold.cure);
    holds.iter().map(line).collect::<Vec<_>>().join("\n")
}
