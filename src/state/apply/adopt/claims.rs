//! What an adoption leaves alone: claims and the lives of machines, which people and machines change while a revision is
//! judged. The first tenancy that was stored keeps its machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::super::super::life::Life;
use super::super::super::lifecycle::{Known, known, tenancy as holding, work};
use super::super::super::record::Record;
use super::super::super::{Claim, State, Tenancy, rename};
use super::super::Applied;
use super::super::cycle::{Cycle, Draft};
use crate::desired::Place;
use crate::model::facts::Facts;
use crate::model::{Caller, Name, OnReturn, Time, WipeLevel};

impl State {
    /// Whether a revision gives no machine to a deployment that a claim or an order has now.
    pub(super) fn stands_beside_claims(&self, now: &State) -> bool {
        let claims =
            now.lasting.claims.values().filter_map(|claim| Some((claim.machine()?, Some(&claim.name))));
        let orders = now.derived.watched.iter().filter(|machine| now.agent_epoch(machine) > 0);
        let mut taken = claims.chain(orders.map(|machine| (machine, None)));
        taken.all(|(machine, holder)| {
            let tenant = self.derived.tenants.get(machine);
            tenant
                .is_none_or(|tenant| Some(tenant) == holder || !self.desired.deployments.contains_key(tenant))
        })
    }

    /// Whether a revision can't give a machine to this deployment: a claim or an order has it, or a claim elsewhere
    /// has the deployment's name.
    pub(in crate::state) fn is_kept_from(&self, deployment: &Name, machine: &Name) -> bool {
        let own = self.lasting.claims.get(deployment).and_then(|claim| claim.machine());
        match own {
            Some(own) => own != machine,
            None => self.is_taken(machine) || self.lasting.claims.contains_key(deployment),
        }
    }

    /// Takes over claims and lives from the state before an adoption. A claim that the revision has a deployment for
    /// is that deployment from now on; a deployment whose machine is taken waits for it.
    pub(super) fn go_on_with_claims(&mut self, former: &State, renamed: &BTreeMap<Name, Name>) {
        // What the revision was judged over may have had claims that are over.
        for claim in std::mem::take(&mut self.lasting.claims).values() {
            let Some(machine) = claim.machine() else { continue };
            let is_deployed = self.desired.deployments.contains_key(&claim.name);
            if !is_deployed && self.lasting.assignments.remove(&claim.name).is_some() {
                let is_own = self.derived.tenants.get(machine) == Some(&claim.name);
                is_own.then(|| self.derived.tenants.remove(machine));
            }
        }
        self.lasting.last_claim = former.lasting.last_claim;
        self.lasting.unplaced = former.lasting.unplaced.clone();
        (self.lasting.ran, self.lasting.budget) = (former.lasting.ran, former.lasting.budget.clone());
        self.lasting.lives = former.lasting.lives.clone();
        self.lasting.facts = former.lasting.facts.clone();
        self.lasting.certificates = former.lasting.certificates.clone();
        self.lasting.claims = former.lasting.claims.clone();
        self.lasting.tenancies = former.lasting.tenancies.clone();
        rename::lives(&mut self.lasting, renamed);
        self.derived.claimed = former.derived.claimed.clone();
        self.lasting.prototypes = former.lasting.prototypes.clone();
        self.lasting.user_data = former.lasting.user_data.clone();
        self.derived.prototypes = former.derived.prototypes.clone();
        self.find_prototypes();
        self.keep_secrets(&former.secrets);
        self.accept_lives();
        self.clear_index();
        // Who got a machine and has given it back had its turn all the same.
        self.derived.given = former.derived.given.clone();
        self.index_all();
        self.hold_claims();
        self.derived.free = former.derived.free.clone();
        self.derived.open = former.derived.open.clone();
        self.wait_for_pins(former);
    }

