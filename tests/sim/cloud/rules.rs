//! What must hold of claims and wipes, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use voldemort::desired::Deployment;
use voldemort::model::Name;
use voldemort::state::lifecycle::{Condition, DiskState, Work};
use voldemort::state::{Claim, Life, State};

use super::metal::{Content, Metal};

/// The daemon counts time by its ticks, every 30 seconds here, and a slow disk stores a wipe 30 seconds after it was counted.
const HOUR: u64 = 3_600_000 - 60_000;

#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Installations that wrote to a disk, by machine and epoch.
    installed: BTreeSet<(Name, u64)>,
    /// Every name that a claim had.
    names: BTreeSet<Name>,
    /// Claims as they were stored last.
    claims: imbl::OrdMap<Name, Arc<Claim>>,
    lives: imbl::OrdMap<Name, Arc<Life>>,
    /// Machines that are to be wiped since their claim ended, or a person said so.
    causes: BTreeSet<Name>,
    /// When wipes began that nobody agreed to beyond the budget.
    wipes: Vec<u64>,
    pub wiped: u64,
    pub granted: u64,
    pub installs: u64,
}

impl Rules {
    /// An installer writes.
    pub(crate) fn installs(&mut self, machine: &Name, epoch: u64) {
        assert!(
            self.installed.insert((machine.clone(), epoch)),
            "{machine} is installed twice under epoch {epoch}"
        );
        self.installs += 1;
    }

    /// A person's order to wipe a machine is stored.
    pub(crate) fn ordered(&mut self, machine: &Name) {
        self.causes.insert(machine.clone());
    }

    /// Our agent wipes a disk.
    pub(crate) fn wipes(&mut self, machine: &Name) {
        assert!(self.causes.contains(machine), "{machine} is wiped and nobody gave it back");
        self.wiped += 1;
    }

