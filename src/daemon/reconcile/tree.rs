//! Trees that a client sends: planned, or applied in place of a source's latest revision.

use std::sync::Arc;
use std::time::Duration;

use super::load::Terms;
use super::{Ready, Reconciler, listed, lock, same, to_its_end};
use crate::api::resource::{Apply, Outcome, Tree};
use crate::daemon::commands::Adopted;
use crate::daemon::now;
use crate::daemon::posted::{Places, Sent};
use crate::desired::Media;
use crate::inventory::preview;
use crate::model::{Caller, Inventory, Name, Role};
use crate::plan::{self, Consent, Hold, Proposal};
use crate::state::revision::root_of;
use crate::state::{Composition, Revision, SourceRevision, prototype};

/// Longest wait for the digests of files that a tree describes. They are known then, sooner or later.
const COMPARING: Duration = Duration::from_secs(60);

/// How many partial applies may follow each other: each keeps the files before it.
const DEEPEST: usize = 4;

/// A tree that was sent, beside everything else that is served.
struct FromTree {
    /// The source that it stands for.
    name: Name,
    source: SourceRevision,
    revision: Arc<Revision>,
    /// What is known of the files that it only describes.
    sent: Arc<Sent>,
}

impl Reconciler {
    /// `POST /v1/plan`.
    pub async fn plan(&self, tree: Tree) -> Result<Outcome, String> {
        let FromTree { name, source: _, revision, sent } = match self.of_tree(tree).await? {
            Ok(found) => found,
            Err(why) => return Ok(Outcome::unusable(why)),
        };
        match self.load_sent(&revision, &name, sent).await {
            Ok(Ready { desired, secrets }) => {
                let state = self.keeper.state();
                let changed = preview::changed_secrets(state.secrets(), &secrets, &desired);
                let work = move || {
                    let plan = preview::preview(&desired, &state, &changed, now());
                    let holds = plan::hold(&plan, &desired, &state, &Consent::default());
                    Outcome::Planned { plan, holds }
                };
                tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
            }
            Err(outcome) => Ok(outcome),
        }
    }

    /// `POST /v1/apply`.
    pub async fn apply(self: &Arc<Self>, request: Apply, by: Caller) -> Result<Outcome, String> {
        let (turn, own) = (self.turn.clone().lock_owned().await, self.clone());
        let work = async move {
            let outcome = own.apply_in_turn(request, by).await;
            drop(turn);
            outcome
        };
        to_its_end(work).await
    }

