//! Machines under new names: the same network cards show that it is the same machine, whose installation,
//! protection and tenant then belong to the new name.

use std::collections::BTreeMap;

use super::State;
use super::installs::Followed;
use crate::desired::{Desired, differences};
use crate::model::{Mac, Name};

/// Former name to new name of each machine whose name went and one of whose cards a new name has.
pub fn machines(before: &Desired, after: &Desired) -> BTreeMap<Name, Name> {
    let mut renamed = BTreeMap::new();
    let differences = differences(&before.machines, &after.machines);
    for machine in differences.filter(|one| one.before.is_none()).filter_map(|one| one.after) {
        let name = &machine.name;
        let mut formers = machine.macs.iter().filter_map(|mac| before.macs.get(mac));
        if let Some(former) = formers.find(|former| !after.machines.contains_key(*former)) {
            renamed.entry(former.clone()).or_insert_with(|| name.clone());
        }
    }
    renamed
}

/// A network card that was another machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedCard {
    pub mac: Mac,
    /// Whose it was: a machine that was not just renamed, by its name in the next revision if it
    /// has one.
    pub former: Name,
}

/// By the machines that the cards belong to from now on; the first card of each decides.
pub type MovedCards = BTreeMap<Name, MovedCard>;

/// The machines of `after` with a card that is another machine's in `before`.
pub fn moved_cards(before: &Desired, after: &Desired) -> MovedCards {
    let renamed = machines(before, after);
    let mut moved = MovedCards::new();
    for machine in differences(&before.machines, &after.machines).filter_map(|one| one.after) {
        let former = |mac: &Mac| {
            let former = before.macs.get(mac)?;
            let former = renamed.get(former).unwrap_or(former);
            (*former != machine.name).then(|| MovedCard { mac: *mac, former: former.clone() })
        };
        if let Some(card) = machine.macs.iter().find_map(former) {
            moved.insert(machine.name.clone(), card);
        }
    }
    moved
}

/// Whether any machine has other network cards, or is new, or gone.
fn have_other_cards(before: &Desired, after: &Desired) -> bool {
    let macs = |one: Option<&std::sync::Arc<crate::desired::Machine>>| one.map(|one| one.macs.clone());
    differences(&before.machines, &after.machines).any(|one| macs(one.before) != macs(one.after))
}

impl State {
    /// This state, with what it knows of renamed machines under the names of `after`.
    pub fn under_new_names(&self, after: &Desired) -> State {
        let mut renamed = machines(&self.desired, after);
        let mut next = self.clone();
        if have_other_cards(&self.desired, after) {
            next.lasting.installs = self.lasting.installs.follow(after, &renamed);
            // Where the revision before is not loaded, the cards of installations decide.
            for Followed { former, now } in next.lasting.installs.followed(&self.lasting.installs) {
                if !after.machines.contains_key(&former) && !self.derived.tenants.contains_key(&now) {
                    renamed.entry(former).or_insert(now);
                }
            }
        }
        for (former, now) in &renamed {
            if let Some(tenant) = next.derived.tenants.remove(former) {
                next.lasting.assignments.insert(tenant.clone(), now.clone());
                next.derived.tenants.insert(now.clone(), tenant);
            }
            if let Some(reading) = next.observed.power.remove(former) {
                next.observed.power.insert(now.clone(), reading);
            }
            if next.lasting.protected.remove(former).is_some() {
                next.lasting.protected.insert(now.clone());
            }
        }
        next
    }
}
