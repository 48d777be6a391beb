//! From one resolved revision to the next by what differs, where that is nothing but a few machines
//! and deployments: those alone are resolved, and held against all others by name, hardware
//! address, address and machine. What was found to be wrong with all others stays so as long as it
//! is not more, and not less, with those alone; deployments that choose their machine stay with it
//! as long as the same machines are free. At the slightest doubt there is no step, and everything
//! is resolved as ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::earlier::Beside;
use super::{Earlier, Options, Resolver, resolve_again};
use crate::desired::{Deployment, Desired, Fixed, Machine, Place};
use crate::manifest::document::{self, Resource};
use crate::manifest::{Documents, Fleet, Level, Mark, Problem};
use crate::media::Library;
use crate::model::{Mac, Name, Size};

type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// A revision without errors, indexed by everything that may be used only once.
#[derive(Debug)]
pub(super) struct Whole {
    options: Options,
    desired: Desired,
    fixed: imbl::HashMap<Ipv4Addr, Name>,
    fixed6: imbl::HashMap<Ipv6Addr, Name>,
    /// Deployments by the machine that they are pinned to.
    pinned: HashMap<Name, Name>,
    /// Where each secret is named first.
    secrets: BTreeMap<Name, Mark>,
    /// What is wrong with what all deployments share, or with all of them alike; in order.
    problems: Vec<Problem>,
    /// Those of them that are about selectors.
    selectors: Vec<Problem>,
}

/// What differs from the revision before.
pub struct Step {
    /// The files that do.
    pub files: Vec<u32>,
    pub gone: Fleet,
    pub fresh: Fleet,
}

impl Resolver<'_> {
    pub(super) fn whole(&self) -> Option<Whole> {
        let documents = self.documents;
        // The level that counts is the one before `[check]` changes it.
        let steady = self.problems.iter().all(|problem| problem.level != Level::Error)
            && self.dangling.is_empty()
            && !self.incomplete()
            && !documents.subnets.is_empty();
        let owner = |(name, _): &(Name, Mark)| name.clone();
        steady.then(|| Whole {
            options: self.options.clone(),
            desired: self.desired.clone(),
            fixed: self.fixed.iter().map(|(address, own)| (*address, owner(own))).collect(),
            fixed6: self.fixed6.iter().map(|(address, own)| (*address, owner(own))).collect(),
            pinned: self.pinned.iter().map(|(machine, own)| (machine.clone(), owner(own))).collect(),
            secrets: self.secrets.clone(),
            problems: ordered(self.problems.clone()),
            selectors: self.selecting.clone(),
        })
    }
}

fn ordered(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.mark(), problem.code));
    problems
}

/// The next revision, whose documents are those of the last one resolved with `earlier`, but for the step;
/// with its problems. `None` where the result could differ from resolving everything.
pub fn resolve_step(
    earlier: &mut Earlier,
    documents: &Documents,
    step: &Step,
    library: &dyn Library,
    options: &Options,
) -> Option<(Desired, Vec<Problem>)> {
    // With a doubt it is lost, and found again when everything is resolved.
    let mut whole = earlier.whole.take().filter(|whole| whole.options == *options)?;
    let choosing = whole.desired.selects > 0 || documents.has_selecting() || step.chooses();
    if choosing && !step.leaves_free_machines() {
        return None;
    }
    let mut fleet = step.fresh.clone();
    let pins = step.fresh.deployments.iter().filter_map(|own| own.body.machine.as_ref());
    let machines = pins.filter_map(|name| documents.machines.get(&name.value));
    let borrowed = machines.filter(|machine| !step.files.contains(&machine.mark.file));
    fleet.machines.extend(borrowed.cloned());
    // The free machines are the same: so is what selectors find among them, at the same places.
    if whole.selectors.iter().any(|problem| step.files.contains(&problem.mark().file)) {
        return None;
    }
    let beside = Beside {
        templates: whole.builtins_beside(step),
        secrets: whole.secrets.clone(),
        selectors: Some(whole.selectors.clone()),
    };
    let mut few = earlier.for_few(fleet.machines.iter().map(|machine| &machine.name), beside);
    let (found, _) = resolve_again(&mut few, &documents.with_fleet(&fleet), library, options);
    let part = few.whole.take().filter(|part| part.problems == whole.problems && earlier.shares(&few))?;
    whole.exchange(&found, part, step)?;
    earlier.take_over(few, &step.gone);
    let fixed = Fixed::known(whole.fixed.clone(), whole.fixed6.clone());
    let desired = Desired { fixed, ..whole.desired.clone() };
    let problems = documents.weigh(whole.problems.clone());
    earlier.whole = Some(whole);
    Some((desired, problems))
}

impl Step {
    /// Whether a deployment that differs chooses its machine, or did.
    fn chooses(&self) -> bool {
        let mut deployments = self.gone.deployments.iter().chain(&self.fresh.deployments);
        deployments.any(|one| one.body.select.is_some())
    }

