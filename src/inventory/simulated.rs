//! The results of the simulated boots of deployments, for the next load.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Depth;
use crate::desired::{Boot, Deployment, Machine, Subnet};
use crate::manifest::{Code, Mark, Problem, Source, Sources};
use crate::media::Entry;
use crate::model::Name;

/// The same problem by deployment, and by its number among those of the deployment.
type Occurrences = BTreeMap<(Name, usize), Arc<Problem>>;

/// How the simulated boots of deployments ended.
#[derive(Debug, Default)]
pub(super) struct SimulatedBoots {
    /// Whether they are of pools, under the pools' names, instead of deployments.
    pub is_of_pools: bool,
    /// Those without a problem, by the deployment's digest.
    passed: HashMap<Arc<str>, BootInputs>,
    /// The others.
    failed: BTreeMap<Name, FailedBoot>,
    /// The deployments whose boots have problems, by the files that these point into.
    pointing: BTreeMap<u32, BTreeSet<Name>>,
    /// The problems by code and place, and by deployment: a template has one fault in thousands of
    /// boots, which is one problem for people.
    problems: BTreeMap<(Code, Mark), Occurrences>,
}

/// A simulated boot with problems.
#[derive(Debug)]
struct FailedBoot {
    digest: Arc<str>,
    inputs: BootInputs,
    problems: Vec<Arc<Problem>>,
    /// The files they point into: in others, or others of their numbers, they say nothing.
    files: Vec<(u32, Arc<Source>)>,
}

/// What a step may have changed about boots.
#[derive(Debug)]
pub(super) struct ChangedBoots {
    /// The deployments that may boot otherwise than before.
    pub names: BTreeSet<Name>,
    /// Those that are no more.
    pub gone: Vec<Name>,
    /// The files that differ.
    pub files: BTreeSet<u32>,
}

/// What decides a simulated boot beside what is in a deployment's digest.
#[derive(Clone, Debug)]
pub(super) struct BootInputs {
    pub depth: Depth,
    /// The address of the simulated daemon.
    pub server: Ipv4Addr,
    pub subnet: Arc<Subnet>,
    /// With the files that were found.
    pub boot: Arc<Boot>,
    /// Pinned, or chosen if any is free.
    pub machine: Option<Arc<Machine>>,
}

