//! Follows the sources: each snapshot is loaded whole or not at all, and handed to the keeper.
//!
//! From what a source holds to what is served there are ten steps, each a function from one value to the next:
//!
//! | step | from | to |
//! |---|---|---|
//! | `source::spawn` watches a directory or a repository | its files | `Snapshot` |
//! | `Reconciler::hear` reads it (`read_of`) and lets it wait | `Snapshot` | `SourceRevision` |
//! | `SourceSet::with` adds what the other sources hold | `SourceRevision` | `Revision` |
//! | `Manifests::read` parses the files that changed | `Revision` | `Documents` |
//! | `desired::resolve_step` or `resolve_again` says what they mean | `Documents` | `Desired` |
//! | `simulate_boots` boots every machine of it | `Desired` | problems |
//! | `secrets::decrypt` opens what it names | `Desired` | `Secrets`, so `Ready` |
//! | `plan::judge` compares it with the state and applies `[safety]` | `Proposal` | `Verdict` |
//! | `state::apply` makes it what is desired, and records it | `Adoption` | `State` |
//! | `SourceSet::adopt` notes that it is served | `SourceRevision` | what the next one stands beside |
//!
//! `Reconciler::attempt` runs them for one source, after it has looked whether the revision is paused, known
//! already or waits for a person; `Memory::load_revision` of `inventory` runs the three in the middle, and `Reconciler::load` calls
//! it, twice where a tree was applied in part. A revision comes to `attempt` again when another source moved, when a
//! file outside the sources changed (`refresh`), and when the state directory can be written to again.

mod adopt;
mod control;
mod gate;
mod load;
mod order;
mod outside;
mod refresh;
mod same;
mod show;
mod ticket;
mod tree;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::audit::AuditLog;
use super::keeper::Keeper;
use super::now;
use super::written::WrittenFiles;
use crate::api::resource::{ManifestProblem, Order, Outcome};
use crate::config::Write;
use crate::desired::{Boot, Desired, Media, Subnet};
use crate::inventory::{Loaded, Memory, SourceSet};
use crate::manifest::Level;
use crate::media::{Seen, Shelf};
use crate::model::{Name, SourceCondition};
use crate::plan::{Consent, Proposal};
use crate::source::{Commit, Snapshot, SourceConfig, SourceError, Update};
use crate::state::{Revision, Secrets, SourceStatus, State, prototype};
use crate::store::History;
use control::Control;
use gate::Gate;
pub(super) use load::{PATIENCE, Terms, read_of};
use outside::{Changed, Outside};
use show::Lack;
use waiting::Waiting;

/// How often files that are still being read are looked at.
const BUSY: Duration = Duration::from_secs(2);
/// How often what could not be read is tried again: a disk or a file server may be in order again
/// though nothing shows it.
const FAILED: Duration = Duration::from_secs(10);
/// Trees that were sent whose files are compared at a time.
const COMPARISONS: usize = 8;
/// The folder of the state directory that holds the files of trees that were sent.
pub const POSTED: &str = "posted";

/// The revision of a source that was tried last, and what was found outside the source then.
type Try = (Arc<str>, Arc<Seen>);

/// A revision of a source and its commit.
type Committed = (Arc<str>, Commit);

/// From manifests to the keeper.
pub struct Reconciler {
    keeper: Keeper,
    shelf: Shelf,
    fallback: Vec<Arc<Subnet>>,
    /// Where this host's private keys of age are.
    identity: Option<PathBuf>,
    /// The environment that is served.
    environment: Option<Arc<str>>,
    /// One source each.
    statuses: watch::Sender<BTreeMap<Name, SourceStatus>>,
    sources: BTreeMap<Name, Followed>,
    set: Mutex<SourceSet>,
    history: History,
    /// Where the files of trees that were sent are kept.
    posted: Arc<Path>,
    /// Revisions that wait for a person's consent; at most one of each source.
    waiting: Mutex<BTreeMap<Name, Arc<Waiting>>>,
    control: Mutex<Control>,
    /// The control changed.
    steered: Notify,
    /// Revisions and orders are dealt with one at a time.
    turn: Arc<tokio::sync::Mutex<Turn>>,
    /// By source; the same names as in `sources`.
    gates: BTreeMap<Name, Gate>,
    /// How many more threads may compare files of trees that were sent: a file system may never answer.
    comparing: Arc<Semaphore>,
    /// What loads found out before.
    memory: Arc<Mutex<Memory>>,
    /// What is served, as files.
    served: Mutex<Option<refresh::Served>>,
    /// Files of that, as people wrote them.
    written: Arc<WrittenFiles>,
    /// By source, what was found outside it when its last revision was tried.
    tries: Mutex<BTreeMap<Name, Try>>,
    /// Sources of which something that is served is missing.
    degraded: Mutex<BTreeMap<Name, Lack>>,
    /// The daemon's state directory.
    state: PathBuf,
    /// By source, the last commit that was read.
    commits: Mutex<BTreeMap<Name, Committed>>,
    /// Where adoptions are entered.
    audit: OnceLock<AuditLog>,
}

