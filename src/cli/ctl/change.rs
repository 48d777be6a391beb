//! `voldemortctl create|update|delete|deploy|redeploy`: verbs that write manifests.

use std::io::{IsTerminal, Write};

use clap::Args;

use super::resource::{Changed, Deployment, Gone, New, Resource};
use crate::api::resource::{EditRequest, Edited, FileChange};
use crate::cli::exit::{print, say, talk};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::edit::{Edit, Verb};
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

/// Install a deployment's machine again: its data is lost
#[derive(Args, Debug)]
pub(super) struct Redeploy {
    /// The deployment
    name: Option<String>,
    /// The deployment of the machine with this hardware address
    #[arg(long, alias = "MAC", conflicts_with = "name")]
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
    #[arg(long, global = true, value_name = "NAME")]
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

#[derive(Args, Clone, Debug)]
pub(super) struct Asking {
    /// Don't ask
    #[arg(short, long, global = true)]
    yes: bool,
}

impl Create {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        self.how.send(&self.resource.0.edit(Verb::Create), self.adoption.installed, remote)
    }
}

impl Update {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        self.how.send(&self.resource.0.edit(Verb::Update), false, remote)
    }
}

impl Deploy {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        self.how.send(&self.resource.0.edit(Verb::Deploy), self.adoption.installed, remote)
    }
}

impl Delete {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        let Gone(resource): &Gone = &self.resource;
        self.how.ask_and_send(&resource_edit(resource), self.asking.yes, remote)
    }
}

fn resource_edit(resource: &Resource) -> Edit {
    Edit { settings: Vec::new(), ..resource.edit(Verb::Delete) }
}

impl Redeploy {
    pub(super) fn run(&self, remote: &Remote) -> Exit {
        let edit = Edit {
            verb: Verb::Redeploy,
            kind: Kind::Deployment,
            name: self.name.clone(),
            mac: self.mac.clone(),
            settings: Vec::new(),
            deployment_type: None,
            if_match: None,
        };
        self.how.ask_and_send(&edit, self.asking.yes, remote)
    }
}

impl How {
    fn json(&self) -> bool {
        self.output == "json"
    }

    fn request(&self, edit: &Edit) -> EditRequest {
        EditRequest {
            edit: Some(edit.clone()),
            edits: Vec::new(),
            source: self.source.clone(),
            reason: self.reason.clone(),
            author: Some(self.author.clone().unwrap_or_else(author)),
            consent: Consent { removals: self.allow_removals, reinstalls: self.allow_reinstalls },
            dry_run: self.dry_run,
            installed: false,
        }
    }

    fn send(&self, edit: &Edit, installed: bool, remote: &Remote) -> Exit {
        match post(remote, &EditRequest { installed, ..self.request(edit) }) {
            Ok(edited) => self.finish(&edited),
            Err(error) => remote::failed(&error, self.json()),
        }
    }

    /// A change that removes something is shown and needs consent first.
    fn ask_and_send(&self, edit: &Edit, yes: bool, remote: &Remote) -> Exit {
        if yes || self.dry_run {
            return self.send(edit, false, remote);
        }
        let rehearsal = EditRequest { dry_run: true, ..self.request(edit) };
        let (change, plan) = match post(remote, &rehearsal) {
            Ok(Edited::Planned { change, plan, .. }) => (change, plan),
            Ok(other) => return self.finish(&other),
            Err(error) => return remote::failed(&error, self.json()),
        };
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            let why = format!(
                "this can't be undone ({}) and needs consent, and there is no terminal to ask on: add --yes to consent",
                report::summary(&plan)
            );
            exit::failed(&why, self.json());
            return Exit::Refused;
        }
        say(report::text(&plan).trim_end());
        match agrees(&change, &plan) {
            true => self.send(edit, false, remote),
            false => {
                talk("nothing was changed");
                Exit::Interrupted
            }
        }
    }

    /// Reports the result.
    fn finish(&self, edited: &Edited) -> Exit {
        if self.json() {
            exit::print_json(edited);
        }
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
            Edited::Held { holds, .. } => {
                let holds: Vec<String> = holds.iter().map(remote::hold_text).collect();
                (Exit::Refused, holds.join("\n"))
            }
            Edited::Protected { why, .. } => (Exit::Refused, why.clone()),
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

    fn data(&self, text: &str) {
        if !self.json() {
            print(text);
        }
    }

    fn planned(&self, files: Files<'_>, plan: &Plan, holds: &[Hold]) -> Exit {
        notes(files);
        self.data(&format!("{}\n{}", patch(files), report::text(plan)));
        holds.iter().map(remote::hold_text).for_each(|hold: String| talk(&hold));
        Exit::Done
    }

    fn written(&self, edited: &Edited) -> Exit {
        let Edited::Written { change, further, commit, plan, condition, reason } = edited else {
            return Exit::Failed;
        };
        notes((change, further));
        let commit = commit.as_ref().map(|id| format!(", commit {}", short(id))).unwrap_or_default();
        for file in all((change, further)) {
            let rows = file
                .resources
                .iter()
                .map(|one| format!("{} {}: {}{commit}\n", one.kind, one.name, file.path));
            self.data(&rows.collect::<String>());
        }
        if !self.json() {
            say(report::text(plan).trim_end());
        }
        if *condition == SourceCondition::Ready {
            return Exit::Done;
        }
        talk(&format!("it is written, but not live ({condition}): {reason}"));
        Exit::Failed
    }

    fn on_branch(&self, files: Files<'_>, commit: &str, branch: &str) -> Exit {
        notes(files);
        self.data(&format!("{branch}\n"));
        let commit = short(commit);
        let summary = all(files).map(|file| file.summary.as_str()).collect::<Vec<_>>().join("; ");
        talk(&format!("{summary} is commit {commit} there; it goes live when that is merged"));
        Exit::Done
    }

    fn off(&self, files: Files<'_>, steps: &[String]) -> Exit {
        notes(files);
        self.data(&patch(files));
        talk("the daemon may not write to this inventory (write = \"off\"); with the patch above as PATCH:");
        steps.iter().for_each(|step| say(format!("    {step}")));
        Exit::NotAllowed
    }
}

/// The first file that changes, and the others.
type Files<'a> = (&'a FileChange, &'a [FileChange]);

fn all((first, further): Files<'_>) -> impl Iterator<Item = &FileChange> {
    std::iter::once(first).chain(further)
}

fn patch(files: Files<'_>) -> String {
    all(files).map(|file| file.patch.as_str()).collect()
}

fn post(remote: &Remote, request: &EditRequest) -> Result<Edited, crate::api::client::ClientError> {
    remote.block_on(async |client| client.post("/v1/edits", request).await)
}

fn notes(files: Files<'_>) {
    all(files).flat_map(|file| &file.notes).for_each(|note| talk(note));
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

/// The loss of data needs the name of what is lost.
fn agrees(change: &FileChange, plan: &Plan) -> bool {
    let wanted = match plan.worst() {
        Some(Impact::Wipe) => change.name.as_str(),
        _ => "yes",
    };
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{}. Type {wanted} to continue: ", change.summary);
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
