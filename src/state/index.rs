//! What follows from claims and machines' lives, kept so that no command has to look at all of them.

use std::sync::Arc;

use super::State;
use super::claim::Claim;
use super::life::Life;
use super::lifecycle::{DiskState, Known};
use super::queue::Waiter;
use crate::desired::differences;
use crate::model::facts::is_unique_disk;
use crate::model::{Caller, Name};

impl State {
    /// Takes note of what is about to be recorded of a machine; `None`: nothing any more.
    pub(super) fn index_life(&mut self, machine: &Name, life: Option<&Life>) {
        let used = |life: &Life| -> Vec<Arc<str>> {
            life.disks
                .iter()
                .filter(|disk| disk.state == DiskState::InUse && is_unique_disk(&disk.id))
                .map(|disk| disk.id.clone())
                .collect()
        };
        if let Some(former) = self.lasting.lives.get(machine).cloned() {
            used(&former).iter().for_each(|disk| drop(self.derived.owners.remove(disk)));
            former.cards.iter().for_each(|card| drop(self.derived.found.remove(card)));
        }
        let Some(life) = life else {
            self.derived.watched.remove(machine);
            return;
        };
        used(life).into_iter().for_each(|disk| drop(self.derived.owners.insert(disk, machine.clone())));
        if life.known == Known::Discovered {
            life.cards.iter().for_each(|card| drop(self.derived.found.insert(*card, machine.clone())));
        }
        let lasts = life.hold.as_ref().is_some_and(|hold| hold.until.is_some());
        match life.order.is_some() || lasts || life.known == Known::Discovered {
            true => drop(self.derived.watched.insert(machine.clone())),
            false => drop(self.derived.watched.remove(machine)),
        }
    }

    /// Takes note of a claim that is about to be recorded; `None`: that is not one any more.
    pub(super) fn index_claim(&mut self, name: &Name, claim: Option<&Claim>) {
        if let Some(former) = self.lasting.claims.get(name).cloned() {
            self.index_one(&former, false);
        }
        claim.into_iter().for_each(|claim| self.index_one(claim, true));
    }

    fn index_one(&mut self, claim: &Claim, is_there: bool) {
        let Claim { name, pool, number, by, place, keep, key, prototype, .. } = claim;
        if let Some(prototype) = prototype {
            let running = self.derived.running.get(prototype).copied().unwrap_or(0);
            match if is_there { running + 1 } else { running.saturating_sub(1) } {
                0 => drop(self.derived.running.remove(prototype)),
                running => drop(self.derived.running.insert(prototype.clone(), running)),
            }
        }
        if let Some(key) = key {
            match is_there {
                true => drop(self.derived.keyed.insert(key.clone(), name.clone())),
                false => drop(self.derived.keyed.remove(key)),
            }
        }
        let caller: Arc<str> = by.to_string().into();
        let place_of = (pool.clone(), caller.clone());
        let asked = self.derived.asked.get(&place_of).copied().unwrap_or(0);
        match if is_there { asked + 1 } else { asked.saturating_sub(1) } {
            0 => drop(self.derived.asked.remove(&place_of)),
            asked => drop(self.derived.asked.insert(place_of, asked)),
        }
        let Some(place) = place else {
            let waits = self.derived.waits.entry(pool.clone()).or_default();
            *waits = if is_there { *waits + 1 } else { waits.saturating_sub(1) };
            let waiter = is_there.then(|| Waiter::Claim(name.clone()));
            self.index_waiter(caller, *number, waiter);
            return;
        };
        if is_there {
            self.index_given(caller, place.epoch);
        }
        let held = self.derived.held.get(pool).copied().unwrap_or(0);
        let held = if is_there { held + 1 } else { held.saturating_sub(1) };
        self.derived.held.insert(pool.clone(), held);
        if let Some(end) = place.taken_back.or(place.ends).filter(|_| !keep) {
            match is_there {
                true => drop(self.derived.ends.insert((end, name.clone()))),
                false => drop(self.derived.ends.remove(&(end, name.clone()))),
            }
        }
    }

    /// Takes note of the epoch under which a caller got a machine.
    pub(super) fn index_given(&mut self, caller: Arc<str>, epoch: u64) {
        let given = self.derived.given.entry(caller).or_default();
        *given = epoch.max(*given);
    }

    /// Looks again whether a claim may get a machine, whatever its pool asks for.
    pub(super) fn index_free(&mut self, machine: &Name) {
        let life = self.lasting.lives.get(machine);
        let is_free = self.gives_out_machines()
            && self.desired.machines.contains_key(machine)
            && !self.lasting.tenancies.contains_key(machine)
            && !self.lasting.protected.contains(machine)
            && !self.derived.pins.contains_key(machine)
            && life
                .is_none_or(|life| life.order.is_none() && life.hold.is_none() && life.contested.is_none());
        for free in [&mut self.derived.free, &mut self.derived.fresh] {
            match is_free {
                true => drop(free.insert(machine.clone())),
                false => drop(free.remove(machine)),
            }
        }
        for (name, pool) in &self.desired.clone().pools {
            let is_open = is_free && self.why_not(pool, machine).is_none();
            match (is_open, self.derived.open.contains_key(name)) {
                (false, false) => {}
                (false, true) => drop(self.derived.open.entry(name.clone()).or_default().remove(machine)),
                (true, _) => drop(self.derived.open.entry(name.clone()).or_default().insert(machine.clone())),
            }
        }
    }

