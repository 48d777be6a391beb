//! `voldemortctl hold`, `unhold` and `retry`: machines by name, pattern, label or field.

use std::collections::BTreeMap;

use clap::Args;

use super::several::{Asking, Fitting, counted, find, is_pattern};
use crate::api::client::{ClientError, escaped};
use crate::api::resource::hold::HoldWanted;
use crate::api::resource::{Listed, Machine};
use crate::cli::exit::talk;
use crate::cli::live::{Names, names};
use crate::cli::remote::{self, Remote};
use crate::cli::{Exit, exit};
use crate::state::lifecycle::Condition;

/// Machines.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Machines {
    /// The machines, by name or pattern (rack1-*)
    #[arg(value_name = "MACHINE", add = names(Names::Of(Listed::Machines)))]
    pub names: Vec<String>,
    #[command(flatten)]
    pub fitting: Fitting,
}

/// Keep machines from being installed, given out or wiped
///
/// An installation that has its answers goes on. A wipe is broken off, and begins anew after `unhold`. Nothing new begins
/// until then.
#[derive(Args, Debug)]
pub(super) struct Hold {
    #[command(flatten)]
    machines: Machines,
    /// Why, for whoever wonders
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
    /// For how long, as 8h; until `unhold` if absent
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Let go of machines that are held
#[derive(Args, Debug)]
pub(super) struct Unhold {
    #[command(flatten)]
    machines: Machines,
    #[command(flatten)]
    asking: Asking,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Try releases and wipes again that failed, or that take long
///
/// Where one waits since the budget of wipes is used up, this agrees to it: that takes the role admin. A pattern, -l and
/// --where mean machines whose order failed or takes long: one that is contested and has no order has to be named.
#[derive(Args, Debug)]
pub(super) struct Retry {
    #[command(flatten)]
    machines: Machines,
    #[command(flatten)]
    asking: Asking,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

pub(super) fn hold(arguments: &Hold, remote: &Remote) -> Exit {
    let body = HoldWanted { reason: arguments.reason.clone(), span: arguments.span.clone() };
    let body = serde_json::to_value(body).unwrap_or_default();
    let verb = Verb { path: "hold", done: "held", body };
    verb.run(&arguments.machines, &arguments.asking, arguments.output == "json", remote, |_| true)
}

pub(super) fn unhold(arguments: &Unhold, remote: &Remote) -> Exit {
    let verb = Verb { path: "unhold", done: "let go", body: serde_json::json!({}) };
    let is_meant = |machine: &Machine| machine.hold.is_some();
    verb.run(&arguments.machines, &arguments.asking, arguments.output == "json", remote, is_meant)
}

pub(super) fn retry(arguments: &Retry, remote: &Remote) -> Exit {
    let verb = Verb { path: "retry", done: "tried again", body: serde_json::json!({}) };
    verb.run(&arguments.machines, &arguments.asking, arguments.output == "json", remote, has_trouble)
}

/// Whether the order of a machine failed, or takes long: of one that goes well there is nothing to retry.
fn has_trouble(machine: &Machine) -> bool {
    machine.order.as_ref().is_some_and(|order| order.condition != Condition::Well)
}

/// What is done with each machine.
struct Verb {
    path: &'static str,
    /// For people: machines are …
    done: &'static str,
    body: serde_json::Value,
}

impl Verb {
    /// Does it with one machine that is named, or with several, to which a person agrees; of these only with those for
    /// which `is_meant` says so.
    fn run(
        &self,
        machines: &Machines,
        asking: &Asking,
        json: bool,
        remote: &Remote,
        is_meant: impl Fn(&Machine) -> bool,
    ) -> Exit {
        if machines.names.is_empty() && machines.fitting.is_empty() {
            exit::failed("which machines? name them, or give a pattern, -l or --where", json);
            return Exit::Usage;
        }
        let is_chosen = !machines.fitting.is_empty() || machines.names.iter().any(|name| is_pattern(name));
        let mut wanted = machines.names.clone();
        if is_chosen {
            let found = remote.block_on(async |client| {
                find::<Machine>(Listed::Machines, &machines.names, &machines.fitting, &client).await
            });
            wanted = match found {
                Ok(found) => {
                    found.into_iter().filter(|one| is_meant(one)).filter_map(|one| one.name).collect()
                }
                Err(error) => return remote::failed(&error, json),
            };
            if wanted.is_empty() {
                exit::failed(&format!("none of these machines can be {}", self.done), json);
                return Exit::Failed;
            }
            let what = format!("{}: {}", self.done, counted(wanted.iter().map(String::as_str), "machine"));
            if let Err(no) = asking.agree(&what, &wanted.len().to_string(), json) {
                return no;
            }
        }
        let single = !is_chosen && wanted.len() == 1;
        let (mut all, mut failed) = (Vec::new(), None);
        for name in &wanted {
            match self.one(name, remote) {
                Ok(machine) => all.push(machine),
                // The others are not worse for it.
                Err(error @ ClientError::Refused(_)) => failed = Some(remote::failed(&error, json && single)),
                Err(error) => {
                    failed = Some(remote::failed(&error, json && single));
                    break;
                }
            }
        }
        if !json {
            self.standing(&all).iter().for_each(|line| talk(line));
        }
        let printed = match (json, all.as_slice()) {
            (true, [one]) if single => exit::print_json(one),
            (true, _) if !single => exit::print_json(&all),
            _ => Exit::Done,
        };
        failed.unwrap_or(printed)
    }

