//! `voldemort plan`: what adopting a tree of manifests would do, as the daemon sees it.

mod against;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Exit;
use super::exit::{print, talk};
use super::remote::{self, Remote};
use crate::api::types::Outcome;
use crate::plan::report;
use crate::plan::schema::Report;

#[derive(Args, Debug)]
pub struct Arguments {
    /// The inventory
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Compare with this revision of the inventory's git repository (or `empty`) instead of asking
    /// the daemon; every machine of that revision is taken to be installed
    #[arg(long, value_name = "REV")]
    against: Option<String>,
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
    if let Some(revision) = &arguments.against {
        return match against::plan(&arguments.directory, revision) {
            Ok(report) => show(arguments, &report),
            Err(code) => code,
        };
    }
    let outcome = match remote::tree(&arguments.directory) {
        Ok(tree) => arguments.remote.block_on(async |client| client.post::<Outcome>("/v1/plan", &tree).await),
        Err(code) => return code,
    };
    match outcome {
        Ok(Outcome::Planned { plan, holds }) => show(arguments, &Report { plan, holds }),
        Ok(Outcome::Invalid { problems }) => {
            talk(&problems);
            Exit::Failed
        }
        Ok(_) => remote::nonsense(),
        Err(error) => remote::failed(&error, arguments.output == Output::Json),
    }
}

fn show(arguments: &Arguments, shown: &Report) -> Exit {
    let Report { plan, holds } = shown;
    let code = match arguments.output {
        Output::Text => print(&report::text(plan)),
        Output::Markdown => print(&report::markdown(plan, holds)),
        Output::Json => remote::print_json(shown),
    };
    if code != Exit::Done {
        return code;
    }
    holds.iter().for_each(|hold| talk(&remote::hold_text(hold)));
    if arguments.detailed_exitcode && !plan.is_empty() { Exit::Changes } else { Exit::Done }
}
