//! What people do, by hand and by commits; and how everything is put in order at the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use voldemort::desired::{Deployment, Desired, Machine, Place, Pool};
use voldemort::model::{Name, Span, Time, WipeLevel};
use voldemort::state::claim::Wanted;
use voldemort::state::life::Order;
use voldemort::state::lifecycle::Condition;
use voldemort::state::prototype::{self, Prototype};
use voldemort::state::{Command, Revision, State, Verb};

use super::metal::Runs;
use super::{Cloud, HOUR, MINUTE, caller};
use crate::dice::Dice;

impl Cloud {
    /// People claim, give back, hold, have machines looked at, and restart them by hand.
    pub(super) fn person(&mut self) {
        let Some(state) = self.state() else { return };
        let name = self.metal[self.dice.below(self.metal.len() as u64) as usize].name.clone();
        let of = |dice: &mut Dice, state: &State| {
            let at = dice.below(state.claims().len().max(1) as u64) as usize;
            state.claims().values().nth(at).map(|claim| (claim.name.clone(), claim.by.clone()))
        };
        let by = caller(self.dice.below(6));
        let command = |verb| Command { by: by.clone(), verb };
        match self.dice.below(23) {
            0..=8 => {
                let pool = ["ci", "ci", "lab", "any"][self.dice.below(4) as usize].parse().unwrap();
                let ttl = self.dice.percent(20).then(|| Span(self.dice.between(MINUTE, 3 * HOUR)));
                let prototype = self.offered(&state, &pool);
                self.send(command(Verb::Claim(Wanted { ttl, prototype, ..Wanted::of(pool) }.into())));
            }
            9..=13 => {
                if let Some((claim, by)) = of(&mut self.dice, &state) {
                    self.send(Command { by, verb: Verb::Release(claim) });
                }
            }
            14 => {
                if let Some((claim, by)) = of(&mut self.dice, &state) {
                    self.send(Command { by, verb: Verb::Extend(claim, Span(HOUR)) });
                }
            }
            15 => {
                let until = self.dice.percent(50).then(|| Time(self.clock().0 + HOUR));
                self.send(command(Verb::Hold(name, "it hums".into(), until)));
            }
            16 => self.send(command(Verb::Unhold(name))),
            17 => {
                let disks = self.metal[self.by_name[&name]].disks.iter().map(|(id, _)| id.clone()).collect();
                self.send(command(Verb::Wipe(name, disks, WipeLevel::Clear)));
            }
            18 | 19 => {
                let failed = state.lasting().lives.iter().find(|(_, life)| {
                    life.order.as_ref().is_some_and(|order| order.condition != Condition::Well)
                });
                if let Some((machine, _)) = failed {
                    self.send(command(Verb::Retry(machine.clone())));
                }
            }
            20 if self.dice.percent(20) => {
                // Smaller ones than ten minutes count as time.
                self.skew = (self.dice.below(10) as i64 - 5) * HOUR as i64;
            }
            21 if self.dice.percent(30) => self.send(command(Verb::Withdraw(name))),
            _ => {
                let machine = self.by_name[&name];
                self.restart(machine);
            }
        }
    }

    /// A revision pins deployments to machines, protects some, and takes others out.
    pub(super) fn revise(&mut self) {
        let mut desired = Desired::clone(&self.all);
        let runs = desired.pools.values().next().unwrap().prototype.clone();
        for _ in 0..self.dice.below(4) {
            let machine = self.metal[self.dice.below(self.metal.len() as u64) as usize].name.clone();
            let name: Name = format!("d{}", self.dice.below(5)).parse().unwrap();
            let place = Place::Machine(machine.clone());
            if desired.deployments.values().any(|other| other.place == place) {
                continue;
            }
            let own = Deployment { name: name.clone(), place, ..Deployment::clone(&runs) };
            desired.deployments.insert(name, own.into());
        }
        for protect in [true, false] {
            let number = self.dice.below(self.metal.len() as u64) as usize;
            let name = &self.metal[number].name;
            let machine = Machine { protect: Some(protect), ..Machine::clone(&desired.machines[name]) };
            desired.machines.insert(name.clone(), machine.into());
        }
        if self.dice.percent(20) {
            // Somebody adopts a claim's machine.
            let claim = self.state().and_then(|state| state.claims().values().next().cloned());
            if let Some((claim, machine)) =
                claim.and_then(|claim| Some((claim.name.clone(), claim.machine()?.clone())))
            {
                let place = Place::Machine(machine);
                if !desired.deployments.values().any(|other| other.place == place) {
                    let own = Deployment { name: claim.clone(), place, ..Deployment::clone(&runs) };
                    desired.deployments.insert(claim, own.into());
                }
            }
        }
        // What the pools' machines run changes: open claims go on with what they were made with.
        let version = self.dice.below(4);
        for (name, pool) in self.all.pools.iter().filter(|_| version > 0) {
            let digest = format!("version {version} of {name}").into();
            let prototype = Deployment { digest, ..Deployment::clone(&pool.prototype) };
            desired
                .pools
                .insert(name.clone(), Pool { prototype: prototype.into(), ..Pool::clone(pool) }.into());
        }
        if self.dice.percent(10) {
            desired.pools.remove(&"any".parse::<Name>().unwrap());
        }
        self.desired = Arc::new(desired);
        self.adopt();
        self.commit();
    }