    /// Whether all deployments that choose a machine have the same choice as before: machines stay
    /// as they are, and so do those that are pinned or implied.
    fn leaves_free_machines(&self) -> bool {
        type Shown = (Vec<Mac>, Option<Size>, bool);
        fn machines(fleet: &Fleet) -> BTreeMap<&Name, (&Labels, Shown)> {
            let shown = |one: &Arc<Resource<document::Machine>>| {
                let own = &one.body;
                let macs = own.macs.iter().map(|mac| mac.value).collect();
                let is_protected = own.protect.as_ref().is_some_and(|protect| protect.value);
                (macs, own.memory.as_ref().map(|memory| memory.value), is_protected)
            };
            fleet.machines.iter().map(|one| (&one.name, (&one.body.labels, shown(one)))).collect()
        }
        fn pins(fleet: &Fleet) -> BTreeMap<&Name, Option<&Name>> {
            let deployments = fleet.deployments.iter();
            deployments.map(|one| (&one.name, one.body.machine.as_ref().map(|name| &name.value))).collect()
        }
        !self.chooses()
            && pins(&self.gone) == pins(&self.fresh)
            && machines(&self.gone) == machines(&self.fresh)
    }
}

impl Whole {
    /// The built-in templates of the deployments that stay.
    fn builtins_beside(&self, step: &Step) -> BTreeSet<Name> {
        let gone: BTreeSet<&Name> = step.gone.deployments.iter().map(|one| &one.name).collect();
        let stay = self.desired.deployments.values().filter(|one| !gone.contains(&one.name));
        let mut builtins = BTreeSet::new();
        let used = stay.flat_map(|one| [&one.template, &one.user_data]).flatten();
        for template in used.filter(|one| one.origin.is_none()) {
            if !builtins.contains(&template.name) {
                builtins.insert(template.name.clone());
            }
        }
        builtins
    }

    /// Takes what is gone out and puts what was found in. `None` where one is in the way of another.
    fn exchange(&mut self, found: &Desired, part: Whole, step: &Step) -> Option<()> {
        let Whole { options: _, desired: _, fixed, fixed6, pinned, secrets, problems, selectors: _ } = part;
        // They are the same, at the places of now.
        self.problems = problems;
        let moved = |mark: &Mark| step.files.contains(&mark.file);
        let known = secrets.keys().all(|name| self.secrets.contains_key(name));
        // The first place that names a secret gets its problems, and decides whether it counts as used.
        if !known || self.secrets.values().chain(secrets.values()).any(moved) {
            return None;
        }
        for deployment in &step.gone.deployments {
            self.forget(&deployment.name, !deployment.body.macs.is_empty())?;
        }
        for machine in &step.gone.machines {
            self.forget_machine(&machine.name)?;
        }
        for machine in found.machines.values() {
            self.add_machine(machine)?;
        }
        for deployment in found.deployments.values() {
            let other = self.desired.deployments.insert(deployment.name.clone(), deployment.clone());
            other.is_none().then_some(())?;
        }
        let free = fixed.into_iter().all(|(address, name)| self.fixed.insert(address, name).is_none())
            && fixed6.into_iter().all(|(address, name)| self.fixed6.insert(address, name).is_none())
            && pinned.into_iter().all(|(machine, name)| self.pinned.insert(machine, name).is_none());
        free.then_some(())
    }

    fn forget(&mut self, name: &Name, implies_machine: bool) -> Option<()> {
        let deployment: Arc<Deployment> = self.desired.deployments.remove(name)?;
        deployment.address.map(|address| self.fixed.remove(&address));
        deployment.address6.map(|address| self.fixed6.remove(&address));
        match &deployment.place {
            Place::Machine(machine) if !implies_machine => drop(self.pinned.remove(machine)),
            _ => {}
        }
        if implies_machine { self.forget_machine(name) } else { Some(()) }
    }

    fn forget_machine(&mut self, name: &Name) -> Option<()> {
        let machine = self.desired.machines.remove(name)?;
        for mac in &machine.macs {
            self.desired.macs.remove(mac);
        }
        // A deployment that stays may be pinned to it.
        (!self.pinned.contains_key(name)).then_some(())
    }

    /// A machine that is known by more than its cards may be in the way of any other.
    fn add_machine(&mut self, machine: &Arc<Machine>) -> Option<()> {
        match self.desired.machines.get(&machine.name) {
            // Where a deployment went to a machine that is as it was.
            Some(known) => return Arc::ptr_eq(known, machine).then_some(()),
            None if !machine.ids.is_empty() => return None,
            None => drop(self.desired.machines.insert(machine.name.clone(), machine.clone())),
        }
        let name = &machine.name;
        let mut macs = machine.macs.iter();
        macs.all(|mac| self.desired.macs.insert(*mac, name.clone()).is_none()).then_some(())
    }
}
