//! Deployments, with everything they inherit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::profile::{Choice, Effective};
use super::{Resolver, digest, machine, option};
use crate::desired::{Boot, Deployment, Place, Template};
use crate::manifest::document::{self, Resource, Settings};
use crate::manifest::{Code, Mark, Problem};
use crate::model::Name;
use crate::render::{self, Kind};

type Written = Resource<document::Deployment>;

impl Resolver<'_> {
    pub(super) fn deployments(&mut self) {
        let documents = self.documents;
        let mut resources: Vec<_> = documents.deployments.values().collect();
        resources.sort_by_key(|resource| resource.mark);
        for resource in &resources {
            self.fixed_address(resource);
            self.fixed_address6(resource);
        }
        self.pins(&resources);
        self.recall();
        for resource in resources {
            if let Some(deployment) = self.again(resource).or_else(|| self.anew(resource)) {
                self.desired.selects += usize::from(matches!(deployment.place, Place::Select(_)));
                self.desired.deployments.insert(resource.name.clone(), deployment);
            }
        }
    }

    fn anew(&mut self, resource: &Arc<Written>) -> Option<Arc<Deployment>> {
        let faults = self.faults();
        let (effective, found) = self.inherited(resource);
        self.problems.extend(found);
        let deployment = Arc::new(self.deployment(resource, effective)?);
        self.keep_made(resource, &deployment, self.faults() == faults);
        Some(deployment)
    }

    /// Notes who uses a template.
    pub(super) fn uses(&mut self, template: &Template, deployment: &Name) {
        match self.users.get_mut(&template.name) {
            Some(users) => users.push(deployment.clone()),
            None => drop(self.users.insert(template.name.clone(), vec![deployment.clone()])),
        }
    }

    /// Its settings with all that it inherits, and what is wrong with what it leaves out.
    pub(super) fn inherited(&self, resource: &Written) -> (Effective, Vec<Problem>) {
        let mut effective = match &resource.body.profile {
            None => Effective { whole: true, ..Effective::default() },
            Some(profile) => match self.profiles.get(&profile.value) {
                Some(profile) => (**profile).clone(),
                None => Effective { whole: false, ..Effective::default() },
            },
        };
        let problems = effective.lay(&resource.body.settings, resource.mark, None, resource.whole);
        (effective, problems)
    }

    fn deployment(&mut self, resource: &Written, effective: Effective) -> Option<Deployment> {
        let name = &resource.name;
        for choice in [&effective.subnet, &effective.boot, &effective.template, &effective.user_data]
            .into_iter()
            .flatten()
        {
            self.concerns(choice.name.mark, name);
        }
        if let Some(profile) = &resource.body.profile {
            self.concerns(profile.mark, name);
        }
        let place = self.place(resource, &effective);
        let boot = self.chosen_boot(resource, &effective);
        let subnet = self.chosen_subnet(resource, &effective);
        let choice = effective.template.as_ref().map(|choice| &choice.name.value);
        let template = choice.map(|choice| self.template(choice));
        match (&template, choice) {
            (Some(Some(template)), _) => self.uses(template, name),
            // It was reported where it is written.
            (Some(None), Some(choice)) => self.declared(choice, &effective),
            _ => {}
        }
        let user_data = effective.user_data.as_ref().map(|choice| self.user_data(choice, name, &effective));
        let subnet = subnet?;
        let address = self.address(resource, &effective, &subnet);
        let address6 = self.address6(resource, &subnet);
        let (place, boot) = (place?, boot?);
        let template = template.map_or(Some(None), |template| template.map(Some))?;
        let user_data = user_data.map_or(Some(None), |template| template.map(Some))?;
        let templates = [template.as_ref(), user_data.as_ref()];
        let values = match self.same_values(resource, &boot, templates) {
            Some(values) => values,
            None => {
                let faults = self.faults();
                let values = self.values(resource, &effective, &boot, templates);
                let faultless = self.faults() == faults;
                self.shared(resource, values, &boot, templates, faultless)
            }
        };
        let mut deployment = Deployment {
            name: name.clone(),
            place,
            profile: resource.body.profile.as_ref().map(|profile| profile.value.clone()),
            address,
            address6,
            subnet,
            boot,
            template,
            user_data,
            values,
            options: option::wired(&effective.options, effective.routes.as_deref()),
            redeploy: resource.body.redeploy.as_ref().map_or(0, |redeploy| redeploy.value),
            digest: "".into(),
            origin: self.documents.sources.origin(resource.mark),
        };
        self.dual_stack(&effective, &deployment);
        self.lent_elsewhere(resource, &effective, &deployment);
        deployment.digest = self.digest(&deployment);
        Some(deployment)
    }

    /// The template of the user data, which has to be what cloud-init reads.
    fn user_data(&mut self, choice: &Choice, name: &Name, effective: &Effective) -> Option<Arc<Template>> {
        if let Some(template) = self.template(&choice.name.value) {
            self.uses(&template, name);
        }
        self.user_data_of(choice, effective)
    }

    pub(super) fn user_data_of(&mut self, choice: &Choice, effective: &Effective) -> Option<Arc<Template>> {
        let Some(template) = self.template(&choice.name.value) else {
            // It was reported where it is written.
            self.declared(&choice.name.value, effective);
            return None;
        };
        if template.kind == Kind::CloudInit {
            return Some(template);
        }
        self.silent += 1;
        if self.mistyped.insert(choice.name.mark) {
            let message =
                format!("`user-data` names template `{}`, which is of kind {}", template.name, template.kind);
            let problem =
                Problem::new(Code::WrongTemplate, choice.name.mark, message, "cloud-init can't read this");
            self.problems.push(problem.help("name a template with `kind = \"cloud-init\"`"));
        }
        None
    }

    /// The values of the last deployment of the same profile, where neither says anything of its own that they
    /// are made of. Nothing was wrong with them.
    fn same_values(
        &self,
        resource: &Written,
        boot: &Arc<Boot>,
        templates: [Option<&Arc<Template>>; 2],
    ) -> Option<Arc<BTreeMap<String, render::Value>>> {
        let profile = resource.body.profile.as_ref()?;
        let settings = &resource.body.settings;
        let last = self.alike.get(&Some(profile.value.clone()))?;
        let made_of = last.made_of.as_ref().filter(|_| is_plain(settings))?;
        let same = |was: &Option<Arc<Template>>, is: Option<&Arc<Template>>| match (was, is) {
            (Some(was), Some(is)) => Arc::ptr_eq(was, is),
            (was, is) => was.is_none() && is.is_none(),
        };
        let all = Arc::ptr_eq(&made_of.0, boot) && (0..2).all(|at| same(&made_of.1[at], templates[at]));
        (all && resource.whole).then(|| last.values.clone())
    }

    /// The values of the last deployment of the same profile, if they are the same.
    fn shared(
        &mut self,
        resource: &Written,
        values: BTreeMap<String, render::Value>,
        boot: &Arc<Boot>,
        templates: [Option<&Arc<Template>>; 2],
        faultless: bool,
    ) -> Arc<BTreeMap<String, render::Value>> {
        let profile = resource.body.profile.as_ref().map(|profile| profile.value.clone());
        let settings = &resource.body.settings;
        let plain = faultless && resource.whole && is_plain(settings);
        let last = self.alike.entry(profile).or_default();
        if *last.values != values {
            last.values = Arc::new(values);
        }
        last.made_of = plain.then(|| (boot.clone(), templates.map(|template| template.cloned())));
        last.values.clone()
    }

    pub(super) fn digest(&mut self, deployment: &Deployment) -> Arc<str> {
        let macs = match &deployment.place {
            Place::Machine(name) => self.desired.machines.get(name).map_or(&[][..], |machine| &machine.macs),
            Place::Select(_) => &[],
        };
        digest::deployment(deployment, macs, &mut self.digests, &self.documents.sources)
    }

    /// Records which machine each deployment is pinned to; a second one is a mistake.
    fn pins(&mut self, resources: &[&Arc<Written>]) {
        let mut second = Vec::new();
        for resource in resources {
            let Some(machine) = &resource.body.machine else { continue };
            match self.pinned.get(&machine.value) {
                Some((other, first)) => second.push((resource, machine, other.clone(), *first)),
                None => {
                    self.pinned.insert(machine.value.clone(), (resource.name.clone(), machine.mark));
                }
            }
        }
        let free = if second.is_empty() { BTreeMap::new() } else { self.free_by_labels() };
        for (resource, machine, other, first) in second {
            let message = format!("machine `{}` is given to two deployments", machine.value);
            let label = format!("wanted by `{}`", resource.name);
            let problem = Problem::new(Code::MachineTwice, machine.mark, message, label)
                .also(first, format!("wanted by `{other}`"));
            let labels = self.desired.machines.get(&machine.value).map(|machine| &machine.labels);
            self.problems.push(match labels.and_then(|labels| free.get(labels)) {
                Some(free) => problem.help(format!(
                    "pin `{}` to another machine; `{free}` is free and has the same labels",
                    resource.name
                )),
                None => problem.help("pin one of them to another machine"),
            });
        }
    }

    /// For each set of labels a machine that no deployment is pinned to.
    fn free_by_labels(&self) -> BTreeMap<BTreeMap<String, String>, Name> {
        let machines = self.documents.machines.keys().filter(|name| !self.pinned.contains_key(*name));
        let machines = machines.filter_map(|name| self.desired.machines.get(name));
        machines.map(|machine| (machine.labels.clone(), machine.name.clone())).collect()
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
                    problem.also(*place, format!("… and once by `{first}`")).help("remove one of them"),
                );
                None
            }
        }
    }

    pub(super) fn chosen_boot(&mut self, resource: &Written, effective: &Effective) -> Option<Arc<Boot>> {
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

/// Whether the values are those of the profile: a deployment adds none of its own, and leaves none out.
fn is_plain(settings: &Settings) -> bool {
    settings.vars.0.is_empty() && settings.without.is_empty() && settings.unproven.is_none()
}

fn no_machine(resource: &Written) -> Problem {
    let message = format!("deployment {} names no machine", resource.name);
    Problem::new(Code::NoMachine, resource.mark, message, "no `machine`, `select` or `mac`")
        .help("pin a machine with `machine`, choose a free one by labels with `select`, or write the hardware address with `mac`")
}
