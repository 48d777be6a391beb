//! `voldemortctl boot-once` and `forget-loaders`.

use clap::Args;

use crate::api::client::escaped;
use crate::api::resource::boot_once::BootOnceWanted;
use crate::api::resource::{Listed, Machine};
use crate::cli::exit::talk;
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};

/// Lead the next network boot of a machine to another boot, such as a rescue system, and that one alone
///
/// What is installed on the machine and what it is for stay as they are. `voldemortctl power boot-once` is another thing:
/// it has the firmware of the machine boot from the network next, whatever that leads to. The two together, and
/// `voldemortctl power cycle`, bring a running machine into its rescue system.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The machine
    #[arg(value_name = "MACHINE", add = names(Names::Of(Listed::Machines)))]
    machine: String,
    /// The boot of the inventory that it boots
    #[arg(long, value_name = "NAME", required_unless_present = "cancel", add = names(Names::Of(Listed::Boots)))]
    boot: Option<String>,
    /// How long this waits for the machine to boot, as 2h: an hour if absent, 7d at most
    #[arg(long = "for", value_name = "DURATION", requires = "boot")]
    span: Option<String>,
    /// Take it back
    #[arg(long, conflicts_with = "boot")]
    cancel: bool,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Forget which boot programs were learned to run on a machine, so that they are tried anew
#[derive(Args, Debug)]
pub(super) struct Forget {
    /// The machine
    #[arg(value_name = "MACHINE", add = names(Names::Of(Listed::Machines)))]
    machine: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = format!("/v1/machines/{}/boot-once", escaped(&arguments.machine));
    let changed = match &arguments.boot {
        Some(boot) => {
            let wanted = BootOnceWanted { boot: boot.clone(), span: arguments.span.clone() };
            remote.block_on(async |client| client.post::<Machine>(&path, &wanted).await)
        }
        None => remote.block_on(async |client| client.delete::<Machine>(&path).await),
    };
    let machine = match changed {
        Ok(machine) => machine,
        Err(error) => return remote::failed(&error, json),
    };
    if json {
        return exit::print_json(&machine);
    }
    let name = &arguments.machine;
    match &machine.boot_once {
        Some(once) => talk(&format!(
            "the next network boot of machine {name} until {} leads to boot {}; if its firmware prefers its disk, see \
             `voldemortctl power boot-once`",
            once.until, once.boot
        )),
        None => talk(&format!("the next network boot of machine {name} leads to what it is for")),
    }
    Exit::Done
}

pub(super) fn forget(arguments: &Forget, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let path = format!("/v1/machines/{}/forget-loaders", escaped(&arguments.machine));
    let body = serde_json::json!({});
    match remote.block_on(async |client| client.post::<Machine>(&path, &body).await) {
        Ok(machine) if json => exit::print_json(&machine),
        Ok(_) => {
            talk(&format!("the boot programs of machine {} are tried anew", arguments.machine));
            Exit::Done
        }
        Err(error) => remote::failed(&error, json),
    }
}
