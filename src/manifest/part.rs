//! One manifest by itself, so that those that did not change need not be read again, and all of them
//! put together.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{
    Boot, Deployment, Documents, Inventory, Machine, Pool, Profile, Resource, Subnet, Template,
};
use super::environment::Environment;
use super::parse::{Parser, line, misnamed, others_were_checked, overlays, unnameable};
use super::shape::fields;
use super::{Code, Kind, Problem, Sources, schema};
use crate::model::Name;

/// What one manifest says, whatever the others do: the same bytes under the same number make the
/// same part. There may be one for each of 100,000 files: what is empty takes next to nothing.
#[derive(Debug)]
pub struct Part {
    file: u32,
    subnets: Listed<Subnet>,
    boots: Listed<Boot>,
    templates: Listed<Template>,
    profiles: Listed<Profile>,
    machines: Listed<Machine>,
    deployments: Listed<Deployment>,
    pools: Listed<Pool>,
    inventory: Option<Box<Inventory>>,
    unread: Box<[(Kind, Name)]>,
    unparsed: Box<[u32]>,
    problems: Box<[Problem]>,
    /// Lines with syntax errors: what else is wrong there says nothing.
    faulty: BTreeSet<u32>,
}

type Listed<T> = Box<[Arc<Resource<T>>]>;

/// Machines and deployments, as some manifests have them.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub machines: Vec<Arc<Resource<Machine>>>,
    pub deployments: Vec<Arc<Resource<Deployment>>>,
}

impl Part {
    /// Adds what it has to a fleet. False if it has anything else, or a mistake.
    pub fn join_fleet(&self, fleet: &mut Fleet) -> bool {
        let Part {
            file: _,
            subnets,
            boots,
            templates,
            profiles,
            machines,
            deployments,
            pools,
            inventory,
            unread,
            unparsed,
            problems,
            faulty,
        } = self;
        fleet.machines.extend(machines.iter().cloned());
        fleet.deployments.extend(deployments.iter().cloned());
        let others = subnets.len() + boots.len() + templates.len() + profiles.len() + pools.len();
        let mistakes = unread.len() + unparsed.len() + problems.len() + faulty.len();
        others + mistakes == 0 && inventory.is_none()
    }
}

/// Reads one manifest that is no overlay.
pub fn part(sources: &Sources, file: u32) -> Part {
    let mut parser = Parser::default();
    parser.file(sources, file);
    let faulty = std::mem::take(&mut parser.faulty);
    let (documents, problems) = parser.finish();
    let Documents {
        sources: _,
        subnets,
        boots,
        templates,
        profiles,
        machines,
        deployments,
        pools,
        inventory,
        beside,
        unread,
        unparsed,
    } = documents;
    let inventory = inventory.or_else(|| beside.into_values().next());
    Part {
        file,
        subnets: subnets.into_values().collect(),
        boots: boots.into_values().collect(),
        templates: templates.into_values().collect(),
        profiles: profiles.into_values().collect(),
        machines: machines.into_values().collect(),
        deployments: deployments.into_values().collect(),
        pools: pools.into_values().collect(),
        inventory: inventory.map(Box::new),
        unread: unread.into_iter().collect(),
        unparsed: unparsed.into(),
        problems: problems.into(),
        faulty,
    }
}

/// Puts the manifests of an inventory together: one part for each that is no overlay, in the order
/// of the files. The overlays of an environment are read here: they are few.
pub fn join<'a>(
    sources: Sources,
    parts: impl ExactSizeIterator<Item = &'a Part>,
    environment: &Environment,
) -> (Documents, Vec<Problem>) {
    let overlays = overlays(&sources, environment);
    let manifests = parts.len() + overlays.len();
    let mut documents = Documents { sources, ..Documents::default() };
    let mut problems = unnameable(&documents.sources);
    for part in parts {
        problems.extend(part.problems.iter().cloned());
        problems.extend(documents.add(part));
    }
    if !overlays.is_empty() {
        problems.extend(documents.lay_over(&overlays));
    }
    others_were_checked(&documents, manifests, &mut problems);
    problems.extend(misnamed(&documents.sources));
    problems.extend(schema::stale(&documents.sources));
    let problems = documents.weigh(problems);
    (documents, problems)
}

