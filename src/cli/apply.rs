//! `voldemort apply`: shows the plan, asks for consent, and sends the tree to the daemon.

mod consent;
mod followed;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::exit::{print, talk};
use super::live::{Names, names};
use super::remote::{self, Part, Remote};
use super::saved::SavedPlan;
use super::shown::Shown;
use super::{Exit, exit, tree};
use crate::api::resource::{Apply, Outcome, Ticket, TicketRequest, Tree};
use crate::model::Span;
use crate::plan::{Consent, Hold, report};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The inventory, or a plan that `voldemort plan --out` saved
    #[arg(default_value = ".", value_name = "DIR|PLAN")]
    what: PathBuf,
    /// Which source of the daemon the inventory is, if it follows several
    #[arg(long, value_name = "NAME", add = names(Names::Sources))]
    source: Option<String>,
    /// With this environment laid over the inventory; the daemon's own if absent
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    part: Part,
    /// Don't ask; machines are wiped only with --allow-reinstalls
    #[arg(long, visible_alias = "yes", short = 'y')]
    auto_approve: bool,
    #[command(flatten)]
    shown: Shown,
    /// Show what would happen and stop
    #[arg(long)]
    dry_run: bool,
    /// Consent to the removal of exactly this many deployments
    #[arg(long, value_name = "N")]
    allow_removals: Option<usize>,
    /// Consent to the reinstallation of exactly this many machines: the data on their disks is lost
    #[arg(long, value_name = "N")]
    allow_reinstalls: Option<usize>,
    /// Apply it also where the inventory lacks commits that the daemon has from its source: what they changed is undone
    #[arg(long)]
    allow_older: bool,
    /// Wait until the machines that this installs have reported
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "live")]
    wait: Option<Wait>,
    /// How long to wait at most
    #[arg(long, default_value = "1h", requires = "wait")]
    timeout: Span,
    /// Print the outcome as JSON
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// What `--wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wait {
    /// The revision is served, which is the case when apply ends
    Live,
    /// Every machine that the plan installs has reported completion
    Installed,
}

impl Arguments {
    /// The reasons to hold the plan that no flag agrees to.
    fn not_agreed(&self, mut holds: Vec<Hold>) -> Vec<Hold> {
        let given =
            [("--allow-removals", self.allow_removals), ("--allow-reinstalls", self.allow_reinstalls)];
        let is_agreed = |hold: &Hold, flag: &str, number: Option<usize>| {
            number.is_some_and(|number| hold.flag() == Some(&*format!("{flag} {number}")))
        };
        holds.retain(|hold| !given.iter().any(|(flag, number)| is_agreed(hold, flag, *number)));
        holds
    }
}

pub fn run(arguments: &Arguments) -> Exit {
    let json = arguments.output == "json";
    let (mut tree, ticket) = match read(arguments) {
        Ok(read) => read,
        Err(code) => return code,
    };
    if let Some(outcome) = ticket.as_ref().and_then(|ticket| stale(arguments, &tree, ticket)) {
        return finish(&outcome, json);
    }
    let followed = followed::source(&arguments.remote, &tree);
    if ticket.is_none()
        && !arguments.allow_older
        && !arguments.dry_run
        && let Some(why) = followed.as_ref().and_then(|source| followed::older(source, &arguments.what))
    {
        exit::failed(&why, json);
        return Exit::Refused;
    }
    // Files that a saved plan lacks are not looked for in the folder that it was made in.
    let root = ticket.is_none().then_some(&*arguments.what);
    let planned = arguments.remote.block_on(async |client| tree::plan(&client, &mut tree, root).await);
    let (plan, holds) = match planned {
        Ok(Outcome::Planned { plan, holds }) => (plan, holds),
        Ok(other) => return finish(&other, json),
        Err(error) => return remote::failed(&error, json),
    };
    if ticket.as_ref().is_some_and(|ticket| ticket.plan != plan.id) {
        return finish(&Outcome::Stale { plan }, json);
    }
    if !json && print(&report::text_as(&plan, arguments.shown.view())) != Exit::Done {
        return Exit::Failed;
    }
    // A saved plan can be adopted once, also an empty one.
    if (plan.is_empty() && ticket.is_none()) || arguments.dry_run {
        return finish(&Outcome::Planned { plan, holds: arguments.not_agreed(holds) }, json);
    }
    if let Some(warning) = followed.as_ref().and_then(|source| followed::undoing(&plan, source)) {
        talk(&warning);
    }
    let given = consent::Consent {
        approved: arguments.auto_approve || ticket.is_some(),
        reinstalls: arguments.allow_reinstalls,
    };
    match consent::ask(&plan, given) {
        Ok(()) => {}
        Err(consent::NoConsent::Refused(why)) => {
            exit::failed(&why, json);
            return Exit::Refused;
        }
        Err(consent::NoConsent::Declined) => {
            exit::failed("nothing was changed", json);
            return Exit::Interrupted;
        }
    }
    let consent = Consent { removals: arguments.allow_removals, reinstalls: arguments.allow_reinstalls };
    let expected = Some(plan.id.clone());
    let request = Apply { tree, consent, expected, ticket };
    match arguments.remote.block_on(async |client| client.post::<Outcome>("/v1/apply", &request).await) {
        Ok(outcome) => match (finish(&outcome, json), arguments.wait) {
            (Exit::Done, Some(Wait::Installed)) => {
                wait::installed(&plan, &arguments.remote, Duration::from_millis(arguments.timeout.0))
            }
            (code, _) => code,
        },
        Err(error) => remote::failed(&error, json),
    }
}

