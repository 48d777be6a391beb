//! `voldemortctl create|update|delete|deploy|redeploy`: verbs that write manifests.

use std::io::{IsTerminal, Write};

use clap::Args;

use super::resource::{Changed, Deployment, Gone, New};
use super::several::{Asking, Fitting, Several, counted, find, is_pattern};
use crate::api::client::ClientError;
use crate::api::resource::edit::ResourceChange;
use crate::api::resource::{self, EditRequest, Edited, FileChange, Listed, Row};
use crate::cli::exit::{print, say, talk};
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::edit::{EDITS_MAX, Edit, Verb};
use crate::manifest::Kind;
use crate::model::SourceCondition;
use crate::plan::{Consent, Hold, Impact, Plan, report};

/// Write a new resource into the inventory
#[derive(Args, Debug)]
pub(super) struct Create {
    #[command(subcommand)]
    resource: New,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    adoption: Adoption,
}

/// Change a resource of the inventory
#[derive(Args, Debug)]
pub(super) struct Update {
    #[command(subcommand)]
    resource: Changed,
    #[command(flatten)]
    how: How,
}

/// Remove a resource from the inventory
#[derive(Args, Debug)]
pub(super) struct Delete {
    #[command(subcommand)]
    resource: Gone,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    asking: Asking,
}

/// Create a deployment, or change it where it exists
#[derive(Args, Debug)]
pub(super) struct Deploy {
    #[command(flatten)]
    resource: Deployment,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    adoption: Adoption,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Adoption {
    /// A deployment whose machine has its system already: it boots its own disk, and is never
    /// offered the installer before a `redeploy`
    #[arg(long, global = true)]
    installed: bool,
}

/// Install deployments' machines again: their data is lost
///
/// Of several all or none are written, in one commit.
#[derive(Args, Debug)]
pub(super) struct Redeploy {
    #[command(flatten)]
    several: Several,
    /// The deployment of the machine with this hardware address
    #[arg(long, alias = "MAC", conflicts_with_all = ["names", "labels", "having"])]
    mac: Option<String>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "How")]
pub(super) struct How {
    /// Why, for the commit
    #[arg(short = 'm', long, global = true, value_name = "TEXT")]
    reason: Option<String>,
    /// Who, for the commit; you on this host if absent
    #[arg(long, global = true, value_name = "NAME <ADDRESS>")]
    author: Option<String>,
    /// Which source of the daemon to write to, if it follows several and none holds it yet
    #[arg(long, global = true, value_name = "NAME", add = names(Names::Sources))]
    source: Option<String>,
    /// Only show the patch and what it would do
    #[arg(long, global = true)]
    dry_run: bool,
    /// Agree that exactly this many deployments are removed
    #[arg(long, global = true, value_name = "N")]
    allow_removals: Option<usize>,
    /// Agree that exactly this many machines are reinstalled
    #[arg(long, global = true, value_name = "N")]
    allow_reinstalls: Option<usize>,
    #[arg(short, long, global = true, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

impl How {
    /// With this reason, and otherwise as usual.
    pub(super) fn because(reason: Option<&str>, output: &str) -> How {
        How {
            reason: reason.map(str::to_owned),
            author: None,
            source: None,
            dry_run: false,
            allow_removals: None,
            allow_reinstalls: None,
            output: output.to_owned(),
        }
    }
}

impl Create {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        self.how.send(&[self.resource.0.edit(Verb::Create)], self.adoption.installed, remote)
    }
}

impl Update {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        self.how.send(&[self.resource.0.edit(Verb::Update)], false, remote)
    }
}

impl Deploy {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        self.how.send(&[self.resource.0.edit(Verb::Deploy)], self.adoption.installed, remote)
    }
}