    /// What is to be stored with a claim of a pool.
    fn offered(&mut self, state: &State, pool: &Name) -> Option<(Arc<str>, Arc<Prototype>)> {
        let pool = state.desired().pools.get(pool)?;
        let key = prototype::key(pool);
        self.prototypes.insert(key.clone(), pool.prototype.clone());
        let is_known = state.prototypes().contains_key(&key);
        let stored = Prototype { pool: pool.name.clone(), revision: Revision::default() };
        (!is_known).then(|| (key, stored.into()))
    }

    /// All trouble ends, everything is given back and looked at: nothing may be lost.
    pub(super) fn settle(&mut self) {
        (self.is_trouble, self.skew) = (false, 0);
        // Disks with one number stay what they are; a person takes them out.
        for metal in &mut self.metal {
            let mut known = BTreeSet::new();
            metal.disks.retain(|(id, _)| !id.starts_with("shared") && known.insert(id.clone()));
        }
        let mut desired = Desired::clone(&self.all);
        for machine in self.all.machines.values() {
            let open = Machine { protect: Some(false), ..Machine::clone(machine) };
            desired.machines.insert(machine.name.clone(), open.into());
        }
        self.desired = desired.into();
        let limit = self.now + 400 * HOUR;
        let mut round = 0;
        while self.now < limit {
            if let Some(state) = self.state().filter(|_| self.now >= round) {
                round = self.now + HOUR;
                if self.is_settled(&state) {
                    return self.rules.look(&state, &self.prototypes, |name| &self.metal[self.by_name[name]]);
                }
                self.clear_up(&state);
            }
            self.step();
        }
        let state = self.state().unwrap();
        let lost: Vec<String> = self
            .metal
            .iter()
            .filter(|metal| !is_free(&state, &metal.name))
            .map(|metal| {
                format!(
                    "{} {} {:?} {:?}",
                    metal.name,
                    state.word(&metal.name),
                    state.life(&metal.name),
                    metal.runs
                )
            })
            .collect();
        panic!("lost: {} claims, {lost:#?}", state.claims().len());
    }

    pub(super) fn clear_up(&mut self, state: &State) {
        if !Arc::ptr_eq(state.desired(), &self.desired) {
            self.adopt();
            self.commit();
        }
        let by = caller(0);
        for claim in state.claims().values() {
            self.send(Command { by: claim.by.clone(), verb: Verb::Release(claim.name.clone()) });
        }
        for (name, life) in &state.lasting().lives {
            if life.hold.is_some() {
                self.send(Command { by: by.clone(), verb: Verb::Unhold(name.clone()) });
            }
            if life.order.as_ref().is_some_and(|order| order.condition != Condition::Well) {
                self.send(Command { by: by.clone(), verb: Verb::Retry(name.clone()) });
            }
            let machine = self.by_name[name];
            let present: Vec<Arc<str>> = self.metal[machine].disks.iter().map(|(id, _)| id.clone()).collect();
            let is_other = |order: &Arc<Order>| {
                let named: Option<BTreeSet<_>> =
                    order.disks.as_ref().map(|disks| disks.iter().cloned().collect());
                named.is_some_and(|named| named != present.iter().cloned().collect())
            };
            if life.order.as_ref().is_some_and(is_other) {
                // Somebody took disks out: the machine is looked at, and ordered anew.
                self.send(Command {
                    by: by.clone(),
                    verb: Verb::Wipe(name.clone(), present, WipeLevel::Clear),
                });
            }
            if life.order.is_some() && self.metal[machine].runs != Runs::Agent(life.epoch) {
                self.restart(machine);
            }
        }
    }

    pub(super) fn is_settled(&self, state: &State) -> bool {
        state.claims().is_empty() && self.metal.iter().all(|metal| is_free(state, &metal.name))
    }
}

fn is_free(state: &State, machine: &Name) -> bool {
    let is_over = state.life(machine).is_none_or(|life| life.order.is_none() && life.hold.is_none());
    is_over && state.tenancy(machine).is_none()
}
