//! Which machine each deployment of a revision has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::super::queue::Waiter;
use super::super::{Install, State, lineage};
use crate::desired::{Desired, Machine, Place, Pool, differences};
use crate::model::Name;
use crate::model::wish::{self, Lacks, is_wish};

/// The machine of each deployment of a revision. `base` is the state before, with the machines' new names.
pub(super) fn assigned(base: &State, desired: &Desired) -> imbl::OrdMap<Name, Name> {
    let next = pinned(base, desired);
    if desired.selects > 0 { chosen(base, desired, next) } else { next }
}

/// What deployments are pinned to; those that choose have what they had. Only what differs from the revision before is
/// looked at.
fn pinned(base: &State, desired: &Desired) -> imbl::OrdMap<Name, Name> {
    if base.desired.revision.is_empty() {
        // What was served before the start is not loaded: every deployment may be another.
        let machine = |(name, place): (&Name, &Place)| match place {
            Place::Machine(machine) if base.is_kept_from(name, machine) => None,
            Place::Machine(machine) => Some((name.clone(), machine.clone())),
            Place::Select(_) => Some((name.clone(), base.lasting.assignments.get(name)?.clone())),
        };
        let places = desired.deployments.iter().map(|(name, deployment)| (name, &deployment.place));
        return patched(&base.lasting.assignments, &places.filter_map(machine).collect());
    }
    let mut next = base.lasting.assignments.clone();
    for one in differences(&base.desired.deployments, &desired.deployments) {
        match one.after.map(|deployment| &deployment.place) {
            Some(Place::Machine(machine)) if next.get(one.name) == Some(machine) => {}
            // It waits, and keeps no other.
            Some(Place::Machine(machine)) if base.is_kept_from(one.name, machine) => {
                let is_claim = base.lasting.claims.contains_key(one.name);
                (!is_claim).then(|| next.remove(one.name));
            }
            Some(Place::Machine(machine)) => drop(next.insert(one.name.clone(), machine.clone())),
            Some(Place::Select(_)) => {}
            None => drop(next.remove(one.name)),
        }
    }
    next
}

/// Gives each deployment that chooses its machine: pins come first, then choices made earlier, then what a former
/// name had, then, in order of names, any free machine that matches. A choice stays until its machine is gone or
/// pinned: one that matches no more is drift. `next` has the pins.
fn chosen(base: &State, desired: &Desired, mut next: imbl::OrdMap<Name, Name>) -> imbl::OrdMap<Name, Name> {
    let before = &base.lasting.assignments;
    let mut open: Vec<(&Name, &Labels)> = Vec::new();
    for (name, deployment) in &desired.deployments {
        if let Place::Select(labels) = &deployment.place {
            open.push((name, labels));
        }
    }
    let all: Vec<&Name> = open.iter().map(|(name, _)| *name).collect();
    let tenants = turned(&base.derived.tenants, before, &next);
    let is_pinned = |machine: &Name| {
        let place = tenants.get(machine).and_then(|name| desired.deployments.get(name)).map(|one| &one.place);
        matches!(place, Some(Place::Machine(own)) if own == machine)
    };
    let mut taken: BTreeSet<Name> = BTreeSet::new();
    let mut found: BTreeMap<Name, Name> = BTreeMap::new();
    let mut keep = |open: &mut Vec<(&Name, &Labels)>, former: &dyn Fn(&Name) -> Option<Name>| {
        open.retain(|(name, _)| match former(name).filter(|one| desired.machines.contains_key(one)) {
            Some(machine)
                if !is_pinned(&machine)
                    && !base.is_kept_from(name, &machine)
                    && taken.insert(machine.clone()) =>
            {
                found.insert((*name).clone(), machine);
                false
            }
            _ => true,
        });
    };
    keep(&mut open, &|name| before.get(name).cloned());
    let may_have = |name: &Name, machine: &Name| {
        let place = desired.deployments.get(name).map(|deployment| &deployment.place);
        let machine = desired.machines.get(machine);
        matches!((place, machine), (Some(Place::Select(labels)), Some(machine)) if base.lacks(machine, labels).is_none())
    };
    let last = |name: &Name| base.last_install(name).map(|install| install.machine.clone());
    keep(&mut open, &|name| last(name).filter(|machine| may_have(name, machine)));
    let new = open.iter().map(|(name, _)| *name);
    for (name, former) in lineage::renamed_choices(base, desired, new, may_have) {
        keep(&mut open, &|one| (*one == name).then(|| former.clone()));
    }
    let is_open = |machine: &Name| !is_pinned(machine) && !taken.contains(machine) && !base.is_taken(machine);
    let kept = if open.is_empty() { BTreeSet::new() } else { for_claims(base, desired, is_open) };
    let mut choices = Choices::new(base, desired, &open);
    for (name, labels) in open {
        let is_taken = |machine: &Name| {
            is_pinned(machine)
                || taken.contains(machine)
                || kept.contains(machine)
                || base.is_kept_from(name, machine)
        };
        if let Some(machine) = choices.next(labels, is_taken) {
            taken.insert(machine.clone());
            found.insert(name.clone(), machine.clone());
        }
    }
    for name in all {
        match found.remove(name) {
            Some(machine) if next.get(name) == Some(&machine) => {}
            Some(machine) => drop(next.insert(name.clone(), machine)),
            None => drop(next.remove(name)),
        }
    }
    next
}

