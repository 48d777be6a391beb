//! `voldemort plan`: what adopting a tree of manifests would do, as the daemon sees it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Exit;
use super::exit::talk;
use super::remote::{self, Remote};
use crate::api::types::Outcome;
use crate::plan::{Hold, Plan, report};

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
    /// How to print the plan
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Exit with 2 if there are changes
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Markdown,
}

pub fn run(arguments: &Arguments) -> Exit {
    let outcome = match remote::tree(&arguments.directory, arguments.env.as_deref()) {
        Ok(tree) => arguments.remote.block_on(async |client| client.post::<Outcome>("/v1/plan", &tree).await),
        Err(code) => return code,
    };
    match outcome {
        Ok(Outcome::Planned { plan, holds }) => show(arguments, &plan, &holds),
        Ok(Outcome::Invalid { problems }) => {
            talk(&problems);
            Exit::Failed
        }
        Ok(_) => remote::nonsense(),
        Err(error) => remote::failed(&error, arguments.output == Output::Json),
    }
}

fn show(arguments: &Arguments, plan: &Plan, holds: &[Hold]) -> Exit {
    match arguments.output {
        Output::Text => print!("{}", report::text(plan)),
        Output::Markdown => print!("{}", report::markdown(plan)),
        Output::Json => remote::print_json(plan),
    }
    for hold in holds {
        talk(&remote::hold_text(hold));
    }
    if arguments.detailed_exitcode && !plan.is_empty() { Exit::Changes } else { Exit::Done }
}
