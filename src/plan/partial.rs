//! Part of a revision: some deployments as they are to be, the others as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::desired::{Boot, Deployment, Desired, Ipv6, Place, Subnet};
use crate::model::Name;
use crate::model::folded::folded;
use crate::model::selection::{Selection, matches};

/// A pattern that names nothing: a typing mistake must not become an empty or a full plan.
fn idle<'a>(selection: &'a Selection, desired: [&Desired; 2]) -> Option<&'a String> {
    let known = |pattern: &&String| {
        desired.iter().any(|desired| {
            let mut names = desired.deployments.keys().chain(desired.machines.keys());
            names.any(|name| matches(pattern, name.as_str()))
        })
    };
    selection.only.iter().chain(&selection.except).find(|pattern| !known(pattern))
}

/// The same as `compose`, for a choice that a person makes now: no deployment that is not selected may lose its
/// address to a subnet that changes. What was chosen earlier stays as it was agreed to.
pub fn choose(before: &Desired, after: &Desired, selection: &Selection) -> Result<Desired, String> {
    let next = compose(before, after, selection)?;
    let is_lost = |was: &&Arc<Deployment>| {
        next.deployments.get(&was.name).is_some_and(|one| {
            let same = (was.address, was.address6) == (one.address, one.address6);
            same && fits(was, &was.subnet) && !fits(one, &one.subnet)
        })
    };
    let lost: Vec<&Arc<Deployment>> = before.deployments.values().filter(is_lost).collect();
    let Some(first) = lost.first() else { return Ok(next) };
    let subnet = &first.subnet.name;
    let names = folded(lost.iter().filter(|one| one.subnet.name == *subnet).map(|one| one.name.as_str()));
    let why = format!("the addresses of {names} can't be used in subnet {subnet} as it becomes");
    Err(format!("{why}: select them as well"))
}

/// Whether the fixed addresses of a deployment can be used in a subnet, as `check` sees it.
fn fits(deployment: &Deployment, subnet: &Subnet) -> bool {
    let four = deployment.address.is_none_or(|at| {
        let is_host = subnet.cidr.is_some_and(|cidr| cidr.is_host(at));
        is_host && subnet.gateway != Some(at) && !subnet.is_dynamic(at)
    });
    let six = |at| {
        let takes = |ipv6: &Ipv6| ipv6.cidr.is_host(at) && !ipv6.dns.contains(&at) && !ipv6.is_dynamic(at);
        subnet.ipv6.as_ref().is_some_and(takes)
    };
    four && deployment.address6.is_none_or(six)
}

/// `before`, with the selected things as they are in `after`. Boots and subnets that a selected deployment
/// uses change for all deployments that use them. The error names what can't be separated.
pub fn compose(before: &Desired, after: &Desired, selection: &Selection) -> Result<Desired, String> {
    if let Some(pattern) = idle(selection, [before, after]) {
        return Err(format!("no deployment or machine is called {pattern}"));
    }
    let mut next = Desired {
        revision: format!("{} ({selection})", after.revision).into(),
        safety: after.safety.clone(),
        // As the daemon has their texts: those of the new revision.
        secrets: before.secrets.clone().into_iter().chain(after.secrets.clone()).collect(),
        ..if selection.only.is_empty() { after.clone() } else { before.clone() }
    };
    next.fixed = Default::default();
    let mut taken = BTreeSet::new();
    next.deployments = deployments(before, after, selection, &mut taken);
    next.machines = machines(before, after, selection, &next.deployments, &taken)?;
    next.selects = next.deployments.values().filter(|one| pinned(one).is_none()).count();
    share(&mut next, &taken);
    next.macs = macs(&next)?;
    one_address_each(&next)?;
    Ok(next)
}

type Deployments = imbl::OrdMap<Name, Arc<Deployment>>;
type Machines = imbl::OrdMap<Name, Arc<crate::desired::Machine>>;

fn pinned(deployment: &Deployment) -> Option<&Name> {
    match &deployment.place {
        Place::Machine(machine) => Some(machine),
        Place::Select(_) => None,
    }
}

/// The deployments; `taken` are the names of those that are as in `after`.
fn deployments(
    before: &Desired,
    after: &Desired,
    selection: &Selection,
    taken: &mut BTreeSet<Name>,
) -> Deployments {
    let mut chosen = Deployments::new();
    let names: BTreeSet<&Name> = before.deployments.keys().chain(after.deployments.keys()).collect();
    for name in names {
        let (old, new) = (before.deployments.get(name), after.deployments.get(name));
        let mut called = vec![name];
        called.extend(old.and_then(|one| pinned(one)));
        called.extend(new.and_then(|one| pinned(one)));
        let takes = selection.takes(&called);
        if takes {
            taken.insert(name.clone());
        }
        if let Some(deployment) = if takes { new } else { old } {
            chosen.insert(name.clone(), deployment.clone());
        }
    }
    chosen
}

