//! `voldemortctl`: the daemon over the network.

mod events;
mod get;
mod order;
mod table;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::remote::Remote;
use super::{Exit, exit};

/// Looks into a running voldemort daemon, and tells it what to do about revisions
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
    Approve(order::Approve),
    Reject(order::Reject),
    Suspend(order::Suspend),
    /// Follow the source again after `suspend`
    Resume,
    Pin(order::Pin),
    /// Follow the source again after `pin`
    Unpin,
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
        Command::Approve(arguments) => order::approve(arguments, &ctl.remote),
        Command::Reject(arguments) => order::reject(arguments, &ctl.remote),
        Command::Suspend(arguments) => order::suspend(arguments, &ctl.remote),
        Command::Resume => order::resume(&ctl.remote),
        Command::Pin(arguments) => order::pin(arguments, &ctl.remote),
        Command::Unpin => order::unpin(&ctl.remote),
    }
}
