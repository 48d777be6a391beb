//! An adoption over a later state, in which the same is desired and some machines did something: only they are looked
//! at, with all that hangs together with them by a name, a network card or an installation. The rules are those of a
//! whole adoption, carried out over that part of the two states.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordset;

use super::super::super::{Install, Lasting, State, served};
use super::Adoption;
use crate::desired::{Desired, Fixed, Machine, Place};
use crate::model::{Mac, Name};

/// What hangs together with some machines, before and after an adoption.
#[derive(Clone, Debug)]
pub struct Part {
    /// Machines, by their names before and after.
    pub machines: BTreeSet<Name>,
    /// Deployments, by their names before and after.
    pub deployments: BTreeSet<Name>,
    /// Before, with the machines by their new names.
    pub base: State,
    /// After.
    pub next: State,
}

impl Adoption {
    /// The adoption over `table`, and the part of it in which something may differ from this one. `None` where it
    /// has to be judged whole: another revision came between, or what machines did decides which machine a
    /// selector chooses, or which installations are doubtful.
    pub fn again(&self, table: &State) -> Option<(Adoption, Part)> {
        if self.doubts || table.lasting.serials.desired != self.base.lasting.serials.desired {
            return None;
        }
        let part = self.part(table)?;
        let mut next = self.next.clone();
        next.go_on_from(table, &self.base, &self.renamed);
        for machine in &part.machines {
            next.lasting.installs.replace(machine, part.next.lasting.installs.on(machine));
        }
        next.lasting.installs.count_from(&table.lasting.installs);
        next.gather_gate_of(&part.deployments);
        Some((Adoption { base: table.clone(), next, ..self.clone() }, part))
    }

    /// What hangs together with the machines that did something since.
    fn part(&self, table: &State) -> Option<Part> {
        let related = Related::of(self, table);
        let (machines, deployments) = (related.machines, related.deployments);
        let before = restricted(table, &table.desired, &machines, &deployments);
        let desired = desired_part(&self.next.desired, &machines, &deployments);
        let base = before.with_new_names(&desired, self.follows);
        if !self.stays_chosen(table, &base, &deployments) {
            return None;
        }
        let own = |name: &Name| Some((name.clone(), self.next.lasting.assignments.get(name)?.clone()));
        let assignments = deployments.iter().filter_map(own).collect();
        let next = before.adopt_with(&base, assignments, desired);
        Some(Part { machines, deployments, base, next })
    }

    /// Whether each selector chooses as before. It keeps the machine that it has; where it has none, the last one
    /// that it installed comes first.
    fn stays_chosen(&self, table: &State, base: &State, deployments: &BTreeSet<Name>) -> bool {
        let is_choice = |name: &&Name| {
            let deployment = self.next.desired.deployments.get(*name);
            deployment.is_some_and(|deployment| matches!(deployment.place, Place::Select(_)))
        };
        let is_kept = |name: &Name| {
            let machine = base.lasting.assignments.get(name);
            machine.is_some() && machine == self.next.lasting.assignments.get(name)
        };
        let mut chosen = deployments.iter().filter(is_choice);
        chosen.all(|name| is_kept(name) || self.base.last_machine(name) == table.last_machine(name))
    }
}

/// Machines and deployments that hang together, and those that still have to be looked at.
#[derive(Default)]
struct Related {
    machines: BTreeSet<Name>,
    deployments: BTreeSet<Name>,
    open: Vec<Open>,
}

enum Open {
    Machine(Name),
    Deployment(Name),
}

impl Related {
    /// All that hangs together with what differs between the state that was judged and `table`.
    fn of(adoption: &Adoption, table: &State) -> Related {
        let mut related = Related::default();
        for (machine, _) in adoption.base.lasting.installs.differences(&table.lasting.installs) {
            related.machine(&machine);
        }
        // A record that is believed again may be a machine's or a deployment's.
        for item in adoption.base.lasting.damaged.diff(&table.lasting.damaged) {
            let (ordset::DiffItem::Add(name) | ordset::DiffItem::Remove(name)) = item;
            related.machine(name);
            related.deployment(name);
        }
        let states = [&adoption.base, table, &adoption.next];
        while let Some(open) = related.open.pop() {
            match open {
                Open::Machine(name) => {
                    states.iter().for_each(|state| related.follow_machine(&name, state, &states))
                }
                Open::Deployment(name) => {
                    states.iter().for_each(|state| related.follow_deployment(&name, state))
                }
            }
        }
        related
    }