impl Delete {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        let Gone(resource, names): &Gone = &self.resource;
        let one = Edit { settings: Vec::new(), ..resource.edit(Verb::Delete) };
        if names.len() <= 1 && !names.iter().any(|name| is_pattern(name)) {
            return self.how.ask_and_send(&[one], self.asking.yes, remote);
        }
        let names = match found(one.kind, names, remote) {
            Ok(names) => names,
            Err(error) => return remote::failed(&error, self.how.json()),
        };
        let edits: Vec<Edit> =
            names.into_iter().map(|name| Edit { name: Some(name), ..one.clone() }).collect();
        self.how.ask_and_send(&edits, self.asking.yes, remote)
    }
}

/// The names that are meant, where some are patterns: of those that the daemon lists.
fn found(kind: Kind, names: &[String], remote: &Remote) -> Result<Vec<String>, ClientError> {
    if !names.iter().any(|name| is_pattern(name)) {
        return Ok(names.to_vec());
    }
    let any = Fitting::default();
    remote.block_on(async |client| {
        let keys: Vec<String> = match kind {
            Kind::Deployment => {
                let rows = find::<resource::Deployment>(Listed::Deployments, names, &any, &client).await?;
                rows.iter().map(Row::key).collect()
            }
            Kind::Machine => {
                // One that was only seen is in no manifest.
                let rows = find::<resource::Machine>(Listed::Machines, names, &any, &client).await?;
                rows.into_iter().filter_map(|machine| machine.name).collect()
            }
            Kind::Boot => {
                let rows = find::<resource::Boot>(Listed::Boots, names, &any, &client).await?;
                rows.iter().map(Row::key).collect()
            }
            _ => {
                let why =
                    format!("a pattern goes with deployments, machines and boots: name each {}", kind.name());
                return Err(ClientError::Refused(why));
            }
        };
        Ok(keys)
    })
}

impl Redeploy {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        let edit = |name: Option<&str>| Edit {
            verb: Verb::Redeploy,
            kind: Kind::Deployment,
            name: name.map(str::to_owned),
            mac: self.mac.clone(),
            settings: Vec::new(),
            deployment_type: None,
            if_match: None,
        };
        let several = &self.several;
        if several.is_empty() || several.single().is_some() {
            return self.how.ask_and_send(&[edit(several.single())], self.asking.yes, remote);
        }
        let found = match remote.block_on(async |client| several.find(&client).await) {
            Ok(found) => found,
            Err(error) => return remote::failed(&error, self.how.json()),
        };
        let edits: Vec<Edit> = found.iter().map(|one| edit(Some(&one.name))).collect();
        self.how.ask_and_send(&edits, self.asking.yes, remote)
    }
}

impl How {
    pub(super) fn json(&self) -> bool {
        self.output == "json"
    }

    fn request(&self, edits: &[Edit]) -> EditRequest {
        let (edit, edits) = match edits {
            [one] => (Some(one.clone()), Vec::new()),
            several => (None, several.to_vec()),
        };
        EditRequest {
            edit,
            edits,
            source: self.source.clone(),
            reason: self.reason.clone(),
            author: Some(self.author.clone().unwrap_or_else(author)),
            consent: Consent { removals: self.allow_removals, reinstalls: self.allow_reinstalls },
            dry_run: self.dry_run,
            installed: false,
        }
    }

    pub(super) fn send(&self, edits: &[Edit], installed: bool, remote: &Remote) -> Exit {
        match post(remote, &EditRequest { installed, ..self.request(edits) }) {
            Ok(edited) => self.finish(&edited),
            Err(error) => remote::failed(&error, self.json()),
        }
    }

    /// Sends some of several edits, and tells whether the others can follow at once: not while these failed, or wait for
    /// somebody who merges or writes them.
    pub(super) fn send_some(&self, edits: &[Edit], remote: &Remote) -> (Exit, bool) {
        match post(remote, &self.request(edits)) {
            Ok(edited) => {
                let exit = self.finish(&edited);
                let waits = matches!(edited, Edited::Branch { .. } | Edited::Off { .. });
                (exit, exit == Exit::Done && !waits)
            }
            Err(error) => (remote::failed(&error, self.json()), false),
        }
    }

