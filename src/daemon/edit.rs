//! `POST /v1/edits`: edits by meaning, from the manifests' text to a live state. Read, edit, check the
//! whole, write, read again; if another change came first, the same edits once more.

mod commit;
mod judge;
mod patch;
mod scope;
mod target;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::reconcile::{Followed, Reconciler, read_of, to_its_end};
use crate::api::Word;
use crate::api::resource::{EditPlace, EditRequest, Edited, FileChange, ResourceChange};
use crate::config::Write;
use crate::edit::{self, Changes, Resource};
use crate::model::{Caller, Inventory, Name, SourceCondition};
use crate::plan::{Hold, Plan};
use crate::source::write::{Reading, WriteError};
use crate::state::Install;

/// How often edits are made anew because the inventory changed meanwhile.
const TRIES: usize = 3;

/// How much longer than a source's `timeout` an edit waits: what takes just that long ends first, and says why.
const GRACE: Duration = Duration::from_secs(2);

/// How long edits wait for media that are still being read, and for our agent's initrd, and how often they look.
const MADE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(500);

/// Whose request it is.
struct Sent {
    by: Caller,
    /// Those that its token is bound to; none if it is bound to none.
    pools: Vec<Name>,
    /// A digest of its Idempotency-Key.
    key: Option<String>,
}

/// What became of a try.
enum Attempt {
    Ended(Box<Edited>),
    Moved(Moved),
}

/// The source was changed by somebody else before it was written to.
struct Moved {
    /// What was read.
    commit: Option<String>,
    why: String,
}

/// Edits that can be made.
struct Prepared {
    changes: Changes,
    /// The same for people: one of each file.
    shown: Vec<FileChange>,
    plan: Plan,
    holds: Vec<Hold>,
    /// Installations that voldemort did not make.
    installed: Vec<Install>,
}

impl Prepared {
    /// The first file, and the others.
    fn files(&self) -> Option<(FileChange, Vec<FileChange>)> {
        let (first, further) = self.shown.split_first()?;
        Some((first.clone(), further.to_vec()))
    }
}

impl Reconciler {
    /// Makes the edits of a request, all or none, or says why not. An error means that the source can't be read or
    /// written.
    ///
    /// The source is read before the turn is taken, and written to when it was given back: a server that hangs holds up
    /// no orders and no other source. What is written is judged once more when it goes live.
    pub async fn edit(
        self: &Arc<Self>,
        request: EditRequest,
        by: Caller,
        pools: Vec<Name>,
    ) -> Result<Edited, String> {
        self.edit_once(request, by, pools, None).await
    }

    /// The same; what was committed for a request of this key in the last 24 hours is not made again.
    pub async fn edit_once(
        self: &Arc<Self>,
        request: EditRequest,
        by: Caller,
        pools: Vec<Name>,
        key: Option<String>,
    ) -> Result<Edited, String> {
        let sent = Sent { by, pools, key };
        let name = match self.target(&request) {
            Ok(name) => name,
            Err(refused) => return Ok(*refused),
        };
        let edits = self.gate(&name).edits.clone().lock_owned();
        let edits = self.in_time(&name, "another edit of it is under way", edits).await?;
        let own = self.clone();
        let work = async move {
            let edited = own.make(&name, &request, &sent).await;
            drop(edits);
            edited
        };
        to_its_end(work).await
    }

    /// Tries again where somebody else changed the source meanwhile. No other edit of this source is under way.
    async fn make(&self, name: &Name, request: &EditRequest, sent: &Sent) -> Result<Edited, String> {
        let mut moved = None;
        for _ in 0..TRIES {
            match self.attempt_edit(name, request, sent, moved.as_ref()).await? {
                Attempt::Ended(edited) => return Ok(*edited),
                Attempt::Moved(again) => moved = Some(again),
            }
        }
        let why = moved.map(|moved| moved.why).unwrap_or_default();
        Ok(refused(format!("the inventory changed {TRIES} times while this was being written: {why}")))
    }

    async fn attempt_edit(
        &self,
        name: &Name,
        request: &EditRequest,
        sent: &Sent,
        moved: Option<&Moved>,
    ) -> Result<Attempt, String> {
        let named = |error: String| format!("source {name}: {error}");
        let reading =
            self.in_time(name, "another read or write of it is under way", self.read_now(name)).await?;
        let reading = reading.map_err(|error| named(error.to_string()))?;
        if let Some(key) = &sent.key
            && let Some(commit) = self.sources()[name].place.find(&reading, &commit::key_line(key)).await
        {
            return Ok(ended(Edited::Made { commit }));
        }
        let mut turn = self.in_time(name, "a revision of some source is being read", self.turn()).await?;
        if let Some(Moved { commit: Some(commit), why }) = moved
            && reading.commit() == Some(commit)
        {
            return Ok(ended(refused(format!("the repository refuses the commit: {why}"))));
        }
        let until = Instant::now() + MADE;
        let prepared = loop {
            let seen = Arc::default();
            let edited = match self.prepare(name, (request, &sent.pools), &reading, &seen).await {
                Ok(prepared) => break prepared,
                Err(edited) => edited,
            };
            // What is still being read, or made, is no mistake of the manifests.
            let is_early = matches!(*edited, Edited::Invalid { .. }) && !seen.busy().is_empty();
            if !is_early || Instant::now() >= until {
                return Ok(Attempt::Ended(edited));
            }
            drop(turn);
            sleep(AGAIN).await;
            turn = self.in_time(name, "a revision of some source is being read", self.turn()).await?;
        };
        let Some((change, further)) = prepared.files() else { return Ok(ended(Edited::Unchanged)) };
        if let Some(settled) = self.without_writing(&self.sources()[name], request, &prepared) {
            return Ok(ended(settled));
        }
        for install in &prepared.installed {
            // Before the deployment is published.
            let stored = self.keeper().installed(install.clone()).await;
            stored.map_err(|error| error.to_string())?;
        }
        drop(turn);
        let (branch, commit) = match self.put(name, (request, sent), &reading, &prepared.changes).await {
            Ok(put) => put,
            Err(WriteError::Moved(why)) => {
                return Ok(Attempt::Moved(Moved { commit: reading.commit().map(str::to_owned), why }));
            }
            Err(WriteError::Refused(why)) => return Ok(ended(refused(why))),
            Err(WriteError::Failed(why)) => return Err(named(why)),
        };
        let plan = prepared.plan;
        if let (Some(branch), Some(commit)) = (branch, &commit) {
            let commit = commit.clone();
            return Ok(ended(Edited::Branch { change, further, commit, branch, plan }));
        }
        let mut turn = self.turn().await;
        turn.insert(name.clone());
        let (condition, reason) = self.go_live(name, request).await;
        Ok(ended(Edited::Written { change, further, commit, plan, condition, reason }))
    }

