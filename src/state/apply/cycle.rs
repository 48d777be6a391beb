//! The life of a machine: what the verbs about it share. Each change of an axis is a step of its table in
//! [`super::super::lifecycle`]; here the data is kept, and what follows is carried out.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::certificate::{CERTIFICATES_MAX, WipeCertificate};
use super::super::claim::{self, Claim, Granted};
use super::super::life::{Disk, Life, Order};
use super::super::lifecycle::work::Act;
use super::super::lifecycle::{DiskState, condition, disk, tenancy as holding, work};
use super::super::outbox::Task;
use super::super::prototype::Prototype;
use super::super::queue::{self, Waiter};
use super::super::record::Record;
use super::super::user_data::Sealed;
use super::super::{Event, Stage, State, Tenancy, budget, tenancy};
use super::{Applied, claim_start, effect, observe};
use crate::desired::Pool;
use crate::model::facts::Facts;
use crate::model::{Caller, Name, OnReturn, Time, WipeLevel};

/// A command about machines' lives that is being carried out.
pub(super) struct Cycle<'a> {
    pub(super) state: &'a mut State,
    pub(super) by: &'a Caller,
    pub(super) now: Time,
    pub(super) out: &'a mut Applied,
}

/// What is to be done with a machine's disks when its tenancy ends, or because a person says so.
pub(super) struct Draft {
    pub(super) level: WipeLevel,
    pub(super) off: bool,
    pub(super) disks: Option<Arc<[Arc<str>]>>,
    pub(super) reason: String,
}

