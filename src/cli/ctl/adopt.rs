//! `voldemortctl adopt`: a machine that has its system already.

use clap::Args;

use crate::api::resource;
use crate::cli::exit::talk;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, apply, exit};
use crate::state::Doubts;

/// Record that a deployment's machine is installed already, so that it boots its own disk
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The deployment
    #[arg(required_unless_present = "all")]
    deployment: Option<String>,
    /// Every deployment whose installation is doubtful
    #[arg(long, conflicts_with_all = ["deployment", "reason"])]
    all: bool,
    /// Why, for the timeline
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let Some(deployment) = arguments.deployment.clone() else {
        let order = resource::Order::KeepSystems(Doubts { all: true, ..Doubts::default() });
        let sent =
            remote.block_on(async |client| client.post::<resource::Outcome>("/v1/orders", &order).await);
        return match sent {
            Ok(outcome) => apply::finish(&outcome, json),
            Err(error) => remote::failed(&error, json),
        };
    };
    let request = resource::Adopt { deployment, reason: arguments.reason.clone() };
    let adopted =
        remote.block_on(async |client| client.post::<resource::Deployment>("/v1/adopt", &request).await);
    match adopted {
        Ok(deployment) => {
            if json {
                exit::print_json(&deployment);
            } else {
                talk(&format!("{} is {}; it {}", deployment.name, deployment.phase, deployment.next_boot));
            }
            Exit::Done
        }
        Err(error) => remote::failed(&error, json),
    }
}