    /// What was stored, against what was stored before, and against machines as they really are.
    pub(crate) fn stored<'a>(&mut self, state: &State, now: u64, metal: impl Fn(&Name) -> &'a Metal) {
        let most = state.desired().safety.max_wipes.map_or(usize::MAX, |most| most as usize);
        let (lives, claims) = (state.lasting().lives.clone(), state.claims().clone());
        for item in std::mem::replace(&mut self.claims, claims.clone()).diff(&claims) {
            match item {
                DiffItem::Add(name, claim) => {
                    assert!(self.names.insert(name.clone()), "{name} is given twice");
                    claim.machine().into_iter().for_each(|machine| self.grants(state, claim, machine));
                }
                DiffItem::Update { old: (_, was), new: (name, is) } => match (was.machine(), is.machine()) {
                    (None, Some(machine)) => self.grants(state, is, machine),
                    (was, is) => assert_eq!(was, is, "{name} changes its machine"),
                },
                DiffItem::Remove(_, claim) => {
                    // It may have got its machine and given it back within one batch.
                    let begun = format!("claim {} ", claim.name);
                    let own = |life: &Life| {
                        life.order.as_ref().is_some_and(|order| order.reason.starts_with(&begun))
                    };
                    let released = || lives.iter().find(|(_, life)| own(life)).map(|(machine, _)| machine);
                    let machine = claim.machine().or_else(released);
                    let wipes = claim.on_return.wipes();
                    self.causes.extend(machine.filter(|_| wipes).cloned());
                }
            }
        }
        for item in std::mem::replace(&mut self.lives, lives.clone()).diff(&lives) {
            if let DiffItem::Update { old: (_, was), new: (machine, is) } = &item
                && let (Some(order), None) = (&was.order, &is.order)
            {
                if order.work == Work::Fencing {
                    self.causes.remove(*machine);
                    continue;
                }
                let certificate = state.certificates().get(&order.epoch);
                let is_certified =
                    certificate.is_some_and(|one| one.verified.is_some() && one.machine == **machine);
                assert!(
                    is_certified,
                    "{machine} is free after order {}, whose wipe has no certificate",
                    order.epoch
                );
                assert!(metal(machine).is_blank(), "{machine} is free and was not wiped");
                assert!(
                    order.condition != Condition::Failed,
                    "{machine} is free, and its release had failed"
                );
            }
            if let DiffItem::Update { old: (_, former), new: (machine, life) } = item
                && let (Some(was), Some(is)) = (&former.order, &life.order)
                && (was.work, is.work) == (Work::Fencing, Work::Wiping)
            {
                self.begins(machine, is.consented, now, most);
                assert!(is.condition != Condition::Failed, "the wipe of {machine} begins, and had failed");
                let is_held = former.hold.is_some() && life.hold.is_some();
                assert!(!is_held, "the wipe of {machine} begins, which is on hold");
            }
        }
    }

    fn begins(&mut self, machine: &Name, is_consented: bool, now: u64, most: usize) {
        assert!(self.causes.contains(machine), "the wipe of {machine} has no cause");
        if is_consented {
            return;
        }
        self.wipes.push(now);
        self.wipes.retain(|then| *then + HOUR > now);
        assert!(self.wipes.len() <= most, "{} wipes began within an hour, and {most} may", self.wipes.len());
    }

    fn grants(&mut self, state: &State, claim: &Claim, machine: &Name) {
        self.granted += 1;
        self.causes.remove(machine);
        assert!(!state.protected().contains(machine), "{machine} is protected, and {} has it", claim.name);
        let earlier = state
            .waiting(&claim.pool)
            .into_iter()
            .find(|other| other.by == claim.by && other.number < claim.number);
        assert!(earlier.is_none(), "{} is served before {earlier:?}", claim.name);
    }

    /// Looks at all machines: each has one tenancy at most, and what says so agrees.
    pub(crate) fn look<'a>(
        &self,
        state: &State,
        prototypes: &BTreeMap<Arc<str>, Arc<Deployment>>,
        metal: impl Fn(&Name) -> &'a Metal,
    ) {
        for (machine, life) in &state.lasting().lives {
            for disk in life.disks.iter().filter(|disk| disk.state == DiskState::Clean) {
                let really = metal(machine).disks.iter().filter(|(id, _)| *id == disk.id);
                let mut used = really.filter(|(_, content)| *content != Content::Blank);
                assert!(used.next().is_none(), "disk {} of {machine} is not clean", disk.id);
            }
        }
        let mut machines = BTreeSet::new();
        let run: BTreeSet<&Arc<str>> =
            state.claims().values().filter_map(|claim| claim.prototype.as_ref()).collect();
        let stored: BTreeSet<&Arc<str>> = state.prototypes().keys().collect();
        assert_eq!(run, stored, "what claims run is stored, and nothing else");
        for claim in state.claims().values() {
            let Some(place) = &claim.place else { continue };
            let (runs, own) = (state.deployment(&claim.name), claim.prototype.as_ref());
            let digest = |one: &Arc<Deployment>| one.digest.clone();
            assert_eq!(
                runs.map(digest),
                own.map(|key| digest(&prototypes[key])),
                "{} runs another",
                claim.name
            );
            assert!(machines.insert(&place.machine), "{} has two claims", place.machine);
            let tenancy = state.tenancy(&place.machine).expect("a claim's machine is somebody's");
            assert!(
                tenancy.is_claim && tenancy.holder == claim.name && tenancy.epoch == place.epoch,
                "{tenancy:?}"
            );
        }
        for (machine, tenancy) in &state.lasting().tenancies {
            assert_eq!(state.assignments().get(&tenancy.holder), Some(machine), "{tenancy:?}");
            assert_eq!(state.tenants().get(machine), Some(&tenancy.holder));
            let order = state.life(machine).and_then(|life| life.order.as_ref());
            assert!(order.is_none(), "{machine} is {}'s and is being released", tenancy.holder);
        }
        assert_eq!(state.lasting().tenancies.len(), state.assignments().len());
    }
}
