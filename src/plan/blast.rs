//! The blast radius: what a plan does to machines, counted.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Change, Impact};
use crate::desired::Deployment;
use crate::model::Name;
use crate::state::State;
use crate::state::rename::MovedCards;

/// What happens to machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blast {
    /// How many machines are restarted when the plan is applied.
    pub restarted: usize,
    /// How many machines without an installation get one at their next network boot.
    pub installed: usize,
    /// Machines that are installed anew: what is on these disks is lost.
    pub wiped: Vec<Wiped>,
    /// Machines that are released.
    pub released: Vec<String>,
    /// Machines that lose or change their address.
    pub readdressed: Vec<Readdressed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wiped {
    pub machine: String,
    pub deployment: String,
    /// The disk that the deployment names; without one the installer chooses.
    pub disk: Option<String>,
    /// Whether the deployment loses the machine, all of whose disks are wiped then, and nothing is installed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readdressed {
    pub machine: String,
    /// `auto`, `none` or an IPv4 address.
    pub from: String,
    pub to: String,
}

/// Counts `changes`, which lead from `state` to `next`.
pub(super) fn blast(state: &State, next: &State, moved: &MovedCards, changes: &[Change]) -> Blast {
    let mut blast = Blast::default();
    let mut touched = BTreeSet::new();
    for change in changes {
        let machine = change.machine.clone().unwrap_or_default();
        match change.impact {
            Impact::Reboot => blast.restarted += 1,
            Impact::Wipe => blast.wiped.extend(wiped(state, next, change)),
            Impact::Release if change.kind == "deployment" => {
                let freed = change.former_machine.clone().unwrap_or(machine.clone());
                let taken = freed.parse::<Name>().is_ok_and(|freed| next.tenants().contains_key(&freed));
                if !taken {
                    blast.released.push(freed);
                }
            }
            Impact::NextBoot if change.installs => blast.installed += 1,
            _ => {}
        }
        if change.kind == "deployment" {
            touched.extend(machine.parse::<Name>());
            touched.extend(change.former_machine.as_ref().and_then(|name| name.parse::<Name>().ok()));
        }
    }
    touched.extend(moved.keys().cloned());
    let readdressed = |machine: &Name| {
        let was = moved.get(machine).map_or(machine, |card| &card.former);
        readdressed(state, next, was, machine)
    };
    blast.readdressed = touched.iter().filter_map(readdressed).collect();
    blast
}

/// The machines that a change wipes: one that is installed anew, one that is lost, or both.
fn wiped(state: &State, next: &State, change: &Change) -> impl Iterator<Item = Wiped> {
    let of = |machine: &String, disk, released| Wiped {
        machine: machine.clone(),
        deployment: change.name.clone(),
        disk,
        released,
    };
    let name = |machine: &&String| machine.parse::<Name>().ok();
    let is_lost = |machine: &&String| name(machine).is_some_and(|name| state.on_release(next, &name).wipes());
    let left = match change.action {
        Action::Remove => change.machine.as_ref(),
        _ => change.former_machine.as_ref(),
    };
    let lost = left.filter(is_lost).map(|machine| of(machine, None, true));
    // Where a machine is lost, the other may be blank.
    let has_disk = |machine: &&String| name(machine).is_some_and(|name| state.disks().contains_key(&name));
    let anew = change.machine.as_ref().filter(|machine| match &lost {
        Some(_) => change.installs && has_disk(machine),
        None => true,
    });
    let anew = anew.map(|machine| of(machine, disk(next, &change.name), false));
    anew.into_iter().chain(lost)
}

/// The disk that a deployment's manifests name, or that their hints fit.
pub fn disk(next: &State, deployment: &str) -> Option<String> {
    let deployment = next.desired().deployments.get(&deployment.parse::<Name>().ok()?)?;
    if let Ok(Some(disk)) = next.hinted_disk(deployment) {
        return Some(disk.described());
    }
    let disk = deployment.values.get("disk")?.to_string();
    (!disk.is_empty()).then_some(disk)
}

/// `was` is the machine's name before.
fn readdressed(state: &State, next: &State, was: &Name, machine: &Name) -> Option<Readdressed> {
    let before = state.tenant(was)?;
    let address = |deployment: &Deployment| deployment.address;
    let (from, to) = (address(before), next.tenant(machine).map(|deployment| address(deployment)));
    if to == Some(from) || (from.is_none() && to.is_none()) {
        return None;
    }
    let shown = |address: Option<Ipv4Addr>| address.map_or("auto".to_owned(), |address| address.to_string());
    let to = to.map_or("none".to_owned(), shown);
    Some(Readdressed { machine: machine.to_string(), from: shown(from), to })
}

impl Blast {
    /// One line for people.
    pub fn line(&self) -> String {
        let Blast { restarted, installed, wiped, released, readdressed } = self;
        let mut parts = Vec::new();
        if *installed > 0 {
            parts.push(format!("{installed} installed at their next network boot"));
        }
        if *restarted > 0 {
            parts.push(format!("{restarted} restarted"));
        }
        let named = |list: Vec<String>| match list.len() {
            0..=8 => list.join(", "),
            more => format!("{} and {} more", list[..8].join(", "), more - 8),
        };
        if !readdressed.is_empty() {
            let list = readdressed.iter().map(|one| format!("{}: {} -> {}", one.machine, one.from, one.to));
            parts.push(format!("{} with another address ({})", readdressed.len(), named(list.collect())));
        }
        if !released.is_empty() {
            parts.push(format!("{} released ({})", released.len(), named(released.clone())));
        }
        if !wiped.is_empty() {
            let disk = |one: &Wiped| one.disk.clone().unwrap_or("the installer's choice of disk".into());
            let (lost, anew): (Vec<&Wiped>, Vec<&Wiped>) = wiped.iter().partition(|one| one.released);
            if !anew.is_empty() {
                let list = anew.iter().map(|one| format!("{}: {}", one.machine, disk(one)));
                parts.push(format!("{} reinstalled and WIPED ({})", anew.len(), named(list.collect())));
            }
            if !lost.is_empty() {
                let list = lost.iter().map(|one| format!("{}: all disks", one.machine));
                parts.push(format!("{} released and WIPED ({})", lost.len(), named(list.collect())));
            }
        }
        if parts.is_empty() {
            return "Blast radius: no machine is restarted, reinstalled, released or readdressed.".into();
        }
        format!("Blast radius, in machines: {}.", parts.join("; "))
    }
}