/// Machines that claims wait for and can have under a revision: who begins to wait after them has none of these. As many as
/// there are such claims; the queue gives them out when the revision is adopted.
fn for_claims(base: &State, desired: &Desired, is_open: impl Fn(&Name) -> bool) -> BTreeSet<Name> {
    let mut kept = BTreeSet::new();
    // How far each pool has looked, and how many machines its claims will have.
    let mut looks = BTreeMap::new();
    for waiter in base.in_turn() {
        let Waiter::Claim(name) = waiter else { continue };
        let Some(claim) = base.lasting.claims.get(name) else { continue };
        let Some(pool) = desired.pools.get(&claim.pool) else { continue };
        let fresh = || (desired.machines.values(), base.claimed_of(&pool.name));
        let (machines, held) = looks.entry(&pool.name).or_insert_with(fresh);
        if pool.max.is_some_and(|max| *held >= max) {
            continue;
        }
        let fits = |machine: &&Arc<Machine>| {
            let name = &machine.name;
            is_open(name) && !kept.contains(name) && base.may_claim(pool, machine)
        };
        if let Some(machine) = machines.find(fits) {
            kept.insert(machine.name.clone());
            *held += 1;
        }
    }
    kept
}

impl State {
    /// Whether nothing but a tenancy keeps a machine from the claims of a pool.
    fn may_claim(&self, pool: &Pool, machine: &Machine) -> bool {
        let life = self.life(&machine.name);
        let is_clean = || life.is_some_and(|life| life.is_clean());
        let is_suitable = match &pool.prototype.place {
            Place::Select(labels) => self.lacks(machine, labels).is_none(),
            Place::Machine(own) => *own == machine.name,
        };
        is_suitable
            && self.hold(&machine.name).is_none()
            && machine.protect != Some(true)
            && !self.lasting.protected.contains(&machine.name)
            && (!pool.clean || is_clean())
    }

    /// The last installation of a deployment under its own name.
    pub(super) fn last_install(&self, name: &Name) -> Option<&Install> {
        let own = self.lasting.installs.named(name).filter(|one| one.deployment == *name && !one.closed);
        own.max_by_key(|install| install.epoch)
    }
}

/// `before` with what is different in `now`: most of a large table stays shared with the one
/// before.
fn patched(before: &imbl::OrdMap<Name, Name>, now: &BTreeMap<Name, Name>) -> imbl::OrdMap<Name, Name> {
    let mut next = before.clone();
    let mut former = before.iter().peekable();
    for (name, machine) in now {
        while let Some((gone, _)) = former.next_if(|(known, _)| *known < name) {
            next.remove(gone);
        }
        match former.next_if(|(known, _)| *known == name) {
            Some((_, was)) if was == machine => {}
            _ => drop(next.insert(name.clone(), machine.clone())),
        }
    }
    former.for_each(|(gone, _)| drop(next.remove(gone)));
    next
}

/// The assignments the other way round, made of what they were before.
pub(super) fn turned(
    tenants: &imbl::OrdMap<Name, Name>,
    before: &imbl::OrdMap<Name, Name>,
    after: &imbl::OrdMap<Name, Name>,
) -> imbl::OrdMap<Name, Name> {
    let mut next = tenants.clone();
    let mut given = Vec::new();
    for change in before.diff(after) {
        match change {
            DiffItem::Add(deployment, machine) => given.push((deployment, machine)),
            DiffItem::Remove(_, machine) => drop(next.remove(machine)),
            DiffItem::Update { old: (_, former), new: (deployment, machine) } => {
                next.remove(former);
                given.push((deployment, machine));
            }
        }
    }
    // A machine may be taken from one and given to another.
    for (deployment, machine) in given {
        next.insert(machine.clone(), deployment.clone());
    }
    next
}

type Labels = BTreeMap<String, String>;

/// Machines by what selectors ask for. Each selector looks at each machine once, however many
/// deployments have it.
struct Choices<'a> {
    /// Knows the hardware.
    state: &'a State,
    all: Vec<&'a Machine>,
    /// In order of names.
    by_label: HashMap<(&'a str, &'a str), Vec<&'a Machine>>,
    /// How many machines of its list a selector has behind it.
    passed: HashMap<&'a Labels, usize>,
}

