//! From the files of an inventory to desired state that is known to boot: parsed, resolved, and
//! every boot rehearsed. `check` and the daemon use the same function, so that what was checked
//! is what is served.

mod judge;
mod survey;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use bytes::Bytes;

use crate::desired::{self, Deployment, Desired, Options};
use crate::manifest::{self, Code, Documents, Environment, Level, Mark, Problem, report};
use crate::media::Library;
use crate::model::{Name, Time};
use crate::table::Table;
use crate::walk::{self, Route};
use judge::Judge;
pub use survey::survey;

/// An inventory, as far as it could be understood.
#[derive(Debug)]
pub struct Loaded {
    pub documents: Documents,
    /// To be served only without errors.
    pub desired: Arc<Desired>,
    /// In the order of their places.
    pub problems: Vec<Problem>,
    /// The environments it was looked at with.
    pub environments: Vec<Name>,
}

impl Loaded {
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.level == Level::Error).count()
    }

    /// Every error, as `check` prints them.
    pub fn report(&self) -> String {
        let errors = self.problems.iter().filter(|problem| problem.level == Level::Error);
        let texts = errors.map(|problem| report::full(problem, &self.documents.sources, false));
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// How much of every boot is rehearsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// With every firmware the machine may have.
    EveryFirmware,
    /// With one: everything is rendered, and a start with thousands of machines stays quick.
    OneFirmware,
}

/// Parses, resolves and rehearses `files` (by path relative to the inventory) for one environment
/// or for none.
pub fn load(
    revision: Arc<str>,
    files: &BTreeMap<Arc<str>, Bytes>,
    environment: &Environment,
    library: &dyn Library,
    options: &Options,
    depth: Depth,
) -> Loaded {
    let mut loaded = examine(revision, files, environment, library, options, depth);
    survey::keep_own(&mut loaded, environment);
    loaded
}

/// The same with every problem, also those that only another environment can judge.
fn examine(
    revision: Arc<str>,
    files: &BTreeMap<Arc<str>, Bytes>,
    environment: &Environment,
    library: &dyn Library,
    options: &Options,
    depth: Depth,
) -> Loaded {
    let (documents, mut problems) = manifest::parse_in(files, environment);
    let (desired, found) = desired::resolve(&documents, library, options);
    problems.extend(found);
    let desired = Arc::new(Desired { revision, ..desired });
    problems.iter_mut().for_each(|problem| tolerate(problem, depth));
    if !problems.iter().any(|problem| problem.level == Level::Error) {
        problems.extend(documents.weigh(rehearse(&documents, &desired, depth)));
    }
    problems.iter_mut().for_each(|problem| tolerate(problem, depth));
    problems.sort_by_key(|problem| (problem.mark(), problem.code));
    let environments = environment.name().cloned().into_iter().collect();
    Loaded { documents, desired, problems, environments }
}

/// What makes one installer stop is an error to a person who checks, but to the daemon no reason
/// to leave all other machines without the revision.
fn tolerate(problem: &mut Problem, depth: Depth) {
    if depth == Depth::OneFirmware
        && matches!(problem.code, Code::Answers | Code::NoAnswers | Code::TooLittleMemory)
    {
        problem.level = Level::Warning;
    }
}

/// Boots every deployment in memory, on all processors.
fn rehearse(documents: &Documents, desired: &Arc<Desired>, depth: Depth) -> Vec<Problem> {
    let deployments: Vec<&Arc<Deployment>> = desired.deployments.values().collect();
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = deployments.len().div_ceil(workers).max(1);
    let found = std::thread::scope(|scope| {
        let parts: Vec<_> = deployments
            .chunks(share)
            .map(|part| scope.spawn(move || boot_all(documents, desired, part, depth)))
            .collect();
        let found = parts.into_iter().flat_map(|part| part.join().expect("a rehearsal does not panic"));
        found.collect()
    });
    documents.weigh(merged(found))
}

/// The tables that rehearsals start from, by subnet.
type Rehearsals<'a> = BTreeMap<&'a Name, Table>;

fn stage<'a, 'b>(
    rehearsals: &'b mut Rehearsals<'a>,
    desired: &Arc<Desired>,
    deployment: &'a Deployment,
) -> &'b Table {
    let subnet = &deployment.subnet;
    rehearsals.entry(&subnet.name).or_insert_with(|| walk::rehearsal(desired.clone(), subnet))
}

fn boot_all(
    documents: &Documents,
    desired: &Arc<Desired>,
    part: &[&Arc<Deployment>],
    depth: Depth,
) -> Vec<(Name, Problem)> {
    let mut rehearsals = Rehearsals::new();
    let mut problems = Vec::new();
    for deployment in part {
        let table = stage(&mut rehearsals, desired, deployment);
        let routes = match depth {
            Depth::EveryFirmware => Route::of(deployment.boot.cpu),
            Depth::OneFirmware => &Route::of(deployment.boot.cpu)[..1],
        };
        let walks = walk::walk_all(table, deployment, routes, Time(0));
        let problem = Judge { documents, table, deployment }.problem(&walks);
        problems.extend(problem.map(|problem| (deployment.name.clone(), problem)));
    }
    problems
}

/// One problem for each place, however many deployments have it.
fn merged(found: Vec<(Name, Problem)>) -> Vec<Problem> {
    let mut by_place: BTreeMap<(Code, Mark), (Problem, Vec<Name>)> = BTreeMap::new();
    for (name, problem) in found {
        let place = (problem.code, problem.mark());
        by_place.entry(place).and_modify(|(_, others)| others.push(name)).or_insert((problem, Vec::new()));
    }
    let told = |(problem, others): (Problem, Vec<Name>)| match others.as_slice() {
        [] => problem,
        [other] => problem.note(format!("the same happens to {other}")),
        [other, more @ ..] => problem.note(format!("the same happens to {other} and {} more", more.len())),
    };
    by_place.into_values().map(told).collect()
}

/// The rehearsals of some deployments, as [`load`] made them, for people to read.
pub fn transcript(desired: &Arc<Desired>, names: &[&Name]) -> String {
    let mut rehearsals = Rehearsals::new();
    let deployments = names.iter().filter_map(|name| desired.deployments.get(*name));
    let texts = deployments.map(|deployment| {
        let table = stage(&mut rehearsals, desired, deployment);
        let walks = walk::walk_all(table, deployment, Route::of(deployment.boot.cpu), Time(0));
        walk::transcript::write(table, deployment, &walks)
    });
    texts.collect::<Vec<_>>().join("\n")
}