    /// How they stand now: those that stand alike in one line.
    fn standing(&self, machines: &[Machine]) -> Vec<String> {
        let mut alike: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for machine in machines {
            alike.entry(machine.state.as_str()).or_default().extend(machine.name.as_deref());
        }
        let line = |(state, names): (&str, Vec<&str>)| {
            let now = if state == self.done { String::new() } else { format!(", now {state}") };
            format!("{}{now}: {}", self.done, counted(names, "machine"))
        };
        alike.into_iter().map(line).collect()
    }

    fn one(&self, name: &str, remote: &Remote) -> Result<Machine, ClientError> {
        let path = format!("/v1/machines/{}/{}", escaped(name), self.path);
        remote.block_on(async |client| client.post::<Machine>(&path, &self.body).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, state: &str) -> Machine {
        serde_json::from_value(serde_json::json!({
            "name": name, "macs": [], "labels": {}, "state": state, "deployment": null, "protected": false, "address": null,
            "arch": null, "last_seen": null, "origin": null,
        }))
        .unwrap()
    }

    #[test]
    fn what_goes_well_is_not_tried_again() {
        let of = |condition: &str| -> Machine {
            let order = serde_json::from_value(serde_json::json!({
                "machine": "r1", "work": "wiping", "condition": condition, "trouble": "", "level": "clear", "off": false,
                "disks": [], "by": "daemon", "reason": "", "since": "2026-01-01T00:00:00Z", "attempts": 0, "epoch": 7,
                "next": "",
            }));
            Machine { order: Some(order.unwrap()), ..one("r1", "releasing") }
        };
        assert!(has_trouble(&of("failed")) && has_trouble(&of("overdue")));
        assert!(!has_trouble(&of("well")) && !has_trouble(&one("r2", "free")));
        assert!(has_trouble(&of("a later version's word")), "the daemon knows better");
    }

    #[test]
    fn machines_that_stand_alike_are_one_line() {
        let verb = |done| Verb { path: "hold", done, body: serde_json::json!({}) };
        assert_eq!(verb("held").standing(&[one("r1", "held")]), ["held: 1 machine: r1"]);
        let machines = [one("r1", "free"), one("r2", "installed"), one("r3", "free")];
        assert_eq!(
            verb("let go").standing(&machines),
            ["let go, now free: 2 machines: r1, r3", "let go, now installed: 1 machine: r2"]
        );
    }
}
