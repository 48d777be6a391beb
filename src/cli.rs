//! The commands: one file each, with its arguments and its `run`.

pub mod apply;
pub mod check;
pub mod color;
pub mod completions;
pub mod config;
pub mod context;
pub mod ctl;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod firmware;
pub mod import;
pub mod init;
pub mod iso;
pub mod live;
pub mod man;
pub mod media;
mod patience;
pub mod plan;
pub mod remote;
pub mod render;
pub mod replay;
pub mod resolved;
mod saved;
pub mod schema;
pub mod secret;
pub mod shown;
pub mod start;
pub mod state;
mod table;
pub mod tree;
pub mod try_;
pub mod why;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;

/// Turns bare metal into a cloud from TOML manifests.
#[derive(Debug, Parser)]
#[command(name = "voldemort", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks an inventory: offline, without root, without network
    Check(check::Arguments),
    /// Shows what adopting an inventory would do to which machine
    Plan(plan::Arguments),
    /// Shows the plan, asks, and hands the inventory to the daemon
    Apply(apply::Arguments),
    /// Starts the daemon
    Start(start::Arguments),
    /// Checks, copies or puts back the daemon's state directory
    State(state::Args),
    /// Boots a deployment in a throw-away virtual machine and shows the timeline
    Try(try_::Arguments),
    /// Writes a new, commented inventory
    Init(init::Arguments),
    /// Writes the networks and hosts of another DHCP server's configuration as manifests
    Import(import::Arguments),
    /// Prints what a deployment's machine would be served
    Render(render::Arguments),
    /// Prints every value of a deployment, inherited ones included
    Resolved(resolved::Arguments),
    /// Shows how machines in a packet capture would have been answered, and why
    Replay(replay::Arguments),
    /// Settings of the daemon
    Config(config::Args),
    /// Looks at this host as the daemon would use it, and says what to do
    Doctor(doctor::Arguments),
    /// Shows the boot programs that this host has for machines
    Firmware(firmware::Args),
    /// Shows what a machine would be offered, and what happened at its last boot
    Why(why::Arguments),
    /// Shows the content of ISO images
    Iso(iso::Args),
    /// Brings images to where they are served from
    Media(media::Args),
    /// Encrypts texts that only the daemon may read
    Secret(secret::Args),
    /// Writes the JSON Schema of manifests, for editors
    Schema(schema::Arguments),
    /// Explains a code such as V0011, with examples
    Explain(explain::Arguments),
    /// Writes the completions of a shell
    Completions(completions::Arguments),
    /// Writes the manual pages of voldemort and voldemortctl
    Man(man::Arguments),
}

/// Runs one command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let line: Vec<OsString> = arguments.into_iter().collect();
    if let Some(exit) = live::complete(Arguments::command, &line) {
        return exit;
    }
    let command = match Arguments::try_parse_from(&line) {
        Ok(arguments) => arguments.command,
        Err(error) => return exit::usage(&error, &line),
    };
    match command {
        Command::Check(arguments) => check::run(arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Apply(arguments) => apply::run(&arguments),
        Command::Try(arguments) => try_::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
        Command::State(arguments) => state::run(&arguments),
        Command::Start(arguments) => start::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Firmware(arguments) => firmware::run(&arguments),
        Command::Iso(arguments) => iso::run(&arguments),
        Command::Media(arguments) => media::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Render(arguments) => render::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Resolved(arguments) => resolved::run(&arguments),
        Command::Secret(arguments) => secret::run(&arguments),
        Command::Schema(arguments) => schema::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}