fn machines(
    before: &Desired,
    after: &Desired,
    selection: &Selection,
    deployments: &Deployments,
    taken: &BTreeSet<Name>,
) -> Result<Machines, String> {
    let mut wanted: BTreeMap<&Name, &Name> = BTreeMap::new();
    for deployment in deployments.values() {
        let Some(machine) = pinned(deployment) else { continue };
        if let Some(other) = wanted.insert(machine, &deployment.name) {
            let name = &deployment.name;
            return Err(format!("{other} and {name} would both have machine {machine}: select both or none"));
        }
    }
    let mut chosen = Machines::new();
    let names: BTreeSet<&Name> = before.machines.keys().chain(after.machines.keys()).collect();
    for name in names {
        let (old, new) = (before.machines.get(name), after.machines.get(name));
        let machine = match wanted.get(name) {
            Some(tenant) if taken.contains(*tenant) => new.or(old),
            Some(_) => old.or(new),
            None if selection.takes(&[name]) => new,
            None => old,
        };
        chosen.extend(machine.map(|machine| (name.clone(), machine.clone())));
    }
    Ok(chosen)
}

/// Boots and subnets by what the deployments need: those of selected ones as in the new revision, for all
/// that use them, the others as they were.
fn share(next: &mut Desired, taken: &BTreeSet<Name>) {
    let (selected, rest): (Vec<_>, Vec<_>) =
        next.deployments.values().cloned().partition(|one| taken.contains(&one.name));
    let (mut boots, mut subnets) = (BTreeMap::new(), BTreeMap::new());
    for deployment in selected.iter().chain(&rest) {
        boots.entry(deployment.boot.name.clone()).or_insert_with(|| deployment.boot.clone());
        subnets.entry(deployment.subnet.name.clone()).or_insert_with(|| deployment.subnet.clone());
    }
    for deployment in &rest {
        let (boot, subnet) = (&boots[&deployment.boot.name], &subnets[&deployment.subnet.name]);
        if Arc::ptr_eq(boot, &deployment.boot) && Arc::ptr_eq(subnet, &deployment.subnet) {
            continue;
        }
        let moved = moved(deployment, boot.clone(), subnet.clone());
        next.deployments.insert(deployment.name.clone(), Arc::new(moved));
    }
    next.boots.extend(boots);
    next.subnets.extend(subnets);
}

/// A deployment with its boot and subnet as others have them now.
fn moved(deployment: &Deployment, boot: Arc<Boot>, subnet: Arc<Subnet>) -> Deployment {
    let Deployment {
        name,
        place,
        profile,
        address,
        address6,
        subnet: _,
        boot: _,
        template,
        user_data,
        values,
        redeploy,
        options,
        digest,
        origin,
    } = deployment;
    Deployment {
        name: name.clone(),
        place: place.clone(),
        profile: profile.clone(),
        address: *address,
        address6: *address6,
        subnet,
        boot,
        template: template.clone(),
        user_data: user_data.clone(),
        values: values.clone(),
        redeploy: *redeploy,
        options: options.clone(),
        digest: digest.clone(),
        origin: origin.clone(),
    }
}

fn macs(next: &Desired) -> Result<imbl::HashMap<crate::model::Mac, Name>, String> {
    let mut macs = imbl::HashMap::new();
    for machine in next.machines.values() {
        for mac in &machine.macs {
            if let Some(other) = macs.insert(*mac, machine.name.clone()) {
                let name = &machine.name;
                return Err(format!("{mac} would belong to {other} and to {name}: select both or none"));
            }
        }
    }
    Ok(macs)
}

fn one_address_each(next: &Desired) -> Result<(), String> {
    let mut owners = BTreeMap::new();
    for deployment in next.deployments.values() {
        let fixed6 = deployment.address6.map(IpAddr::V6);
        for address in deployment.address.map(IpAddr::V4).into_iter().chain(fixed6) {
            if let Some(other) = owners.insert(address, &deployment.name) {
                let name = &deployment.name;
                return Err(format!("{other} and {name} would both have {address}: select both or none"));
            }
        }
    }
    Ok(())
}
