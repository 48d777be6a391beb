//! `voldemort apply`: shows the plan, asks, and hands the tree over to the daemon.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::Exit;
use super::exit::talk;
use super::remote::{self, Remote};
use crate::api::types::{Apply, Outcome};
use crate::plan::{Consent, Impact, Plan, report};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The inventory
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// With this environment laid over the inventory; the daemon's own if absent
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    #[command(flatten)]
    remote: Remote,
    /// Don't ask
    #[arg(long, visible_alias = "yes", short = 'y')]
    auto_approve: bool,
    /// Show what would happen and stop
    #[arg(long)]
    dry_run: bool,
    /// Agree that exactly this many deployments are removed
    #[arg(long, value_name = "N")]
    allow_removals: Option<usize>,
    /// Agree that exactly this many machines are reinstalled
    #[arg(long, value_name = "N")]
    allow_reinstalls: Option<usize>,
    /// Print the outcome as JSON
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

pub fn run(arguments: &Arguments) -> Exit {
    let tree = match remote::tree(&arguments.directory, arguments.env.as_deref()) {
        Ok(tree) => tree,
        Err(code) => return code,
    };
    let json = arguments.output == "json";
    let planned = arguments.remote.block_on(async |client| client.post::<Outcome>("/v1/plan", &tree).await);
    let plan = match planned {
        Ok(Outcome::Planned { plan, .. }) => plan,
        Ok(other) => return finish(&other, json),
        Err(error) => return remote::failed(&error, json),
    };
    if !json {
        print!("{}", report::text(&plan));
    }
    if plan.is_empty() || arguments.dry_run {
        return if json { finish(&Outcome::Planned { plan, holds: Vec::new() }, json) } else { Exit::Done };
    }
    if !arguments.auto_approve {
        if let Err(code) = ask(&plan) {
            return code;
        }
    }
    let consent = Consent { removals: arguments.allow_removals, reinstalls: arguments.allow_reinstalls };
    let request = Apply { tree, consent, expected: Some((plan.lineage.clone(), plan.serial)) };
    match arguments.remote.block_on(async |client| client.post::<Outcome>("/v1/apply", &request).await) {
        Ok(outcome) => finish(&outcome, json),
        Err(error) => remote::failed(&error, json),
    }
}

/// The worst impact decides what has to be typed: WIPE wants the machine's name.
fn ask(plan: &Plan) -> Result<(), Exit> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        talk("apply asks before it changes anything, and this is no terminal; add --auto-approve to agree");
        return Err(Exit::Refused);
    }
    let wiped = plan.changes.iter().find(|change| change.impact == Impact::Wipe);
    let (question, wanted) = match wiped {
        Some(change) => {
            let machine = change.machine.as_deref().unwrap_or(&change.name);
            (format!("This loses data on disks. Type {machine} to go on: "), machine)
        }
        None => ("Apply this? Type yes: ".to_owned(), "yes"),
    };
    eprint!("{question}");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == wanted => Ok(()),
        _ => {
            talk("nothing was changed");
            Err(Exit::Interrupted)
        }
    }
}

fn finish(outcome: &Outcome, json: bool) -> Exit {
    if json {
        remote::print_json(outcome);
    }
    match outcome {
        Outcome::Applied { plan } => {
            talk(&format!("Applied: {} is live.", plan.to));
            Exit::Done
        }
        Outcome::Planned { .. } => Exit::Done,
        Outcome::Held { holds, .. } => {
            holds.iter().map(remote::hold_text).for_each(|text: String| talk(&text));
            Exit::Refused
        }
        Outcome::Stale { plan } => {
            talk(&format!("The table changed meanwhile (serial {}); look at a new plan.", plan.serial));
            Exit::Stale
        }
        Outcome::Invalid { problems } => {
            talk(problems);
            Exit::Failed
        }
    }
}