/// Sources that a verb wrote to: their next report may be older than what is served.
pub(super) type Turn = BTreeSet<Name>;

/// What is followed.
#[derive(Clone, Debug)]
pub struct Follow {
    pub sources: BTreeMap<Name, Followed>,
    pub environment: Option<Name>,
    /// The daemon's state directory.
    pub state: PathBuf,
    /// The orders that an earlier daemon got about following them.
    pub control: Option<Vec<u8>>,
}

/// How a source is followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Where it is, for people.
    pub location: String,
    /// Whether its revisions wait for approval.
    pub manual: bool,
    /// Where verbs read and write it.
    pub place: SourceConfig,
    /// What verbs may do to it.
    pub writes: Write,
}

/// A revision that can be served.
#[derive(Clone)]
pub(super) struct Ready {
    pub desired: Arc<Desired>,
    pub secrets: Arc<Secrets>,
}

impl Ready {
    /// To be adopted; `kept` is what it was made of.
    fn proposal(self, kept: Option<Arc<Revision>>, consent: Consent) -> Proposal {
        let Ready { desired, secrets } = self;
        Proposal { desired, kept, secrets, consent, expected: None, plan: None }
    }
}

/// Why a revision can't be served.
pub(super) struct Invalid {
    /// The source that the first problem is in, where it is known and there are several.
    source: Option<Name>,
    /// Every problem, as `check` prints them.
    pub problems: String,
    /// The same for programs.
    pub rows: Vec<ManifestProblem>,
}

impl From<String> for Invalid {
    fn from(why: String) -> Invalid {
        Invalid { source: None, rows: vec![ManifestProblem::elsewhere(&why)], problems: why }
    }
}

impl From<&Loaded> for Invalid {
    fn from(loaded: &Loaded) -> Invalid {
        let errors = loaded.problems.iter().filter(|problem| problem.level == Level::Error);
        let rows = errors.map(|problem| ManifestProblem::of(problem, &loaded.documents.sources)).collect();
        Invalid { source: loaded.first_error().cloned(), problems: loaded.report(), rows }
    }
}

impl From<Invalid> for Outcome {
    fn from(Invalid { problems, rows, .. }: Invalid) -> Outcome {
        Outcome::Invalid { problems: rows, report: problems }
    }
}

impl Reconciler {
    pub fn new(
        keeper: Keeper,
        shelf: Shelf,
        fallback: Vec<Arc<Subnet>>,
        identity: Option<PathBuf>,
        follow: Follow,
    ) -> Reconciler {
        let Follow { sources, environment, state, control } = follow;
        let control = Control::of_note(control.as_deref(), sources.keys());
        let loading = |(name, source): (&Name, &Followed)| {
            let status = SourceStatus::loading(source.location.clone(), now());
            (name.clone(), status)
        };
        let mut set = SourceSet::new(sources.keys().cloned());
        sources.iter().filter(|(_, source)| source.manual).for_each(|(name, _)| set.set_manual(name));
        let gates = sources.keys().map(|name| (name.clone(), Gate::default())).collect();
        Reconciler {
            keeper,
            shelf,
            fallback,
            identity,
            environment: environment.map(|name| name.as_str().into()),
            statuses: watch::channel(sources.iter().map(loading).collect()).0,
            set: Mutex::new(set),
            sources,
            history: History::new(&state),
            state: state.clone(),
            posted: state.join(POSTED).into(),
            waiting: Mutex::default(),
            control: Mutex::new(control),
            steered: Notify::new(),
            turn: Arc::default(),
            gates,
            comparing: Arc::new(Semaphore::new(COMPARISONS)),
            memory: Arc::default(),
            served: Mutex::default(),
            written: Arc::default(),
            tries: Mutex::default(),
            degraded: Mutex::default(),
            commits: Mutex::default(),
            audit: OnceLock::new(),
        }
    }

