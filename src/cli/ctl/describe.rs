//! `voldemortctl describe`: all about one deployment or machine.

use clap::{Args, ValueEnum};

use crate::cli::Exit;
use crate::cli::live::{Names, names};
use crate::cli::remote::Remote;
use crate::cli::why;

/// Show all about one deployment or machine: what it is offered, from which lines, its last boot
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[arg(value_enum)]
    kind: Kind,
    /// Its name, or a hardware address
    #[arg(add = names(Names::OfThatKind))]
    name: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    #[value(alias = "deployments")]
    Deployment,
    #[value(alias = "machines")]
    Machine,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let wanted = match arguments.kind {
        Kind::Deployment => why::Wanted::Deployment,
        Kind::Machine => why::Wanted::Machine,
    };
    why::ask(&arguments.name, wanted, arguments.output == "json", remote)
}
