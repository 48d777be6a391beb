//! `POST /v1/edits`: an edit by meaning, from the manifests' text to a live state. Read, edit, check the
//! whole, write, read again; if another change came first, the same edit once more.

mod patch;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::now;
use super::reconcile::{Followed, Reconciler, read_of};
use crate::api::resource::{EditRequest, Edited, FileChange, named};
use crate::api::{IfMatch, Word};
use crate::config::Write;
use crate::desired::{Deployment, Desired, Media, Place};
use crate::edit::{self, Change, Known, Verb};
use crate::inventory::Loaded;
use crate::manifest::{Code, Kind, Level, Problem, WrittenFile, report};
use crate::model::{Caller, Name, SourceCondition};
use crate::plan::{self, Hold, Plan};
use crate::source::Snapshot;
use crate::source::write::{Draft, Reading, WriteError};
use crate::state::{Install, InstallStage, Revision, State};

/// How often an edit is made anew because the inventory changed meanwhile.
const TRIES: usize = 3;

impl Reconciler {
    /// Makes an edit, or says why not. An error means that the source can't be read or written.
    ///
    /// The source is read before the turn is taken, and written to when it was given back: a server that hangs holds up
    /// no orders and no other source. What is written is judged once more when it goes live.
    pub async fn edit(&self, request: EditRequest, by: Caller) -> Result<Edited, String> {
        self.edit_if(request, None, by).await
    }

    /// The same, if the resource is as expected.
    pub async fn edit_if(
        &self,
        request: EditRequest,
        expected: Option<IfMatch>,
        by: Caller,
    ) -> Result<Edited, String> {
        let name = match self.target(&request) {
            Ok(name) => name,
            Err(why) => return Ok(Edited::Refused { why }),
        };
        let source = &self.sources()[&name];
        let _edits = self.gate(&name).edits.lock().await;
        let mut why = String::new();
        let mut refused_at: Option<String> = None;
        for _ in 0..TRIES {
            let reading = self.read_now(&name).await.map_err(|error| error.to_string())?;
            let turn = self.turn().await;
            if refused_at.is_some() && refused_at.as_deref() == reading.commit() {
                let why = format!("the repository refuses the commit: {why}");
                return Ok(Edited::Refused { why });
            }
            let known = self.known();
            let mut change = match edit::apply(&reading.snapshot.inline(), &request.edit, &known) {
                Ok(Some(change)) => change,
                Ok(None) => return Ok(Edited::Unchanged),
                Err(refusal) => return Ok(Edited::Refused { why: refusal.to_string() }),
            };
            if let Some(expected) = &expected
                && let Some(changed) = self.changed(expected, &change).await
            {
                return Ok(changed);
            }
            if let Some(why) = self.protection(&request, &change) {
                return Ok(Edited::Protected { why });
            }
            let desired = match self.weigh(&name, &reading.snapshot, &change).await {
                Ok((desired, warnings)) => {
                    change.notes.extend(warnings);
                    desired
                }
                Err(problems) => return Ok(Edited::Invalid { problems }),
            };
            let own = match request.installed.then(|| installed(&desired, &change.name)).transpose() {
                Ok(own) => own,
                Err(why) => return Ok(Edited::Refused { why }),
            };
            let mut state = State::clone(&self.state());
            own.iter().for_each(|install| state.record_new(install.clone()));
            let plan = plan::diff(&desired, &state);
            let holds = plan::hold(&plan, &desired, &state, &request.consent);
            if let Some(settled) = self.without_writing(source, &request, &change, &plan, &holds) {
                return Ok(settled);
            }
            if let Some(install) = own {
                // Before the deployment is published.
                let stored = self.keeper().installed(install).await;
                stored.map_err(|error| error.to_string())?;
            }
            drop(turn);
            match self.put(&name, (&request, &by), &reading, &change, plan).await {
                Ok(Edited::Written { change, commit, plan, .. }) => {
                    let mut turn = self.turn().await;
                    turn.insert(name.clone());
                    return Ok(self.go_live(&name, &request, change, commit, plan).await);
                }
                Ok(other) => return Ok(other),
                Err(WriteError::Moved(moved)) => {
                    refused_at = reading.commit().map(str::to_owned);
                    why = moved;
                }
                Err(WriteError::Refused(why)) => return Ok(Edited::Refused { why }),
                Err(WriteError::Failed(why)) => return Err(why),
            }
        }
        Ok(Edited::Refused {
            why: format!("the inventory changed {TRIES} times while this was being written: {why}"),
        })
    }