    /// A change that removes something is shown and needs consent first.
    fn ask_and_send(&self, edits: &[Edit], yes: bool, remote: &Remote) -> Exit {
        if edits.len() > EDITS_MAX {
            let why = format!(
                "these are {} resources, and one change has at most {EDITS_MAX}: choose fewer; nothing was changed",
                edits.len()
            );
            return exit::failed(&why, self.json());
        }
        if yes || self.dry_run {
            return self.send(edits, false, remote);
        }
        let rehearsal = EditRequest { dry_run: true, ..self.request(edits) };
        let (change, further, plan) = match post(remote, &rehearsal) {
            Ok(Edited::Planned { change, further, plan, .. }) => (change, further, plan),
            Ok(other) => return self.finish(&other),
            Err(error) => return remote::failed(&error, self.json()),
        };
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            let why = format!(
                "{}: this can't be undone ({}) and needs consent, and there is no terminal to ask on: add --yes to \
                 consent",
                preview((&change, &further), &plan),
                report::summary(&plan)
            );
            exit::failed(&why, self.json());
            return Exit::Refused;
        }
        say(report::text(&plan).trim_end());
        match agrees((&change, &further), &plan) {
            true => self.send(edits, false, remote),
            false => {
                exit::failed("nothing was changed", self.json());
                Exit::Interrupted
            }
        }
    }

    /// Reports the result.
    fn finish(&self, edited: &Edited) -> Exit {
        let printed = if self.json() { exit::print_json(edited) } else { Exit::Done };
        self.said(edited).and(printed)
    }

    fn said(&self, edited: &Edited) -> Exit {
        let (exit, why) = match edited {
            Edited::Planned { change, further, plan, holds } => {
                return self.planned((change, further), plan, holds);
            }
            Edited::Written { .. } => return self.written(edited),
            Edited::Branch { change, further, commit, branch, .. } => {
                return self.on_branch((change, further), commit, branch);
            }
            Edited::Off { change, further, steps, .. } => return self.off((change, further), steps),
            Edited::Unchanged => (Exit::Done, "nothing to change".to_owned()),
            Edited::Made { commit } => (Exit::Done, format!("it was made before: commit {}", short(commit))),
            Edited::Held { holds, .. } => {
                let holds: Vec<String> = holds.iter().map(remote::hold_text).collect();
                (Exit::Refused, holds.join("\n"))
            }
            Edited::Protected { why, .. } => (Exit::Refused, why.clone()),
            Edited::OutOfScope { why, .. } => (Exit::NotAllowed, why.clone()),
            Edited::Changed { .. } => (Exit::Refused, "the resource has changed meanwhile".to_owned()),
            Edited::Invalid { report, .. } => {
                say(report);
                (Exit::Failed, "nothing was written".to_owned())
            }
            Edited::Refused { why, .. } => (Exit::Failed, why.clone()),
        };
        talk(&why);
        exit
    }

    fn data(&self, text: &str) -> Exit {
        if self.json() { Exit::Done } else { print(text) }
    }

    fn planned(&self, files: Files<'_>, plan: &Plan, holds: &[Hold]) -> Exit {
        notes(files);
        let printed = self.data(&format!("{}\n{}", patch(files), report::text(plan)));
        holds.iter().map(remote::hold_text).for_each(|hold: String| talk(&hold));
        printed
    }

    fn written(&self, edited: &Edited) -> Exit {
        let Edited::Written { change, further, commit, plan, condition, reason } = edited else {
            return Exit::Failed;
        };
        notes((change, further));
        let commit = commit.as_ref().map(|id| format!(", commit {}", short(id))).unwrap_or_default();
        let mut rows = String::new();
        for file in all((change, further)) {
            let row = |one: &ResourceChange| format!("{} {}: {}{commit}\n", one.kind, one.name, file.path);
            rows.extend(file.resources.iter().map(row));
        }
        let printed = self.data(&rows);
        if !self.json() {
            say(report::text(plan).trim_end());
        }
        if *condition == SourceCondition::Ready {
            return printed;
        }
        talk(&format!("it is written, but not live ({condition}): {reason}"));
        Exit::Failed
    }

    fn on_branch(&self, files: Files<'_>, commit: &str, branch: &str) -> Exit {
        notes(files);
        let printed = self.data(&format!("{branch}\n"));
        let commit = short(commit);
        let summary = all(files).map(|file| file.summary.as_str()).collect::<Vec<_>>().join("; ");
        talk(&format!("{summary} is commit {commit} there; it goes live when that is merged"));
        printed
    }

    fn off(&self, files: Files<'_>, steps: &[String]) -> Exit {
        notes(files);
        let _ = self.data(&patch(files));
        talk("the daemon may not write to this inventory (write = \"off\"); with the patch above as PATCH:");
        steps.iter().for_each(|step| say(format!("    {step}")));
        Exit::NotAllowed
    }
}

