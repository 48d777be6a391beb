//! Whether edits may be made, and what they would do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Prepared, Reconciler, place, refused, scope, shown};
use crate::api::IfMatch;
use crate::api::resource::{EditRequest, Edited, named};
use crate::daemon::now;
use crate::daemon::reconcile::{Invalid, Terms, read_of};
use crate::desired::{Deployment, Desired, Media, Place};
use crate::edit::{self, Changes, Done, Known, Resource};
use crate::inventory::Loaded;
use crate::manifest::{Code, Documents, Kind, Level, Mark, Problem, WrittenFile, report};
use crate::media::Seen;
use crate::model::Name;
use crate::plan;
use crate::source::Snapshot;
use crate::source::write::Reading;
use crate::state::{Install, InstallStage, Revision, State};

/// What a changed tree means.
struct Weighed {
    desired: Arc<Desired>,
    /// That the tree before had not.
    warnings: Vec<String>,
    documents: Arc<Documents>,
}

impl Reconciler {
    /// Makes the edits in memory, and looks at everything that stands against them. What is looked at outside the source is
    /// noted in `seen`.
    pub(super) async fn prepare(
        &self,
        name: &Name,
        (request, pools): (&EditRequest, &[Name]),
        reading: &Reading,
        seen: &Arc<Seen>,
    ) -> Result<Prepared, Box<Edited>> {
        let changes = self.edited(request, reading).await?;
        self.expected(request, reading, &changes).await?;
        if changes.files.is_empty() {
            return Err(Box::new(Edited::Unchanged));
        }
        let mut shown = shown(&self.sources()[name], &changes);
        self.protection(request, &changes)?;
        let weighed = self.weigh(name, &reading.snapshot, &changes, seen).await;
        let Weighed { desired, warnings, documents } =
            weighed.map_err(|invalid| in_edits(invalid, request, &changes))?;
        if !pools.is_empty() {
            let (selectors, files) = (scope::selectors(&documents, pools), changes.files.clone());
            let naming = tokio::task::spawn_blocking(move || scope::newly_named(&files)).await;
            let naming = naming.map_err(|error| refused(format!("reading the edits failed: {error}")))?;
            let (before, after) = (self.state().desired().clone(), &desired);
            scope::allowed(request, pools, &selectors, (&changes, &naming), (&before, after))?;
        }
        if let Some(first) = shown.first_mut() {
            first.notes.extend(warnings);
        }
        let installed =
            if request.installed { installed(&desired, &changes).map_err(refused)? } else { Vec::new() };
        let mut state = State::clone(&self.state());
        installed.iter().for_each(|install| state.record_new(install.clone()));
        let plan = plan::diff(&desired, &state);
        let holds = plan::hold(&plan, &desired, &state, &request.consent);
        Ok(Prepared { changes, shown, plan, holds, installed })
    }

    /// What the edits make of the files. A thousand of them take a moment, and no thread that serves others.
    async fn edited(&self, request: &EditRequest, reading: &Reading) -> Result<Changes, Box<Edited>> {
        let (files, edits, known) = (reading.snapshot.inline(), request.edits().to_vec(), self.known());
        let task = tokio::task::spawn_blocking(move || edit::apply(&files, &edits, &known));
        let made =
            task.await.map_err(|error| Box::new(refused(format!("making the edits failed: {error}"))))?;
        made.map_err(|stopped| {
            let (edit, before) = place(request, stopped.index);
            Box::new(Edited::Refused { why: format!("{before}{}", stopped.refusal), edit })
        })
    }

    /// Refuses edits one of whose resources is not as its writer expects it.
    async fn expected(
        &self,
        request: &EditRequest,
        reading: &Reading,
        changes: &Changes,
    ) -> Result<(), Box<Edited>> {
        let files = reading.snapshot.inline();
        for (index, (edit, resource)) in request.edits().iter().zip(&changes.resources).enumerate() {
            let Some(tags) = &edit.if_match else { continue };
            let expected = IfMatch::parse(tags).map_err(refused)?;
            let text = files.get(&resource.path).and_then(|bytes| std::str::from_utf8(bytes).ok());
            if let Some(etag) = self.differs(&expected, resource, text).await {
                let edit = place(request, index).0;
                return Err(Box::new(Edited::Changed { etag, edit }));
            }
        }
        Ok(())
    }

