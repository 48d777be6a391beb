//! `voldemortctl describe`: all about one resource.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::output;
use crate::api::client;
use crate::api::resource::Listed;
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit, why};

/// Show all about one resource. Of a deployment or machine: what it is offered, from which lines, its last boot; of the
/// others: what is written, where, and what it means with all that it inherits
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
    #[value(alias = "boots")]
    Boot,
    #[value(alias = "profiles")]
    Profile,
    #[value(alias = "templates")]
    Template,
    #[value(alias = "subnets")]
    Subnet,
    #[value(alias = "pools")]
    Pool,
    /// What was done to the disks of a machine by the order of this number
    #[value(alias = "certificates")]
    Certificate,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    match arguments.kind {
        Kind::Deployment => why::ask(&arguments.name, why::Wanted::Deployment, json, remote),
        Kind::Machine => why::ask(&arguments.name, why::Wanted::Machine, json, remote),
        Kind::Boot => whole(Listed::Boots, arguments, remote),
        Kind::Profile => whole(Listed::Profiles, arguments, remote),
        Kind::Template => whole(Listed::Templates, arguments, remote),
        Kind::Subnet => whole(Listed::Subnets, arguments, remote),
        Kind::Pool => whole(Listed::Pools, arguments, remote),
        Kind::Certificate => whole(Listed::Certificates, arguments, remote),
    }
}

/// What the daemon says of a resource: as it is written, and what that means.
fn whole(list: Listed, arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = format!("{}/{}", list.path(), client::escaped(&arguments.name));
    match remote.block_on(async |client| client.get::<Value>(&path).await) {
        Ok(found) if json => exit::print_json(&found),
        Ok(found) => exit::print(&output::document(&found)),
        Err(error) => remote::failed(&error, json),
    }
}
