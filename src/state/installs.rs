//! The installations that are remembered, by the machine they are of. Names are labels: a deployment
//! that is renamed, or a machine that is, keeps what it used up.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::{Install, InstallStage};
use crate::desired::{Desired, Machine};
use crate::model::{Identity, Mac, Name};

/// Every installation, one for each machine and line of deployment names. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Installs {
    /// The oldest epoch first.
    by_machine: imbl::OrdMap<Name, Arc<[Install]>>,
    /// The machines with an installation that has, or had, this deployment's name.
    by_name: imbl::OrdMap<Name, Arc<[Name]>>,
    /// The highest epoch that was given.
    newest: u64,
}

impl Installs {
    /// The installations of a machine, the oldest first.
    pub fn on(&self, machine: &Name) -> &[Install] {
        self.by_machine.get(machine).map_or(&[], |list| list)
    }

    /// Those that have, or had, this deployment's name.
    pub fn named<'a, 'b>(&'a self, name: &'b Name) -> impl Iterator<Item = &'a Install> + use<'a, 'b> {
        let machines = self.by_name.get(name).map_or(&[][..], |list| list);
        machines.iter().flat_map(|machine| self.on(machine)).filter(|install| install.is_named(name))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Install> {
        self.by_machine.values().flat_map(|list| list.iter())
    }

    /// The epoch of the next installation.
    pub fn next_epoch(&self) -> u64 {
        self.newest + 1
    }

    /// The next epoch is none of those that `other` gave.
    pub fn count_from(&mut self, other: &Installs) {
        self.newest = self.newest.max(other.newest);
    }

    /// Takes note that an epoch was given.
    pub fn count(&mut self, epoch: u64) {
        self.newest = self.newest.max(epoch);
    }

    /// The highest epoch that was given.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// What is on a machine's disk: the newest that wrote, or may have written, to it.
    pub fn on_disk(&self, machine: &Name) -> Option<&Install> {
        self.on(machine).iter().rev().find(|install| install.is_on_disk())
    }

    /// Puts an installation in the place of the one with its epoch on its machine.
    pub fn put(&mut self, install: Install) {
        let machine = install.machine.clone();
        self.newest = self.newest.max(install.epoch);
        for name in std::iter::once(&install.deployment).chain(&*install.former) {
            self.list_name(name, &machine);
        }
        let others = self.on(&machine).iter().filter(|one| one.epoch != install.epoch).cloned();
        let mut list: Vec<Install> = others.collect();
        let at = list.partition_point(|one| one.epoch < install.epoch);
        list.insert(at, install);
        self.by_machine.insert(machine, list.into());
    }

    /// Puts all installations of a machine in the place of those that it has.
    pub fn replace(&mut self, machine: &Name, list: &[Install]) {
        self.by_machine.remove(machine);
        list.iter().for_each(|install| self.put(install.clone()));
    }

    /// The same, but it replaces the deployment's earlier ones on the machine: the new one has all their
    /// names. An installation that counts for another deployment as well stays.
    pub fn supersede(&mut self, mut install: Install) {
        let is_past = |one: &Install| {
            one.deployment == install.deployment && one.is_of(&install.cards, &install.marks) && !one.closed
        };
        let (past, rest): (Vec<Install>, Vec<Install>) =
            self.on(&install.machine).iter().cloned().partition(is_past);
        for one in &past {
            one.former.iter().for_each(|name| install.add_name(name));
        }
        self.by_machine.insert(install.machine.clone(), rest.into());
        self.put(install);
    }

    /// Changes every installation for which `change` says so.
    pub fn update(&mut self, machine: &Name, change: impl Fn(&Install) -> Option<Install>) {
        let changed: Vec<Install> = self.on(machine).iter().filter_map(change).collect();
        changed.into_iter().for_each(|install| self.put(install));
    }

    /// The deployment `former` is called `now` from now on: what it used up goes with it. What another
    /// deployment of that name used up counts on that one's machines alone.
    pub fn rename(&mut self, former: &Name, now: &Name) {
        let machines = |name| self.by_name.get(name).cloned().unwrap_or_default();
        let (own, others) = (machines(former), machines(now));
        for machine in &*others {
            let other = |one: &Install| one.deployment == *now && !one.closed;
            self.update(machine, |one| other(one).then(|| Install { closed: true, ..one.clone() }));
        }
        for machine in &*own {
            let renamed = |one: &Install| {
                let mut next = Install { deployment: now.clone(), ..one.clone() };
                next.add_name(former);
                next
            };
            self.update(machine, |one| (one.deployment == *former && !one.closed).then(|| renamed(one)));
            // What counts for the deployment on a machine that it was given.
            self.share_if(machine, now, 0, |one| one.is_named(former));
        }
    }

    /// The number used up on `machine` counts for the deployment `name` as well, whose number is
    /// `redeploy`. An unused permission does not count, unless it replaces a used one.
    pub fn share(&mut self, machine: &Name, name: &Name, redeploy: u64) {
        let was_used = |one: &Install| one.is_used() || (one.stage == InstallStage::Started && one.again);
        self.share_if(machine, name, redeploy, was_used);
    }

    fn share_if(&mut self, machine: &Name, name: &Name, redeploy: u64, counts: impl Fn(&Install) -> bool) {
        self.update(machine, |one| {
            let mut next = one.clone();
            next.add_name(name);
            // A doubt is about the machine's disk, whatever number its deployment has.
            if one.stage == InstallStage::Doubtful {
                next.redeploy = one.redeploy.max(redeploy);
            }
            (next != *one && counts(one)).then_some(next)
        });
    }

