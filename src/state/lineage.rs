//! Matches the deployments of a revision with those of the one before: renamed, moved, exchanged. A number
//! that a deployment used up on a machine still counts there.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;

use super::installs::Followed;
use super::rename::Renamed;
use super::{Installs, Served, State};
use crate::desired::{Deployment, Desired};
use crate::model::Name;

/// How many machines an exchange is followed over.
const EXCHANGE_MAX: usize = 64;

/// Whether `next` is the deployment that was called `former`: that name is gone, this one is new, and
/// it has the same boot or the same template. Its number may be any.
pub fn is_rename(former: &Name, was: &Served, next: &Deployment, base: &State, desired: &Desired) -> bool {
    *former != next.name
        && !desired.deployments.contains_key(former)
        && !base.lasting.served.contains_key(&next.name)
        && was.is_like(next)
}

/// The installations under the next revision. Where a deployment comes to a machine that another had,
/// it is that one renamed, or may be: then what was used there counts for it, too.
///
/// `before` has the machines' former names, `renamed` those of the next revision.
pub(super) fn carried(before: &State, renamed: &Renamed, next: &State, desired: &Desired) -> Installs {
    let base = &renamed.state;
    let mut installs = base.lasting.installs.clone();
    let mut come = |name: &Name, machine: &Name, former: Option<&Name>, boxes: bool| {
        let former = former.filter(|former| *former != name);
        let was = former.and_then(|former| Some((former, base.lasting.served.get(former)?)));
        let (Some((former, was)), Some(deployment)) = (was, desired.deployments.get(name)) else { return };
        if is_rename(former, was, deployment, base, desired) {
            installs.rename(former, name);
        } else if was.is_like(deployment) || boxes || is_exchange(base, next, name, former) {
            installs.share(machine, name, deployment.redeploy);
        }
    };
    for item in base.lasting.assignments.diff(&next.lasting.assignments) {
        if let DiffItem::Add(name, machine) | DiffItem::Update { new: (name, machine), .. } = item {
            come(name, machine, base.derived.tenants.get(machine), false);
        }
    }
    // A box under the name of another machine has that one's deployment now.
    for Followed { former, now } in &renamed.followed {
        if let Some(name) = next.derived.tenants.get(now) {
            come(name, now, before.derived.tenants.get(former), base.lasting.served.contains_key(name));
        }
    }
    installs
}

/// Whether the machines of two deployments, or of more in a ring, were exchanged: `name` has the
/// machine of `former` now, and so on, back to the one that `name` had.
fn is_exchange(base: &State, next: &State, name: &Name, former: &Name) -> bool {
    let Some(home) = base.lasting.assignments.get(name) else { return false };
    let mut other = former;
    for _ in 0..EXCHANGE_MAX {
        let Some(machine) = next.lasting.assignments.get(other) else { return false };
        if machine == home {
            return true;
        }
        match base.derived.tenants.get(machine) {
            Some(tenant) if tenant != other => other = tenant,
            _ => return false,
        }
    }
    false
}

/// The machines of deployments that chose by labels under another name, for those that are new and
/// choose now.
pub(super) fn renamed_choices<'a>(
    base: &State,
    desired: &Desired,
    open: impl Iterator<Item = &'a Name>,
    may_have: impl Fn(&Name, &Name) -> bool,
) -> Vec<(Name, Name)> {
    let mut found = Vec::new();
    let mut given = BTreeSet::new();
    let open: Vec<&Name> = open.filter(|name| !base.lasting.served.contains_key(*name)).collect();
    if open.is_empty() {
        return found;
    }
    let gone = base.lasting.served.iter().filter(|(name, _)| !desired.deployments.contains_key(*name));
    let gone: Vec<(&Name, &Name, &Served)> =
        gone.filter_map(|(name, was)| Some((name, base.lasting.assignments.get(name)?, &**was))).collect();
    for name in open {
        let Some(deployment) = desired.deployments.get(name) else { continue };
        let fits = |(former, machine, was): &&(&Name, &Name, &Served)| {
            !given.contains(*machine)
                && is_rename(former, was, deployment, base, desired)
                && may_have(name, machine)
        };
        let machine = gone.iter().find(fits).map(|(_, machine, _)| (*machine).clone());
        if let Some(machine) = machine {
            given.insert(machine.clone());
            found.push((name.clone(), machine));
        }
    }
    found
}