    /// Waits for what an edit stands behind, not longer than the source itself may take; the error names the source.
    async fn in_time<T>(
        &self,
        name: &Name,
        behind: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, String> {
        let limit = self.sources()[name].place.git().map_or(Inventory::LIMIT, |git| git.limit);
        let late = |_| {
            format!("source {name} is busy: {behind} for more than {limit}; nothing was written, try again")
        };
        tokio::time::timeout(Duration::from_millis(limit.0) + GRACE, work).await.map_err(late)
    }

    /// What ends edits before anything is written.
    fn without_writing(
        &self,
        source: &Followed,
        request: &EditRequest,
        prepared: &Prepared,
    ) -> Option<Edited> {
        let (change, further) = prepared.files()?;
        let (plan, holds) = (prepared.plan.clone(), prepared.holds.clone());
        if request.dry_run {
            return Some(Edited::Planned { change, further, plan, holds });
        }
        if !holds.is_empty() {
            return Some(Edited::Held { plan, holds });
        }
        (source.writes == Write::Off).then(|| {
            let message = commit::message(request, &prepared.changes);
            let steps = patch::steps(&source.place.inventory, &prepared.changes.summary(), &message);
            Edited::Off { change, further, plan, steps }
        })
    }

    /// Writes: the branch if it is a new one, and the commit if there is one.
    async fn put(
        &self,
        name: &Name,
        (request, sent): (&EditRequest, &Sent),
        reading: &Reading,
        changes: &Changes,
    ) -> Result<(Option<String>, Option<String>), WriteError> {
        let draft = commit::draft(request, sent, changes);
        let is_branch = self.sources()[name].writes == Write::Branch;
        let branch = is_branch.then(|| commit::branch(changes, reading));
        let commit = self.write(name, reading, &draft, branch.as_deref()).await?;
        Ok((branch, commit))
    }

    /// Adopts what was written, without waiting for the source's next report.
    async fn go_live(&self, name: &Name, request: &EditRequest) -> (Word<SourceCondition>, String) {
        let reading = match self.read_now(name).await {
            Ok(reading) => reading,
            Err(error) => return (SourceCondition::Unreachable.into(), error.to_string()),
        };
        self.note_commit(name, &reading.snapshot);
        self.consider(name, read_of(&reading.snapshot), request.consent).await;
        let status = self.statuses().borrow().get(name).cloned();
        status.map(|status| (status.condition.into(), status.reason)).unwrap_or_default()
    }
}

fn ended(edited: Edited) -> Attempt {
    Attempt::Ended(Box::new(edited))
}

/// A refusal that is about the edits as a whole.
fn refused(why: String) -> Edited {
    Edited::Refused { why, edit: None }
}

/// Which edit of several a message is about, and how the message begins.
fn place(request: &EditRequest, index: usize) -> (Option<EditPlace>, String) {
    let Some(edit) = request.edits().get(index).filter(|_| request.has_several()) else {
        return (None, String::new());
    };
    let (kind, name) = (edit.kind.name().to_owned(), edit.subject().to_owned());
    (Some(EditPlace { index, kind, name }), edit.place(index))
}

/// The changed files for people.
fn shown(source: &Followed, changes: &Changes) -> Vec<FileChange> {
    let folder = source.place.git().map(|git| git.path).unwrap_or_default();
    let file = |file: &edit::NewText| {
        let path = if folder.is_empty() { file.path.to_string() } else { format!("{folder}/{}", file.path) };
        let is_here = |(_, resource): &(usize, &Resource)| resource.is_changed && resource.path == file.path;
        let all: Vec<(usize, &Resource)> = changes.resources.iter().enumerate().filter(is_here).collect();
        let resources: Vec<&Resource> = all.iter().map(|(_, resource)| *resource).collect();
        let first = resources.first();
        FileChange {
            kind: first.map(|one| one.kind.name().to_owned()).unwrap_or_default(),
            name: first.map(|one| one.name.to_string()).unwrap_or_default(),
            summary: edit::summary(&resources),
            patch: patch::unified(&path, file.before.as_deref(), &file.after),
            path,
            notes: resources.iter().flat_map(|resource| resource.notes.clone()).collect(),
            resources: all.iter().map(|(edit, resource)| resource_change(*edit, resource)).collect(),
        }
    };
    changes.files.iter().map(file).collect()
}

fn resource_change(edit: usize, resource: &Resource) -> ResourceChange {
    let (kind, name) = (resource.kind.name().to_owned(), resource.name.to_string());
    ResourceChange { edit, kind, name, summary: resource.summary() }
}
