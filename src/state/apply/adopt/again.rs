//! An adoption over a later state, in which the same is desired and some machines did something: only they are looked
//! at, with all that is related to them by a name, a network card or another mark, or an installation. The rules are
//! those of a whole adoption, applied to that part of the two states.
//!
//! What the rules read of a machine or a deployment beyond what is related to it is the same in both states: only an
//! adoption changes manifests, assignments, protections, thresholds, trust and what was noted as served. Learned cards,
//! contests, power states, leases and the outbox decide nothing; the later state's are taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordset;

use super::super::super::installs::Followed;
use super::super::super::rename::Renamed;
use super::super::super::{Install, Lasting, State, served};
use super::Adoption;
use crate::desired::{Desired, Fixed, Machine, Place};
use crate::model::{Identity, Mac, Name};

/// Some machines with all that is related to them, before and after an adoption.
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
    /// The adoption over `state`, and the part of it in which something may differ from this one. `None` where it
    /// has to be judged whole: another revision came between, or what machines did decides which machine a
    /// selector chooses, which machine is another one renamed, or which installations are doubtful.
    pub fn again(&self, state: &State) -> Option<(Adoption, Part)> {
        if !self.next.stands_beside_claims(state) {
            return None;
        }
        if self.doubts || state.lasting.serials.desired != self.base.lasting.serials.desired {
            return None;
        }
        let (part, followed) = self.part(state)?;
        let mut next = self.next.clone();
        next.go_on_from(state, &self.base, &self.renamed);
        for machine in &part.machines {
            next.lasting.installs.replace(machine, part.next.lasting.installs.on(machine));
        }
        next.lasting.installs.count_from(&state.lasting.installs);
        next.gather_gate_of(&part.deployments);
        let followed = linked(&followed).into_iter().fold(self.followed.clone(), |mut all, (one, others)| {
            Arc::make_mut(&mut all).entry(one).or_default().extend(others);
            all
        });
        Some((Adoption { base: state.clone(), next, followed, ..self.clone() }, part))
    }

    /// What is related to the machines that did something since, and the installations in it that follow their boxes.
    fn part(&self, state: &State) -> Option<(Part, Vec<Followed>)> {
        let related = Related::of(self, state);
        let (machines, deployments) = (related.machines, related.deployments);
        let before = restricted(state, &state.desired, &machines, &deployments);
        let desired = desired_part(&self.next.desired, &machines, &deployments);
        let renamed = before.renamed(&desired, self.follows);
        if !self.are_named_so(&renamed, &machines) || !self.stays_chosen(state, &renamed.state, &deployments)
        {
            return None;
        }
        let own = |name: &Name| Some((name.clone(), self.next.lasting.assignments.get(name)?.clone()));
        let assignments = deployments.iter().filter_map(own).collect();
        let next = before.adopted(&renamed, assignments, desired);
        let Renamed { state: base, followed, .. } = renamed;
        Some((Part { machines, deployments, base, next }, followed))
    }

    /// Whether of these machines the same ones are others renamed. What installations were noted with may decide that.
    fn are_named_so(&self, renamed: &Renamed, machines: &BTreeSet<Name>) -> bool {
        let own = self.renamed.iter().filter(|(former, _)| machines.contains(*former));
        own.eq(&renamed.machines)
    }

    /// Whether each selector chooses as before. It keeps the machine that it has; where it has none, the last one
    /// that it installed comes first.
    fn stays_chosen(&self, state: &State, base: &State, deployments: &BTreeSet<Name>) -> bool {
        let is_choice = |name: &&Name| {
            let deployment = self.next.desired.deployments.get(*name);
            deployment.is_some_and(|deployment| matches!(deployment.place, Place::Select(_)))
        };
        let is_kept = |name: &Name| {
            let machine = base.lasting.assignments.get(name);
            machine.is_some() && machine == self.next.lasting.assignments.get(name)
        };
        // By its machine's name, and by what finds that machine under another one.
        fn last<'a>(state: &'a State, name: &Name) -> Option<(&'a Name, &'a [Mac], &'a [Identity])> {
            state.last_install(name).map(|one| (&one.machine, &*one.cards, &*one.marks))
        }
        let mut chosen = deployments.iter().filter(is_choice);
        chosen.all(|name| is_kept(name) || last(&self.base, name) == last(state, name))
    }
}

/// The machines that installations went from and to, each with the others.
pub(super) fn linked(followed: &[Followed]) -> BTreeMap<Name, BTreeSet<Name>> {
    let mut links: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
    for Followed { former, now } in followed {
        links.entry(former.clone()).or_default().insert(now.clone());
        links.entry(now.clone()).or_default().insert(former.clone());
    }
    links
}

/// Machines and deployments that are related, and those that still have to be looked at.
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
    /// All that is related to what differs between the state that was judged and `state`.
    fn of(adoption: &Adoption, state: &State) -> Related {
        let mut related = Related::default();
        for (machine, _) in adoption.base.lasting.installs.differences(&state.lasting.installs) {
            related.machine(&machine);
        }
        // A record that is no longer damaged may be a machine's or a deployment's.
        for item in adoption.base.lasting.damaged.diff(&state.lasting.damaged) {
            let (ordset::DiffItem::Add(name) | ordset::DiffItem::Remove(name)) = item;
            related.machine(name);
            related.deployment(name);
        }
        let states = [&adoption.base, state, &adoption.next];
        while let Some(open) = related.open.pop() {
            match open {
                Open::Machine(name) => {
                    let linked = adoption.followed.get(&name).into_iter().flatten();
                    linked.for_each(|other| related.machine(other));
                    states.iter().for_each(|state| related.follow_machine(&name, state, &states));
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
        let own = state.desired.machines.get(name);
        let cards = own.into_iter().flat_map(|machine| &machine.macs);
        let noted = installs.iter().flat_map(|install| install.cards.iter());
        let cards: BTreeSet<Mac> = cards.chain(noted).copied().collect();
        let marks = own.into_iter().flat_map(|machine| &machine.ids);
        let noted = installs.iter().flat_map(|install| install.marks.iter());
        let marks: BTreeSet<&Identity> = marks.chain(noted).collect();
        for desired in all.iter().map(|state| &state.desired) {
            cards.iter().filter_map(|mac| desired.macs.get(mac)).for_each(|owner| self.machine(owner));
            marks.iter().filter_map(|mark| desired.identified(mark)).for_each(|owner| self.machine(owner));
        }
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
    // Another password of its controller is a change of a machine.
    let credentials = machines.values().filter_map(|machine| machine.power.as_ref()?.credentials.as_ref());
    let secrets = credentials.filter_map(|name| Some((name.clone(), *desired.secrets.get(name)?))).collect();
    Arc::new(Desired {
        revision: desired.revision.clone(),
        subnets: Default::default(),
        boots: Default::default(),
        macs: macs.collect(),
        deployments: deployments.iter().filter_map(deployment).collect(),
        machines,
        pools: Default::default(),
        selects: desired.selects,
        safety: desired.safety.clone(),
        agent: Default::default(),
        secrets,
        definitions: Default::default(),
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
