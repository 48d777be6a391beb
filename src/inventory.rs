//! Turns the files of an inventory into desired state that is known to boot: parsed, resolved, and every
//! boot simulated. `check` and the daemon use the same function, so that what was checked is what is
//! served.

mod agent;
mod judge;
mod memory;
mod pools;
pub mod preview;
mod simulated;
mod source_set;
mod survey;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::desired::{self, Deployment, Desired, Fixed, Machine, Options, Place, Step};
use crate::manifest::{
    Code, Documents, Environment, Level, NoEnvironment, Problem, Sources, is_manifest, report,
};
use crate::media::Library;
use crate::model::{Name, Time};
use crate::state::{Revision, State};
use crate::walk::{self, Route};
use judge::Judge;
pub use memory::Memory;
use memory::Read;
use pools::simulate_pools;
use simulated::{BootInputs, ChangedBoots, SimulatedBoots};
pub use source_set::SourceSet;
pub use survey::{survey, survey_again};

/// An inventory, as far as it could be understood.
#[derive(Debug, Default)]
pub struct Loaded {
    pub documents: Arc<Documents>,
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

    /// The source that the first error is in; `None` where there is none, or an only source.
    pub fn first_error(&self) -> Option<&Name> {
        let first = self.problems.iter().find(|problem| problem.level == Level::Error)?;
        self.documents.sources.source(first.mark().file)
    }

    /// Every error, as `check` prints them.
    pub fn report(&self) -> String {
        self.report_from(&report::Roots::default())
    }

    /// The same, for a reader to whom the sources lie at these paths.
    pub fn report_from(&self, roots: &report::Roots) -> String {
        let report = report::Report { problems: &self.problems, sources: &self.documents.sources, roots };
        let errors = self.problems.iter().filter(|problem| problem.level == Level::Error);
        let texts = errors.map(|problem| report::full_from(problem, &report, false));
        texts.collect::<Vec<_>>().join("\n")
    }
}

/// How much of every boot is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// With every firmware the machine may have.
    EveryFirmware,
    /// With one: everything is rendered, and a start with thousands of machines stays quick.
    OneFirmware,
}

/// Parses and resolves `files` (by path relative to the inventory) for one environment or for none, and
/// simulates their boots.
pub fn load(
    revision: Arc<str>,
    files: &BTreeMap<Arc<str>, Bytes>,
    environment: &Environment,
    library: &dyn Library,
    options: &Options,
    depth: Depth,
) -> Loaded {
    Memory::default().load(revision, files, environment, library, options, depth)
}

impl Memory {
    /// The same, quicker for what earlier loads with this memory have seen.
    pub fn load(
        &mut self,
        revision: Arc<str>,
        files: &BTreeMap<Arc<str>, Bytes>,
        environment: &Environment,
        library: &dyn Library,
        options: &Options,
        depth: Depth,
    ) -> Loaded {
        let sources = self.manifests.sources([(None, files)], None);
        self.load_sources(revision, sources, environment, library, options, depth)
    }

    /// The same for a revision of one or more sources with its own environment, as the daemon serves it; the
    /// settings of the source `leading` lead. What is applied in part counts as applied.
    ///
    /// # Errors
    /// The inventory does not have the environment.
    pub fn load_revision(
        &mut self,
        revision: &Revision,
        leading: Option<&Name>,
        library: &dyn Library,
        options: &Options,
    ) -> Result<Loaded, NoEnvironment> {
        let trees = || revision.sources().map(|(name, source)| (name, &source.files));
        let paths = trees().flat_map(|(_, files)| files.keys().map(|path| &**path));
        let environment = Environment::choose(paths, revision.environment.as_deref())?;
        let sources = self.manifests.sources(trees(), leading);
        Ok(self.load_sources(revision.name(), sources, &environment, library, options, Depth::OneFirmware))
    }

    fn load_sources(
        &mut self,
        revision: Arc<str>,
        sources: Sources,
        environment: &Environment,
        library: &dyn Library,
        options: &Options,
        depth: Depth,
    ) -> Loaded {
        let mut loaded = self.examine(revision, sources, environment, library, options, depth);
        survey::keep_own(&mut loaded, environment);
        loaded
    }

