//! `voldemort why`: shows what a machine would be offered, from which lines, and what happened at its last
//! boot.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::print;
use super::live::{Names, names};
use super::remote::{self, Remote};
use super::{Exit, exit};
use crate::api::client::{self, ClientError};
use crate::api::resource::why::why;
use crate::api::resource::{Deployment, Discovered, Machine, Offer, Power, Why};
use crate::desired::inherited;
use crate::media::Shelf;
use crate::model::{Cidr, Time, printable};
use crate::state::{Server, State};

#[derive(Args, Debug)]
pub struct Arguments {
    /// A hardware address, or the name of a deployment or machine
    #[arg(value_name = "MAC|NAME", add = names(Names::Subjects))]
    subject: String,
    /// Show what this inventory would offer; a daemon, if one answers, adds what happened. Without a
    /// directory the daemon shows both, and if none answers the inventory in `.` is used
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// With this environment laid over the inventory
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// The part of an answer that a command shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Anything,
    Deployment,
    Machine,
}

pub fn run(arguments: &Arguments) -> Exit {
    let json = arguments.output == "json";
    let here = PathBuf::from(".");
    let named = arguments.directory.as_ref().or(arguments.env.is_some().then_some(&here));
    if let Some(directory) = named {
        return describe(arguments, directory, &daemons(&arguments.subject, &arguments.remote), json);
    }
    match daemons(&arguments.subject, &arguments.remote) {
        Err(ClientError::Unreachable { .. }) if !holds_manifests(&here) => {
            let why = format!(
                "no daemon answers at {}, and there is no inventory in this directory: name one, as in \
                 `voldemort why {} DIR`",
                arguments.remote.place(),
                arguments.subject
            );
            exit::failed(&why, json);
            Exit::Unreachable
        }
        unreachable @ Err(ClientError::Unreachable { .. }) => describe(arguments, &here, &unreachable, json),
        Err(error) => remote::failed(&error, json),
        Ok(found) => show(&found, json),
    }
}

/// The answer of the daemon.
fn daemons(subject: &str, remote: &Remote) -> Result<Why, ClientError> {
    let path = format!("/v1/why/{}", client::escaped(subject));
    remote.block_on(async |client| client.get::<Why>(&path).await)
}

fn holds_manifests(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let manifest =
        |path: &Path| path.extension().is_some_and(|ending| ending == "toml") && !is_settings(path);
    entries.map(|entry| entry.path()).any(|path| manifest(&path))
}

/// Whether a file is the daemon's settings: where `config detect` was run, it has the name of an
/// inventory's file.
fn is_settings(path: &Path) -> bool {
    let network = |line: &str| line.starts_with("[network]") || line.starts_with("[[network]]");
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(network))
}

/// Asks the daemon.
pub fn ask(subject: &str, wanted: Wanted, json: bool, remote: &Remote) -> Exit {
    let found = match daemons(subject, remote) {
        Ok(found) => found,
        Err(error) => return remote::failed(&error, json),
    };
    let missing = match wanted {
        Wanted::Deployment if found.deployment.is_none() => Some("deployment"),
        Wanted::Machine if found.machine.is_none() => Some("machine"),
        _ => None,
    };
    if let Some(kind) = missing {
        return remote::failed(&ClientError::Refused(format!("there is no {kind} {subject}")), json);
    }
    show(&found, json)
}