    /// What ends an edit before anything is written.
    fn without_writing(
        &self,
        source: &Followed,
        request: &EditRequest,
        change: &Change,
        plan: &Plan,
        holds: &[Hold],
    ) -> Option<Edited> {
        let (shown, plan, holds) = (shown(source, change), plan.clone(), holds.to_vec());
        if request.dry_run {
            return Some(Edited::Planned { change: shown, plan, holds });
        }
        if !holds.is_empty() {
            return Some(Edited::Held { plan, holds });
        }
        (source.writes == Write::Off).then(|| {
            let steps = patch::steps(&source.place.inventory, change, &message(request, change));
            Edited::Off { change: shown, plan, steps }
        })
    }

    async fn put(
        &self,
        name: &Name,
        (request, by): (&EditRequest, &Caller),
        reading: &Reading,
        change: &Change,
        plan: Plan,
    ) -> Result<Edited, WriteError> {
        let source = &self.sources()[name];
        let draft = Draft {
            path: change.path.to_string(),
            before: change.before.clone(),
            after: change.after.clone(),
            message: format!("{}\nRequested-by: {by}\n", message(request, change)),
            author: author(request.author.as_deref().unwrap_or_default()),
        };
        let branch = (source.writes == Write::Branch).then(|| branch(request.edit.verb, change, reading));
        let commit = self.write(name, reading, &draft, branch.as_deref()).await?;
        let change = shown(source, change);
        Ok(match (branch, commit) {
            (Some(branch), Some(commit)) => Edited::Branch { change, commit, branch, plan },
            (_, commit) => {
                Edited::Written { change, commit, plan, condition: Word::default(), reason: String::new() }
            }
        })
    }

    /// Adopts what was written, without waiting for the source's next report.
    async fn go_live(
        &self,
        name: &Name,
        request: &EditRequest,
        change: FileChange,
        commit: Option<String>,
        plan: Plan,
    ) -> Edited {
        let reading = match self.read_now(name).await {
            Ok(reading) => reading,
            Err(error) => {
                let (condition, reason) = (SourceCondition::Unreachable.into(), error.to_string());
                return Edited::Written { change, commit, plan, condition, reason };
            }
        };
        self.consider(name, read_of(&reading.snapshot), request.consent).await;
        let status = self.statuses().borrow().get(name).cloned();
        let (condition, reason) =
            status.map(|status| (status.condition.into(), status.reason)).unwrap_or_default();
        Edited::Written { change, commit, plan, condition, reason }
    }

    /// The refusal of an edit whose resource is not as its writer expects it.
    async fn changed(&self, expected: &IfMatch, change: &Change) -> Option<Edited> {
        let (state, none) = (self.state(), Some(Edited::Changed { etag: None }));
        let Some(origin) = named::origin(&state, change.kind, &change.name) else { return none };
        let written = self.written(change.kind, &change.name, &origin).await;
        // The source may hold what is not served: a revision that waits, or one with mistakes.
        let present = change.before.as_deref().map(WrittenFile::read);
        let present = present.and_then(|file| Some(file.find(change.kind, change.name.as_str())?.1));
        let is_live = present == written.spec;
        let Some(shown) = named::shown(&state, change.kind, &change.name, written) else { return none };
        let fits = is_live && expected.fits(&shown.version);
        (!fits).then_some(Edited::Changed { etag: Some(shown.etag) })
    }

