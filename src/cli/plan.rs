//! `voldemort plan`: what adopting a tree of manifests would do, as the daemon sees it.

mod against;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::exit::{print, talk};
use super::live::{Names, names};
use super::remote::{self, Part, Remote};
use super::saved::SavedPlan;
use super::shown::{Shown, page};
use super::{Exit, exit, tree};
use crate::api::Client;
use crate::api::client::ClientError;
use crate::api::resource::{Outcome, Ticket, TicketRequest, Tree};
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
    /// Save the plan for `voldemort apply FILE`, which can be used once and only while it still does
    /// what it said
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    out: Option<PathBuf>,
    #[command(flatten)]
    part: Part,
    /// Which source of the daemon the inventory is, if it follows several
    #[arg(long, value_name = "NAME", conflicts_with = "against", add = names(Names::Sources))]
    source: Option<String>,
    /// With this environment laid over the inventory; the daemon's own if absent
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    #[command(flatten)]
    remote: Remote,
    /// How to print the plan
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    shown: Shown,
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
    let json = arguments.output == Output::Json;
    if let Some(revision) = &arguments.against {
        return match against::plan(
            &arguments.directory,
            revision,
            arguments.env.as_deref(),
            &arguments.part.selection(),
        ) {
            Ok(report) => show(arguments, &report),
            Err(error) => exit::failed(&error, json),
        };
    }
    let read = match tree::read(&arguments.directory, arguments.env.as_deref()) {
        Ok(tree) => arguments.part.of(Tree { source: arguments.source.clone(), ..tree }),
        Err(error) => return exit::failed(&error.to_string(), json),
    };
    let answers = arguments.remote.block_on(async |client| planned(arguments, &client, read.clone()).await);
    match answers {
        Ok((tree, ticket, Outcome::Planned { plan, holds })) => {
            if let (Some(ticket), Some(out)) = (ticket, &arguments.out)
                && let Err(why) = SavedPlan::new(ticket, plan.clone(), tree, &arguments.directory).write(out)
            {
                return exit::failed(&why, json);
            }
            show(arguments, &Report { plan, holds })
        }
        Ok((_, _, outcome @ Outcome::Invalid { .. })) => super::apply::finish(&outcome, json),
        Ok(_) => remote::nonsense(json),
        Err(error) => remote::failed(&error, json),
    }
}

/// The plan of a tree; the tree as the daemon knows it; and for a saved plan its ticket.
async fn planned(
    arguments: &Arguments,
    client: &Client,
    mut tree: Tree,
) -> Result<(Tree, Option<Ticket>, Outcome), ClientError> {
    let outcome = tree::plan(client, &mut tree, Some(&arguments.directory)).await?;
    let (Some(_), Outcome::Planned { plan, .. }) = (&arguments.out, &outcome) else {
        return Ok((tree, None, outcome));
    };
    let request = TicketRequest { tree, plan: plan.id.clone() };
    let ticket = client.post::<Ticket>("/v1/tickets", &request).await?;
    Ok((request.tree, Some(ticket), outcome))
}

fn show(arguments: &Arguments, shown: &Report) -> Exit {
    let Report { plan, holds } = shown;
    let code = match arguments.output {
        Output::Text => page(&report::text_as(plan, arguments.shown.view())),
        Output::Markdown => print(&report::markdown(plan, holds)),
        Output::Json => exit::print_json(shown),
    };
    if code != Exit::Done {
        return code;
    }
    holds.iter().for_each(|hold| talk(&remote::hold_text(hold)));
    if arguments.detailed_exitcode && !plan.is_empty() { Exit::Changes } else { Exit::Done }
}