/// Reports what became of a change that another verb had made.
pub(super) fn show(edited: &Edited, json: bool) -> Exit {
    let output = if json { "json" } else { "text" }.to_owned();
    let how = How {
        reason: None,
        author: None,
        source: None,
        dry_run: false,
        allow_removals: None,
        allow_reinstalls: None,
        output,
    };
    how.finish(edited)
}

/// The first file that changes, and the others.
type Files<'a> = (&'a FileChange, &'a [FileChange]);

fn all((first, further): Files<'_>) -> impl Iterator<Item = &FileChange> {
    std::iter::once(first).chain(further)
}

fn patch(files: Files<'_>) -> String {
    all(files).map(|file| file.patch.as_str()).collect()
}

fn post(remote: &Remote, request: &EditRequest) -> Result<Edited, ClientError> {
    remote.block_on(async |client| client.post("/v1/edits", request).await)
}

fn notes(files: Files<'_>) {
    all(files).flat_map(|file| &file.notes).for_each(|note| talk(note));
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// What happens, in one sentence that names all of it: the resources, and the deployments whose machines are wiped.
fn preview(files: Files<'_>, plan: &Plan) -> String {
    let resources: Vec<&ResourceChange> = all(files).flat_map(|file| &file.resources).collect();
    let what = match resources.as_slice() {
        [] | [_] => files.0.summary.clone(),
        [first, ..] => {
            let word = first.summary.split(' ').next().unwrap_or("Change");
            format!("{word} {}", counted(resources.iter().map(|one| one.name.as_str()), &first.kind))
        }
    };
    let wiped = plan.blast.wiped.iter().map(|wiped| wiped.deployment.as_str());
    match plan.blast.wiped.len() {
        0 => what,
        _ => format!("{what}; WIPES the disks of {}", counted(wiped, "machine")),
    }
}

/// The loss of data needs the name of what is lost, or of several their number.
fn agrees(files: Files<'_>, plan: &Plan) -> bool {
    let count: usize = all(files).map(|file| file.resources.len()).sum();
    let wanted = match (plan.worst(), count) {
        (_, 2..) => count.to_string(),
        (Some(Impact::Wipe), _) => files.0.name.clone(),
        _ => "yes".to_owned(),
    };
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{}. Type {wanted} to continue: ", preview(files, plan));
    let _ = stderr.flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == wanted
}

/// As git would name the person.
fn author() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = set("USER").or(set("LOGNAME")).unwrap_or_else(|| "operator".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    let address = || format!("{user}@{host}");
    let name = set("GIT_AUTHOR_NAME").unwrap_or_else(|| user.clone());
    let address = set("GIT_AUTHOR_EMAIL").unwrap_or_else(address);
    format!("{name} <{address}>")
}