    /// From now on adoptions are entered here.
    pub(super) fn audited_by(&self, audit: AuditLog) {
        let _ = self.audit.set(audit);
    }

    /// Remembers the commit that a source holds now.
    pub(super) fn note_commit(&self, name: &Name, snapshot: &Snapshot) {
        let mut commits = lock(&self.commits);
        match &snapshot.commit {
            Some(commit) => drop(commits.insert(name.clone(), (snapshot.revision.clone(), commit.clone()))),
            None => drop(commits.remove(name)),
        }
    }

    /// The commit that a revision of a source is, as far as it is the one read last.
    fn commit_of(&self, name: &Name, revision: &str) -> Option<Commit> {
        lock(&self.commits)
            .get(name)
            .filter(|(read, _)| **read == *revision)
            .map(|(_, commit)| commit.clone())
    }

    pub(super) fn sources(&self) -> &BTreeMap<Name, Followed> {
        &self.sources
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.keeper.state()
    }

    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, Turn> {
        self.turn.lock().await
    }

    /// The files of each source as they are served; of one applied in part, those applied last.
    pub(super) fn served_files(&self, name: &Name) -> BTreeMap<Arc<str>, Bytes> {
        lock(&self.set).files(name)
    }

    /// One status for each source.
    pub fn statuses(&self) -> watch::Receiver<BTreeMap<Name, SourceStatus>> {
        self.statuses.subscribe()
    }

    /// The files on disk that are served, may be soon, or can be gone back to.
    pub fn copies(&self) -> BTreeSet<PathBuf> {
        let mut copies = lock(&self.set).copies();
        let state = self.keeper.state();
        let claimed = state.prototypes().values().map(|stored| &stored.revision);
        for kept in self.history.all().iter().chain(claimed) {
            copies.extend(kept.layers().flat_map(|layer| layer.tree.copies.values().cloned()));
        }
        copies
    }

    /// The files on disk that boots are served from, or may be soon.
    pub fn media(&self) -> BTreeSet<PathBuf> {
        self.boots().iter().flat_map(|boot| prototype::media(boot)).collect()
    }

    /// The same, the images that are trees of boots, and what a revision that can't be adopted yet asks for.
    pub fn images(&self) -> BTreeSet<PathBuf> {
        // All files of an image lie in that image.
        let image = |boot: &Arc<Boot>| Some(boot.tree.as_ref()?.files.values().next()?.path.to_path_buf());
        let trees: Vec<PathBuf> = self.boots().iter().filter_map(image).collect();
        let looked_at = self.watched().into_iter().map(|(path, _)| path);
        self.media().into_iter().chain(trees).chain(looked_at).collect()
    }

    /// The boots that are served, may be soon, or belong to what claims run.
    fn boots(&self) -> Vec<Arc<Boot>> {
        let waiting: Vec<Arc<Desired>> =
            lock(&self.waiting).values().map(|one| one.ready.desired.clone()).collect();
        let state = self.keeper.state();
        let all = waiting.iter().chain([state.desired()]).flat_map(|desired| desired.boots.values());
        all.chain(state.claimed_boots()).cloned().collect()
    }