    fn hold_claims(&mut self) {
        for claim in self.lasting.claims.clone().values() {
            let Some(machine) = claim.machine() else { continue };
            let place = self.desired.deployments.get(&claim.name).map(|deployment| &deployment.place);
            let is_adopted = matches!(place, Some(Place::Machine(own)) if own == machine);
            if is_adopted && holding::step(holding::Holder::Claim, holding::Cause::Adopted).is_some() {
                self.index_claim(&claim.name, None);
                self.lasting.claims.remove(&claim.name);
                self.derived.claimed.remove(&claim.name);
                continue;
            }
            self.lasting.assignments.insert(claim.name.clone(), machine.clone());
            self.derived.tenants.insert(machine.clone(), claim.name.clone());
            // Also one that is known: its network may be another now.
            let is_same = self.derived.claimed.get(&claim.name).is_some_and(|own| {
                let subnet = self.desired.subnets.get(&own.subnet.name);
                subnet.is_none_or(|subnet| Arc::ptr_eq(subnet, &own.subnet))
            });
            if !is_same && let Some(own) = self.claimed(claim, machine) {
                self.derived.claimed.insert(claim.name.clone(), own);
            }
        }
    }

    /// Machines that were found, and that the revision declares, are accepted; those that it does not declare any more
    /// are machines that were found.
    fn accept_lives(&mut self) {
        for (name, life) in self.lasting.lives.clone() {
            let declared = life.cards.iter().find_map(|card| self.desired.macs.get(card));
            let is_declared = self.desired.machines.contains_key(&name);
            let (cause, now) = match (life.known, declared) {
                (Known::Discovered, _) if is_declared => (known::Cause::Declared, &name),
                (Known::Discovered, Some(declared)) => (known::Cause::Declared, declared),
                (Known::Accepted, _) if !is_declared && life.order.is_none() => {
                    (known::Cause::Undeclared, &name)
                }
                _ => continue,
            };
            let Some(known) = known::step(life.known, cause) else { continue };
            if *now != name {
                self.lasting.lives.remove(&name);
                if let Some(facts) = self.lasting.facts.remove(&name) {
                    self.lasting.facts.insert(now.clone(), facts);
                }
                if self.lasting.lives.contains_key(now) {
                    continue;
                }
            }
            let next = Life { known, ..Life::clone(&life) };
            self.lasting.lives.insert(now.clone(), next.into());
        }
    }

    /// Which deployments wait for machines that they are pinned to. Those that waited, and need not any more, have them.
    fn wait_for_pins(&mut self, former: &State) {
        self.derived.pins = imbl::OrdMap::new();
        let is_any_taken = !self.lasting.claims.is_empty() || !self.derived.watched.is_empty();
        if !is_any_taken && former.derived.pins.is_empty() && former.lasting.claims.is_empty() {
            return;
        }
        for (name, deployment) in self.desired.clone().deployments.iter() {
            let Place::Machine(machine) = &deployment.place else { continue };
            if self.lasting.assignments.get(name) == Some(machine) {
                continue;
            }
            if self.is_kept_from(name, machine) {
                self.derived.pins.insert(machine.clone(), name.clone());
            } else if !self.derived.tenants.contains_key(machine) {
                self.lasting.assignments.insert(name.clone(), machine.clone());
                self.derived.tenants.insert(machine.clone(), name.clone());
            }
        }
    }
}

