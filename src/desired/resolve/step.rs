//! From one resolved revision to the next by what differs, where that is nothing but a few machines
//! and deployments: those alone are resolved, and held against all others by name, hardware
//! address, address and machine. At the slightest doubt there is no step, and everything is
//! resolved as ever.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{Earlier, Options, Resolver, resolve_again};
use crate::desired::{Deployment, Desired, Fixed, Machine, Place};
use crate::manifest::{Documents, Fleet, Mark};
use crate::media::Library;
use crate::model::Name;

/// A revision in which nothing was found to be wrong, by all that may be had only once.
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
        let steady = self.faults() == 0
            && self.dangling.is_empty()
            && !self.incomplete()
            && documents.pools.is_empty()
            && !documents.subnets.is_empty()
            && self.desired.selects == 0;
        let owner = |(name, _): &(Name, Mark)| name.clone();
        steady.then(|| Whole {
            options: self.options.clone(),
            desired: self.desired.clone(),
            fixed: self.fixed.iter().map(|(address, own)| (*address, owner(own))).collect(),
            fixed6: self.fixed6.iter().map(|(address, own)| (*address, owner(own))).collect(),
            pinned: self.pinned.iter().map(|(machine, own)| (machine.clone(), owner(own))).collect(),
            secrets: self.secrets.clone(),
        })
    }
}

/// The next revision, whose documents are those of the last one resolved with `earlier`, but for
/// the step. `None` where that does not tell what everything together would be.
pub fn resolve_step(
    earlier: &mut Earlier,
    documents: &Documents,
    step: &Step,
    library: &dyn Library,
    options: &Options,
) -> Option<Desired> {
    // With a doubt it is lost, and found again when everything is resolved.
    let mut whole = earlier.whole.take().filter(|whole| whole.options == *options)?;
    let mut fleet = step.fresh.clone();
    let pins = step.fresh.deployments.iter().filter_map(|own| own.body.machine.as_ref());
    let machines = pins.filter_map(|name| documents.machines.get(&name.value));
    let borrowed = machines.filter(|machine| !step.files.contains(&machine.mark.file));
    fleet.machines.extend(borrowed.cloned());
    let mut few = earlier.for_few(fleet.machines.iter().map(|machine| &machine.name));
    let (found, problems) = resolve_again(&mut few, &documents.with_fleet(&fleet), library, options);
    let part = few.whole.take().filter(|_| problems.is_empty() && earlier.shares(&few))?;
    whole.exchange(&found, part, step)?;
    earlier.take_over(few, &step.gone);
    let fixed = Fixed::known(whole.fixed.clone(), whole.fixed6.clone());
    let desired = Desired { fixed, ..whole.desired.clone() };
    earlier.whole = Some(whole);
    Some(desired)
}

impl Whole {
    /// Takes what is gone out and puts what was found in. `None` where one is in the way of another.
    fn exchange(&mut self, found: &Desired, part: Whole, step: &Step) -> Option<()> {
        let Whole { options: _, desired: _, fixed, fixed6, pinned, secrets } = part;
        let moved = |mark: &Mark| step.files.contains(&mark.file);
        let known = secrets.keys().all(|name| self.secrets.contains_key(name));
        // Who names a secret first decides what is told of it, and whether it is used at all.
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
