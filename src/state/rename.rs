//! Machines under new names: the network cards and other marks show that it is the same one, and what was known
//! of it (installation, protection, tenant, learned cards, contested marks) goes on under the new name.

use std::collections::BTreeMap;

use super::claim::Granted;
use super::installs::Followed;
use super::{Claim, Contest, Lasting, State};
use crate::desired::{Desired, differences};
use crate::model::{Mac, Name};

/// Former name to new name of each machine whose name went and one of whose cards, or else other marks, a new name
/// has.
pub fn machines(before: &Desired, after: &Desired) -> BTreeMap<Name, Name> {
    let mut renamed = BTreeMap::new();
    let differences = differences(&before.machines, &after.machines);
    for machine in differences.filter(|one| one.before.is_none()).filter_map(|one| one.after) {
        let name = &machine.name;
        let by_card = machine.macs.iter().filter_map(|mac| before.macs.get(mac));
        let by_mark = machine.ids.iter().filter_map(|mark| before.identified(mark));
        let mut formers = by_card.chain(by_mark);
        if let Some(former) = formers.find(|former| !after.machines.contains_key(*former)) {
            renamed.entry(former.clone()).or_insert_with(|| name.clone());
        }
    }
    renamed
}

/// A network card, or another mark, that was another machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedCard {
    /// As people call it.
    pub card: String,
    /// Whose it was: a machine that was not just renamed, by its name in the next revision if it
    /// has one.
    pub former: Name,
}

/// By the machines that the cards belong to from now on; the first card of each decides, else the first mark.
pub type MovedCards = BTreeMap<Name, MovedCard>;

/// The machines of `after` with a card that is another machine's in `before`.
pub fn moved_cards(before: &Desired, after: &Desired) -> MovedCards {
    let renamed = machines(before, after);
    let mut moved = MovedCards::new();
    for machine in differences(&before.machines, &after.machines).filter_map(|one| one.after) {
        let other = |former: &Name| {
            let former = renamed.get(former).unwrap_or(former);
            (*former != machine.name).then(|| former.clone())
        };
        let by_card = machine.macs.iter().find_map(|mac| {
            let former = other(before.macs.get(mac)?)?;
            Some(MovedCard { card: format!("network card {mac}"), former })
        });
        let by_mark = || {
            machine.ids.iter().find_map(|mark| {
                let former = other(before.identified(mark)?)?;
                Some(MovedCard { card: mark.to_string(), former })
            })
        };
        // A board with its mark may get network cards of others; where its own are, it is.
        let is_here =
            || machine.macs.iter().any(|mac| before.macs.get(mac).is_some_and(|one| other(one).is_none()));
        if let Some(card) = by_card.or_else(|| if is_here() { None } else { by_mark() }) {
            moved.insert(machine.name.clone(), card);
        }
    }
    moved
}

/// Whether any machine has other network cards or other marks, or is new, or gone.
pub(super) fn have_other_cards(before: &Desired, after: &Desired) -> bool {
    differences(&before.machines, &after.machines).any(|one| match (one.before, one.after) {
        (Some(before), Some(after)) => before.macs != after.macs || before.ids != after.ids,
        _ => true,
    })
}

/// A state with the machines' names of a later revision.
pub(super) struct Renamed {
    pub(super) state: State,
    /// The new names of machines, by the former ones.
    pub(super) machines: BTreeMap<Name, Name>,
    /// The installations that went to another machine name with their boxes.
    pub(super) followed: Vec<Followed>,
}

/// Tenancies, or whatever else there is by machine, by the machines' new names.
pub(super) fn by_new_names<T: Clone>(all: &mut imbl::OrdMap<Name, T>, renamed: &BTreeMap<Name, Name>) {
    let moved: Vec<(&Name, T)> =
        renamed.iter().filter_map(|(was, is)| Some((is, all.remove(was)?))).collect();
    moved.into_iter().for_each(|(is, one)| drop(all.insert(is.clone(), one)));
}

/// Tenancies, lives and claims, by the machines' new names.
pub(super) fn lives(lasting: &mut Lasting, renamed: &BTreeMap<Name, Name>) {
    if renamed.is_empty() {
        return;
    }
    by_new_names(&mut lasting.tenancies, renamed);
    by_new_names(&mut lasting.lives, renamed);
    by_new_names(&mut lasting.facts, renamed);
    for (name, claim) in lasting.claims.clone() {
        let Some(machine) = claim.machine().and_then(|machine| renamed.get(machine)) else { continue };
        let place = claim.place.clone().map(|place| Granted { machine: machine.clone(), ..place });
        lasting.claims.insert(name, Claim { place, ..Claim::clone(&claim) }.into());
    }
}

/// Learned cards, by the machines' new names.
pub(super) fn cards(
    learned: &imbl::HashMap<Mac, Name>,
    renamed: &BTreeMap<Name, Name>,
) -> imbl::HashMap<Mac, Name> {
    let mut next = learned.clone();
    if !renamed.is_empty() {
        let moved = |(mac, machine): (&Mac, &Name)| Some((*mac, renamed.get(machine)?.clone()));
        next.extend(learned.iter().filter_map(moved).collect::<Vec<_>>());
    }
    next
}

/// Contested marks, by the machines' new names.
pub(super) fn contests(
    contested: &imbl::OrdMap<Name, Contest>,
    renamed: &BTreeMap<Name, Name>,
) -> imbl::OrdMap<Name, Contest> {
    let mut next = contested.clone();
    for (former, now) in renamed {
        if let Some(contest) = next.remove(former) {
            next.insert(now.clone(), contest);
        }
    }
    next
}

impl State {
    /// This state, with what it knows of renamed machines under the names of `after`.
    pub fn under_new_names(&self, after: &Desired) -> State {
        self.renamed(after, have_other_cards(&self.desired, after)).state
    }

    /// The same; `follows` says whether installations are looked for by their network cards.
    pub(super) fn renamed(&self, after: &Desired, follows: bool) -> Renamed {
        let mut renamed = machines(&self.desired, after);
        let mut followed = Vec::new();
        let mut next = self.clone();
        if follows {
            next.lasting.installs = self.lasting.installs.follow(after, &renamed);
            followed = next.lasting.installs.followed(&self.lasting.installs);
            // Where the revision before is not loaded, the cards of installations decide.
            for Followed { former, now } in &followed {
                if !after.machines.contains_key(former) && !self.derived.tenants.contains_key(now) {
                    renamed.entry(former.clone()).or_insert_with(|| now.clone());
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
        lives(&mut next.lasting, &renamed);
        next.lasting.contested = contests(&self.lasting.contested, &renamed);
        next.lasting.learned = cards(&self.lasting.learned, &renamed);
        Renamed { state: next, machines: renamed, followed }
    }
}