impl PartialEq for BootInputs {
    fn eq(&self, other: &BootInputs) -> bool {
        let BootInputs { depth, server, subnet, boot, machine } = self;
        let same_machines = match (machine, &other.machine) {
            (Some(one), Some(two)) => same_machine(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        same_machines
            && *depth == other.depth
            && *server == other.server
            && same_network(subnet, &other.subnet)
            && same_files(boot, &other.boot)
    }
}

/// Where it is written decides nothing, nor does what it is chosen or kept by.
fn same_machine(one: &Arc<Machine>, other: &Arc<Machine>) -> bool {
    let Machine {
        name,
        macs,
        ids: _,
        labels: _,
        protect: _,
        options,
        power: _,
        power_on: _,
        loader,
        origin: _,
    } = &**one;
    Arc::ptr_eq(one, other)
        || (*name == other.name
            && *macs == other.macs
            && *options == other.options
            && *loader == other.loader)
}

/// The rest of a subnet is in the digests, and the line it is written in decides nothing.
fn same_network(one: &Arc<Subnet>, other: &Arc<Subnet>) -> bool {
    Arc::ptr_eq(one, other)
        || (one.name == other.name
            && one.dynamic == other.dynamic
            && one.segment == other.segment
            && one.ipv6 == other.ipv6)
}

/// The same goes for boots.
fn same_files(one: &Arc<Boot>, other: &Arc<Boot>) -> bool {
    let entries =
        |boot: &Boot| -> Vec<Option<Entry>> { boot.files().map(|file| file.entry.clone()).collect() };
    Arc::ptr_eq(one, other) || entries(one) == entries(other)
}

impl SimulatedBoots {
    pub(super) fn is_known(&self, deployment: &Deployment, inputs: &BootInputs) -> bool {
        self.passed.get(&deployment.digest).is_some_and(|known| known == inputs)
    }

    pub(super) fn keep(&mut self, deployment: &Deployment, inputs: BootInputs) {
        self.forget(&deployment.name);
        self.passed.insert(deployment.digest.clone(), inputs);
    }

    /// Whether the problems of a boot are known, and would be reported now as they were then.
    pub(super) fn is_known_failed(
        &self,
        deployment: &Deployment,
        inputs: &BootInputs,
        sources: &Sources,
    ) -> bool {
        let Some(failed) =
            self.failed.get(&deployment.name).filter(|failed| failed.digest == deployment.digest)
        else {
            return false;
        };
        let same = |(number, file): &(u32, Arc<Source>)| {
            sources.shared(*number).is_some_and(|other| Arc::ptr_eq(file, other))
        };
        failed.inputs == *inputs && failed.files.iter().all(same)
    }

    pub(super) fn keep_failed(
        &mut self,
        deployment: &Deployment,
        inputs: BootInputs,
        problems: Vec<Arc<Problem>>,
        sources: &Sources,
    ) {
        let name = &deployment.name;
        self.forget(name);
        let labels = problems.iter().flat_map(|problem| &problem.labels).map(|label| label.mark);
        let fixes = problems.iter().flat_map(|problem| &problem.fix).map(|edit| edit.mark);
        let marks = labels.chain(fixes);
        let numbers: BTreeSet<u32> = marks.map(|mark| mark.file).collect();
        let files = numbers.into_iter().filter_map(|number| Some((number, sources.shared(number)?.clone())));
        let files: Vec<(u32, Arc<Source>)> = files.collect();
        for (number, _) in &files {
            self.pointing.entry(*number).or_default().insert(name.clone());
        }
        for (at, problem) in problems.iter().enumerate() {
            let place = self.problems.entry((problem.code, problem.mark())).or_default();
            place.insert((name.clone(), at), problem.clone());
        }
        let failed = FailedBoot { digest: deployment.digest.clone(), inputs, problems, files };
        self.failed.insert(name.clone(), failed);
    }

    /// A deployment has no problems any more.
    pub(super) fn forget(&mut self, name: &Name) {
        let Some(failed) = self.failed.remove(name) else { return };
        for (number, _) in &failed.files {
            if let Some(names) = self.pointing.get_mut(number) {
                names.remove(name);
            }
        }
        for (at, problem) in failed.problems.iter().enumerate() {
            let place = (problem.code, problem.mark());
            let Some(place_of) = self.problems.get_mut(&place) else { continue };
            place_of.remove(&(name.clone(), at));
            if place_of.is_empty() {
                self.problems.remove(&place);
            }
        }
    }

    /// The deployments to be simulated again after a step, because a file that one of their problems points into has
    /// changed.
    pub(super) fn doubtful(&self, changed_boots: &ChangedBoots) -> BTreeSet<Name> {
        let pointing = changed_boots.files.iter().filter_map(|number| self.pointing.get(number)).flatten();
        pointing.filter(|name| !changed_boots.names.contains(*name)).cloned().collect()
    }

    /// Of those that were looked at, `unproven` are all that may have problems; `None`: all were looked at.
    pub(super) fn looked_at(&mut self, looked_at: Option<&BTreeSet<Name>>, unproven: &BTreeSet<&Name>) {
        let names: Vec<Name> = match looked_at {
            Some(names) => names.iter().filter(|name| self.failed.contains_key(*name)).cloned().collect(),
            None => self.failed.keys().cloned().collect(),
        };
        names.iter().filter(|name| !unproven.contains(*name)).for_each(|name| self.forget(name));
    }

    /// The problems, one for each place, however many deployments have it.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let problems = self.problems.values().filter_map(|place| {
            let mut all = place.iter();
            let problem = Problem::clone(all.next()?.1);
            let more = place.len().saturating_sub(2);
            Some(match all.next() {
                None => problem,
                Some(((other, _), _)) if more == 0 => problem.note(format!("the same happens to {other}")),
                Some(((other, _), _)) => problem.note(format!("the same happens to {other} and {more} more")),
            })
        });
        problems.collect()
    }

    /// Forgets deployments that are no more, when they get many.
    pub(super) fn trim(&mut self, deployments: &imbl::OrdMap<Name, Arc<Deployment>>) {
        if self.passed.len() > deployments.len() + deployments.len() / 4 {
            let present: std::collections::HashSet<&Arc<str>> =
                deployments.values().map(|deployment| &deployment.digest).collect();
            self.passed.retain(|digest, _| present.contains(digest));
        }
    }
}