    /// Runs until the sources end.
    pub async fn run(self: Arc<Self>, mut updates: mpsc::Receiver<(Name, Update)>) {
        let mut outside = Outside::new();
        let mut storage = self.keeper.storage();
        let (mut busy, mut failed) = (every(BUSY), every(FAILED));
        loop {
            let ends = lock(&self.control).ends();
            let left = ends.map(|ends| Duration::from_millis(ends.since(now()).0 + 1));
            tokio::select! {
                update = updates.recv() => match update {
                    Some((name, update)) => self.hear(&name, update).await,
                    None => return,
                },
                () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => {
                    if let Err(error) = self.order(Order::Resume).await {
                        tracing::warn!(%error, "the suspension could not be ended");
                    }
                }
                () = self.steered.notified() => {}
                Ok(()) = storage.changed() => {
                    if storage.borrow_and_update().trouble.is_none() {
                        self.attempt_unstored().await;
                    }
                }
                changed = outside.changed(|| self.watched()) => self.look_again(&changed, false).await,
                _ = busy.tick(), if self.is_busy() => self.look_again(&Changed::new(), false).await,
                _ = failed.tick(), if self.has_failures() => self.look_again(&Changed::new(), true).await,
            }
        }
    }

    /// Handles a report of a source.
    async fn hear(&self, name: &Name, update: Update) {
        let mut turn = self.turn.lock().await;
        match update {
            Update::Snapshot(reported) => {
                let snapshot = match self.newest(name, reported, &mut turn).await {
                    Ok(snapshot) => snapshot,
                    Err(error) => {
                        return self.set_condition(
                            name,
                            error.condition(),
                            error.revision(),
                            error.to_string(),
                        );
                    }
                };
                self.warn_of(name, &snapshot);
                self.note_commit(name, &snapshot);
                self.consider(name, read_of(&snapshot), Consent::default()).await;
            }
            Update::Failed(error) => {
                // A revision that waits for a person keeps waiting while the source is unreachable.
                let waits = lock(&self.waiting).contains_key(name) || self.pause(name, "").is_some();
                lock(&self.set).away(name, waits);
                self.set_condition(name, error.condition(), error.revision(), error.to_string());
                self.retry().await;
            }
        }
    }

    /// The report of a source; the source is read again where a verb has written to it meanwhile.
    async fn newest(
        &self,
        name: &Name,
        reported: Snapshot,
        turn: &mut Turn,
    ) -> Result<Snapshot, SourceError> {
        if !turn.contains(name) {
            return Ok(reported);
        }
        let reading = self.read_now(name).await?;
        turn.remove(name);
        Ok(reading.snapshot)
    }

    /// Serves what was served when the daemon stopped, before the sources are read.
    pub async fn restore(&self, kept: Revision) {
        let (kept, revision) = (Arc::new(kept.clone()), kept.name());
        lock(&self.set).restore(&kept);
        // Another environment of the same revision is news.
        if kept.environment != self.environment {
            lock(&self.set).unsettle();
        }
        // Before machines are given out: a claim that can't be served must not lose its turn to a later one.
        self.load_prototypes().await;
        // A kernel that lies where the source was may be gone with it, and the key's disk be late;
        // addresses and all other answers are there. What is missing is shown by the next look.
        let loaded = self.load(&kept, None, Terms::noting(Media::Lenient, &Arc::default())).await;
        self.serves(kept.clone(), None);
        let adopted = match loaded {
            Ok(ready) => {
                let adopted = self.keeper.adopt(ready.proposal(None, Consent::default())).await;
                adopted.map_err(|error| error.to_string())
            }
            Err(Invalid { problems, .. }) => Err(problems),
        };
        match adopted {
            Ok(_) => {
                self.note(format!("{revision} is served as before"));
                let set = lock(&self.set);
                self.statuses.send_modify(|statuses| {
                    for (name, status) in statuses {
                        status.condition = SourceCondition::Cached;
                        status.reason = "the source was not read yet".into();
                        status.applied = match set.are_several() {
                            true => set.served_name(name).to_string(),
                            false => revision.to_string(),
                        };
                    }
                });
            }
            Err(why) => tracing::warn!("{revision} can't be served as before: {why}"),
        }
    }
}

/// What changes what is served is done to its end once it has its turn, though its caller goes away meanwhile: half of an
/// adoption would be taken back by the next one. Who only waits for a turn gives it up by going away.
pub(super) fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> impl Future<Output = Result<T, String>> {
    let task = tokio::spawn(work);
    async move { task.await.unwrap_or_else(|_| Err("the daemon failed at it".to_owned())) }
}

/// A clock whose ticks are that far apart at least, however busy its owner is.
fn every(period: Duration) -> tokio::time::Interval {
    let mut clock = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    clock
}

fn listed(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
