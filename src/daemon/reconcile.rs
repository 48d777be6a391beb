//! Follows the source: each snapshot is loaded whole or not at all, and handed to the keeper.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::keeper::{Adopted, Keeper, Proposal};
use super::load::{Depth, load_sources};
use super::parts::{Parts, Piece, roots};
use super::{now, secrets};
use crate::api::types::{Apply, Outcome, SourceStatus, Tree};
use crate::desired::{Desired, Media, Options, Subnet};
use crate::manifest::{Environment, Sources};
use crate::media::Shelf;
use crate::model::Name;
use crate::plan::{self, Consent, Hold};
use crate::source::{Snapshot, Update};
use crate::store::Kept;
use crate::table::{Event, Secrets, Stage};

/// From manifests to the keeper.
pub struct Reconciler {
    keeper: Keeper,
    shelf: Shelf,
    fallback: Option<Arc<Subnet>>,
    /// Where this host's private keys of age are.
    identity: Option<PathBuf>,
    /// The environment that is served.
    environment: Option<Arc<str>>,
    /// One source each.
    statuses: watch::Sender<BTreeMap<Name, SourceStatus>>,
    /// The snapshots that a safety rule holds, so that applying the same files settles them.
    held: Mutex<BTreeMap<Name, Arc<Kept>>>,
    parts: Mutex<Parts>,
}