/// The offer according to an inventory, value by value, and what the daemon saw.
fn describe(arguments: &Arguments, directory: &Path, live: &Result<Why, ClientError>, json: bool) -> Exit {
    let subject = &arguments.subject;
    let loaded = match super::render::read(directory, arguments.env.as_deref(), json) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let state = State::new(Server::stand_in(address(&loaded.desired))).adopt(loaded.desired.clone());
    let mut found = match why(&state, subject, &[], Time(0)) {
        Ok(found) => found,
        Err(error) => return remote::failed(&ClientError::Refused(error), json),
    };
    match live {
        Ok(live) => {
            take_standing(&mut found, live);
            found.verdict = live.verdict.clone();
            found.boot = live.boot.clone();
            let known: Vec<String> = found.look_alikes.iter().map(|alike| alike.mac.clone()).collect();
            let seen = live.look_alikes.iter().filter(|alike| !known.contains(&alike.mac));
            found.look_alikes.extend(seen.cloned());
        }
        Err(error) => {
            if found.deployment.as_ref().is_some_and(|own| own.next_boot == INSTALLS) {
                set_next_boot(&mut found, "installs, unless it was installed before".to_owned());
            }
            found.verdict = format!(
                "what happened on the network is unknown, because the daemon could not be asked: {error}"
            )
        }
    }
    let shelf = Shelf::new(Vec::new(), None);
    let name = found.deployment.as_ref().and_then(|deployment| deployment.name.parse().ok());
    let values = name.and_then(|name| inherited(&loaded.documents, &shelf, &name)).unwrap_or_default();
    let sources = &loaded.documents.sources;
    found.offers.extend(values.iter().filter_map(|row| {
        let origin = sources.origin(row.mark?);
        let text = sources.text_at(row.mark?).trim().to_owned();
        Some(Offer { what: row.key.clone(), value: text, origin: Some(origin.to_string()) })
    }));
    show(&found, json)
}

/// How the next boot of a deployment reads that is to install.
const INSTALLS: &str = "installs";

/// An inventory says what is wanted; how far its machine is, and so what its next boot leads to, the daemon alone knows.
fn take_standing(found: &mut Why, live: &Why) {
    let (Some(own), Some(served)) = (&mut found.deployment, &live.deployment) else { return };
    let runs_from_network = [&*own, served].iter().any(|one| one.template.is_none());
    if own.name != served.name || own.machine != served.machine || runs_from_network {
        return;
    }
    (own.phase, own.since) = (served.phase.clone(), served.since.clone());
    let next = match own.redeploy > served.redeploy {
        true => {
            format!("installs: redeploy is {} here, and {} in what is served", own.redeploy, served.redeploy)
        }
        false => served.next_boot.clone(),
    };
    set_next_boot(found, next);
}

fn set_next_boot(found: &mut Why, next: String) {
    for offer in found.offers.iter_mut().filter(|offer| offer.what == "next boot") {
        offer.value.clone_from(&next);
    }
    if let Some(deployment) = &mut found.deployment {
        deployment.next_boot = next;
    }
}

/// An address of the inventory's first network, for URLs.
fn address(desired: &crate::desired::Desired) -> Ipv4Addr {
    let cidr: Option<Cidr> = desired.subnets.values().find_map(|subnet| subnet.cidr);
    cidr.map_or(Ipv4Addr::LOCALHOST, |cidr| cidr.hosts().first)
}

fn show(found: &Why, json: bool) -> Exit {
    if json {
        return exit::print_json(found);
    }
    print(&printable::lines(&text(found)))
}

/// Lines of text for people: what comes from the network in them is escaped.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, text: &str) {
        for c in text.chars() {
            match c.is_control() {
                true => self.0.extend(c.escape_default()),
                false => self.0.push(c),
            }
        }
        self.0.push('\n');
    }
}

fn text(found: &Why) -> String {
    let Why { subject, verdict, machine, deployment, claim, offers, boot, discovered, look_alikes } = found;
    let mut lines = Lines::default();
    if let Some(claim) = claim {
        lines.add(&format!("claim {} of {}: {}: {}", claim.name, claim.by, claim.state, claim.reason));
    }
    let order = machine.as_ref().and_then(|machine| machine.order.as_ref());
    match (deployment, machine) {
        (None, Some(machine)) if claim.is_some() || order.is_some() => {
            lines.add(&format!("machine {}: {}", machine.name.as_deref().unwrap_or(subject), machine.state));
        }
        (None, None) if claim.is_some() => {}
        (Some(deployment), _) => lines.add(&deployment_text(deployment)),
        (None, _) if discovered.is_some() => {
            let text: String = discovered.iter().map(Discovered::text).collect();
            lines.add(&format!("{subject}: {text}"));
        }
        (None, Some(machine)) => match &machine.name {
            Some(name) => lines.add(&format!("machine {name}: nothing is deployed to it")),
            None => lines.add(&format!("{subject}: seen on the network, but in no manifest")),
        },
        (None, None) => lines.add(&format!("{subject}: in no manifest, and never seen")),
    }
    machine.iter().for_each(|machine| standing(machine, &mut lines));
    for alike in look_alikes {
        let whose = match (&alike.machine, &alike.origin) {
            (Some(machine), Some(origin)) => format!("machine {machine}, {origin}"),
            (Some(machine), None) => format!("machine {machine}"),
            (None, _) => "seen on the network, but in no manifest".to_owned(),
        };
        lines.add(&format!("  one typing mistake away: {} ({whose})", alike.mac));
    }
    lines.add("at a boot from the network it is offered");
    let width = offers.iter().map(|offer| offer.what.len()).max().unwrap_or(0);
    for Offer { what, value, origin } in offers {
        let origin = origin.as_ref().map(|origin| format!("  ({origin})")).unwrap_or_default();
        lines.add(&format!("  {what:width$}  {value}{origin}"));
    }
    lines.add(&format!("last boot: {verdict}"));
    for event in boot {
        lines.add(&format!("  {}  {:<10}  {}", event.at, event.stage, event.text));
    }
    lines.0
}

