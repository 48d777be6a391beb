//! Part of a revision: some deployments as they are to be, the others as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::diff::resealed;
use crate::desired::{Boot, Deployment, Desired, Ipv6, Place, Pool, Subnet};
use crate::model::folded::folded;
use crate::model::selection::{Selection, matches};
use crate::model::{Mac, Name};

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
/// uses change for all deployments that use them, and secrets for all that name them. The error names what can't
/// be separated.
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
    reseal(&mut next, before, after, &taken);
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
    next.agent.follow(&next.boots);
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

/// What is not selected is served the new texts of secrets too: where it names one that has changed, its digest
/// says so.
fn reseal(next: &mut Desired, before: &Desired, after: &Desired, taken: &BTreeSet<Name>) {
    let names = resealed(before, after).into_iter();
    let changed: BTreeMap<Name, [u8; 32]> =
        names.filter_map(|name| Some((name.clone(), *after.secrets.get(name)?))).collect();
    if changed.is_empty() {
        return;
    }
    let rest = resealed_rest(next, after, &changed, taken);
    next.deployments.extend(rest);
    for pool in next.pools.values_mut() {
        // Those of `after` have their digests already.
        let is_new = after.pools.get(&pool.name).is_some_and(|new| Arc::ptr_eq(new, pool));
        if let Some(prototype) = pool.prototype.resealed(&changed).filter(|_| !is_new) {
            *pool = Arc::new(Pool { prototype: Arc::new(prototype), ..(**pool).clone() });
        }
    }
}

/// The deployments that are not selected and name a secret that has changed. One that differs from that of `after` in
/// nothing else has its digest.
fn resealed_rest(
    next: &Desired,
    after: &Desired,
    changed: &BTreeMap<Name, [u8; 32]>,
    taken: &BTreeSet<Name>,
) -> Vec<(Name, Arc<Deployment>)> {
    let (boots, subnets) = (common(&next.boots, &after.boots), common(&next.subnets, &after.subnets));
    let is_same = |own: &Deployment, new: &Deployment| {
        let is_shared = boots.contains(&own.boot.name) && subnets.contains(&own.subnet.name);
        is_shared && is_alike(own, new) && cards(next, own) == cards(after, new)
    };
    let renewed = |own: &Arc<Deployment>| {
        let other = own.resealed(changed)?;
        let new = after.deployments.get(&own.name).filter(|new| is_same(own, new));
        let digest = new.map_or_else(|| other.digest.clone(), |new| new.digest.clone());
        Some((own.name.clone(), Arc::new(Deployment { digest, ..other })))
    };
    let rest = next.deployments.values().filter(|one| !taken.contains(&one.name));
    rest.filter_map(renewed).collect()
}

/// The cards of the machine that a deployment is pinned to.
fn cards<'a>(desired: &'a Desired, deployment: &Deployment) -> Option<&'a [Mac]> {
    let machine = desired.machines.get(pinned(deployment)?)?;
    Some(machine.macs.as_slice())
}

/// The names under which both have the same.
fn common<'a, T: PartialEq>(
    one: &'a BTreeMap<Name, Arc<T>>,
    other: &BTreeMap<Name, Arc<T>>,
) -> BTreeSet<&'a Name> {
    let is_common = |name: &Name, value: &Arc<T>| {
        other.get(name).is_some_and(|there| Arc::ptr_eq(there, value) || there == value)
    };
    one.iter().filter(|(name, value)| is_common(name, value)).map(|(name, _)| name).collect()
}

/// Whether two deployments of one name, with their boots and subnets the same, differ in no more than secrets.
fn is_alike(own: &Deployment, new: &Deployment) -> bool {
    let Deployment {
        name: _,
        place,
        profile: _,
        address,
        address6,
        subnet,
        boot,
        template,
        user_data,
        values,
        redeploy,
        options,
        digest: _,
        origin: _,
    } = new;
    (&own.place, own.address, own.address6, own.redeploy) == (place, *address, *address6, *redeploy)
        && (&own.boot.name, &own.subnet.name) == (&boot.name, &subnet.name)
        && (&own.template, &own.user_data) == (template, user_data)
        && own.values == *values
        && own.options == *options
}

