//! `voldemortctl power …`: machines are switched, and how their power is.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::several::{Asking, Fitting, counted, find, is_pattern};
use super::table;
use crate::api::Client;
use crate::api::client::{ClientError, escaped};
use crate::api::resource::machine::Machine;
use crate::api::resource::power::{PowerRequest, PowerWanted};
use crate::api::resource::{Effect, Listed, Row};
use crate::cli::live::{Names, names};
use crate::cli::patience::Patience;
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::model::Span;

/// Switch machines on or off, or show how their power is
///
/// An order is stored and carried out by the daemon, also if this program ends: `voldemortctl get effects` shows those
/// that are not done, `voldemortctl cancel effect ID` ends one.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
    #[arg(short, long, global = true, value_parser = ["text", "json"], default_value = "text")]
    output: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Switch machines on
    On(Ordered),
    /// Switch machines off, at once: what runs on them is not shut down before
    Off(Ordered),
    /// Switch machines off, and on again when they are seen to be off
    Cycle(Ordered),
    /// Have the next boot alone come from the network; the machines are not switched
    BootOnce(Ordered),
    /// Show how the power of machines is, and how their last order ended
    Status(Machines),
}

/// Machines.
#[derive(Args, Clone, Debug)]
struct Machines {
    /// The machines, by name or pattern (rack1-*)
    #[arg(value_name = "MACHINE", add = names(Names::Of(Listed::Machines)))]
    names: Vec<String>,
    #[command(flatten)]
    fitting: Fitting,
}

#[derive(Args, Clone, Debug)]
struct Ordered {
    #[command(flatten)]
    machines: Machines,
    /// Why, for people who read the events later
    #[arg(long, default_value = "")]
    reason: String,
    /// Wait for so long until it is done, as in 5m
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

/// How often it is looked whether an order is done.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &Arguments, remote: &Remote) -> Exit {
    let json = arguments.output == "json";
    let (wanted, ordered) = match &arguments.what {
        What::Status(machines) => return status(machines, json, remote),
        What::On(ordered) => (PowerWanted::On, ordered),
        What::Off(ordered) => (PowerWanted::Off, ordered),
        What::Cycle(ordered) => (PowerWanted::Cycle, ordered),
        What::BootOnce(ordered) => (PowerWanted::BootOnce, ordered),
    };
    let found = match ordered.machines.find(remote) {
        Ok(found) => found,
        Err(Unfound::Nothing) => return nobody(json),
        Err(Unfound::Failed(error)) => return remote::failed(&error, json),
    };
    if matches!(wanted, PowerWanted::Off | PowerWanted::Cycle)
        && let Err(no) = arguments.asking.agree(&summary(wanted, &found), wanted.name(), json)
    {
        return no;
    }
    order(wanted, ordered, &found, json, remote)
}

fn nobody(json: bool) -> Exit {
    exit::failed("which machines? name them, or give a pattern, -l or --where", json);
    Exit::Usage
}

enum Unfound {
    Nothing,
    Failed(ClientError),
}

impl Machines {
    /// The machines of manifests that are meant.
    fn find(&self, remote: &Remote) -> Result<Vec<Machine>, Unfound> {
        if self.names.is_empty() && self.fitting.is_empty() {
            return Err(Unfound::Nothing);
        }
        let found =
            remote.block_on(async |client| find(Listed::Machines, &self.names, &self.fitting, &client).await);
        let found: Vec<Machine> = found.map_err(Unfound::Failed)?;
        Ok(found.into_iter().filter(|machine| machine.name.is_some()).collect())
    }
}

/// What is on the machines, for whoever is to agree.
fn summary(wanted: PowerWanted, machines: &[Machine]) -> String {
    let names = machines.iter().map(Row::key).collect::<Vec<_>>();
    let mut text = format!("power {wanted}: {}", counted(names.iter().map(String::as_str), "machine"));
    for machine in machines.iter().filter(|machine| machine.deployment.is_some()).take(20) {
        text += &format!("\n  {} runs {}", machine.key(), or_dash(machine.deployment.as_ref()));
    }
    text
}

