//! What the hall is to become: machines under three pools.

use std::sync::Arc;

use voldemort::desired::{Deployment, Desired, Machine, Place, Pool};
use voldemort::model::{Name, OnReturn, Span, WipeLevel};

use super::{HOUR, MAX_WIPES};
use crate::inventory::{first, mac};

/// A hall of `count` machines under three pools. What they run is the deployment of a small inventory.
pub(super) fn inventory(count: usize) -> Desired {
    let small = first(3);
    let model: &Arc<Machine> = small.machines.values().next().unwrap();
    let runs: &Arc<Deployment> = small.deployments.values().next().unwrap();
    let machine = |number: usize| {
        let name: Name = format!("c{number}").parse().unwrap();
        let size = if number.is_multiple_of(3) { "large" } else { "small" };
        let labels = [("size".to_owned(), size.to_owned())].into();
        let macs = vec![mac(4, number as u32)];
        (
            name.clone(),
            Arc::new(Machine {
                name,
                labels,
                macs,
                protect: None,
                power: None,
                ids: vec![],
                ..Machine::clone(model)
            }),
        )
    };
    let machines: imbl::OrdMap<Name, Arc<Machine>> = (0..count).map(machine).collect();
    let macs = machines.values().map(|machine| (machine.macs[0], machine.name.clone())).collect();
    let pool = |name: &str, size: &str, max, ttl: Option<u64>, clean, on_return| {
        let place = Place::Select([("size".to_owned(), size.to_owned())].into());
        let name: Name = name.parse().unwrap();
        let prototype =
            Deployment { name: name.clone(), place, redeploy: 0, address: None, ..Deployment::clone(runs) };
        let (profile, prototype, level) = (name.clone(), prototype.into(), WipeLevel::Clear);
        let ttl = ttl.map(Span);
        (
            name.clone(),
            Arc::new(Pool {
                name,
                profile,
                prototype,
                max,
                per_caller: Some(8),
                ttl,
                clean,
                on_return,
                level,
            }),
        )
    };
    let pools = [
        pool("ci", "small", None, Some(3 * HOUR), true, OnReturn::Wipe),
        pool("lab", "large", Some(9), Some(5 * HOUR), true, OnReturn::WipeAndOff),
        pool("any", "small", Some(12), None, false, OnReturn::Keep),
    ];
    let mut desired = Desired { machines, macs, pools: pools.into(), ..Desired::clone(&small) };
    desired.deployments = imbl::OrdMap::new();
    desired.selects = 0;
    desired.safety.max_wipes = Some(MAX_WIPES);
    desired
}