/// Records what became of claims and lives, and serves the claims that wait.
pub(super) fn follow_claims(
    state: &mut State,
    former: &State,
    renamed: &BTreeMap<Name, Name>,
    now: Time,
    out: &mut Applied,
) {
    let life = |item: DiffItem<Name, Arc<Life>>| match item {
        DiffItem::Add(machine, life) | DiffItem::Update { new: (machine, life), .. } => {
            Record::Life(machine.clone(), Some(life.clone()))
        }
        DiffItem::Remove(machine, _) => Record::Life(machine.clone(), None),
    };
    let claim = |item: DiffItem<Name, Arc<Claim>>| match item {
        DiffItem::Add(name, claim) | DiffItem::Update { new: (name, claim), .. } => {
            Record::Claim(name.clone(), Some(claim.clone()))
        }
        DiffItem::Remove(name, _) => Record::Claim(name.clone(), None),
    };
    let facts = |item: DiffItem<Name, Arc<Facts>>| match item {
        DiffItem::Add(machine, facts) | DiffItem::Update { new: (machine, facts), .. } => {
            Record::Facts(machine.clone(), Some(facts.clone()))
        }
        DiffItem::Remove(machine, _) => Record::Facts(machine.clone(), None),
    };
    out.records.extend(former.lasting.facts.diff(&state.lasting.facts).map(facts));
    out.records.extend(former.lasting.lives.diff(&state.lasting.lives).map(life));
    out.records.extend(former.lasting.claims.diff(&state.lasting.claims).map(claim));
    state.index_free_since(former);
    let running = &state.derived.running;
    let idle = state.lasting.prototypes.keys().filter(|key| !running.contains_key(*key));
    let idle: Vec<Arc<str>> = idle.cloned().collect();
    let over = state.lasting.user_data.keys().filter(|claim| !state.lasting.claims.contains_key(*claim));
    let over: Vec<Name> = over.cloned().collect();
    let mut cycle = Cycle { state, by: &Caller::DAEMON, now, out };
    over.iter().for_each(|claim| cycle.erase_user_data(claim));
    idle.into_iter().for_each(|key| cycle.drop_prototype(key));
    soil_disks(&mut cycle, former, renamed);
    release(&mut cycle, former, renamed);
    cycle.queue_deployments();
    cycle.serve_queue();
}

/// The disks of machines that booted from the network for a deployment, and have none now, count as dirty.
fn soil_disks(cycle: &mut Cycle<'_>, former: &State, renamed: &BTreeMap<Name, Name>) {
    let lost = |item: DiffItem<Name, Tenancy>| match item {
        // Another machine may have the name by now.
        DiffItem::Remove(was, tenancy) | DiffItem::Update { old: (was, tenancy), .. }
            if !tenancy.is_claim && former.work(was) == work::Work::NetworkBoot =>
        {
            Some(renamed.get(was).unwrap_or(was).clone())
        }
        _ => None,
    };
    let (before, after) = (&former.lasting.tenancies, cycle.state.lasting.tenancies.clone());
    let lost: Vec<Name> =
        before.diff(&after).filter_map(lost).filter(|machine| !after.contains_key(machine)).collect();
    lost.iter().for_each(|machine| cycle.soil_disks(machine));
}

/// Has the machines wiped that the revision takes from their deployments and gives to nobody, where it and the one before
/// it say so.
fn release(cycle: &mut Cycle<'_>, former: &State, renamed: &BTreeMap<Name, Name>) {
    if !former.desired.safety.on_release.min(cycle.state.desired.safety.on_release).wipes() {
        return;
    }
    let after = cycle.state.lasting.tenancies.clone();
    for item in former.lasting.tenancies.diff(&after) {
        // Another machine may have the name by now.
        let (DiffItem::Remove(was, tenancy) | DiffItem::Update { old: (was, tenancy), .. }) = item else {
            continue;
        };
        let machine = renamed.get(was).unwrap_or(was);
        let is_there = cycle.state.desired.machines.contains_key(machine);
        if tenancy.is_claim || !is_there || cycle.state.tenancy(machine).is_some() {
            continue;
        }
        if !former.knows_tenant(was) {
            let text = format!(
                "machine {machine} is not wiped, which deployment {} lost: this state directory is new or restored, and \
                 the machine may be somebody else's by now; `voldemortctl wipe {machine}` wipes it",
                tenancy.holder
            );
            cycle.say(Some(machine), text);
            continue;
        }
        let what = former.on_release(cycle.state, machine);
        if !what.wipes() {
            continue;
        }
        let reason =
            format!("deployment {} lost it by revision {}", tenancy.holder, cycle.state.desired.revision);
        let off = what == OnReturn::WipeAndOff;
        let draft = Draft { level: WipeLevel::Clear, off, disks: None, reason };
        let from = cycle.state.work(machine);
        let text = match cycle.work(machine, from, work::Cause::Ordered, Some(draft)) {
            Ok(()) => format!("machine {machine} is to be wiped: deployment {} lost it", tenancy.holder),
            Err(why) => {
                format!("machine {machine} is not wiped, which deployment {} lost: {why}", tenancy.holder)
            }
        };
        cycle.say(Some(machine), text);
    }
}