    async fn apply_in_turn(&self, request: Apply, by: Caller) -> Result<Outcome, String> {
        let Apply { tree, consent, expected, ticket } = request;
        if let Some(why) = self.foreign(&tree) {
            return Ok(Outcome::unusable(why));
        }
        let moved = ticket.as_ref().map(|ticket| self.moved(ticket, &tree)).unwrap_or_default();
        if !moved.is_empty() {
            return Ok(Outcome::Moved { reasons: moved });
        }
        let expected = ticket.as_ref().map(|ticket| ticket.plan.clone()).or(expected).map(Arc::from);
        let FromTree { name, source, revision, sent } = match self.of_tree(tree).await? {
            Ok(found) => found,
            Err(why) => return Ok(Outcome::unusable(why)),
        };
        let ready = match self.load_sent(&revision, &name, sent).await {
            Ok(ready) => ready,
            Err(outcome) => return Ok(outcome),
        };
        if let Some(pinned) = self.pinned() {
            let plan = plan::diff(&ready.desired, &self.keeper.state());
            return Ok(Outcome::Held { plan, holds: vec![pinned] });
        }
        // What a commit can't do by itself, a tree in its place can't do either.
        if self.sources[&name].manual && by.role < Role::Admin {
            let plan = plan::diff(&ready.desired, &self.keeper.state());
            if !plan.is_empty() {
                return Ok(Outcome::Held { plan, holds: vec![unapproved(&name)] });
            }
        }
        let saved_plan = ticket.map(|ticket| ticket.id.into());
        let proposal = ready.proposal(Some(revision.clone()), consent);
        let adopted = self.keeper.adopt(Proposal { expected, plan: saved_plan, ..proposal }).await;
        Ok(match adopted.map_err(|error| error.to_string())? {
            Adopted::Applied(plan) => {
                let summary = plan::report::summary(&plan);
                self.tell(&name, format!("{} was applied by hand: {summary}", source.name()));
                self.adopted(&name, source, revision, &plan).await;
                self.paused();
                self.retry().await;
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

    /// The source of this name; without a name the only one.
    pub(super) fn named(&self, wanted: Option<&str>) -> Result<Name, String> {
        let found = match wanted {
            Some(wanted) => self.sources.keys().find(|name| name.as_str() == wanted),
            None if self.sources.len() == 1 => self.sources.keys().next(),
            None => None,
        };
        found.cloned().ok_or_else(|| {
            let all: Vec<Name> = self.sources.keys().cloned().collect();
            let all = listed(&all);
            match wanted {
                Some(wanted) => format!("this daemon has no source {wanted}; it follows {all}"),
                None => format!(
                    "this daemon follows {all}: name the one that the directory belongs to with --source"
                ),
            }
        })
    }

    /// What can be served of a tree that was sent; else what became of it. Its files are those that are
    /// served already where they are the same.
    async fn load_sent(
        &self,
        revision: &Arc<Revision>,
        name: &Name,
        sent: Arc<Sent>,
    ) -> Result<Ready, Outcome> {
        let terms = Terms { sent: Some(sent.clone()), ..Terms::from(Media::Required) };
        let loaded = self.load(revision, Some(name), terms).await;
        let files = sent.wanted();
        if !files.is_empty() {
            return Err(Outcome::Wanted { files });
        }
        let Ready { desired, secrets } = loaded.map_err(Outcome::from)?;
        let state = self.keeper.state();
        let desired = self.compared(move || same::settled(desired, state.desired())).await;
        Ok(Ready { desired: desired.map_err(Outcome::unusable)?, secrets })
    }

    /// Compares files, in one of few threads.
    async fn compared<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let threads = self.comparing.clone();
        let comparing = async move {
            let thread = threads.acquire_owned().await;
            let work = move || {
                let done = work();
                drop(thread);
                done
            };
            tokio::task::spawn_blocking(work).await
        };
        let done = tokio::time::timeout(COMPARING, comparing).await;
        let done = done.map_err(|_| "the tree's files are still being compared; try again in a minute")?;
        done.map_err(|error| format!("comparing files ended unexpectedly: {error}"))
    }

    /// Where files of a source may lie.
    fn places(&self, name: &Name) -> Places {
        let root = self.sources.get(name).and_then(|source| match &source.place.inventory {
            Inventory::Directory(path) => Some(path.clone()),
            Inventory::Git(_) | Inventory::Own => None,
        });
        let state = self.keeper.state();
        let images = state.desired().boots.values().flat_map(|boot| prototype::media(boot)).collect();
        Places { copies: lock(&self.set).copies_of(name), root, images }
    }

    /// A tree that was sent, which from now on replaces the latest revision of the source it names. The
    /// inner error is what is wrong with the tree.
    async fn of_tree(&self, tree: Tree) -> Result<Result<FromTree, String>, String> {
        if let Some(problems) = tree.fault() {
            return Ok(Err(problems));
        }
        let files = tree.bytes();
        let Tree { revision, source, environment, files: _, binary: _, media, selection } = tree;
        let name = match self.named(source.as_deref()) {
            Ok(name) => name,
            Err(mistake) => return Ok(Err(mistake)),
        };
        let prefix = if self.sources.len() > 1 { root_of(&name) } else { String::new() };
        let (places, shelf) = (self.places(&name), self.shelf.clone());
        let (sent, copies) = self.compared(move || Sent::find(prefix, places, media, &shelf)).await?;
        let settled = self.attempted(&name);
        let source =
            SourceRevision { revision: revision.into(), settled, root: None, files, copies, part: None };
        let source = match selection.is_all() {
            true => source,
            false => {
                let (base, environment) = self.base(&name)?;
                source.in_part(selection, base, environment)
            }
        };
        let revision = self.with(&name, &source)?;
        if revision.depth() > DEEPEST {
            return Err("too many partial applies in a row: apply everything first".into());
        }
        let environment = environment.map(Arc::from).or(self.environment.clone());
        let revision = Arc::new(Revision { environment, ..revision });
        Ok(Ok(FromTree { name, source, revision, sent: Arc::new(sent) }))
    }

    /// What is served of a source, for part of a revision to be put on top; with its environment.
    fn base(&self, name: &Name) -> Result<(SourceRevision, Option<Arc<str>>), String> {
        let nothing = |what: &str| format!("nothing {what}is served yet: apply everything first");
        if self.sources.len() > 1 {
            let served = lock(&self.set).served(name).cloned();
            return Ok((served.ok_or_else(|| nothing(&format!("of {name} ")))?, self.environment.clone()));
        }
        let applied = self.keeper.state().desired().revision.clone();
        let Revision { environment, sources } = self.history.find(&applied).ok_or_else(|| nothing(""))?;
        match sources {
            Composition::One(base) => Ok((base, environment)),
            Composition::Several(_) => Err(nothing("")),
        }
    }
}

/// Why a tree is not applied where each revision of its source waits for an admin.
fn unapproved(name: &Name) -> Hold {
    Hold {
        reason: format!("each revision of source {name} waits for an admin (reconcile = \"manual\")"),
        names: Vec::new(),
        cure: "commit it and have an admin approve its plan, or have an admin apply it".into(),
    }
}
