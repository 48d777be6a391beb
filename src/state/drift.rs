//! Where machines are not as the inventory has them. Reported, never corrected: a machine that runs
//! is left alone, and one that is off too.

use std::collections::BTreeMap;

use super::{Duty, Install, InstallStage, State};
use crate::desired::{Deployment, Machine, Place};
use crate::model::wish;
use crate::model::words::words;
use crate::model::{Name, PowerState, Time};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Of a machine that was given up: the deployment that is in no manifest any more.
    pub deployment: Name,
    pub machine: Option<Name>,
    pub kind: DriftKind,
    pub actual: String,
    pub desired: String,
    /// Since when it is known to be so, where that is known.
    pub since: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftKind {
    /// What was served at the installation is not what would be served now.
    Content,
    /// The machine uses another address.
    Address,
    /// It is installed on another machine.
    Machine,
    /// The hardware of the machine that was chosen for it is not what it asks for any more.
    Hardware,
    /// It is switched off, and its deployment is to run.
    Off,
    /// It runs what a deployment installed that is in no manifest any more.
    Abandoned,
}

words! {
    /// What of a machine is not as the inventory has it, in a word for rows and metrics.
    pub enum Aspect {
        Address = "address",
        Content = "content",
        Hardware = "hardware",
        Machine = "machine",
        Power = "power",
    }
}

impl DriftKind {
    pub const fn aspect(self) -> Aspect {
        match self {
            DriftKind::Content => Aspect::Content,
            DriftKind::Address => Aspect::Address,
            DriftKind::Machine => Aspect::Machine,
            DriftKind::Hardware => Aspect::Hardware,
            DriftKind::Off | DriftKind::Abandoned => Aspect::Power,
        }
    }
}

impl State {
    /// Every difference: by deployment, then machines that were given up and still run.
    pub fn drift(&self) -> Vec<Drift> {
        let deployed = self.desired.deployments.values().flat_map(|deployment| self.drift_of(deployment));
        deployed.chain(self.abandoned()).collect()
    }

    fn drift_of(&self, deployment: &Deployment) -> Vec<Drift> {
        let machine = self.lasting.assignments.get(&deployment.name);
        let mut found = Vec::new();
        let mut add = |kind, actual: String, desired: String, since| {
            let (deployment, machine) = (deployment.name.clone(), machine.cloned());
            found.push(Drift { deployment, machine, kind, actual, desired, since });
        };
        let own = |install: &&Install| install.deployment == deployment.name && !install.closed;
        let latest =
            self.lasting.installs.named(&deployment.name).filter(own).max_by_key(|install| install.epoch);
        let installed = self.install_of(&deployment.name).or(latest);
        let installed = installed.filter(|install| install.stage == InstallStage::Installed);
        if let Some(install) = installed {
            if machine.is_some_and(|machine| *machine != install.machine) {
                let wanted = machine.map_or_else(String::new, ToString::to_string);
                add(DriftKind::Machine, install.machine.to_string(), wanted, None);
            }
            // A completion call without a script served before leaves no digest. Where another installation
            // is wanted already, the difference is intended.
            let asked = install.redeploy < deployment.redeploy;
            if !asked && !install.digest.is_empty() && install.digest != deployment.digest {
                add(DriftKind::Content, short(&install.digest), short(&deployment.digest), None);
            }
        }
        let described = machine.and_then(|machine| self.desired.machines.get(machine));
        let seen = described
            .and_then(|machine| self.active_mac(machine))
            .and_then(|mac| self.observed.seen.get(&mac))
            .and_then(|seen| seen.address);
        if let (Some(used), Some(wanted)) = (seen, deployment.address)
            && used != wanted
        {
            add(DriftKind::Address, used.to_string(), wanted.to_string(), None);
        }
        if let (Place::Select(selector), Some(facts)) =
            (&deployment.place, machine.and_then(|one| self.facts(one)))
            && let Some(wish) = wish::unmet(selector, facts)
        {
            add(DriftKind::Hardware, wish.found(facts), wish.to_string(), None);
        }
        if let Some((machine, since)) = described.and_then(|machine| Some((machine, self.is_off(machine)?)))
            && self.is_to_run(deployment, machine)
        {
            add(DriftKind::Off, PowerState::Off.to_string(), PowerState::On.to_string(), Some(since));
        }
        found
    }

    /// Since when a machine is switched off, according to its controller.
    fn is_off(&self, machine: &Machine) -> Option<Time> {
        self.power_of(machine).filter(|read| read.state == Ok(PowerState::Off)).map(|read| read.since)
    }

    /// Whether a deployment has what it needs to run on this machine: one that waits for an
    /// installation, or that failed, is a matter of its phase.
    fn is_to_run(&self, deployment: &Deployment, machine: &Machine) -> bool {
        let here = |install: &Install| {
            install.stage == InstallStage::Installed
                && install.machine == machine.name
                && install.redeploy >= deployment.redeploy
        };
        self.duty(deployment) == Duty::NetworkBoot || self.install_of(&deployment.name).is_some_and(here)
    }

    /// Machines without a deployment that are on, with the last deployment that installed their disk. A
    /// machine that never had one does not count.
    fn abandoned(&self) -> Vec<Drift> {
        let on = |machine: &Name| {
            let machine = self
                .desired
                .machines
                .get(machine)
                .filter(|one| !self.derived.tenants.contains_key(&one.name));
            self.power_of(machine?).filter(|read| read.state == Ok(PowerState::On)).map(|read| read.since)
        };
        let mut last: BTreeMap<&Name, (&Name, &Install, Time)> = BTreeMap::new();
        for install in self.lasting.installs.iter().filter(|install| wrote(install)) {
            let name = &install.deployment;
            if self.desired.deployments.contains_key(name) {
                continue;
            }
            let Some(since) = on(&install.machine) else { continue };
            if last.get(&install.machine).is_none_or(|(_, other, _)| other.since < install.since) {
                last.insert(&install.machine, (name, install, since));
            }
        }
        let row = |(machine, (deployment, _, since)): (&Name, (&Name, &Install, Time))| Drift {
            deployment: deployment.clone(),
            machine: Some(machine.clone()),
            kind: DriftKind::Abandoned,
            actual: PowerState::On.to_string(),
            desired: PowerState::Off.to_string(),
            since: Some(since),
        };
        last.into_iter().map(row).collect()
    }
}

/// Whether it left something on the disk that may run.
fn wrote(install: &Install) -> bool {
    matches!(install.stage, InstallStage::Installed | InstallStage::Spent | InstallStage::Unreported)
}

fn short(digest: &str) -> String {
    digest.get(..12).unwrap_or(digest).to_owned()
}
