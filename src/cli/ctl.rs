//! `voldemortctl`: the daemon over the network.

mod events;
mod get;
mod table;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::remote::Remote;
use super::{Exit, exit};

/// Looks into a running voldemort daemon
#[derive(Parser, Debug)]
#[command(name = "voldemortctl", version)]
pub struct Ctl {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Get(get::Arguments),
    Events(events::Arguments),
}

/// Runs one command line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let ctl = match Ctl::try_parse_from(arguments) {
        Ok(ctl) => ctl,
        Err(error) => return exit::usage(&error),
    };
    match &ctl.command {
        Command::Get(arguments) => get::run(arguments, &ctl.remote),
        Command::Events(arguments) => events::run(arguments, &ctl.remote),
    }
}