    /// The same with every problem, also those that only another environment can judge.
    fn examine(
        &mut self,
        revision: Arc<str>,
        sources: Sources,
        environment: &Environment,
        library: &dyn Library,
        options: &Options,
        depth: Depth,
    ) -> Loaded {
        let Read { documents, mut problems, step } = self.manifests.read(sources, environment);
        let last_valid = self.last_valid.take().filter(|(before, _)| *before == depth);
        let stepped = step.as_ref().zip(last_valid).and_then(|(step, (_, before))| {
            let (next, found) =
                desired::resolve_step(&mut self.resolved, &documents, step, library, options)?;
            Some((step, before, Arc::new(Desired { revision: revision.clone(), ..next }), found))
        });
        let (desired, some) = match stepped {
            Some((step, before, next, found)) => {
                problems.extend(found);
                let some = changed_boots(step, &before, &next);
                (next, some)
            }
            None => {
                let (next, found) = desired::resolve_again(&mut self.resolved, &documents, library, options);
                problems.extend(found);
                (Arc::new(Desired { revision, ..next }), None)
            }
        };
        let is_error = |problem: &Problem| problem.level == Level::Error;
        problems.iter_mut().for_each(|problem| tolerate(problem, depth));
        let hides = |problem: &Problem| is_error(problem) && !is_of_one_template(problem, &documents.sources);
        if !problems.iter().any(hides) {
            let found = simulate_boots(&documents, &desired, some, depth, &mut self.simulated);
            problems.extend(found);
            let found = simulate_pools(&documents, &desired, depth, &mut self.simulated_pools, &problems);
            problems.extend(found);
            problems.extend(agent::problems(&documents, &desired, depth));
            problems.iter_mut().for_each(|problem| tolerate(problem, depth));
        }
        self.last_valid = (!problems.iter().any(is_error)).then(|| (depth, desired.clone()));
        problems.sort_by_key(|problem| (problem.mark(), problem.code));
        let environments = environment.name().cloned().into_iter().collect();
        Loaded { documents, desired, problems, environments }
    }
}

/// A problem that stops one installer, or an identity that no machine shows, is an error to a person who
/// checks, but to the daemon no reason to leave all other machines without the revision.
fn tolerate(problem: &mut Problem, depth: Depth) {
    if depth == Depth::OneFirmware
        && matches!(problem.code, Code::Answers | Code::NoAnswers | Code::TooLittleMemory | Code::SharedMark)
    {
        problem.level = Level::Warning;
    }
}

/// Whether a problem takes away no more than the deployments of one template: the others are whole, and
/// what is wrong with their boots and answers can be reported in the same run.
fn is_of_one_template(problem: &Problem, sources: &Sources) -> bool {
    match problem.code {
        Code::NoTemplateFile => true,
        // A word of a command line is a template as well: its boot would be without it.
        Code::BadTemplate => !is_manifest(sources.inside(problem.mark().file)),
        _ => false,
    }
}

/// The deployments whose boot may have changed in a step; `None` if all may, because the simulated daemon
/// would have another address.
fn changed_boots(step: &Step, before: &Desired, next: &Desired) -> Option<ChangedBoots> {
    let server = |desired: &Desired, name| {
        let subnet = desired.subnets.get(name)?;
        Some(walk::stand_in_address(desired, subnet))
    };
    let stay = next.subnets.keys().all(|name| server(before, name) == server(next, name));
    let names: BTreeSet<Name> = step.fresh.deployments.iter().map(|own| own.name.clone()).collect();
    let gone = step.gone.deployments.iter().map(|own| own.name.clone());
    let gone = gone.filter(|name| !names.contains(name)).collect();
    stay.then(|| ChangedBoots { gone, names, files: step.files.iter().copied().collect() })
}

/// Simulates the boots whose result is not known, on all processors; `some` are the deployments whose boot
/// may have changed since the last time.
fn simulate_boots(
    documents: &Documents,
    desired: &Arc<Desired>,
    some: Option<ChangedBoots>,
    depth: Depth,
    known: &mut SimulatedBoots,
) -> Vec<Problem> {
    let is_pool = known.is_of_pools;
    let looked_at = some.map(|changed_boots| {
        changed_boots.gone.iter().for_each(|name| known.forget(name));
        let doubtful = known.doubtful(&changed_boots);
        changed_boots.names.into_iter().chain(doubtful).collect::<BTreeSet<Name>>()
    });
    let unproven = match &looked_at {
        Some(names) => {
            let some = names.iter().filter_map(|name| desired.deployments.get(name));
            not_proven(desired, some, depth, known)
        }
        None => not_proven(desired, desired.deployments.values(), depth, known),
    };
    known.looked_at(looked_at.as_ref(), &named(&unproven));
    let sources = &documents.sources;
    let mut wanted = unproven;
    wanted.retain(|(deployment, inputs)| !known.is_known_failed(deployment, inputs, sources));
    let whole = OnceLock::new();
    let found = memory::share(&wanted, |part| {
        let small = stage_for(desired, part).map(|small| stages(&small, part));
        let stages = small.as_ref().unwrap_or_else(|| whole.get_or_init(|| stages(desired, &wanted)));
        let boot = |(deployment, inputs): &(&Arc<Deployment>, BootInputs)| {
            let state = &stages[&inputs.subnet.name];
            let deployment = &***deployment;
            let walks = walk::simulate_all(state, deployment, &routes(deployment, depth), Time(0));
            Judge { documents, state, deployment, is_pool, place: None }.problems(&walks)
        };
        part.iter().map(boot).collect::<Vec<_>>()
    });
    for ((deployment, inputs), problems) in wanted.into_iter().zip(found.into_iter().flatten()) {
        if problems.is_empty() {
            known.keep(deployment, inputs);
            continue;
        }
        let problems = problems.into_iter().map(Arc::new).collect();
        known.keep_failed(deployment, inputs, problems, sources);
    }
    known.trim(&desired.deployments);
    documents.weigh(known.problems())
}

