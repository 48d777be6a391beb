//! `voldemortctl wait`: until a deployment has come to a phase.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::events::Place;
use crate::api::client::{ClientError, escaped};
use crate::api::resource::Deployment;
use crate::cli::exit::talk;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::{Phase, Span};

/// Wait until a deployment is installed, or in another phase
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The deployment
    name: String,
    /// The phase to wait for
    #[arg(long = "for", value_name = "PHASE", default_value = "installed", value_parser = phase())]
    phase: Phase,
    /// Longest wait, as in 30m
    #[arg(long, default_value = "1h")]
    timeout: String,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Longest single question to the daemon, in seconds.
const ASK: u64 = 30;

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let Ok(limit) = arguments.timeout.parse::<Span>() else {
        let why = format!("--timeout: `{}` is no time; write it as in 30m", arguments.timeout);
        remote::failed(&ClientError::Refused(why), json);
        return Exit::Usage;
    };
    let Span(limit) = limit;
    let end = Instant::now() + Duration::from_millis(limit);
    let path = format!("/v1/deployments/{}", escaped(&arguments.name));
    let found = remote.block_on(async |client| {
        let mut place = Place::default();
        loop {
            let deployment: Deployment = client.get(&path).await?;
            let left = end.saturating_duration_since(Instant::now()).as_secs();
            let settled = deployment.phase == arguments.phase || is_stuck(&deployment);
            if settled || left == 0 {
                return Ok(deployment);
            }
            place.next(&client, &format!("&wait={}", left.min(ASK))).await?;
        }
    });
    let deployment = match found {
        Ok(deployment) => deployment,
        Err(error) => return remote::failed(&error, json),
    };
    if json {
        exit::print_json(&deployment);
    }
    let seen = format!("{} is {}", deployment.name, deployment.phase);
    match deployment.phase.known() {
        Some(phase) if phase == arguments.phase => {
            talk(&seen);
            Exit::Done
        }
        Some(phase) if phase.is_stuck() => {
            talk(&format!("{seen}: {}", deployment.next_boot));
            Exit::Failed
        }
        _ => {
            talk(&format!("{seen} and was not {} within {}", arguments.phase, arguments.timeout));
            Exit::Unreachable
        }
    }
}

/// Whether it stays in its phase until a person does something.
fn is_stuck(deployment: &Deployment) -> bool {
    deployment.phase.known().is_some_and(Phase::is_stuck)
}

fn phase() -> impl TypedValueParser<Value = Phase> {
    PossibleValuesParser::new(Phase::NAMES).try_map(|text| Phase::named(&text).ok_or("this is no phase"))
}