    /// Looks at all free machines for the pools that ask for others than in `former`.
    fn index_pools_since(&mut self, former: &State) {
        let desired = self.desired.clone();
        let gone = self.derived.open.keys().filter(|name| !desired.pools.contains_key(*name));
        for name in gone.cloned().collect::<Vec<Name>>() {
            self.derived.open.remove(&name);
        }
        for (name, pool) in &desired.pools {
            let was = former.desired.pools.get(name);
            let is_same =
                was.is_some_and(|was| was.prototype.place == pool.prototype.place && was.clean == pool.clean);
            if !is_same {
                let free = self.derived.free.iter().filter(|machine| self.why_not(pool, machine).is_none());
                let open = free.cloned().collect();
                self.derived.open.insert(name.clone(), open);
            }
        }
    }

    /// Whether anybody may wait for a machine.
    fn gives_out_machines(&self) -> bool {
        !self.desired.pools.is_empty() || self.desired.selects > 0
    }

    /// The same for all machines of which that may have changed since `former`, before an adoption.
    pub(super) fn index_free_since(&mut self, former: &State) {
        if !self.gives_out_machines() {
            (self.derived.free, self.derived.open) = (imbl::OrdSet::new(), imbl::OrdMap::new());
            self.derived.fresh = imbl::OrdSet::new();
            return;
        }
        let mut touched: Vec<Name> = Vec::new();
        if !former.gives_out_machines() {
            touched.extend(self.desired.machines.keys().cloned());
        }
        let machines = differences(&former.desired.machines, &self.desired.machines);
        touched.extend(machines.map(|one| one.name.clone()));
        use imbl::ordmap::DiffItem::{Add, Remove, Update};
        for item in former.lasting.tenancies.diff(&self.lasting.tenancies) {
            let (Add(machine, _) | Update { new: (machine, _), .. } | Remove(machine, _)) = item;
            touched.push(machine.clone());
        }
        touched.extend(former.derived.pins.keys().chain(self.derived.pins.keys()).cloned());
        touched.extend(former.lasting.protected.iter().chain(&self.lasting.protected).cloned());
        self.index_pools_since(former);
        touched.iter().for_each(|machine| self.index_free(machine));
        // Deployments may choose otherwise now.
        self.derived.fresh = self.derived.free.clone();
    }

    /// Forgets what follows, to be made anew.
    pub(super) fn clear_index(&mut self) {
        let derived = &mut self.derived;
        (derived.queues, derived.held) = (imbl::OrdMap::new(), imbl::OrdMap::new());
        derived.given = imbl::OrdMap::new();
        (derived.ends, derived.watched) = (imbl::OrdSet::new(), imbl::OrdSet::new());
        (derived.waits, derived.asked) = (imbl::OrdMap::new(), imbl::HashMap::new());
        (derived.owners, derived.found) = (imbl::HashMap::new(), imbl::HashMap::new());
        (derived.keyed, derived.running) = (imbl::HashMap::new(), imbl::OrdMap::new());
    }

    /// Everything anew, from what was stored.
    pub(super) fn index_all(&mut self) {
        let lives: Vec<(Name, Arc<Life>)> =
            self.lasting.lives.iter().map(|(machine, life)| (machine.clone(), life.clone())).collect();
        lives.iter().for_each(|(machine, life)| self.index_life(machine, Some(life)));
        let claims: Vec<Arc<Claim>> = self.lasting.claims.values().cloned().collect();
        claims.iter().for_each(|claim| self.index_one(claim, true));
        // The deployments of the inventory are one caller.
        if self.desired.selects > 0 || !self.lasting.unplaced.is_empty() {
            let own = self.lasting.tenancies.values().filter(|tenancy| !tenancy.is_claim);
            if let Some(epoch) = own.map(|tenancy| tenancy.epoch).max() {
                self.index_given(Caller::DAEMON.to_string().into(), epoch);
            }
        }
        self.index_unplaced(self.lasting.unplaced.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::life::Disk;

    #[test]
    fn a_disk_that_is_known_by_its_place_is_no_other_machines() {
        let mut state = State::new(crate::state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST));
        let own = |id: &str| Disk { id: id.into(), bytes: 1 << 30, state: DiskState::InUse };
        let disks: Arc<[Disk]> = [own("path:/dev/vda:1073741824"), own("serial:S1:M:1073741824")].into();
        let life = Life { disks, ..Life::default() };
        let machine: Name = "m1".parse().unwrap();
        state.index_life(&machine, Some(&life));
        assert_eq!(state.owner_of("serial:S1:M:1073741824"), Some(&machine));
        assert_eq!(state.owner_of("path:/dev/vda:1073741824"), None);
    }
}