    /// The present tag of a resource that is another than expected, or `Some(None)` if there is none. `text` is that of
    /// its file.
    async fn differs(
        &self,
        expected: &IfMatch,
        resource: &Resource,
        text: Option<&str>,
    ) -> Option<Option<String>> {
        let (state, kind, name) = (self.state(), resource.kind, &resource.name);
        let Some(origin) = named::origin(&state, kind, name) else { return Some(None) };
        let written = self.written(kind, name, &origin).await;
        // The source may hold what is not served: a revision that waits, or one with mistakes.
        let present = text.map(WrittenFile::read).and_then(|file| Some(file.find(kind, name.as_str())?.1));
        let is_live = present == written.spec;
        let Some(shown) = named::shown(&state, kind, name, written) else { return Some(None) };
        let fits = is_live && expected.fits(&shown.version);
        (!fits).then_some(Some(shown.etag))
    }

    fn known(&self) -> Known {
        let state = self.state();
        let used = |name: &Name| Some((name.clone(), state.used_number(name)?));
        Known { installs: state.desired().deployments.keys().filter_map(used).collect() }
    }

    /// Refuses edits of machines that must not be touched.
    fn protection(&self, request: &EditRequest, changes: &Changes) -> Result<(), Box<Edited>> {
        let state = self.state();
        for (index, Resource { done, kind, name, .. }) in changes.resources.iter().enumerate() {
            let machine = match (done, kind) {
                (Done::Redeploy | Done::Delete, Kind::Deployment) => state.assignments().get(name),
                (Done::Delete, Kind::Machine) => Some(name),
                _ => None,
            };
            let Some(machine) = machine.filter(|machine| state.protected().contains(*machine)) else {
                continue;
            };
            let verb = if *done == Done::Delete { "released" } else { "reinstalled" };
            let (edit, before) = place(request, index);
            let why = format!(
                "{before}machine {machine} is protected and must not be {verb}; to allow it: \
                 voldemortctl update machine {machine} --protect false"
            );
            return Err(Box::new(Edited::Protected { why, edit }));
        }
        Ok(())
    }

    /// What the changed tree means and the warnings that it has and the tree before had not, or every
    /// problem it would have.
    async fn weigh(
        &self,
        name: &Name,
        snapshot: &Snapshot,
        changes: &Changes,
        seen: &Arc<Seen>,
    ) -> Result<Weighed, Wrong> {
        let terms = Terms::noting(Media::Required, seen);
        let before = self.tree_of(name, snapshot, None)?;
        let after = self.tree_of(name, snapshot, Some(changes))?;
        // Another source may be served in part: its manifests are judged as they were written.
        let (before, written) = (Arc::new(before.whole()), Arc::new(after.whole()));
        let strict = self.surveyed(&written, name, &terms).await?;
        let served = self.loaded(&written, name, &terms).await?;
        if served.errors() > 0 && strict.errors() == 0 {
            return Err(Wrong::of(&served, ""));
        }
        let mut warnings = Vec::new();
        if strict.problems.iter().any(|problem| problem.level != Level::Note) {
            let former = self.surveyed(&before, name, &terms).await?;
            let old = mistakes(&former);
            let new = mistakes(&strict);
            let is_fresh = |mistake: &Mistake<'_>| old.get(mistake).copied().unwrap_or(0) < new[mistake];
            let fresh = new.keys().any(|mistake| mistake.0 == Level::Error && is_fresh(mistake));
            if fresh || served.errors() > 0 {
                let note = if fresh { "" } else { "\nThe inventory had these problems before this edit." };
                return Err(Wrong::of(&strict, note));
            }
            let fresh = strict
                .problems
                .iter()
                .filter(|problem| problem.level == Level::Warning && is_fresh(&mistake(problem)));
            warnings = fresh.map(|problem| report::concise(problem, &strict.documents.sources)).collect();
        }
        let documents = served.documents.clone();
        let desired = match after.depth() {
            0 => served.desired,
            _ => {
                let ready = self.load(&Arc::new(after), Some(name), terms).await;
                ready?.desired
            }
        };
        Ok(Weighed { desired, warnings, documents })
    }

