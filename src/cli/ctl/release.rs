//! `voldemortctl release lease ADDRESS`: lends an address again that something keeps from others.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use crate::api::resource::Freed;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};

/// Take back what the daemon has lent
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
    #[arg(short, long, global = true, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Free an address that is leased, on offer, or withheld after a conflict: the next machine may get it.
    /// A machine that uses it is not notified, and keeps it until it asks DHCP again
    Lease {
        /// The address, as `voldemortctl get leases` shows it
        address: IpAddr,
    },
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let What::Lease { address } = arguments.what;
    let json = arguments.output == "json";
    let path = format!("/v1/leases/{address}");
    let freed: Freed = match remote.block_on(async |client| client.delete(&path).await) {
        Ok(freed) => freed,
        Err(error) => return remote::failed(&error, json),
    };
    match json {
        true => exit::print_json(&freed),
        false => {
            let Freed { address, mac, state, until } = &freed;
            exit::print(&format!("{address} is free; it was {state} ({mac}) until {until}\n"))
        }
    }
}