/// Orders it of one machine after the other; one that is refused does not keep the others from it.
fn order(wanted: PowerWanted, ordered: &Ordered, machines: &[Machine], json: bool, remote: &Remote) -> Exit {
    let request = PowerRequest { action: wanted.into(), reason: ordered.reason.clone() };
    let single = machines.len() == 1 && !is_many(ordered);
    let (mut effects, mut worst) = (Vec::new(), Exit::Done);
    for machine in machines {
        let path = format!("/v1/machines/{}/power", escaped(&machine.key()));
        match remote.block_on(async |client| client.post::<Effect>(&path, &request).await) {
            Ok(effect) => {
                if !json {
                    exit::talk(&format!("{}: ordered, as effect {}", effect.subject, effect.id));
                }
                effects.push(effect);
            }
            Err(error) => worst = remote::failed(&error, json && single),
        }
    }
    let waited = match ordered.wait {
        Some(limit) => remote.block_on(async |client| wait(&client, &effects, limit).await),
        None => Ok(Exit::Done),
    };
    let is_shown = ordered.wait.is_some() && waited.is_ok();
    // The order goes on all the same, and its number stands in what is printed.
    let waited = waited.unwrap_or_else(|error| remote::failed(&error, false));
    let shown = match (json, effects.as_slice()) {
        (true, [one]) if single => exit::print_json(one),
        (true, all) if !single => exit::print_json(&all),
        (false, _) if is_shown => status(&ordered.machines, false, remote),
        _ => Exit::Done,
    };
    worst.and(waited).and(shown)
}

fn is_many(ordered: &Ordered) -> bool {
    !ordered.machines.fitting.is_empty() || ordered.machines.names.iter().any(|name| is_pattern(name))
}

/// Waits until none of the effects is pending; what is not done by then, or was given up, is said.
async fn wait(client: &Client, effects: &[Effect], limit: Span) -> Result<Exit, ClientError> {
    let end = Instant::now() + Duration::from_millis(limit.0);
    let mut patience = Patience::until(end);
    loop {
        let pending: Vec<Effect> = patience.ask(async || client.get("/v1/effects").await).await?;
        if !effects.iter().any(|one| pending.iter().any(|other| other.id == one.id)) {
            break;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            exit::talk(&format!("it is not done after {limit}: `voldemortctl get effects` shows why"));
            return Ok(Exit::Unreachable);
        }
        tokio::time::sleep(LOOK.min(left)).await;
    }
    let mut outcome = Exit::Done;
    for effect in effects {
        let path = format!("/v1/machines/{}", escaped(&effect.subject));
        let named: serde_json::Value = patience.ask(async || client.get(&path).await).await?;
        let order = named.pointer("/power/order").filter(|order| order["id"] == effect.id);
        if let Some(why) = order.and_then(|order| order["reason"].as_str()) {
            exit::talk(&format!("{}: given up: {why}", effect.subject));
            outcome = Exit::Failed;
        }
    }
    Ok(outcome)
}

fn status(machines: &Machines, json: bool, remote: &Remote) -> Exit {
    let found = match machines.find(remote) {
        Ok(found) => found,
        Err(Unfound::Nothing) => return nobody(json),
        Err(Unfound::Failed(error)) => return remote::failed(&error, json),
    };
    if json {
        return exit::print_json(&found);
    }
    let rows = found.iter().map(|machine| {
        let power = machine.power.as_ref();
        let order = power.and_then(|power| power.order.as_ref());
        let ended = order.map(|order| match &order.reason {
            Some(why) => format!("{}: given up: {why}", order.what),
            None => format!("{}: done at {}", order.what, order.at),
        });
        vec![
            machine.key(),
            or_dash(power.map(|power| &power.state)),
            or_dash(power.and_then(|power| power.since.as_ref())),
            or_dash(power.map(|power| &power.kind)),
            or_dash(ended.as_ref()),
            or_dash(power.and_then(|power| power.reason.as_ref())),
        ]
    });
    let columns = ["MACHINE", "POWER", "SINCE", "BY", "LAST ORDER", "REASON"];
    exit::print(&table::format(&columns, &rows.collect::<Vec<_>>()))
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or("-".into(), ToString::to_string)
}