fn named<'a>(pairs: &[(&'a Arc<Deployment>, BootInputs)]) -> BTreeSet<&'a Name> {
    pairs.iter().map(|(deployment, _)| &deployment.name).collect()
}

/// The deployments that are not known to boot.
fn not_proven<'a>(
    desired: &'a Arc<Desired>,
    some: impl Iterator<Item = &'a Arc<Deployment>>,
    depth: Depth,
    known: &SimulatedBoots,
) -> Vec<(&'a Arc<Deployment>, BootInputs)> {
    let mut servers: BTreeMap<&Name, Ipv4Addr> = BTreeMap::new();
    let chosen = OnceCell::new();
    let choice = |name| chosen.get_or_init(|| walk::choices(desired)).get(name).cloned();
    let inputs = |deployment: &'a Arc<Deployment>| {
        let machine = match &deployment.place {
            Place::Machine(name) => Some(name.clone()),
            Place::Select(_) => choice(&deployment.name),
        };
        let subnet = deployment.subnet.clone();
        let server = servers
            .entry(&deployment.subnet.name)
            .or_insert_with(|| walk::stand_in_address(desired, &deployment.subnet));
        BootInputs {
            depth,
            server: *server,
            subnet,
            boot: deployment.boot.clone(),
            machine: machine.and_then(|name| desired.machines.get(&name)).cloned(),
        }
    };
    let mut inputs = inputs;
    let pairs = some.map(|deployment| (deployment, inputs(deployment)));
    pairs.filter(|(deployment, inputs)| !known.is_known(deployment, inputs)).collect()
}

/// The desired state that some simulated boots need, if that is not all of it: pinned deployments do not
/// affect each other, and a small one is searched quickly.
fn stage_for(desired: &Arc<Desired>, wanted: &[(&Arc<Deployment>, BootInputs)]) -> Option<Arc<Desired>> {
    let pinned =
        |(deployment, _): &(&Arc<Deployment>, BootInputs)| matches!(deployment.place, Place::Machine(_));
    if wanted.len() * 2 > desired.deployments.len() || !wanted.iter().all(pinned) {
        return None;
    }
    let machine = |(deployment, _): &(&Arc<Deployment>, BootInputs)| match &deployment.place {
        Place::Machine(name) => Some((name.clone(), desired.machines.get(name)?.clone())),
        Place::Select(_) => None,
    };
    let machines: imbl::OrdMap<Name, Arc<Machine>> = wanted.iter().filter_map(machine).collect();
    let macs =
        machines.values().flat_map(|machine| machine.macs.iter().map(|mac| (*mac, machine.name.clone())));
    Some(Arc::new(Desired {
        revision: desired.revision.clone(),
        subnets: desired.subnets.clone(),
        boots: desired.boots.clone(),
        macs: macs.collect(),
        machines,
        deployments: wanted.iter().map(|(one, _)| (one.name.clone(), Arc::clone(one))).collect(),
        pools: BTreeMap::new(),
        selects: 0,
        safety: desired.safety.clone(),
        agent: desired.agent.clone(),
        secrets: desired.secrets.clone(),
        definitions: desired.definitions.clone(),
        fixed: Fixed::default(),
    }))
}

/// The states that simulated boots start from, by subnet.
fn stages<'a>(
    desired: &Arc<Desired>,
    wanted: &'a [(&Arc<Deployment>, BootInputs)],
) -> BTreeMap<&'a Name, State> {
    let mut stages = BTreeMap::new();
    for (_, inputs) in wanted {
        let stage = || walk::initial_state_at(inputs.server, desired.clone());
        stages.entry(&inputs.subnet.name).or_insert_with(stage);
    }
    stages
}

fn routes(deployment: &Deployment, depth: Depth) -> Vec<Route> {
    let mut routes = Route::of(deployment);
    if depth == Depth::OneFirmware {
        routes.truncate(1);
    }
    routes
}

/// The simulated boots of some deployments, as [`load`] made them, for people to read.
pub fn transcript(desired: &Arc<Desired>, names: &[&Name]) -> String {
    let mut stages: BTreeMap<&Name, State> = BTreeMap::new();
    let deployments = names.iter().filter_map(|name| desired.deployments.get(*name));
    let texts = deployments.map(|deployment| {
        let subnet = &deployment.subnet;
        let state =
            stages.entry(&subnet.name).or_insert_with(|| walk::initial_state(desired.clone(), subnet));
        let walks = walk::simulate_all(state, deployment, &Route::of(deployment), Time(0));
        walk::transcript::write(state, deployment, &walks)
    });
    texts.collect::<Vec<_>>().join("\n")
}