    fn known(&self) -> Known {
        let state = self.state();
        let used = |name: &Name| Some((name.clone(), state.used_number(name)?));
        Known { installs: state.desired().deployments.keys().filter_map(used).collect() }
    }

    /// Why a machine must not be touched.
    fn protection(&self, request: &EditRequest, change: &Change) -> Option<String> {
        let state = self.state();
        let machine = match (request.edit.verb, change.kind) {
            (Verb::Redeploy | Verb::Delete, Kind::Deployment) => state.assignments().get(&change.name)?,
            (Verb::Delete, Kind::Machine) => &change.name,
            _ => return None,
        };
        let verb = if request.edit.verb == Verb::Delete { "released" } else { "reinstalled" };
        state.protected().contains(machine).then(|| {
            format!(
                "machine {machine} is protected and must not be {verb}; to allow it: \
                 voldemortctl update machine {machine} --protect false"
            )
        })
    }

    /// What the changed tree means and the warnings that it has and the tree before had not, or every
    /// problem it would have.
    async fn weigh(
        &self,
        name: &Name,
        snapshot: &Snapshot,
        change: &Change,
    ) -> Result<(Arc<Desired>, Vec<String>), String> {
        let before = self.tree_of(name, snapshot, None)?;
        let after = self.tree_of(name, snapshot, Some(change))?;
        // Another source may be served in part: its manifests are judged as they were written.
        let (before, written) = (Arc::new(before.whole()), Arc::new(after.whole()));
        let strict = self.surveyed(&written, name).await?;
        let served = self.loaded(&written, name).await?;
        if served.errors() > 0 && strict.errors() == 0 {
            return Err(served.report());
        }
        let mut warnings = Vec::new();
        if strict.problems.iter().any(|problem| problem.level != Level::Note) {
            let former = self.surveyed(&before, name).await?;
            let old = mistakes(&former);
            let new = mistakes(&strict);
            let is_fresh = |mistake: &Mistake<'_>| old.get(mistake).copied().unwrap_or(0) < new[mistake];
            let fresh = new.keys().any(|mistake| mistake.0 == Level::Error && is_fresh(mistake));
            if fresh || served.errors() > 0 {
                let note = if fresh { "" } else { "\nThe inventory had these problems before this edit." };
                return Err(format!("{}{note}", strict.report()));
            }
            let told = strict
                .problems
                .iter()
                .filter(|problem| problem.level == Level::Warning && is_fresh(&mistake(problem)));
            warnings = told.map(|problem| report::concise(problem, &strict.documents.sources)).collect();
        }
        let desired = match after.depth() {
            0 => served.desired,
            _ => {
                let ready = self.load(&Arc::new(after), Some(name), Media::Required).await;
                ready.map_err(|invalid| invalid.problems)?.desired
            }
        };
        Ok((desired, warnings))
    }

    /// A snapshot of one source, with one file changed, beside the others, as something to load.
    fn tree_of(&self, name: &Name, snapshot: &Snapshot, change: Option<&Change>) -> Result<Revision, String> {
        let mut source = read_of(snapshot);
        if let Some(change) = change {
            source.files.insert(change.path.clone(), change.after.clone().into());
            source.revision = format!("{} + {}", source.revision, change.summary).into();
        }
        self.with(name, &source)
    }