impl Documents {
    /// Puts `fresh` in the place of `gone`, which is part of it. False if it can't be done without a
    /// mistake: then these documents are of no use any more.
    pub fn exchange(&mut self, sources: Sources, gone: &Fleet, fresh: &Fleet) -> bool {
        fn exchange<T>(
            all: &mut BTreeMap<Name, Arc<Resource<T>>>,
            gone: &[Arc<Resource<T>>],
            fresh: &[Arc<Resource<T>>],
        ) -> bool {
            gone.iter().all(|resource| all.remove(&resource.name).is_some())
                && fresh.iter().all(|resource| all.insert(resource.name.clone(), resource.clone()).is_none())
        }
        self.sources = sources;
        exchange(&mut self.machines, &gone.machines, &fresh.machines)
            && exchange(&mut self.deployments, &gone.deployments, &fresh.deployments)
    }

    /// The same inventory with no other machines and deployments than these, and without pools.
    pub fn with_fleet(&self, fleet: &Fleet) -> Documents {
        let Documents { sources, subnets, boots, templates, profiles, inventory, beside, .. } = self;
        fn named<T>(all: &[Arc<Resource<T>>]) -> BTreeMap<Name, Arc<Resource<T>>> {
            all.iter().map(|one| (one.name.clone(), one.clone())).collect()
        }
        Documents {
            sources: sources.clone(),
            subnets: subnets.clone(),
            boots: boots.clone(),
            templates: templates.clone(),
            profiles: profiles.clone(),
            machines: named(&fleet.machines),
            deployments: named(&fleet.deployments),
            inventory: inventory.clone(),
            beside: beside.clone(),
            ..Documents::default()
        }
    }

    /// Takes over what a part has; what is there already is reported.
    fn add(&mut self, part: &Part) -> Vec<Problem> {
        let Part {
            file,
            subnets,
            boots,
            templates,
            profiles,
            machines,
            deployments,
            pools,
            inventory,
            unread,
            unparsed,
            problems: _,
            faulty,
        } = part;
        let mut twice = Vec::new();
        add(Kind::Subnet, &mut self.subnets, subnets, &mut twice);
        add(Kind::Boot, &mut self.boots, boots, &mut twice);
        add(Kind::Template, &mut self.templates, templates, &mut twice);
        add(Kind::Profile, &mut self.profiles, profiles, &mut twice);
        add(Kind::Machine, &mut self.machines, machines, &mut twice);
        add(Kind::Deployment, &mut self.deployments, deployments, &mut twice);
        add(Kind::Pool, &mut self.pools, pools, &mut twice);
        if let Some(inventory) = inventory {
            match self.sources.root(*file) {
                root if root == self.sources.leading() => self.inventory = Some((**inventory).clone()),
                root => drop(self.beside.insert(root.into(), (**inventory).clone())),
            }
        }
        self.unread.extend(unread.iter().cloned());
        self.unparsed.extend(unparsed);
        let told = |problem: &Problem| {
            faulty.is_empty() || {
                let mark = problem.mark();
                !faulty.contains(&line(self.sources.get(mark.file), problem))
            }
        };
        twice.retain(told);
        twice
    }
}

fn add<T>(
    kind: Kind,
    all: &mut BTreeMap<Name, Arc<Resource<T>>>,
    own: &[Arc<Resource<T>>],
    twice: &mut Vec<Problem>,
) {
    for resource in own {
        let name = &resource.name;
        match all.entry(name.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(resource.clone())),
            Entry::Occupied(first) => {
                let message = format!("there are two {} called `{name}`", fields(kind).plural);
                let problem = Problem::new(Code::Twice, resource.mark, message, "second one");
                twice.push(problem.also(first.get().mark, "first one").help("give one of them another name"));
            }
        }
    }
}
