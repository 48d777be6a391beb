//! Waves and maintenance windows: reinstallations that a revision raised get their permission a
//! few at a time, and only while a window is open. The others boot their disks meanwhile.
//!
//! A place is freed by success alone. An installation that failed, or never reported, keeps it: a
//! template that breaks every machine breaks no more than `max-in-flight` of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Duty, Install, InstallStage, State};
use crate::desired::Deployment;
use crate::model::{Name, Time};

/// The deployments that wait for permission to reinstall, and those that have it.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Deployments whose next installation would wipe what is on the disk.
    waiting: imbl::OrdSet<Name>,
    /// Those under way, and those that failed.
    flying: imbl::OrdSet<Name>,
    /// Those of them whose installations failed, or never reported.
    stuck: imbl::OrdSet<Name>,
    /// Why no window is open.
    closed: Option<String>,
}

/// So many that are stuck are named to whoever waits.
const NAMED: usize = 10;

impl Gate {
    /// What keeps places and does not come to its end by itself.
    fn stuck(&self) -> String {
        let names: Vec<&str> = self.stuck.iter().take(NAMED).map(Name::as_str).collect();
        if names.is_empty() {
            return String::new();
        }
        let more = match self.stuck.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("; failed and still counted against max-in-flight: {}{more}", names.join(", "))
    }
}

impl State {
    /// Whether the inventory limits reinstallations at all; otherwise the gate stays empty.
    fn is_gated(&self) -> bool {
        self.desired.safety.max_in_flight.is_some() || !self.desired.safety.windows.is_empty()
    }

    /// Looks again who waits, under a new revision.
    pub(super) fn gather_gate(&mut self) {
        self.derived.gate = Gate { closed: self.derived.gate.closed.take(), ..Gate::default() };
        if !self.is_gated() {
            return;
        }
        let desired = self.desired.clone();
        desired.deployments.values().for_each(|deployment| self.admit(deployment));
    }

    /// The same for these deployments alone.
    pub(super) fn gather_gate_of(&mut self, names: &BTreeSet<Name>) {
        let is_gated = self.is_gated();
        for name in names {
            self.derived.gate.flying.remove(name);
            self.derived.gate.stuck.remove(name);
            self.derived.gate.waiting.remove(name);
            if let Some(deployment) = self.deployment(name).filter(|_| is_gated).cloned() {
                self.admit(&deployment);
            }
        }
    }

    /// Takes a deployment in that waits, or holds a place.
    fn admit(&mut self, deployment: &Deployment) {
        let name = &deployment.name;
        let current = self.install_of(name).filter(|install| install.redeploy == deployment.redeploy);
        if current.is_some_and(holds_place) {
            self.derived.gate.flying.insert(name.clone());
            self.note_stuck(name);
        }
        let machine = self.lasting.assignments.get(name);
        let occupied = machine.is_some_and(|machine| self.lasting.installs.on_disk(machine).is_some());
        if occupied && self.due(deployment) == (Duty::Install { permit: true }) {
            self.derived.gate.waiting.insert(name.clone());
        }
    }

    /// Looks again whether what holds a deployment's place is stuck: so those that wait need not look at all that do.
    fn note_stuck(&mut self, name: &Name) {
        let is_stuck =
            |install: &Install| matches!(install.stage, InstallStage::Failed | InstallStage::Unreported);
        match self.derived.gate.flying.contains(name) && self.install_of(name).is_some_and(is_stuck) {
            true => drop(self.derived.gate.stuck.insert(name.clone())),
            false => drop(self.derived.gate.stuck.remove(name)),
        }
    }

    /// The deployment whose installation is on each machine's disk.
    pub fn disks(&self) -> BTreeMap<Name, Name> {
        // The oldest comes first: the newest stays.
        let installs = self.lasting.installs.iter().filter(|install| install.is_on_disk());
        installs.map(|install| (install.machine.clone(), install.deployment.clone())).collect()
    }

    /// Opens and closes windows. Called with the clock, every few seconds and for each revision.
    pub fn tick(&mut self, now: Time) {
        self.forget_contests(now);
        let windows = &self.desired.safety.windows;
        let open = windows.is_empty() || windows.iter().any(|window| window.is_open(now));
        let next = windows.iter().filter_map(|window| window.next(now)).min();
        self.derived.gate.closed = (!open).then(|| match next {
            Some(next) => format!("the next maintenance window opens at {next}"),
            None => "no maintenance window will open".into(),
        });
    }

    /// Why a deployment that is due to be installed has to wait.
    pub(super) fn waits(&self, deployment: &Name) -> Option<String> {
        if !self.derived.gate.waiting.contains(deployment) {
            return None;
        }
        if let Some(closed) = &self.derived.gate.closed {
            return Some(format!("waiting: {closed}"));
        }
        let limit = self.desired.safety.max_in_flight? as usize;
        let flying = self.derived.gate.flying.len();
        if flying < limit {
            return None;
        }
        Some(format!("waiting: {flying} of {limit} in flight{}", self.derived.gate.stuck()))
    }

    /// How many further reinstallations may begin, beside the machines that were switched on for one; `None` without a
    /// limit.
    pub(super) fn wave_room(&self) -> Option<usize> {
        let limit = self.desired.safety.max_in_flight? as usize;
        Some(limit.saturating_sub(self.derived.gate.flying.len() + self.switched_on().count()))
    }

    /// Whether an installation that starts now on a machine wipes what was installed before.
    pub(super) fn starts_again(&self, machine: &Name) -> bool {
        self.lasting.installs.on_disk(machine).is_some()
    }

    /// Takes note that an installation entered another stage.
    pub fn put_install(&mut self, install: Install) {
        let deployment = install.deployment.clone();
        let flies = self.is_gated() && holds_place(&install);
        match flies {
            true => self.derived.gate.flying.insert(deployment.clone()),
            false => self.derived.gate.flying.remove(&deployment),
        };
        self.derived.gate.waiting.remove(&deployment);
        // What is known now replaces the damaged record.
        self.lasting.damaged.remove(&deployment);
        self.lasting.damaged.remove(&install.machine);
        if install.stage == InstallStage::Approved && self.is_gated() {
            self.derived.gate.waiting.insert(deployment);
        }
        let names: Vec<Name> =
            std::iter::once(&install.deployment).chain(&*install.former).cloned().collect();
        self.lasting.installs.put(install);
        // It may count for those that had its name before, too.
        names.iter().for_each(|name| self.note_stuck(name));
    }

    /// How many reinstallations wait, and how many hold a place.
    pub fn waves(&self) -> (usize, usize) {
        (self.derived.gate.waiting.len(), self.derived.gate.flying.len())
    }
}

fn holds_place(install: &Install) -> bool {
    let ended = [InstallStage::Installed, InstallStage::Doubtful, InstallStage::Approved];
    install.again && !ended.contains(&install.stage)
}
