//! `voldemortctl cancel effect ID`, `cancel order MACHINE`: what waits to be done elsewhere is not done.

use clap::{Args, Subcommand};

use crate::api::client::escaped;
use crate::api::resource::{Effect, Listed, Machine};
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};

/// Stop what the daemon was about to do
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
    #[arg(short, long, global = true, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Cancel a pending effect: it is not begun any more, also after a restart. What was begun already is stopped
    /// where that is possible, and its result is ignored
    Effect {
        /// The number, as `voldemortctl get effects` shows it
        #[arg(add = names(Names::Of(Listed::Effects)))]
        id: u64,
    },
    /// Cancel the wipe of a machine that our agent does not run on yet: its disks stay as they are, and it is free
    Order {
        /// The machine
        #[arg(add = names(Names::Of(Listed::Orders)))]
        machine: String,
    },
}

pub(crate) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let id = match &arguments.what {
        What::Effect { id } => id,
        What::Order { machine } => return order(machine, json, remote),
    };
    let path = format!("/v1/effects/{id}");
    let cancelled: Effect = match remote.block_on(async |client| client.delete(&path).await) {
        Ok(cancelled) => cancelled,
        Err(error) => return remote::failed(&error, json),
    };
    match json {
        true => exit::print_json(&cancelled),
        false => {
            let Effect { id, task, subject, begun, .. } = &cancelled;
            let begun = match begun {
                Some(at) => format!("; its executor had begun at {at}"),
                None => String::new(),
            };
            exit::print(&format!("effect {id} ({task} of {subject}) is cancelled{begun}\n"))
        }
    }
}

fn order(machine: &str, json: bool, remote: &Remote) -> Exit {
    let path = format!("/v1/orders/{}", escaped(machine));
    match remote.block_on(async |client| client.delete::<Machine>(&path).await) {
        Ok(machine) if json => exit::print_json(&machine),
        Ok(_) => {
            exit::print(&format!("the wipe of machine {machine} is cancelled: its disks stay as they are\n"))
        }
        Err(error) => remote::failed(&error, json),
    }
}