    /// The source to write to: the one that is named, the only one, the one that holds the
    /// resource, or the only one that may be written to.
    fn target(&self, request: &EditRequest) -> Result<Name, String> {
        let sources = self.sources();
        let all = || sources.keys().map(Name::as_str).collect::<Vec<_>>().join(", ");
        if let Some(wanted) = &request.source {
            let found = sources.keys().find(|name| name.as_str() == wanted);
            return found.cloned().ok_or_else(|| format!("this daemon follows {}, not {wanted}", all()));
        }
        if let (Some(only), 1) = (sources.keys().next(), sources.len()) {
            return Ok(only.clone());
        }
        for name in sources.keys() {
            let held = edit::holds(&self.served_files(name), &request.edit);
            if held.map_err(|refusal| refusal.to_string())? {
                return Ok(name.clone());
            }
        }
        let edit::Edit { verb, kind, name, mac, .. } = &request.edit;
        if !matches!(verb, Verb::Create | Verb::Deploy) {
            let meant = name.as_ref().or(mac.as_ref()).map(String::as_str).unwrap_or_default();
            return Err(format!("none of the sources {} has the {} {meant}", all(), kind.name()));
        }
        let writable: Vec<&Name> =
            sources.iter().filter(|(_, source)| source.writes != Write::Off).map(|(name, _)| name).collect();
        match writable.as_slice() {
            [only] => Ok((*only).clone()),
            _ => Err(format!("this daemon follows {}: name the one to write to with --source", all())),
        }
    }
}

fn shown(source: &Followed, change: &Change) -> FileChange {
    let folder = source.place.git().map(|git| git.path).unwrap_or_default();
    let path = if folder.is_empty() { change.path.to_string() } else { format!("{folder}/{}", change.path) };
    FileChange {
        kind: change.kind.name().to_owned(),
        name: change.name.to_string(),
        summary: change.summary.clone(),
        patch: patch::unified(&path, change.before.as_deref(), &change.after),
        path,
        notes: change.notes.clone(),
    }
}

/// An installation that voldemort did not make.
fn installed(desired: &Desired, name: &Name) -> Result<Install, String> {
    let machine = |deployment: &Deployment| match &deployment.place {
        Place::Machine(machine) => desired.machines.get(machine).cloned(),
        Place::Select(_) => None,
    };
    let found = desired.deployments.get(name).and_then(|found| Some((found, machine(found)?)));
    let Some((deployment, machine)) = found else {
        return Err(format!("--installed is about one machine, and {name} names none"));
    };
    Ok(Install::new(&machine, deployment, InstallStage::Installed, now()))
}

/// What a problem says, without its place, which an edit above it moves.
type Mistake<'a> = (Level, Code, &'a str);

fn mistake(problem: &Problem) -> Mistake<'_> {
    (problem.level, problem.code, problem.message.as_str())
}

/// Every error and warning, and how often it is there.
fn mistakes(loaded: &Loaded) -> BTreeMap<Mistake<'_>, usize> {
    let mut counts = BTreeMap::new();
    for problem in loaded.problems.iter().filter(|problem| problem.level != Level::Note) {
        *counts.entry(mistake(problem)).or_default() += 1;
    }
    counts
}

fn message(request: &EditRequest, change: &Change) -> String {
    // Only the daemon says who asked for it.
    let is_claim = |line: &&str| line.trim().to_ascii_lowercase().starts_with("requested-by:");
    let reason = request.reason.as_deref().unwrap_or_default().lines().filter(|line| !is_claim(line));
    let reason = reason.collect::<Vec<_>>().join("\n");
    match Some(reason.trim()).filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{}\n\n{reason}\n", change.summary),
        None => format!("{}\n", change.summary),
    }
}

/// `Name <address>` in its two parts.
fn author(text: &str) -> (String, String) {
    let clean =
        |text: &str| text.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect::<String>();
    let (name, address) = text.split_once('<').unwrap_or((text, ""));
    let (name, address) = (clean(name).trim().to_owned(), clean(address).trim().to_owned());
    let name = if name.is_empty() { "voldemortctl".to_owned() } else { name };
    (name, if address.is_empty() { "voldemortctl@localhost".to_owned() } else { address })
}

/// `voldemort/update-deployment-web-1-4f2a`: the digits distinguish edits of one resource.
fn branch(verb: Verb, change: &Change, reading: &Reading) -> String {
    use sha2::{Digest, Sha256};
    let verb = verb.name();
    let salt = format!("{}\0{}\0{}", reading.commit().unwrap_or_default(), change.after, now().0);
    let digest: String = Sha256::digest(salt).iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    format!("voldemort/{verb}-{}-{}-{digest}", change.kind.name(), change.name)
}
