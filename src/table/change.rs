//! The ways a table changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Event, Install, InstallStage, Outcome, Permit, PermitStep, Report, Seen, Table};
use crate::desired::{Boot, Deployment, Desired, Machine, Place};
use crate::model::{Name, Time};

/// Why a step of an installation was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    #[error("deployment {0} is not in the inventory any more")]
    Gone(Name),
    #[error("deployment {0} was changed meanwhile; the machine is to ask again")]
    Moved(Name),
    #[error("this report belongs to installation {told} of {deployment}, which is at {current}")]
    Outdated { deployment: Name, told: u64, current: u64 },
}

impl Table {
    /// The table under another revision: machines are assigned, protections remembered,
    /// installations kept (a renamed deployment takes its installation along).
    pub fn adopt(&self, desired: Arc<Desired>) -> Table {
        let mut next = self.clone();
        next.serial += 1;
        next.installs = carry_renames(self, &desired);
        next.assignments = assign(&desired, &self.assignments, &next.installs);
        next.tenants = next
            .assignments
            .iter()
            .map(|(deployment, machine)| (machine.clone(), deployment.clone()))
            .collect();
        let prefix = |boot: &Arc<Boot>| (boot.prefix.clone(), boot.name.clone());
        next.prefixes = Arc::new(desired.boots.values().map(prefix).collect());
        for machine in desired.machines.values() {
            match machine.protect {
                Some(true) => next.protected.insert(machine.name.clone()),
                Some(false) => next.protected.remove(&machine.name),
                None => None,
            };
        }
        next.desired = desired;
        next
    }

    /// Records that an installation takes a step. The caller stores the result before the
    /// answer that the step stands for leaves.
    pub fn permit(&self, permit: &Permit, now: Time) -> Result<Table, Stale> {
        let name = &permit.deployment;
        let deployment = self.desired.deployments.get(name).ok_or_else(|| Stale::Gone(name.clone()))?;
        let machine = self.assignments.get(name).ok_or_else(|| Stale::Moved(name.clone()))?;
        let current = self.installs.get(name);
        let stage = match (permit.step, current) {
            _ if deployment.redeploy != permit.redeploy => return Err(Stale::Moved(name.clone())),
            (PermitStep::Start, None) => InstallStage::Started,
            (PermitStep::Start, Some(install)) if install.redeploy < permit.redeploy => InstallStage::Started,
            (PermitStep::Spend, Some(install))
                if install.redeploy == permit.redeploy && install.stage == InstallStage::Started =>
            {
                InstallStage::Spent
            }
            // Somebody else was quicker with the same step; the second look at the table decides.
            (_, Some(_)) => return Ok(self.clone()),
            (PermitStep::Spend, None) => return Err(Stale::Moved(name.clone())),
        };
        Ok(self.with_install(
            name,
            Install {
                machine: machine.clone(),
                redeploy: permit.redeploy,
                stage,
                since: now,
                digest: deployment.digest.clone(),
            },
        ))
    }

    /// Records what the installer said. Completion ends the permission whatever was recorded
    /// before; saying it twice is harmless.
    pub fn report(&self, report: &Report, now: Time) -> Result<Table, Stale> {
        let name = &report.deployment;
        let current = self.installs.get(name);
        if let Some(install) = current.filter(|install| install.redeploy > report.redeploy) {
            return Err(Stale::Outdated {
                deployment: name.clone(),
                told: report.redeploy,
                current: install.redeploy,
            });
        }
        let same = current.filter(|install| install.redeploy == report.redeploy);
        let stage = match (report.outcome, same.map(|install| install.stage)) {
            (Outcome::Progress, _) | (Outcome::Failed, Some(InstallStage::Installed)) => {
                return Ok(self.clone());
            }
            (Outcome::Completed, Some(InstallStage::Installed)) => return Ok(self.clone()),
            (Outcome::Completed, _) => InstallStage::Installed,
            (Outcome::Failed, _) => InstallStage::Failed,
        };
        let machine = current.map(|install| &install.machine).or_else(|| self.assignments.get(name));
        let machine = machine.ok_or_else(|| Stale::Gone(name.clone()))?.clone();
        let digest = current.map_or_else(|| "".into(), |install| install.digest.clone());
        Ok(self.with_install(name, Install { machine, redeploy: report.redeploy, stage, since: now, digest }))
    }

    /// The machine of a deployment that got its answers boots again and has not reported.
    pub fn rebooted(&self, deployment: &Name, now: Time) -> Option<Table> {
        let install = self.installs.get(deployment).filter(|install| install.stage == InstallStage::Spent)?;
        Some(self.with_install(
            deployment,
            Install { stage: InstallStage::Unreported, since: now, ..install.clone() },
        ))
    }

