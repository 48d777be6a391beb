//! `voldemortctl get KIND`.

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::table;
use crate::api::client::ClientError;
use crate::api::resource::{
    Boot, Deployment, Drift, Effect, Lease, Listed, Machine, Row, Status, WaitingPlan,
};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::plan::report;

/// List what the daemon knows
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[arg(value_enum)]
    kind: Listed,
    /// Only the one of this name
    name: Option<String>,
    #[arg(short, long, value_parser = ["table", "json"], default_value = "table")]
    output: String,
}

impl ValueEnum for Listed {
    fn value_variants<'a>() -> &'a [Listed] {
        &Listed::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Listed::Deployments => value.alias("deployment"),
            Listed::Machines => value.alias("machine"),
            Listed::Boots => value.alias("boot"),
            Listed::Leases => value.alias("lease"),
            Listed::Status => value.aliases(["source", "sources"]),
            Listed::Plans => value.alias("plan").help("Revisions that wait for somebody's approval"),
            Listed::Revisions => {
                value.alias("revision").help("Revisions that can be pinned, the newest first")
            }
            Listed::Drift => value.help("Where machines are not as the inventory has them"),
            Listed::Effects => value
                .alias("effect")
                .help("What follows from a change and is not done yet: sources to read, controllers to ask"),
        })
    }
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    match arguments.kind {
        Listed::Deployments => list::<Deployment>(arguments, remote),
        Listed::Machines => list::<Machine>(arguments, remote),
        Listed::Boots => list::<Boot>(arguments, remote),
        Listed::Leases => list::<Lease>(arguments, remote),
        Listed::Status => status(arguments, remote),
        Listed::Plans => plans(arguments, remote),
        Listed::Revisions => list::<String>(arguments, remote),
        Listed::Drift => list::<Drift>(arguments, remote),
        Listed::Effects => list::<Effect>(arguments, remote),
    }
}

fn list<T: Row>(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = arguments.kind.path();
    let mut rows: Vec<T> = match remote.block_on(async |client| client.get(&path).await) {
        Ok(rows) => rows,
        Err(error) => return remote::failed(&error, json),
    };
    if let Some(wanted) = &arguments.name {
        rows.retain(|row| row.name() == wanted);
        if rows.is_empty() {
            let error = ClientError::Refused(format!("the daemon knows no {wanted} there"));
            return remote::failed(&error, json);
        }
    }
    match json {
        true => exit::print_json(&rows),
        false => exit::print(&table::format(T::COLUMNS, &rows.iter().map(Row::cells).collect::<Vec<_>>())),
    }
}

/// Waiting plans are for reading: each is printed whole, under its id.
fn plans(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = arguments.kind.path();
    let mut plans: Vec<WaitingPlan> = match remote.block_on(async |client| client.get(&path).await) {
        Ok(plans) => plans,
        Err(error) => return remote::failed(&error, json),
    };
    plans.retain(|plan| arguments.name.as_ref().is_none_or(|wanted| *wanted == plan.id));
    if json {
        return exit::print_json(&plans);
    }
    if plans.is_empty() {
        crate::cli::exit::talk("no plan waits");
    }
    for WaitingPlan { id, source, revision, condition, since, plan, holds } in &plans {
        let of = source.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
        let head = format!("plan {id} of {of}{revision}: {condition} since {since}\n\n");
        if crate::cli::exit::print(&(table::printable(head.trim_end()) + "\n\n" + &report::text(plan)))
            != Exit::Done
        {
            return Exit::Failed;
        }
        holds.iter().for_each(|hold| crate::cli::exit::say(remote::hold_text(hold)));
        crate::cli::exit::say(format!("voldemortctl approve {id}, or voldemortctl reject {id}"));
    }
    Exit::Done
}

fn status(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = arguments.kind.path();
    let status: Status = match remote.block_on(async |client| client.get(&path).await) {
        Ok(status) => status,
        Err(error) => return remote::failed(&error, json),
    };
    if json {
        return exit::print_json(&status);
    }
    let mut out = String::new();
    for text in status.lines() {
        // Reasons may have come off the wire, and have several lines.
        text.lines().for_each(|part| out.extend([&*table::printable(part), "\n"]));
    }
    exit::print(&out)
}
