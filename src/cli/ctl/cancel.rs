//! `voldemortctl cancel effect ID`: what waits to be done elsewhere is not done.

use clap::{Args, Subcommand};

use crate::api::resource::{Effect, Listed};
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
}

pub(crate) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let What::Effect { id } = arguments.what;
    let json = arguments.output == "json";
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