    /// Remembers what a machine did.
    pub fn fold(&mut self, event: &Event) {
        let Some(mac) = event.mac else { return };
        let first = Seen { first: event.at, last: event.at, arch: None, ipxe: false, address: None };
        let mut seen = self.seen.get(&mac).cloned().unwrap_or(first);
        seen.last = event.at;
        seen.arch = event.arch.or(seen.arch);
        seen.ipxe = event.ipxe.unwrap_or(seen.ipxe);
        seen.address = event.address.or(seen.address);
        self.seen.insert(mac, seen);
    }

    fn with_install(&self, deployment: &Name, install: Install) -> Table {
        let mut next = self.clone();
        next.serial += 1;
        next.installs.insert(deployment.clone(), install);
        next
    }
}

/// Installations under the next revision: a deployment that appears on the machine of one that
/// disappears, with the same `redeploy` number and the same content, is the same one renamed.
fn carry_renames(table: &Table, desired: &Desired) -> imbl::OrdMap<Name, Install> {
    let mut installs = table.installs.clone();
    for (name, deployment) in &desired.deployments {
        let Place::Machine(machine) = &deployment.place else { continue };
        if installs.contains_key(name) {
            continue;
        }
        let Some(former) = table.tenant(machine).filter(|former| is_rename(former, deployment, desired))
        else {
            continue;
        };
        if let Some(install) = table.installs.get(&former.name) {
            installs.insert(name.clone(), install.clone());
        }
    }
    installs
}

/// Whether `next` is `former` under another name.
pub fn is_rename(former: &Deployment, next: &Deployment, desired: &Desired) -> bool {
    former.name != next.name
        && !desired.deployments.contains_key(&former.name)
        && former.redeploy == next.redeploy
        && former.boot.name == next.boot.name
        && former.template.as_ref().map(|template| &template.name)
            == next.template.as_ref().map(|template| &template.name)
}

/// Gives every deployment its machine: pins first, then choices made earlier that still fit,
/// then, in order of names, any free machine that matches.
fn assign(
    desired: &Desired,
    before: &imbl::OrdMap<Name, Name>,
    installs: &imbl::OrdMap<Name, Install>,
) -> imbl::OrdMap<Name, Name> {
    let mut chosen = imbl::OrdMap::new();
    let mut taken = BTreeSet::new();
    let mut open = Vec::new();
    for (name, deployment) in &desired.deployments {
        match &deployment.place {
            Place::Machine(machine) => {
                taken.insert(machine.clone());
                chosen.insert(name.clone(), machine.clone());
            }
            Place::Select(labels) => open.push((name, labels)),
        }
    }
    open.retain(|(name, labels)| {
        let former = before.get(*name).or_else(|| installs.get(*name).map(|install| &install.machine));
        let still = former
            .filter(|machine| desired.machines.get(*machine).is_some_and(|machine| carries(machine, labels)));
        match still {
            Some(machine) if taken.insert(machine.clone()) => {
                chosen.insert((*name).clone(), machine.clone());
                false
            }
            _ => true,
        }
    });
    let mut choices = Choices::new(desired, &open);
    for (name, labels) in open {
        if let Some(machine) = choices.next(labels, &taken) {
            taken.insert(machine.clone());
            chosen.insert(name.clone(), machine.clone());
        }
    }
    chosen
}

type Labels = BTreeMap<String, String>;

/// Machines by what selectors ask for. Each selector looks at each machine once, however many
/// deployments have it.
struct Choices<'a> {
    all: Vec<&'a Machine>,
    /// In order of names.
    by_label: HashMap<(&'a str, &'a str), Vec<&'a Machine>>,
    /// How many machines of its list a selector has behind it.
    passed: HashMap<&'a Labels, usize>,
}

impl<'a> Choices<'a> {
    fn new(desired: &'a Desired, open: &[(&Name, &'a Labels)]) -> Choices<'a> {
        let mut choices = Choices { all: Vec::new(), by_label: HashMap::new(), passed: HashMap::new() };
        if open.is_empty() {
            return choices;
        }
        for machine in desired.machines.values() {
            choices.all.push(machine);
            for (key, value) in &machine.labels {
                choices.by_label.entry((key, value)).or_default().push(machine);
            }
        }
        choices
    }

    /// The next free machine that carries the labels. What is taken stays taken.
    fn next(&mut self, labels: &'a Labels, taken: &BTreeSet<Name>) -> Option<&'a Name> {
        let lists = labels.iter().map(|(key, value)| {
            self.by_label.get(&(key.as_str(), value.as_str())).map_or(&[][..], Vec::as_slice)
        });
        let rarest = lists.min_by_key(|list| list.len()).unwrap_or(&self.all);
        let passed = self.passed.entry(labels).or_default();
        while let Some(machine) = rarest.get(*passed) {
            *passed += 1;
            if !taken.contains(&machine.name) && carries(machine, labels) {
                return Some(&machine.name);
            }
        }
        None
    }
}

fn carries(machine: &Machine, labels: &BTreeMap<String, String>) -> bool {
    labels.iter().all(|(key, value)| machine.labels.get(key) == Some(value))
}