/// The tree, and what a saved plan of it is bound to.
fn read(arguments: &Arguments) -> Result<(Tree, Option<Ticket>), Exit> {
    let json = arguments.output == "json";
    let failed = |why: String| exit::failed(&why, json);
    if !arguments.what.is_file() {
        let tree = tree::read(&arguments.what, arguments.env.as_deref());
        let tree = tree.map_err(|error| failed(error.to_string()))?;
        let tree = Tree { source: arguments.source.clone(), ..tree };
        return Ok((arguments.part.of(tree), None));
    }
    if !arguments.part.is_whole() || arguments.env.is_some() || arguments.source.is_some() {
        let why = "a saved plan is applied as it is; give --target, --exclude, --env and --source to \
                   `voldemort plan --out`";
        exit::failed(why, json);
        return Err(Exit::Usage);
    }
    let saved = SavedPlan::read(&arguments.what).map_err(failed)?;
    let reasons = saved.changed_files(&arguments.what);
    if !reasons.is_empty() {
        return Err(finish(&Outcome::Moved { reasons }, json));
    }
    Ok((saved.tree, Some(saved.ticket)))
}

/// Why a saved plan is stale, before it is shown. The daemon checks again when it applies the plan.
fn stale(arguments: &Arguments, tree: &Tree, ticket: &Ticket) -> Option<Outcome> {
    let request = TicketRequest { tree: tree.clone(), plan: ticket.plan.clone() };
    let asked =
        arguments.remote.block_on(async |client| client.post::<Ticket>("/v1/tickets", &request).await);
    let reasons = asked.ok()?.differences(ticket);
    (!reasons.is_empty()).then_some(Outcome::Moved { reasons })
}

/// Reports the outcome, and gives the exit code.
pub fn finish(outcome: &Outcome, json: bool) -> Exit {
    let printed = if json { exit::print_json(outcome) } else { Exit::Done };
    said(outcome).and(printed)
}

fn said(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Applied { plan } => {
            talk(&format!("applied: {} is live", plan.to));
            Exit::Done
        }
        Outcome::Planned { holds, .. } => {
            holds.iter().map(remote::hold_text).for_each(|text: String| talk(&text));
            Exit::Done
        }
        Outcome::Done { text } => {
            talk(text);
            Exit::Done
        }
        Outcome::Held { holds, .. } => {
            holds.iter().map(remote::hold_text).for_each(|text: String| talk(&text));
            Exit::Refused
        }
        Outcome::Stale { plan } => {
            let does = report::summary(plan);
            talk(&format!(
                "the state has changed meanwhile: the plan is now {} ({does}); make a new one",
                plan.id
            ));
            Exit::Stale
        }
        Outcome::Moved { reasons } => {
            talk("this plan is stale: make a new one");
            reasons.iter().for_each(|reason| super::exit::say(format!("  {reason}")));
            Exit::Stale
        }
        Outcome::Invalid { report, .. } => {
            talk(report);
            Exit::Failed
        }
        Outcome::Wanted { files } => {
            let files = files.join(", ");
            talk(&format!("the daemon no longer has these files: {files}; make the plan again"));
            Exit::Stale
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        apply: Arguments,
    }

    #[test]
    fn a_dry_run_tells_what_would_be_held_with_these_flags() {
        let hold = |cure: &str| Hold { reason: cure.into(), names: Vec::new(), cure: cure.into() };
        let holds = ["to consent: --allow-removals 12", "write `protect = false` in a commit of its own"];
        let kept = |line: &str| {
            let line = Line::try_parse_from(line.split(' ')).unwrap();
            line.apply.not_agreed(holds.map(hold).to_vec()).len()
        };
        assert_eq!(kept("apply --dry-run"), 2);
        assert_eq!(kept("apply --dry-run --allow-removals 11"), 2);
        assert_eq!(kept("apply --dry-run --allow-reinstalls 12"), 2);
        assert_eq!(kept("apply --dry-run --allow-removals 12"), 1);
    }
}