impl Cycle<'_> {
    pub(super) fn say(&mut self, machine: Option<&Name>, text: String) {
        let event = Event::new(self.now, Stage::Daemon, text);
        let found = machine.and_then(|machine| self.state.desired.machines.get(machine));
        let mac = found.and_then(|machine| self.state.active_mac(machine));
        observe::observe(self.state, Event { mac, ..event }, self.out);
    }

    /// What is recorded of a machine, or would be.
    pub(super) fn life(&self, machine: &Name) -> Life {
        self.state.life(machine).map_or_else(Life::default, |life| Life::clone(life))
    }

    pub(super) fn put_life(&mut self, machine: &Name, life: Life) {
        self.state.index_life(machine, Some(&life));
        let life = Arc::new(life);
        self.state.lasting.lives.insert(machine.clone(), life.clone());
        self.out.records.push(Record::Life(machine.clone(), Some(life)));
        self.state.index_free(machine);
    }

    pub(super) fn put_facts(&mut self, machine: &Name, facts: Arc<Facts>) {
        self.state.lasting.facts.insert(machine.clone(), facts.clone());
        self.state.index_free(machine);
        self.out.records.push(Record::Facts(machine.clone(), Some(facts)));
    }

    pub(super) fn drop_life(&mut self, machine: &Name) {
        self.state.index_life(machine, None);
        if self.state.lasting.facts.remove(machine).is_some() {
            self.out.records.push(Record::Facts(machine.clone(), None));
        }
        self.state.lasting.lives.remove(machine);
        self.out.records.push(Record::Life(machine.clone(), None));
        self.state.index_free(machine);
    }

    pub(super) fn put_claim(&mut self, claim: Claim) {
        let claim = Arc::new(claim);
        self.state.index_claim(&claim.name, Some(&claim));
        self.state.lasting.claims.insert(claim.name.clone(), claim.clone());
        self.out.records.push(Record::Claim(claim.name.clone(), Some(claim)));
    }

    pub(super) fn drop_claim(&mut self, name: &Name) {
        let prototype = self.state.lasting.claims.get(name).and_then(|claim| claim.prototype.clone());
        self.state.index_claim(name, None);
        if let Some(key) = prototype.filter(|key| !self.state.derived.running.contains_key(key)) {
            self.drop_prototype(key);
        }
        self.erase_user_data(name);
        self.state.lasting.claims.remove(name);
        self.out.records.push(Record::Claim(name.clone(), None));
    }

    /// Has what a claim of this pool runs stored under its key, if it is not.
    pub(super) fn put_prototype(&mut self, key: &Arc<str>, pool: &Pool, stored: Option<Arc<Prototype>>) {
        if !self.state.derived.prototypes.contains_key(key) {
            self.state.derived.prototypes.insert(key.clone(), pool.prototype.clone());
        }
        if let Some(stored) = stored.filter(|_| !self.state.lasting.prototypes.contains_key(key)) {
            self.state.lasting.prototypes.insert(key.clone(), stored.clone());
            self.out.records.push(Record::Prototype(key.clone(), Some(stored)));
        }
    }

    pub(super) fn put_user_data(&mut self, claim: &Name, sealed: Sealed) {
        self.state.lasting.user_data.insert(claim.clone(), sealed.clone());
        self.out.records.push(Record::UserData(claim.clone(), Some(sealed)));
    }

    pub(super) fn erase_user_data(&mut self, claim: &Name) {
        if self.state.lasting.user_data.remove(claim).is_some() {
            self.out.records.push(Record::UserData(claim.clone(), None));
        }
    }

    pub(super) fn drop_prototype(&mut self, key: Arc<str>) {
        self.state.derived.prototypes.remove(&key);
        self.state.lasting.prototypes.remove(&key);
        self.out.records.push(Record::Prototype(key, None));
    }

    /// The number of the next claim, stored with whatever follows.
    pub(super) fn next_number(&mut self) -> u64 {
        self.state.lasting.last_claim += 1;
        let note = self.state.lasting.last_claim.to_le_bytes().to_vec();
        self.out.records.push(Record::Note(claim::NOTE.into(), note));
        self.state.lasting.last_claim
    }

    /// A system that ran from the network on a machine that nobody has any more may have written to its disks.
    pub(super) fn soil_disks(&mut self, machine: &Name) {
        let mut life = self.life(machine);
        keep_disks(&mut life, true);
        if self.state.life(machine).is_some_and(|former| former.disks != life.disks) {
            self.put_life(machine, life);
        }
    }

    /// A new epoch, stored likewise.
    fn next_epoch(&mut self) -> u64 {
        let epoch = self.state.lasting.installs.next_epoch();
        self.state.lasting.installs.count(epoch);
        self.out.records.push(Record::Note(tenancy::NOTE.into(), tenancy::note(epoch)));
        epoch
    }

    /// What machines are for changed.
    fn raise_serial(&mut self) {
        self.state.lasting.serials.machines += 1;
        self.out.records.push(Record::Serial(self.state.serial()));
    }

    /// Gives a machine to a deployment or a claim.
    fn give(&mut self, machine: &Name, holder: &Name, is_claim: bool, redeploy: u64) -> u64 {
        let epoch = self.next_epoch();
        let tenancy = Tenancy { holder: holder.clone(), is_claim, redeploy, epoch, since: self.now };
        self.state.lasting.assignments.insert(holder.clone(), machine.clone());
        self.state.derived.tenants.insert(machine.clone(), holder.clone());
        self.state.lasting.tenancies.insert(machine.clone(), tenancy.clone());
        self.out.records.push(Record::Tenancy(machine.clone(), Some(tenancy)));
        if !is_claim {
            self.state.index_given(Caller::DAEMON.to_string().into(), epoch);
        }
        self.state.index_free(machine);
        self.raise_serial();
        epoch
    }

    /// Gives who waits the machines that are free, and claims those alone that their pools allow.
    pub(super) fn serve_queue(&mut self) {
        // Pools that have nothing to give now: the others of them wait, too.
        let mut shut: BTreeSet<Name> = BTreeSet::new();
        while let Some((waiter, machine)) = self.next_served(&mut shut) {
            match &waiter {
                Waiter::Claim(name) => {
                    let claim = self.state.lasting.claims.get(name).cloned();
                    if !claim.is_some_and(|claim| self.grant(&claim, &machine)) {
                        return;
                    }
                }
                Waiter::Deployment(name) => {
                    let Some(deployment) = self.state.desired.deployments.get(name).cloned() else { return };
                    self.give(&machine, name, false, deployment.redeploy);
                    let mut rest = self.state.lasting.unplaced.clone();
                    rest.remove(name);
                    self.put_unplaced(rest);
                    let text =
                        format!("machine {machine} is free: deployment {name}, which waited for one, has it");
                    self.say(Some(&machine), text);
                }
            }
        }
        self.state.derived.fresh = imbl::OrdSet::new();
    }

    /// The first in the queue that a free machine can be given to.
    fn next_served(&self, shut: &mut BTreeSet<Name>) -> Option<(Waiter, Name)> {
        let state = &*self.state;
        if !state.may_serve() {
            return None;
        }
        let mut in_turn = state.in_turn();
        in_turn.find_map(|waiter| match waiter {
            Waiter::Claim(name) => {
                let claim = state.lasting.claims.get(name)?;
                // What a claim runs that was made before a start may not be loaded yet.
                if shut.contains(&claim.pool) || state.runs(claim).is_none() {
                    return None;
                }
                let found = state.desired.pools.get(&claim.pool).and_then(|pool| {
                    let is_full = pool.max.is_some_and(|max| state.claimed_of(&claim.pool) >= max);
                    state.derived.open.get(&claim.pool).filter(|_| !is_full).and_then(imbl::OrdSet::get_min)
                });
                if found.is_none() {
                    shut.insert(claim.pool.clone());
                }
                found.map(|machine| (waiter.clone(), machine.clone()))
            }
            Waiter::Deployment(name) => {
                let machine = state.derived.fresh.iter().find(|machine| state.suits(name, machine))?;
                Some((waiter.clone(), machine.clone()))
            }
        })
    }

    /// Puts the deployments that choose their machine, and have none, at the end of the queue; those that wait already
    /// keep their places.
    pub(super) fn queue_deployments(&mut self) {
        let found = self.state.without_machine();
        let waits = |(name, number): (Name, Option<u64>)| {
            let number = number.unwrap_or_else(|| self.next_number());
            (name, number)
        };
        let now: imbl::OrdMap<Name, u64> = found.into_iter().map(waits).collect();
        if now != self.state.lasting.unplaced {
            self.put_unplaced(now);
        }
    }

    fn put_unplaced(&mut self, now: imbl::OrdMap<Name, u64>) {
        self.out.records.push(Record::Note(queue::NOTE.into(), queue::note(&now)));
        self.state.index_unplaced(now);
    }

    fn grant(&mut self, claim: &Claim, machine: &Name) -> bool {
        if holding::step(self.state.holder(machine), holding::Cause::Claimed).is_none() {
            return false;
        }
        let Some(own) = self.state.claimed(claim, machine) else { return false };
        self.state.derived.claimed.insert(claim.name.clone(), own);
        let epoch = self.give(machine, &claim.name, true, 0);
        claim_start::granted(self.state, machine, epoch);
        let ends = claim.ttl.map(|ttl| self.state.lasting.ran.now.saturating_add(ttl.0));
        let place = Granted { machine: machine.clone(), epoch, since: self.now, ends, taken_back: None };
        self.put_claim(Claim { place: Some(place), ..claim.clone() });
        let text = format!("claim {} of {} has machine {machine}", claim.name, claim.by);
        self.say(Some(machine), text);
        true
    }

    /// Ends the tenancy of a claim. Its machine is wiped, or not, as its pool said when the claim was made.
    pub(super) fn take_back(&mut self, claim: &Claim, cause: holding::Cause) -> Result<(), String> {
        let Some(place) = &claim.place else {
            self.drop_claim(&claim.name);
            return Ok(());
        };
        let machine = &place.machine;
        if self.state.lasting.protected.contains(machine) {
            return Err(format!(
                "machine {machine} of claim {} is protected: commit protect = false first",
                claim.name
            ));
        }
        if holding::step(self.state.holder(machine), cause).is_none() {
            return Err(format!("machine {machine} is not claim {}'s", claim.name));
        }
        // What the work is stands in the tenancy until it is gone.
        let from = self.state.work(machine);
        self.state.lasting.assignments.remove(&claim.name);
        self.state.derived.tenants.remove(machine);
        self.state.derived.claimed.remove(&claim.name);
        self.state.lasting.tenancies.remove(machine);
        self.out.records.push(Record::Tenancy(machine.clone(), None));
        self.drop_claim(&claim.name);
        self.raise_serial();
        let why = if cause == holding::Cause::Released { "was released" } else { "is over" };
        self.say(
            Some(machine),
            format!("claim {} of {} {why}: machine {machine} is taken back", claim.name, claim.by),
        );
        match claim.on_return.wipes() {
            true => {
                let draft = Draft {
                    level: claim.level,
                    off: claim.on_return == OnReturn::WipeAndOff,
                    disks: None,
                    reason: format!("claim {} {why}", claim.name),
                };
                self.work(machine, from, work::Cause::Ordered, Some(draft))?;
                // Its pool may have been full until now.
                self.serve_queue();
                Ok(())
            }
            false => self.work(machine, from, work::Cause::Ended, None),
        }
    }

    /// Makes a step of a machine's work, and carries out what follows.
    pub(super) fn work(
        &mut self,
        machine: &Name,
        from: work::Work,
        cause: work::Cause,
        draft: Option<Draft>,
    ) -> Result<(), String> {
        let (to, acts) = work::step(from, cause)
            .ok_or_else(|| format!("the work on machine {machine} is {from}, and can't go on so: {cause}"))?;
        let mut life = self.life(machine);
        if let Some(draft) = draft {
            life.order = Some(self.order(draft).into());
        }
        if let Some(order) = life.order.as_mut().filter(|_| to.is_order()) {
            let order = Arc::make_mut(order);
            (order.work, order.progress, order.attempts) = (to, self.state.lasting.ran.now, 0);
            if let Some(next) = condition::step(order.condition, condition::Cause::Progress) {
                order.condition = next;
            }
        }
        let named: Vec<Arc<str>> =
            life.order.iter().filter_map(|order| order.disks.as_deref()).flatten().cloned().collect();
        let off = cause != work::Cause::Withdrawn && life.order.as_ref().is_some_and(|order| order.off);
        let is_named = |disk: &Disk| named.contains(&disk.id);
        for act in acts {
            match act {
                Act::RaiseEpoch => {
                    life.epoch = self.next_epoch();
                    let order = life.order.as_mut().map(Arc::make_mut);
                    order.into_iter().for_each(|order| order.epoch = life.epoch);
                }
                Act::CountWipe => {
                    self.state.lasting.budget.spend(self.state.lasting.ran.now);
                    let note = self.state.lasting.budget.note();
                    self.out.records.push(Record::Note(budget::NOTE.into(), note));
                }
                Act::SoilDisks => change(&mut life, disk::Cause::WipeBegun, is_named),
                Act::CleanDisks => change(&mut life, disk::Cause::Verified, is_named),
                Act::KeepDisks => keep_disks(&mut life, from == work::Work::NetworkBoot),
                Act::EndInstalls => self.end_installs(machine),
                Act::Restart | Act::ServeQueue => {}
            }
        }
        if !to.is_order() {
            life.order = None;
        }
        let epoch = life.epoch;
        self.put_life(machine, life);
        if acts.contains(&Act::Restart) {
            self.restart(machine, epoch);
        }
        if acts.contains(&Act::ServeQueue) {
            self.vacate(machine, off.then_some(epoch));
        }
        Ok(())
    }

    fn order(&self, draft: Draft) -> Order {
        Order {
            epoch: 0,
            work: work::Work::Fencing,
            condition: condition::Condition::Well,
            why: "".into(),
            level: draft.level,
            off: draft.off,
            disks: draft.disks,
            over_budget: false,
            consented: false,
            by: self.by.clone(),
            reason: draft.reason.into(),
            since: self.now,
            progress: self.state.lasting.ran.now,
            attempts: 0,
        }
    }

    /// Keeps what our agent did to the disks of an order, and why it failed if it did.
    pub(super) fn certify(
        &mut self,
        machine: &Name,
        order: &Order,
        text: &Arc<str>,
        failed: Option<Arc<str>>,
    ) {
        let Order { epoch, level, by, reason, .. } = order;
        let (machine, by, reason, text) = (machine.clone(), by.clone(), reason.clone(), text.clone());
        let (epoch, level, wiped) = (*epoch, *level, self.now);
        let one = WipeCertificate { epoch, machine, level, by, reason, wiped, verified: None, text, failed };
        self.put_certificate(one);
        while self.state.lasting.certificates.len() > CERTIFICATES_MAX
            && let Some((oldest, _)) = self.state.lasting.certificates.get_min().cloned()
        {
            self.state.lasting.certificates.remove(&oldest);
            self.out.records.push(Record::Certificate(oldest, None));
        }
    }

    /// The disks of an order were read back, and nothing was found.
    pub(super) fn verified(&mut self, epoch: u64) {
        if let Some(one) = self.state.lasting.certificates.get(&epoch).cloned() {
            self.put_certificate(WipeCertificate {
                verified: Some(self.now),
                ..WipeCertificate::clone(&one)
            });
        }
    }

    fn put_certificate(&mut self, one: WipeCertificate) {
        let (epoch, one) = (one.epoch, Arc::new(one));
        self.state.lasting.certificates.insert(epoch, one.clone());
        self.out.records.push(Record::Certificate(epoch, Some(one)));
    }

    /// Asks the power driver to restart a machine into our agent, unless that is being done.
    pub(super) fn restart(&mut self, machine: &Name, epoch: u64) {
        let task = Task::Restart { machine: machine.clone(), epoch };
        if !self.state.lasting.outbox.about(machine).any(|pending| pending.task == task) {
            effect::cause(&mut self.state.lasting.outbox, task, self.by.clone(), self.now, self.out);
        }
    }

    /// A machine is nobody's: a deployment that is pinned to it gets it, else the next claim, else it may be switched off.
    fn vacate(&mut self, machine: &Name, off: Option<u64>) {
        self.place_pin(machine);
        self.serve_queue();
        if let Some(epoch) = off.filter(|_| self.state.tenancy(machine).is_none()) {
            let task = Task::PowerOff { machine: machine.clone(), epoch };
            effect::cause(&mut self.state.lasting.outbox, task, self.by.clone(), self.now, self.out);
        }
    }

    /// Gives a machine to the deployment that is pinned to it and waited.
    pub(super) fn place_pin(&mut self, machine: &Name) {
        let Some(name) = self.state.derived.pins.get(machine).cloned() else { return };
        if self.state.is_taken(machine) || self.state.tenancy(machine).is_some() {
            return;
        }
        self.state.derived.pins.remove(machine);
        let Some(deployment) = self.state.desired.deployments.get(&name).cloned() else { return };
        self.give(machine, &name, false, deployment.redeploy);
        self.say(
            Some(machine),
            format!("machine {machine} is free: deployment {name}, which waited for it, has it"),
        );
    }

    /// The machine is blank. What a deployment used up there still counts where that has another machine now: a number
    /// that was used is no permission for that one.
    fn end_installs(&mut self, machine: &Name) {
        let before = self.state.lasting.installs.clone();
        let is_elsewhere = |name: &Name| {
            let place = self.state.lasting.assignments.get(name);
            place.is_some_and(|place| place != machine)
        };
        let rest: Vec<_> =
            before.on(machine).iter().filter(|one| is_elsewhere(&one.deployment)).cloned().collect();
        self.state.lasting.installs.replace(machine, &rest);
        self.out.installs(&before, self.state);
    }

    /// An error, or a safety rule, stops the order on a machine until a person has it tried again.
    pub(super) fn fail(&mut self, machine: &Name, why: String, over_budget: bool) {
        let mut life = self.life(machine);
        let Some(order) = life.order.as_mut().map(Arc::make_mut) else { return };
        let Some(next) = condition::step(order.condition, condition::Cause::Error) else { return };
        if order.condition == next && *order.why == *why {
            return;
        }
        (order.condition, order.why, order.over_budget) = (next, why.as_str().into(), over_budget);
        self.put_life(machine, life);
        self.say(Some(machine), format!("the release of machine {machine} waits for a person: {why}"));
    }
}

/// A system that ran from the network says nothing of what it wrote.
fn keep_disks(life: &mut Life, ran_from_network: bool) {
    if ran_from_network {
        change(life, disk::Cause::Used, |_| true);
    }
    change(life, disk::Cause::Kept, |_| true);
}

/// Moves the disks for which `is_meant` says so. What can't happen to a disk leaves it as it is.
pub(super) fn change(life: &mut Life, cause: disk::Cause, is_meant: impl Fn(&Disk) -> bool) {
    let next = |one: &Disk| -> DiskState {
        let meant = Some(one).filter(|one| is_meant(one));
        meant.and_then(|one| disk::step(one.state, cause)).unwrap_or(one.state)
    };
    life.disks = life.disks.iter().map(|one| Disk { state: next(one), ..one.clone() }).collect();
}