impl<'a> Choices<'a> {
    fn new(state: &'a State, desired: &'a Desired, open: &[(&Name, &'a Labels)]) -> Choices<'a> {
        let mut choices =
            Choices { state, all: Vec::new(), by_label: HashMap::new(), passed: HashMap::new() };
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
    fn next(&mut self, labels: &'a Labels, is_taken: impl Fn(&Name) -> bool) -> Option<&'a Name> {
        let lists = labels.iter().filter(|(_, value)| !is_wish(value)).map(|(key, value)| {
            self.by_label.get(&(key.as_str(), value.as_str())).map_or(&[][..], Vec::as_slice)
        });
        let rarest = lists.min_by_key(|list| list.len()).unwrap_or(&self.all);
        let passed = self.passed.entry(labels).or_default();
        while let Some(machine) = rarest.get(*passed) {
            *passed += 1;
            if !is_taken(&machine.name) && self.state.lacks(machine, labels).is_none() {
                return Some(&machine.name);
            }
        }
        None
    }
}

impl State {
    /// What a machine lacks of what a selector asks for: labels, or hardware as our agent found it.
    pub fn lacks(&self, machine: &Machine, selector: &Labels) -> Option<Lacks> {
        let facts = self.facts(&machine.name).map(|facts| &**facts);
        wish::selects(selector, |name| machine.labels.get(name).map(String::as_str), facts).err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Origin;
    use crate::model::facts::Facts;

    fn pairs(text: &str) -> BTreeMap<Name, Name> {
        let name = |word: &str| word.parse::<Name>().unwrap();
        text.split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(a, b)| (name(a), name(b)))
            .collect()
    }

    #[test]
    fn machines_are_chosen_by_what_our_agent_found() {
        let machine = |name: &str, size: &str| -> Machine {
            Machine {
                name: name.parse().unwrap(),
                macs: Vec::new(),
                ids: Vec::new(),
                labels: [("size".to_owned(), size.to_owned())].into(),
                protect: None,
                options: Default::default(),
                power: None,
                power_on: false,
                loader: Vec::new(),
                origin: Origin { file: "a.toml".into(), line: 1, column: 1 },
            }
        };
        let machines =
            ["m1", "m2", "m3"].map(|name| machine(name, if name == "m3" { "large" } else { "small" }));
        let desired = Desired {
            machines: machines.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect(),
            ..Desired::default()
        };
        let selector: Labels = [("size", "small"), ("memory", ">= 16 GiB")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let name: Name = "web".parse().unwrap();
        let open = [(&name, &selector)];
        let chosen = |memories: &[(&str, u64)]| {
            let facts = memories.iter().map(|(machine, memory)| {
                let facts = Facts { memory: memory << 30, ..Facts::default() };
                (machine.parse::<Name>().unwrap(), Arc::new(facts))
            });
            let facts = facts.collect();
            let state = State::new(crate::state::Server::stand_in(std::net::Ipv4Addr::LOCALHOST));
            let state = state.with_lasting(|lasting| lasting.facts = facts);
            let mut choices = Choices::new(&state, &desired, &open);
            choices.next(&selector, |_| false).map(ToString::to_string)
        };
        assert_eq!(chosen(&[]), None, "nobody has looked");
        assert_eq!(chosen(&[("m1", 8), ("m2", 16), ("m3", 64)]).as_deref(), Some("m2"));
        assert_eq!(chosen(&[("m1", 8), ("m3", 64)]), None);
    }

    #[test]
    fn what_changes_is_changed_and_turned() {
        let cases = [
            ("", "a=m1 b=m2"),
            ("a=m1 b=m2", ""),
            ("a=m1 b=m2 c=m3", "a=m1 b=m2 c=m3"),
            ("a=m1 b=m2", "a=m2 b=m1"),
            ("a=m1 b=m2 c=m3", "b=m1 d=m2 e=m9"),
            ("b=m1", "a=m2 c=m1"),
        ];
        for (before, after) in cases {
            let former: imbl::OrdMap<Name, Name> = pairs(before).into_iter().collect();
            let tenants = former.iter().map(|(name, machine)| (machine.clone(), name.clone())).collect();
            let next = patched(&former, &pairs(after));
            assert_eq!(next, pairs(after).into_iter().collect(), "{before} -> {after}");
            let other_way: imbl::OrdMap<Name, Name> =
                next.iter().map(|(name, machine)| (machine.clone(), name.clone())).collect();
            assert_eq!(turned(&tenants, &former, &next), other_way, "{before} -> {after}");
            assert!(before != after || next.ptr_eq(&former), "nothing is copied for nothing");
        }
    }
}