fn macs(next: &Desired) -> Result<imbl::HashMap<Mac, Name>, String> {
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;

    use super::*;
    use crate::desired::{Media, Options, resolve};
    use crate::manifest::parse;
    use crate::media::Shelf;
    use crate::plan::diff;
    use crate::state::{Server, State};

    /// Two deployments and a pool whose root password is a secret.
    fn resolved(revision: &str, secret: &'static str, timezone: &str) -> Desired {
        let mut text = format!(
            "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ndynamic = \"10.0.10.100-10.0.10.199\"\n\
             [boot.b]\nkernel = \"k\"\n\
             [profile.base]\nsubnet = \"lab\"\nboot = \"b\"\ntemplate = \"preseed\"\ntimezone = \"{timezone}\"\n\
             vars = {{ root-hash = {{ secret = \"root\" }} }}\n\
             [pool.ci]\nprofile = \"base\"\nselect = {{ rack = \"1\" }}\n"
        );
        for number in [1, 2] {
            text += &format!(
                "[deployment.web-{number}]\nprofile = \"base\"\nmac = \"52:54:00:aa:00:0{number}\"\n\
                 address = \"10.0.10.{number}0\"\n"
            );
        }
        let files = [
            ("a.toml".into(), Bytes::from(text)),
            ("secrets/root.age".into(), Bytes::from_static(secret.as_bytes())),
        ];
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let desired = resolve(&parse(&files.into()).0, &Shelf::default(), &options).0;
        Desired { revision: revision.into(), ..desired }
    }

    fn digests(desired: &Desired) -> [Arc<str>; 2] {
        let deployment = &desired.deployments.get("web-2").unwrap().digest;
        [deployment.clone(), desired.pools["ci"].prototype.digest.clone()]
    }

    #[test]
    fn a_changed_secret_has_a_row_for_everything_that_it_reaches() {
        let before = resolved("1", "old", "Etc/UTC");
        let only = Selection { only: vec!["web-1".into()], except: Vec::new() };
        let part = |after: &Desired| compose(&before, after, &only).unwrap();

        let after = resolved("2", "new", "Etc/UTC");
        let next = part(&after);
        assert_eq!(digests(&next)[0], digests(&after)[0], "nothing else of it differs");
        assert_ne!(digests(&next)[1], digests(&before)[1]);
        let state = State::new(Server::stand_in(Ipv4Addr::LOCALHOST)).adopt(Arc::new(before.clone()));
        let plan = diff(&Arc::new(next), &state);
        let rows: BTreeSet<&str> = plan.changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(rows, ["ci", "web-1", "web-2"].into());

        let after = resolved("2", "new", "Europe/Berlin");
        let next = part(&after);
        assert!(digests(&next)[0] != digests(&before)[0] && digests(&next)[0] != digests(&after)[0]);
        assert_eq!(digests(&next), digests(&part(&after)), "the same after each start");
        let except = Selection { only: Vec::new(), except: vec!["web-2".into()] };
        let without = compose(&before, &after, &except).unwrap();
        assert_eq!((&digests(&without)[0], &digests(&without)[1]), (&digests(&next)[0], &digests(&after)[1]));

        let next = part(&resolved("2", "old", "Europe/Berlin"));
        assert_eq!(digests(&next), digests(&before), "no secret has changed");
    }

    /// The files below a boot's prefix are those of the revision's boot of that name.
    #[test]
    fn the_agent_runs_on_the_boot_that_is_served_under_its_name() {
        let with_agent = |revision: &str, kernel: &str| {
            let mut desired = resolved(revision, "old", "Etc/UTC");
            let mut boot = (**desired.boots.values().next().unwrap()).clone();
            boot.kernel.path = kernel.into();
            let boot = Arc::new(boot);
            let moved = |one: &Arc<Deployment>| {
                (one.name.clone(), Arc::new(Deployment { boot: boot.clone(), ..(**one).clone() }))
            };
            desired.deployments = desired.deployments.values().map(moved).collect();
            desired.boots = [(boot.name.clone(), boot.clone())].into();
            desired.agent.boots = [(boot.cpu, boot)].into();
            desired
        };
        let (before, after) = (with_agent("1", "k1"), with_agent("2", "k2"));
        for (only, except) in [(vec!["web-1".into()], vec![]), (vec![], vec!["web-1".into()])] {
            let next = compose(&before, &after, &Selection { only, except }).unwrap();
            let agent = next.agent.boots.values().next().unwrap();
            assert!(Arc::ptr_eq(agent, next.boots.get(&agent.name).unwrap()));
        }
    }
}
