//! One manifest by itself, so that those that did not change need not be read again, and all of them
//! put together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{Deployment, Machine, Resource};
use super::environment::Environment;
use super::inventory::Inventory;
use super::kind::AnyResource;
use super::parse::{Parser, line, misnamed, others_were_checked, overlays, unnameable};
use super::{Code, Documents, Kind, Problem, Sources, schema};
use crate::model::Name;

/// What one manifest says, whatever the others do: the same bytes under the same number make the
/// same part. There may be one for each of 100,000 files: what is empty takes next to nothing.
#[derive(Debug)]
pub struct Part {
    file: u32,
    resources: Box<[AnyResource]>,
    inventory: Option<Box<Inventory>>,
    unread: Box<[(Kind, Name)]>,
    unparsed: Box<[u32]>,
    problems: Box<[Problem]>,
    /// Lines with syntax errors: what else is wrong there says nothing.
    faulty: BTreeSet<u32>,
}

/// Machines and deployments, as some manifests have them.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub machines: Vec<Arc<Resource<Machine>>>,
    pub deployments: Vec<Arc<Resource<Deployment>>>,
}

impl Part {
    /// Adds what it has to a fleet. False if it has anything else, or a mistake.
    pub fn join_fleet(&self, fleet: &mut Fleet) -> bool {
        let Part { file: _, resources, inventory, unread, unparsed, problems, faulty } = self;
        let mut others = 0;
        for resource in resources {
            match resource {
                AnyResource::Machine(machine) => fleet.machines.push(machine.clone()),
                AnyResource::Deployment(deployment) => fleet.deployments.push(deployment.clone()),
                _ => others += 1,
            }
        }
        let mistakes = unread.len() + unparsed.len() + problems.len() + faulty.len();
        others + mistakes == 0 && inventory.is_none()
    }
}

/// Reads one manifest that is no overlay.
pub fn part(sources: &Sources, file: u32) -> Part {
    let mut parser = Parser::default();
    parser.file(sources, file);
    let Parser { documents, problems, tables, faulty, .. } = parser;
    let Documents { inventory, beside, unread, unparsed, .. } = documents;
    let inventory = inventory.or_else(|| beside.into_values().next());
    Part {
        file,
        resources: tables.into_iter().map(|((kind, _), place)| AnyResource::read(kind, place)).collect(),
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
        problems.extend(documents.take_over(part));
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

    /// The same inventory with no other machines and deployments than these, and without what chooses
    /// among machines.
    pub fn with_fleet(&self, fleet: &Fleet) -> Documents {
        fn named<T>(all: &[Arc<Resource<T>>]) -> BTreeMap<Name, Arc<Resource<T>>> {
            all.iter().map(|one| (one.name.clone(), one.clone())).collect()
        }
        Documents {
            machines: named(&fleet.machines),
            deployments: named(&fleet.deployments),
            ..self.with_kinds(|kind| !kind.is_tied_to_hardware() && !kind.selects())
        }
    }

    /// Takes over what a part has; what is there already is reported.
    fn take_over(&mut self, part: &Part) -> Vec<Problem> {
        let Part { file, resources, inventory, unread, unparsed, problems: _, faulty } = part;
        let mut twice = Vec::new();
        for resource in resources {
            let Some(first) = self.add(resource) else { continue };
            let ((name, mark), kind) = (resource.header(), resource.kind());
            let message = format!("there are two {} called `{name}`", kind.fields().plural);
            let problem = Problem::new(Code::Twice, mark, message, "second one");
            twice.push(problem.also(first, "first one").help("give one of them another name"));
        }
        if let Some(inventory) = inventory {
            let inventory = (**inventory).clone();
            match self.sources.source(*file) {
                source if source == self.sources.leading() => self.inventory = Some(inventory),
                source => self.beside.extend(source.cloned().map(|source| (source, inventory))),
            }
        }
        self.unread.extend(unread.iter().cloned());
        self.unparsed.extend(unparsed);
        let shown = |problem: &Problem| {
            faulty.is_empty() || {
                let mark = problem.mark();
                !faulty.contains(&line(self.sources.get(mark.file), problem))
            }
        };
        twice.retain(shown);
        twice
    }
}
