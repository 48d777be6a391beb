//! Simulated boots of what pools give out: a machine that stands in for any of theirs boots by every way that the
//! architecture of the pool's boot has.

use std::sync::Arc;

use super::simulated::SimulatedBoots;
use super::{Depth, simulate_boots};
use crate::desired::{Deployment, Desired, DhcpOptions, Machine, Place, Pool};
use crate::manifest::{Documents, Level, Problem};
use crate::model::Mac;

/// What is wrong with the boots of pools, and not known yet: nobody but who claims a machine is concerned, so that the
/// inventory can be served all the same.
pub(super) fn simulate_pools(
    documents: &Documents,
    desired: &Arc<Desired>,
    depth: Depth,
    known: &mut SimulatedBoots,
    problems: &[Problem],
) -> Vec<Problem> {
    if desired.pools.is_empty() {
        return Vec::new();
    }
    known.is_of_pools = true;
    let found = simulate_boots(documents, &stage(desired), None, depth, known);
    let is_new = |found: &Problem| {
        !problems.iter().any(|known| known.code == found.code && known.mark() == found.mark())
    };
    let level = |problem: Problem| Problem { level: problem.level.min(Level::Warning), ..problem };
    found.into_iter().filter(is_new).map(level).collect()
}

/// The inventory with a machine and a deployment for each pool, of its name, and with no other.
fn stage(desired: &Desired) -> Arc<Desired> {
    let pools = desired.pools.values().enumerate();
    let machines: Vec<Machine> = pools.filter_map(|(number, pool)| stand_in(number, pool)).collect();
    Arc::new(Desired {
        revision: desired.revision.clone(),
        subnets: desired.subnets.clone(),
        boots: desired.boots.clone(),
        macs: machines.iter().map(|machine| (machine.macs[0], machine.name.clone())).collect(),
        machines: machines.into_iter().map(|machine| (machine.name.clone(), Arc::new(machine))).collect(),
        deployments: desired.pools.values().map(|pool| (pool.name.clone(), claimed(pool))).collect(),
        safety: desired.safety.clone(),
        secrets: desired.secrets.clone(),
        definitions: desired.definitions.clone(),
        ..Desired::default()
    })
}

fn claimed(pool: &Pool) -> Arc<Deployment> {
    let place = Place::Machine(pool.name.clone());
    Arc::new(Deployment { place, ..Deployment::clone(&pool.prototype) })
}

fn stand_in(number: usize, pool: &Pool) -> Option<Machine> {
    let [.., a, b, c] = number.to_be_bytes();
    // Of no manufacturer (IEEE 802, locally administered).
    let mac = Mac::new([0x02, 0, 0, a, b, c]).ok()?;
    Some(Machine {
        name: pool.name.clone(),
        macs: vec![mac],
        ids: Vec::new(),
        labels: Default::default(),
        protect: None,
        options: DhcpOptions::default(),
        power: None,
        power_on: false,
        loader: Vec::new(),
        origin: pool.prototype.origin.clone(),
    })
}
