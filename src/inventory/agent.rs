//! Simulates how machines boot our agent: one that stands in for all, of each architecture that `[agent]` has a boot for.

use std::sync::Arc;

use super::Depth;
use super::judge::Judge;
use crate::desired::{Boot, Deployment, Desired, Machine, Place, Subnet};
use crate::manifest::{Documents, Mark, Problem};
use crate::model::{Cpu, Mac, Mode, Name, Time, Unknown};
use crate::walk::{self, Route};

/// What is wrong with the boots, where `[agent]` names them.
pub(super) fn problems(documents: &Documents, desired: &Arc<Desired>, depth: Depth) -> Vec<Problem> {
    let boots = desired.agent.boots.iter();
    boots
        .flat_map(|(cpu, boot)| boots_of(documents, desired, *cpu, boot, depth).unwrap_or_default())
        .collect()
}

fn boots_of(
    documents: &Documents,
    desired: &Arc<Desired>,
    cpu: Cpu,
    boot: &Arc<Boot>,
    depth: Depth,
) -> Option<Vec<Problem>> {
    let place = written(documents, cpu, &boot.name)?;
    let deployment = Arc::new(stand_in(cpu, boot, subnet(desired)?)?);
    let state = walk::initial_state(Arc::new(alone(desired, &deployment)?), &deployment.subnet);
    let mut routes = Route::of(&deployment);
    if depth == Depth::OneFirmware {
        routes.truncate(1);
    }
    let walks = walk::simulate_all(&state, &deployment, &routes, Time(0));
    Some(
        Judge { documents, state: &state, deployment: &deployment, is_pool: false, place: Some(place) }
            .problems(&walks),
    )
}

/// Where `[agent]` names this boot.
fn written(documents: &Documents, cpu: Cpu, name: &Name) -> Option<Mark> {
    let boots = documents.inventories().filter_map(|own| own.agent.as_ref()?.boot.as_ref());
    let mut names = boots.flat_map(|boots| boots.all());
    names.find(|(own, written)| *own == cpu && written.value == *name).map(|(_, written)| written.mark)
}

/// One where unknown machines are looked at, else any; with an address for the machine.
fn subnet(desired: &Desired) -> Option<Subnet> {
    let looks = |subnet: &&Arc<Subnet>| subnet.unknown != Unknown::Ignore;
    let found = desired.subnets.values().find(looks).or_else(|| desired.subnets.values().next())?;
    let mut subnet = Subnet::clone(found);
    if subnet.dynamic.is_empty() {
        subnet.dynamic.extend(subnet.cidr.map(|cidr| cidr.hosts()));
    }
    subnet.mode = Mode::Server;
    Some(subnet)
}

fn stand_in(cpu: Cpu, boot: &Arc<Boot>, subnet: Subnet) -> Option<Deployment> {
    let name: Name = format!("our-agent-on-{}", cpu.name().replace('_', "-")).parse().ok()?;
    Some(Deployment {
        place: Place::Machine(name.clone()),
        name,
        address: None,
        address6: None,
        subnet: subnet.into(),
        boot: boot.clone(),
        template: None,
        profile: None,
        user_data: None,
        values: Arc::default(),
        redeploy: 0,
        options: Default::default(),
        digest: "".into(),
        origin: boot.origin.clone(),
    })
}

/// An inventory with that deployment and its machine alone.
fn alone(desired: &Desired, deployment: &Arc<Deployment>) -> Option<Desired> {
    let name = &deployment.name;
    // Of the range that documentation may use (RFC 7042, 2.1.2).
    let mac = Mac::new([0x00, 0x00, 0x5e, 0x00, 0x53, 0x01]).ok()?;
    let machine = Machine {
        name: name.clone(),
        macs: vec![mac],
        ids: Vec::new(),
        labels: Default::default(),
        protect: None,
        options: Default::default(),
        power: None,
        power_on: false,
        loader: Vec::new(),
        origin: deployment.origin.clone(),
    };
    let subnet = &deployment.subnet;
    Some(Desired {
        revision: desired.revision.clone(),
        subnets: [(subnet.name.clone(), subnet.clone())].into(),
        boots: desired.boots.clone(),
        machines: [(name.clone(), Arc::new(machine))].into_iter().collect(),
        deployments: [(name.clone(), deployment.clone())].into_iter().collect(),
        macs: [(mac, name.clone())].into_iter().collect(),
        ..Desired::default()
    })
}