    /// Follows the boxes: the installations of a machine whose network cards, or other marks where it has no
    /// such cards, all belong to another machine name go to that name. `renamed` tells of those of which neither was
    /// noted.
    pub fn follow(&self, after: &Desired, renamed: &BTreeMap<Name, Name>) -> Installs {
        let mut moves: Vec<(Name, Install)> = Vec::new();
        for (machine, list) in &self.by_machine {
            let own = after.machines.get(machine);
            for install in list.iter() {
                let place = place_of(install, own, after, renamed);
                let now = if let Place::At(now) = place { now } else { machine };
                let found = match place {
                    Place::Same => own,
                    Place::At(now) => after.machines.get(now),
                    Place::Gone => None,
                };
                let is_noted =
                    |found: &Arc<Machine>| *found.macs == *install.cards && *found.ids == *install.marks;
                if now == machine && found.is_none_or(is_noted) {
                    continue;
                }
                let mut next = Install { machine: now.clone(), ..install.clone() };
                if let Some(found) = found {
                    next.cards = found.macs.as_slice().into();
                    next.marks = found.ids.as_slice().into();
                }
                moves.push((machine.clone(), next));
            }
        }
        let mut next = self.clone();
        for (machine, install) in &moves {
            let rest: Vec<Install> =
                next.on(machine).iter().filter(|one| one.epoch != install.epoch).cloned().collect();
            match rest.is_empty() {
                true => drop(next.by_machine.remove(machine)),
                false => drop(next.by_machine.insert(machine.clone(), rest.into())),
            }
        }
        moves.into_iter().for_each(|(_, install)| next.put(install));
        next
    }

    /// The machines whose installations differ, with those of `after`; none where it has none.
    pub fn differences(&self, after: &Installs) -> Vec<(Name, Arc<[Install]>)> {
        let changed = self.by_machine.diff(&after.by_machine).map(|item| match item {
            DiffItem::Add(machine, list) | DiffItem::Update { new: (machine, list), .. } => {
                (machine.clone(), list.clone())
            }
            DiffItem::Remove(machine, _) => (machine.clone(), Arc::default()),
        });
        changed.collect()
    }

    fn list_name(&mut self, name: &Name, machine: &Name) {
        let known = self.by_name.get(name).map_or(&[][..], |list| list);
        if !known.contains(machine) {
            let list: Arc<[Name]> = known.iter().chain([machine]).cloned().collect();
            self.by_name.insert(name.clone(), list);
        }
    }
}

impl FromIterator<Install> for Installs {
    fn from_iter<T: IntoIterator<Item = Install>>(list: T) -> Installs {
        let mut installs = Installs::default();
        list.into_iter().for_each(|install| installs.put(install));
        installs
    }
}

/// Where the box of an installation is.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// Under the same name, with a card that it had.
    Same,
    /// Under this name.
    At(&'a Name),
    /// None of its cards is any machine's.
    Gone,
}

fn place_of<'a>(
    install: &Install,
    own: Option<&Arc<Machine>>,
    after: &'a Desired,
    renamed: &'a BTreeMap<Name, Name>,
) -> Place<'a> {
    let Install { machine, cards, marks, .. } = install;
    if cards.is_empty() && marks.is_empty() {
        let is_known = own.is_some_and(|own| !own.macs.is_empty() || !own.ids.is_empty());
        let now = renamed.get(machine).map(Place::At);
        return now.unwrap_or(if is_known { Place::Same } else { Place::Gone });
    }
    if own.is_some_and(|own| shares(cards, &own.macs)) {
        return Place::Same;
    }
    // Boards stay where network cards are changed, but two may show one mark.
    if let Some(now) = cards.iter().find_map(|card| after.macs.get(card)) {
        return Place::At(now);
    }
    if own.is_some_and(|own| shares(marks, &own.ids)) {
        return Place::Same;
    }
    let now = marks.iter().find_map(|mark| after.identified(mark));
    now.map_or(Place::Gone, Place::At)
}

/// Whether two lists have something in common.
fn shares<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.iter().any(|element| other.contains(element))
}

/// An installation that went along with its box.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// What the machine was called before, and is called now.
    pub former: Name,
    pub now: Name,
}

impl Installs {
    /// What followed its box from `before` to here.
    pub fn followed(&self, before: &Installs) -> Vec<Followed> {
        let changed = before.differences(self);
        if changed.is_empty() {
            return Vec::new();
        }
        let places: BTreeMap<u64, &Name> = before.iter().map(|one| (one.epoch, &one.machine)).collect();
        let moved = changed.iter().flat_map(|(_, list)| list.iter()).filter_map(|install| {
            let former = places.get(&install.epoch).filter(|former| ***former != install.machine)?;
            Some(Followed { former: (*former).clone(), now: install.machine.clone() })
        });
        moved.collect()
    }
}

impl Install {
    /// Whether it is of the box with one of these network cards or other marks; also where none was noted.
    pub fn is_of(&self, cards: &[Mac], marks: &[Identity]) -> bool {
        let is_noted = !self.cards.is_empty() || !self.marks.is_empty();
        !is_noted || shares(&self.cards, cards) || shares(&self.marks, marks)
    }

    /// Whether the deployment has, or had, this name.
    pub fn is_named(&self, name: &Name) -> bool {
        self.deployment == *name || self.former.contains(name)
    }

    /// Whether something of it is, or may be, on the disk.
    pub fn is_on_disk(&self) -> bool {
        self.stage != InstallStage::Started || self.again
    }

    /// Whether its number is used up: its installer may have destroyed something.
    pub fn is_used(&self) -> bool {
        !matches!(self.stage, InstallStage::Started | InstallStage::Approved)
    }

    fn add_name(&mut self, name: &Name) {
        if self.deployment != *name && !self.former.contains(name) {
            self.former = self.former.iter().chain([name]).cloned().collect();
        }
    }
}
