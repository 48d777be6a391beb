//! Deployments, with everything they inherit.

use std::sync::Arc;

use super::profile::Effective;
use super::{Resolver, digest, machine};
use crate::desired::{Deployment, Place};
use crate::manifest::document::{self, Resource};
use crate::manifest::{Code, Mark, Problem};
use crate::model::Name;

type Written = Resource<document::Deployment>;

impl Resolver<'_> {
    pub(super) fn deployments(&mut self) {
        let documents = self.documents;
        let mut resources: Vec<_> = documents.deployments.values().collect();
        resources.sort_by_key(|resource| resource.mark);
        for resource in &resources {
            self.fixed_address(resource);
            self.pin(resource);
        }
        for resource in resources {
            let effective = self.inherited(resource);
            if let Some(deployment) = self.deployment(resource, effective) {
                self.desired.deployments.insert(resource.name.clone(), Arc::new(deployment));
            }
        }
    }

    fn inherited(&self, resource: &Written) -> Effective {
        let mut effective = match &resource.body.profile {
            None => Effective { whole: true, ..Effective::default() },
            Some(profile) => match self.profiles.get(&profile.value) {
                Some(profile) => (**profile).clone(),
                None => Effective { whole: false, ..Effective::default() },
            },
        };
        effective.lay(&resource.body.settings, None, resource.whole);
        effective
    }

    fn deployment(&mut self, resource: &Written, effective: Effective) -> Option<Deployment> {
        let name = &resource.name;
        for choice in [&effective.subnet, &effective.boot, &effective.template].into_iter().flatten() {
            self.concerns(choice.name.mark, name);
        }
        if let Some(profile) = &resource.body.profile {
            self.concerns(profile.mark, name);
        }
        let place = self.place(resource, &effective);
        let boot = self.chosen_boot(resource, &effective);
        let subnet = self.chosen_subnet(resource, &effective);
        let template = match &effective.template {
            None => None,
            Some(choice) => match self.template(&choice.name.value) {
                Some(template) => Some(template),
                // It was reported where it is written.
                None => return None,
            },
        };
        if let Some(template) = &template {
            self.users.entry(template.name.clone()).or_default().push(name.clone());
        }
        let subnet = subnet?;
        let address = self.address(resource, &effective, &subnet);
        let (place, boot) = (place?, boot?);
        let values = self.values(resource, &effective, &boot, template.as_ref());
        let mut deployment = Deployment {
            name: name.clone(),
            place,
            address,
            subnet,
            boot,
            template,
            values,
            redeploy: resource.body.redeploy,
            digest: "".into(),
            origin: self.documents.sources.origin(resource.mark),
        };
        deployment.digest = self.digest(&deployment);
        Some(deployment)
    }

    fn digest(&mut self, deployment: &Deployment) -> Arc<str> {
        let macs = match &deployment.place {
            Place::Machine(name) => self.desired.machines.get(name).map_or(&[][..], |machine| &machine.macs),
            Place::Select(_) => &[],
        };
        digest::deployment(deployment, macs, &mut self.digests, &self.documents.sources)
    }

    /// Records which machine a deployment is pinned to; a second one is a mistake.
    fn pin(&mut self, resource: &Written) {
        let Some(machine) = &resource.body.machine else { return };
        let Some((other, first)) = self.pinned.get(&machine.value) else {
            self.pinned.insert(machine.value.clone(), (resource.name.clone(), machine.mark));
            return;
        };
        let message = format!("machine `{}` is given to two deployments", machine.value);
        let problem =
            Problem::new(Code::MachineTwice, machine.mark, message, format!("wanted by `{}`", resource.name))
                .also(*first, format!("wanted by `{other}`"));
        let free = self.free_like(&machine.value);
        self.problems.push(match free {
            Some(free) => problem.help(format!(
                "pin `{}` to another machine; `{free}` is free and has the same labels",
                resource.name
            )),
            None => problem.help("pin one of them to another machine"),
        });
    }

    /// A machine that no deployment is pinned to, with the labels of this one.
    fn free_like(&self, name: &Name) -> Option<Name> {
        let like = &self.desired.machines.get(name)?.labels;
        let pinned = |name: &Name| {
            self.documents.deployments.values().any(|deployment| {
                deployment.body.machine.as_ref().is_some_and(|machine| machine.value == *name)
            })
        };
        let machines = self.documents.machines.keys().filter_map(|name| self.desired.machines.get(name));
        let free =
            |machine: &&Arc<crate::desired::Machine>| machine.labels == *like && !pinned(&machine.name);
        machines
            .filter(|machine| machine.name != *name)
            .take(1000)
            .find(free)
            .map(|machine| machine.name.clone())
    }

    fn place(&mut self, resource: &Written, effective: &Effective) -> Option<Place> {
        let document::Deployment { machine, select, macs, .. } = &resource.body;
        let ways: Vec<(&str, Mark)> = [
            machine.as_ref().map(|machine| ("machine", machine.mark)),
            select.as_ref().map(|select| ("select", select.mark)),
            macs.first().map(|mac| ("mac", mac.mark)),
        ]
        .into_iter()
        .flatten()
        .collect();
        match ways.as_slice() {
            [] => {
                // A misspelt or broken setting may have been meant to be the machine.
                if resource.whole && effective.whole {
                    self.problems.push(no_machine(resource));
                }
                None
            }
            [(way, _)] => Some(match (*way, machine, select) {
                ("machine", Some(machine), _) => {
                    self.desired.machines.get(&machine.value)?;
                    Place::Machine(machine.value.clone())
                }
                ("select", _, Some(select)) => Place::Select(machine::owned(&select.value)),
                _ => Place::Machine(resource.name.clone()),
            }),
            [(first, place), (second, mark), ..] => {
                let message = format!("deployment {} names its machine twice", resource.name);
                let problem = Problem::new(Code::Exclusive, *mark, message, format!("once by `{second}` …"));
                self.problems.push(
                    problem.also(*place, format!("… and once by `{first}`")).help("leave one of them away"),
                );
                None
            }
        }
    }

    fn chosen_boot(
        &mut self,
        resource: &Written,
        effective: &Effective,
    ) -> Option<Arc<crate::desired::Boot>> {
        if let Some(choice) = &effective.boot {
            return self.boot(&choice.name.value).cloned();
        }
        if effective.whole {
            let message = format!("deployment {} has no boot", resource.name);
            let problem =
                Problem::new(Code::NoBoot, resource.mark, message, "neither it nor its profile names one");
            let boots: Vec<_> = self.desired.boots.keys().collect();
            let help = match boots.len() {
                0 => "define one as [boot.NAME] and name it here with `boot`".to_owned(),
                _ => format!("set `boot` to one of: {}", super::listed(boots)),
            };
            self.problems.push(problem.help(help));
        }
        None
    }
}

fn no_machine(resource: &Written) -> Problem {
    let message = format!("deployment {} does not say which machine it is for", resource.name);
    Problem::new(Code::NoMachine, resource.mark, message, "no `machine`, `select` or `mac`")
        .help("pin a machine with `machine`, choose a free one by labels with `select`, or write the hardware address with `mac`")
}