    fn machine(&mut self, name: &Name) {
        if self.machines.insert(name.clone()) {
            self.open.push(Open::Machine(name.clone()));
        }
    }

    fn deployment(&mut self, name: &Name) {
        if self.deployments.insert(name.clone()) {
            self.open.push(Open::Deployment(name.clone()));
        }
    }

    fn follow_machine(&mut self, name: &Name, state: &State, all: &[&State]) {
        if let Some(tenant) = state.derived.tenants.get(name) {
            self.deployment(tenant);
        }
        let installs = state.lasting.installs.on(name);
        for install in installs {
            self.deployment(&install.deployment);
            install.former.iter().for_each(|former| self.deployment(former));
        }
        let own = state.desired.machines.get(name).into_iter().flat_map(|machine| &machine.macs);
        let noted = installs.iter().flat_map(|install| install.cards.iter());
        let cards: BTreeSet<Mac> = own.chain(noted).copied().collect();
        let owners = cards.iter().flat_map(|mac| all.iter().filter_map(|state| state.desired.macs.get(mac)));
        owners.for_each(|owner| self.machine(owner));
    }

    fn follow_deployment(&mut self, name: &Name, state: &State) {
        if let Some(machine) = state.lasting.assignments.get(name) {
            self.machine(machine);
        }
        if let Some(machine) = state.lasting.served.get(name).and_then(|served| served.machine.as_ref()) {
            self.machine(machine);
        }
        state.lasting.installs.named(name).for_each(|install| self.machine(&install.machine));
    }
}

/// The machines and deployments of those names alone.
fn desired_part(desired: &Desired, machines: &BTreeSet<Name>, deployments: &BTreeSet<Name>) -> Arc<Desired> {
    let of = |name: &Name| Some((name.clone(), desired.machines.get(name)?.clone()));
    let machines: imbl::OrdMap<Name, Arc<Machine>> = machines.iter().filter_map(of).collect();
    let macs =
        machines.values().flat_map(|machine| machine.macs.iter().map(|mac| (*mac, machine.name.clone())));
    let deployment = |name: &Name| Some((name.clone(), desired.deployments.get(name)?.clone()));
    Arc::new(Desired {
        revision: desired.revision.clone(),
        subnets: Default::default(),
        boots: Default::default(),
        macs: macs.collect(),
        deployments: deployments.iter().filter_map(deployment).collect(),
        machines,
        selects: desired.selects,
        safety: desired.safety.clone(),
        secrets: Default::default(),
        fixed: Fixed::default(),
    })
}

/// What a state knows of the machines and deployments of those names.
fn restricted(
    state: &State,
    desired: &Desired,
    machines: &BTreeSet<Name>,
    deployments: &BTreeSet<Name>,
) -> State {
    let assignment = |name: &Name| Some((name.clone(), state.lasting.assignments.get(name)?.clone()));
    let tenant = |name: &Name| Some((name.clone(), state.derived.tenants.get(name)?.clone()));
    let served = |name: &Name| Some((name.clone(), state.lasting.served.get(name)?.clone()));
    let installs = machines.iter().flat_map(|machine| state.lasting.installs.on(machine)).cloned();
    let of = |set: &imbl::OrdSet<Name>, names: &BTreeSet<Name>| -> imbl::OrdSet<Name> {
        names.iter().filter(|name| set.contains(*name)).cloned().collect()
    };
    let damaged = of(&state.lasting.damaged, machines).union(of(&state.lasting.damaged, deployments));
    let lasting = Lasting {
        installs: installs.collect::<Vec<Install>>().into_iter().collect(),
        assignments: deployments.iter().filter_map(assignment).collect(),
        served: deployments.iter().filter_map(served).collect::<served::Record>(),
        protected: of(&state.lasting.protected, machines),
        damaged,
        learned: imbl::HashMap::new(),
        contested: imbl::OrdMap::new(),
        ..state.lasting.clone()
    };
    let mut part = State { desired: desired_part(desired, machines, deployments), lasting, ..state.clone() };
    part.derived.tenants = machines.iter().filter_map(tenant).collect();
    part.observed.power = imbl::OrdMap::new();
    part
}
