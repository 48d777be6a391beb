//! `voldemortctl serve-dhcp`: a person orders DHCP to be served on a network.

use clap::Args;

use crate::api::client::escaped;
use crate::api::resource;
use crate::cli::exit::talk;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};

/// Serve DHCP on an interface where another server answered first
///
/// A daemon that finds another DHCP server on a network when it starts only listens there. This has it
/// serve until its next start; stop the other server first.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The network interface, as in the daemon's settings
    interface: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = format!("/v1/serve-dhcp/{}", escaped(&arguments.interface));
    let served = remote.block_on(async |client| client.post::<resource::Status>(&path, &()).await);
    match served {
        Ok(status) if json => exit::print_json(&status),
        Ok(status) => {
            talk(&format!("DHCP mode {}", status.mode));
            Exit::Done
        }
        Err(error) => remote::failed(&error, json),
    }
}