/// What is followed.
#[derive(Debug)]
pub struct Follow {
    /// Each source and where it is, for people.
    pub locations: BTreeMap<Name, String>,
    pub environment: Option<Name>,
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
        let Follow { locations, environment } = follow;
        let parts = Mutex::new(Parts::new(locations.keys().cloned()));
        let loading = |(name, location): (Name, String)| {
            let status = SourceStatus {
                name: name.to_string(),
                location,
                condition: "Loading".into(),
                since: now().to_string(),
                ..SourceStatus::default()
            };
            (name, status)
        };
        let statuses = watch::channel(locations.into_iter().map(loading).collect()).0;
        let environment = environment.map(|name| name.as_str().into());
        Reconciler { keeper, shelf, fallback, identity, environment, statuses, held: Mutex::default(), parts }
    }

    /// One status for each source.
    pub fn statuses(&self) -> watch::Receiver<BTreeMap<Name, SourceStatus>> {
        self.statuses.subscribe()
    }

    /// The files on disk that are served, or may be soon.
    pub fn copies(&self) -> BTreeSet<PathBuf> {
        lock(&self.parts).copies()
    }

    /// Runs until the sources end.
    pub async fn run(self: Arc<Self>, mut updates: mpsc::Receiver<(Name, Update)>) {
        while let Some((name, update)) = updates.recv().await {
            match update {
                Update::Snapshot(snapshot) => self.follow(&name, snapshot).await,
                Update::Failed(error) => {
                    lock(&self.parts).rest(&name);
                    self.fell(&name, error.condition(), error.revision(), error.to_string());
                    self.retry().await;
                }
            }
        }
    }

    /// Serves what was served when the daemon stopped, before anybody asks the sources.
    pub async fn restore(&self, kept: Kept) {
        let (kept, revision) = (Arc::new(kept.clone()), kept.revision);
        lock(&self.parts).restore(&kept);
        // Another environment of the same revision is news.
        if kept.environment != self.environment {
            lock(&self.parts).unsettle();
        }
        // A kernel that lies where the source was may be gone with it; addresses and answers are not.
        let loaded = self.load(kept.clone(), None, Media::IfPresent).await;
        let adopted = match loaded {
            Ok(ready) => self.propose(ready, None, Consent::default(), None).await,
            Err(Invalid(problems)) => Err(problems),
        };
        match adopted {
            Ok(_) => {
                self.note(format!("{revision} is served as before"));
                let parts = lock(&self.parts);
                self.statuses.send_modify(|statuses| {
                    for (name, status) in statuses {
                        status.condition = "Cached".into();
                        status.reason = "the source was not read yet".into();
                        status.applied = match parts.are_several() {
                            true => parts.served(name).to_owned(),
                            false => revision.to_string(),
                        };
                    }
                });
            }
            Err(why) => tracing::warn!("{revision} can't be served as before: {why}"),
        }
    }

    /// Loads what the source holds now and adopts it, or says why not.
    async fn follow(&self, name: &Name, snapshot: Snapshot) {
        let piece = Piece {
            revision: snapshot.revision.clone(),
            root: None,
            files: snapshot.inline(),
            copies: snapshot.copies(),
        };
        let settled = lock(&self.parts).is_settled(name, &piece.revision);
        if settled && !self.keeper.table().desired.revision.is_empty() {
            lock(&self.parts).rest(name);
            return self.settle(name, &piece.revision);
        }
        lock(&self.parts).wait(name, piece);
        self.attempt(name).await;
        self.retry().await;
    }

    /// What did not fit may fit when another source has moved.
    async fn retry(&self) {
        if !lock(&self.parts).are_several() {
            return;
        }
        loop {
            let mut moved = false;
            let queue = lock(&self.parts).queue();
            for name in queue {
                moved |= self.attempt(&name).await;
            }
            if !moved {
                return;
            }
        }
    }

    /// Tries what the source waits with, beside what is served of the others; true if it is
    /// served from now on.
    async fn attempt(&self, name: &Name) -> bool {
        let Some(piece) = lock(&self.parts).waiting(name) else { return false };
        let revision = piece.revision.clone();
        let put_together = lock(&self.parts).with(name, &piece, &revision);
        let kept = match put_together {
            Ok(kept) => Arc::new(Kept { environment: self.environment.clone(), ..kept }),
            Err(missing) => {
                let reason = format!("nothing moves before these were read: {}", listed(&missing));
                self.fell(name, "Waiting", Some(&revision), reason);
                return false;
            }
        };
        let ready = match self.load(kept.clone(), Some(name), Media::Required).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => {
                self.fell(name, "Invalid", Some(&revision), problems);
                return false;
            }
        };
        match self.propose(ready, Some(kept.clone()), Consent::default(), None).await {
            Ok(Adopted::Applied(plan)) => {
                lock(&self.held).remove(name);
                lock(&self.parts).adopt(name, piece, revision.clone());
                self.tell(name, format!("{revision} is live: {}", plan::report::summary(&plan)));
                self.settle(name, &revision);
                return true;
            }
            Ok(Adopted::Held(_, holds)) => {
                lock(&self.held).insert(name.clone(), kept);
                self.fell(name, "Held", Some(&revision), reasons(&holds));
            }
            Ok(Adopted::Stale(_)) => unreachable!("a proposal without an expected table is never stale"),
            Err(error) => self.fell(name, "Invalid", Some(&revision), error),
        }
        false
    }

    /// `POST /v1/plan`.
    pub async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        let (name, _, kept) = self.kept(tree)?;
        match self.load(kept, Some(&name), Media::Required).await {
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
        let (name, piece, kept) = self.kept(tree)?;
        let ready = match self.load(kept.clone(), Some(&name), Media::Required).await {
            Ok(ready) => ready,
            Err(Invalid(problems)) => return Ok(Outcome::Invalid { problems }),
        };
        Ok(match self.propose(ready, Some(kept.clone()), consent, expected).await? {
            Adopted::Applied(plan) => {
                let summary = plan::report::summary(&plan);
                self.tell(&name, format!("{} was applied by hand: {summary}", piece.revision));
                let stands_for = self.attempted(&name);
                lock(&self.parts).adopt(&name, piece, stands_for.clone());
                if lock(&self.held).get(&name).is_some_and(|held| same_text(held, &kept)) {
                    lock(&self.held).remove(&name);
                }
                self.settle(&name, &stands_for);
                self.retry().await;
                Outcome::Applied { plan }
            }
            Adopted::Held(plan, holds) => Outcome::Held { plan, holds },
            Adopted::Stale(plan) => Outcome::Stale { plan },
        })
    }

    /// The revision of the source that was seen last.
    fn attempted(&self, name: &Name) -> Arc<str> {
        let statuses = self.statuses.borrow();
        statuses.get(name).map_or_else(|| "".into(), |status| status.attempted.as_str().into())
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

    /// A tree that was sent, which from now on stands for the latest revision of the source it
    /// names: that, its part, and everything with it.
    fn kept(&self, tree: Tree) -> Result<(Name, Piece, Arc<Kept>), String> {
        let files = tree.bytes();
        let Tree { revision, root, source, environment, files: _, sealed: _ } = tree;
        let parts = lock(&self.parts);
        let all: Vec<Name> = parts.names().cloned().collect();
        let name = match source {
            Some(wanted) => all.iter().find(|name| name.as_str() == wanted),
            None if !parts.are_several() => all.first(),
            None => None,
        };
        let name = name.cloned().ok_or_else(|| {
            format!("this daemon follows {}: say with --source which one the directory is", listed(&all))
        })?;
        let piece = Piece {
            revision: revision.into(),
            root: root.map(PathBuf::from),
            files,
            copies: BTreeMap::new(),
        };
        let put_together = parts.with(&name, &piece, &self.attempted(&name));
        let kept = put_together
            .map_err(|missing| format!("nothing moves before these were read: {}", listed(&missing)))?;
        let environment = environment.map(Arc::from).or(self.environment.clone());
        Ok((name, piece, Arc::new(Kept { environment, ..kept })))
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
    async fn load(&self, kept: Arc<Kept>, moving: Option<&Name>, media: Media) -> Result<Ready, Invalid> {
        let roots = roots(&kept, moving);
        let mut shelf = self.shelf.with_copies(kept.copies.clone());
        if let Some(root) = kept.root.as_ref().filter(|root| root.is_dir()) {
            shelf = shelf.with_directory(root.clone());
        }
        let options = Options { media, fallback: self.fallback.clone() };
        let identity = self.identity.clone();
        let work = move || {
            let sources = Sources::of_several(&kept.files, &roots);
            let inside =
                sources.iter().map(|(file, source)| (sources.inside(file).into(), source.bytes.clone()));
            let environment = Environment::choose(&inside.collect(), kept.environment.as_deref());
            let environment = environment.map_err(|error| Invalid(error.to_string()))?;
            let revision = kept.revision.clone();
            let loaded = load_sources(revision, sources, &environment, &shelf, &options, Depth::OneFirmware);
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

    fn settle(&self, name: &Name, revision: &str) {
        let table = self.keeper.table().desired.revision.to_string();
        let several = lock(&self.parts).are_several();
        self.change(name, |status| {
            if status.condition != "Ready" {
                status.since = now().to_string();
            }
            status.condition = "Ready".into();
            status.reason.clear();
            status.applied = if several { revision.into() } else { table };
            status.attempted = revision.into();
        });
    }

    /// The last good state goes on being served; everybody can see why.
    fn fell(&self, name: &Name, condition: &str, revision: Option<&str>, reason: String) {
        // Tried again with another source, and the same came of it.
        let same = self.statuses.borrow().get(name).is_some_and(|status| {
            status.condition == condition
                && status.reason == reason
                && revision.is_none_or(|revision| status.attempted == revision)
        });
        if same {
            return;
        }
        tracing::warn!(%name, condition, revision, "{reason}");
        let shown = revision.map(|revision| format!("{revision}: ")).unwrap_or_default();
        let first = reason.lines().next().unwrap_or("").to_owned();
        self.tell(name, format!("{shown}{condition}: {first}"));
        self.change(name, |status| {
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

    fn change(&self, name: &Name, change: impl FnOnce(&mut SourceStatus)) {
        self.statuses.send_modify(|statuses| statuses.get_mut(name).map_or((), change));
    }

    /// An event; it names the source where there are several.
    fn tell(&self, name: &Name, text: String) {
        let several = lock(&self.parts).are_several();
        self.note(if several { format!("{name}: {text}") } else { text });
    }

    fn note(&self, text: String) {
        self.keeper.note(Event::new(now(), Stage::Daemon, text));
    }
}

fn listed(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
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