/// `web-1 on machine m1: installed since …`
fn deployment_text(deployment: &Deployment) -> String {
    let on = deployment.machine.as_ref().map(|machine| format!(" on machine {machine}")).unwrap_or_default();
    let since = deployment.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
    format!("{}{on}: {}{since}", deployment.name, deployment.phase)
}

/// What is done with a machine, what keeps it, what its next boot leads to, and its power.
fn standing(machine: &Machine, lines: &mut Lines) {
    if let Some(order) = &machine.order {
        let trouble = Some(&order.trouble).filter(|trouble| !trouble.is_empty());
        let trouble = trouble.map(|trouble| format!(" ({}: {trouble})", order.condition)).unwrap_or_default();
        lines.add(&format!(
            "{} since {}, as {}{trouble}; {}",
            order.work, order.since, order.reason, order.next
        ));
    }
    if let Some(hold) = &machine.hold {
        let until = hold.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        lines.add(&format!("held by {}{until}: {}", hold.by, hold.reason));
    }
    if let Some(once) = &machine.boot_once {
        let kept =
            once.kept.as_ref().map(|why| format!("; it does not count now: {why}")).unwrap_or_default();
        lines.add(&match &once.begun {
            Some(begun) => format!("boots {} this once since {begun}, by {}{kept}", once.boot, once.by),
            None => format!(
                "its next network boot until {} leads to boot {}, by {}{kept}",
                once.until, once.boot, once.by
            ),
        });
    }
    machine.power.iter().for_each(|power| lines.add(&power_text(power)));
}

/// `power: unknown since … (on before): …`.
fn power_text(power: &Power) -> String {
    let Power { kind, state, since, reason, before, order: _ } = power;
    let since = since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
    let before = before.as_ref().map(|before| format!(" ({before} before)")).unwrap_or_default();
    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("power ({kind}): {state}{since}{before}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(redeploy: u64, phase: &str, next: &str) -> Why {
        let deployment = serde_json::json!({
            "name": "web-1", "machine": "m1", "macs": [], "address": null, "boot": "debian", "template": "preseed",
            "redeploy": redeploy, "phase": phase, "next_boot": next, "since": null, "origin": "a.toml:1:1",
            "subnet": { "name": "lab", "cidr": "10.0.10.0/24", "gateway": null },
        });
        let offer = serde_json::json!({ "what": "next boot", "value": next, "origin": null });
        let whole = serde_json::json!({
            "subject": "web-1", "verdict": "", "machine": null, "deployment": deployment, "claim": null, "offers": [offer],
            "boot": [], "discovered": null, "look_alikes": [],
        });
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn how_far_a_machine_is_the_daemon_knows() {
        let live = found(0, "installed", "boots its own disk: installed");
        let mut own = found(0, "waiting", "installs");
        take_standing(&mut own, &live);
        assert!(text(&own).starts_with("web-1 on machine m1: installed\n"), "{}", text(&own));
        assert!(text(&own).contains("next boot  boots its own disk: installed\n"), "{}", text(&own));
        let mut raised = found(1, "waiting", "installs");
        take_standing(&mut raised, &live);
        assert!(
            text(&raised).contains("installs: redeploy is 1 here, and 0 in what is served"),
            "{}",
            text(&raised)
        );
    }
}
