//! `voldemort start services`: the daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Exit;
use super::exit::talk;
use crate::config::Config;
use crate::daemon::{log, start};
use crate::store::{Accept, Loss};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    services: Services,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Serve DHCP, TFTP, HTTP and the control API
    Services(Services),
}

#[derive(Args, Clone, Debug)]
pub struct Services {
    /// The daemon's settings, TOML or JSON (see `voldemort config detect`)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Follow this directory or git repository instead of the one in the settings
    #[arg(long, value_name = "DIR|GIT-URL")]
    inventory: Option<String>,
    /// The machines of this site have no systems yet: the first revision installs them without asking. For
    /// the first start only
    #[arg(long)]
    new_site: bool,
    /// How lines of the log are written; `json` gives each line stable fields, for programs that collect logs
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    log_format: String,
    /// Start although a part of the state directory was lost; to be given once, by a person
    #[arg(long, value_name = "leases|records|key")]
    accept_loss: Vec<Loss>,
}

pub fn run(arguments: &Arguments) -> Exit {
    let services = match &arguments.what {
        Some(What::Services(services)) => services,
        None => &arguments.services,
    };
    let Some(path) = &services.config else {
        talk("start needs --config FILE; `voldemort config detect > voldemort.toml` writes one");
        return Exit::Usage;
    };
    let mut config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            talk(&error.to_string());
            return Exit::Failed;
        }
    };
    if let Some(inventory) = &services.inventory {
        config.follow(inventory);
    }
    config.state.new_site = services.new_site;
    if services.log_format == "json" {
        log::write_json();
    }
    crate::stay_small();
    match start::run(config, Accept(services.accept_loss.clone())) {
        Ok(()) => Exit::Done,
        Err(error) => {
            talk(&format!("voldemort can't start: {error}"));
            Exit::Failed
        }
    }
}