    /// A snapshot of one source, with some files changed, beside the others, as something to load.
    fn tree_of(
        &self,
        name: &Name,
        snapshot: &Snapshot,
        changes: Option<&Changes>,
    ) -> Result<Revision, String> {
        let mut source = read_of(snapshot);
        if let Some(changes) = changes {
            for file in &changes.files {
                source.files.insert(file.path.clone(), file.after.clone().into());
            }
            source.revision = format!("{} + {}", source.revision, changes.summary()).into();
        }
        self.with(name, &source)
    }
}

/// Manifests as they would be, and what is wrong with them.
struct Wrong {
    invalid: Invalid,
    /// Of each problem the resources that it has to do with.
    about: Vec<Vec<(Kind, Name)>>,
}

impl From<Invalid> for Wrong {
    fn from(invalid: Invalid) -> Wrong {
        Wrong { invalid, about: Vec::new() }
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Wrong {
        Wrong::from(Invalid::from(why))
    }
}

impl Wrong {
    fn of(loaded: &Loaded, note: &str) -> Wrong {
        let mut invalid = Invalid::from(loaded);
        invalid.problems.push_str(note);
        let documents = &loaded.documents;
        let headers =
            |kind| documents.of(kind).headers().map(move |(name, mark)| (mark.file, mark.start, kind, name));
        let mut headers: Vec<(u32, u32, Kind, &Name)> = Kind::ALL.into_iter().flat_map(headers).collect();
        headers.sort_by_key(|(file, start, ..)| (*file, *start));
        // The last header above a place.
        let owner = |mark: Mark| {
            let count =
                headers.partition_point(|(file, start, ..)| (*file, *start) <= (mark.file, mark.start));
            let (file, _, kind, name) = headers[..count].last()?;
            (*file == mark.file).then(|| (*kind, (*name).clone()))
        };
        let errors = loaded.problems.iter().filter(|problem| problem.level == Level::Error);
        let about =
            errors.map(|problem| problem.labels.iter().filter_map(|label| owner(label.mark)).collect());
        Wrong { about: about.collect(), invalid }
    }
}

/// The refusal of edits that would make manifests wrong: each problem with the edit that it is about.
fn in_edits(wrong: Wrong, request: &EditRequest, changes: &Changes) -> Edited {
    let Invalid { problems: report, rows: mut problems, .. } = wrong.invalid;
    let edit_of = |(kind, name): &(Kind, Name)| {
        let is_it =
            |resource: &Resource| resource.is_changed && (resource.kind, &resource.name) == (*kind, name);
        place(request, changes.resources.iter().position(is_it)?).0
    };
    for (problem, about) in problems.iter_mut().zip(&wrong.about) {
        problem.edit = about.iter().find_map(edit_of);
    }
    Edited::Invalid { problems, report }
}

/// Installations that voldemort did not make: of every deployment among the edits.
fn installed(desired: &Desired, changes: &Changes) -> Result<Vec<Install>, String> {
    let machine = |deployment: &Deployment| match &deployment.place {
        Place::Machine(machine) => desired.machines.get(machine).cloned(),
        Place::Select(_) => None,
    };
    let one = |resource: &Resource| {
        let found = desired.deployments.get(&resource.name).and_then(|found| Some((found, machine(found)?)));
        let Some((deployment, machine)) = found else {
            return Err(format!("--installed is about one machine, and {} names none", resource.name));
        };
        Ok(Install::new(&machine, deployment, InstallStage::Installed, now()))
    };
    changes.changed().map(one).collect()
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
