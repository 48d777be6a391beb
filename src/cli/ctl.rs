//! `voldemortctl`: the daemon over the network.

mod events;
mod get;
mod table;

use clap::{Parser, Subcommand};

use super::Exit;
use super::remote::Remote;

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

pub fn run(ctl: &Ctl) -> Exit {
    match &ctl.command {
        Command::Get(arguments) => get::run(arguments, &ctl.remote),
        Command::Events(arguments) => events::run(arguments, &ctl.remote),
    }
}
