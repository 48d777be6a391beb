//! How the simulated boots of deployments ended, for the next load.

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
pub(super) struct Rehearsed {
    /// Those that all came to a good end, by the deployment's digest.
    well: HashMap<Arc<str>, Scene>,
    /// The others.
    ill: BTreeMap<Name, Ill>,
    /// The deployments of whose boots something is to be told, by the files that it points into.
    pointing: BTreeMap<u32, BTreeSet<Name>>,
    /// What is to be told, by what and where it is, and by deployment: a template has one fault in thousands of
    /// boots, which is one problem for people.
    told: BTreeMap<(Code, Mark), Occurrences>,
}

/// A boot of which something is to be told.
#[derive(Debug)]
struct Ill {
    digest: Arc<str>,
    scene: Scene,
    problems: Vec<Arc<Problem>>,
    /// The files they point into: in others, or others of their numbers, they say nothing.
    files: Vec<(u32, Arc<Source>)>,
}

/// What a step may have changed about boots.
#[derive(Debug)]
pub(super) struct Touched {
    /// The deployments that may boot otherwise than before.
    pub names: BTreeSet<Name>,
    /// Those that are no more.
    pub gone: Vec<Name>,
    /// The files that differ.
    pub files: BTreeSet<u32>,
}

/// What decides a simulated boot beside what is in a deployment's digest.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub depth: Depth,
    /// The address of the simulated daemon.
    pub server: Ipv4Addr,
    pub subnet: Arc<Subnet>,
    /// With the files that are at hand.
    pub boot: Arc<Boot>,
    /// Pinned, or chosen if any is free.
    pub machine: Option<Arc<Machine>>,
}

impl PartialEq for Scene {
    fn eq(&self, other: &Scene) -> bool {
        let Scene { depth, server, subnet, boot, machine } = self;
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
    let Machine { name, macs, ids: _, labels: _, protect: _, options, power: _, loader, origin: _ } = &**one;
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
    let entries = |boot: &Boot| -> Vec<Option<Entry>> {
        std::iter::once(&boot.kernel).chain(&boot.initrd).map(|file| file.entry.clone()).collect()
    };
    Arc::ptr_eq(one, other) || entries(one) == entries(other)
}

impl Rehearsed {
    pub fn is_known(&self, deployment: &Deployment, scene: &Scene) -> bool {
        self.well.get(&deployment.digest).is_some_and(|known| known == scene)
    }

    pub fn keep(&mut self, deployment: &Deployment, scene: Scene) {
        self.forget(&deployment.name);
        self.well.insert(deployment.digest.clone(), scene);
    }

    /// Whether it is known what is wrong with a boot, and would be told now as it was then.
    pub fn is_known_ill(&self, deployment: &Deployment, scene: &Scene, sources: &Sources) -> bool {
        let Some(ill) = self.ill.get(&deployment.name).filter(|ill| ill.digest == deployment.digest) else {
            return false;
        };
        let same = |(number, file): &(u32, Arc<Source>)| {
            sources.shared(*number).is_some_and(|other| Arc::ptr_eq(file, other))
        };
        ill.scene == *scene && ill.files.iter().all(same)
    }

    pub fn keep_ill(
        &mut self,
        deployment: &Deployment,
        scene: Scene,
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
            let place = self.told.entry((problem.code, problem.mark())).or_default();
            place.insert((name.clone(), at), problem.clone());
        }
        let ill = Ill { digest: deployment.digest.clone(), scene, problems, files };
        self.ill.insert(name.clone(), ill);
    }

    /// There is nothing to be told of a deployment.
    pub fn forget(&mut self, name: &Name) {
        let Some(ill) = self.ill.remove(name) else { return };
        for (number, _) in &ill.files {
            if let Some(names) = self.pointing.get_mut(number) {
                names.remove(name);
            }
        }
        for (at, problem) in ill.problems.iter().enumerate() {
            let place = (problem.code, problem.mark());
            let Some(told) = self.told.get_mut(&place) else { continue };
            told.remove(&(name.clone(), at));
            if told.is_empty() {
                self.told.remove(&place);
            }
        }
    }

    /// The deployments of which it has to be found out anew after a step what is to be told, because a file that
    /// it points into is another.
    pub fn doubtful(&self, touched: &Touched) -> BTreeSet<Name> {
        let pointing = touched.files.iter().filter_map(|number| self.pointing.get(number)).flatten();
        pointing.filter(|name| !touched.names.contains(*name)).cloned().collect()
    }

    /// Of those that were looked at, `unwell` are all of which there may be something to tell; `None`: all were.
    pub fn looked_at(&mut self, looked_at: Option<&BTreeSet<Name>>, unwell: &BTreeSet<&Name>) {
        let names: Vec<Name> = match looked_at {
            Some(names) => names.iter().filter(|name| self.ill.contains_key(*name)).cloned().collect(),
            None => self.ill.keys().cloned().collect(),
        };
        names.iter().filter(|name| !unwell.contains(*name)).for_each(|name| self.forget(name));
    }

    /// What is to be told: one problem for each place, however many deployments have it.
    pub fn told(&self) -> Vec<Problem> {
        let told = self.told.values().filter_map(|place| {
            let mut all = place.iter();
            let problem = Problem::clone(all.next()?.1);
            let more = place.len().saturating_sub(2);
            Some(match all.next() {
                None => problem,
                Some(((other, _), _)) if more == 0 => problem.note(format!("the same happens to {other}")),
                Some(((other, _), _)) => problem.note(format!("the same happens to {other} and {more} more")),
            })
        });
        told.collect()
    }

    /// Forgets deployments that are no more, when they get many.
    pub fn trim(&mut self, deployments: &imbl::OrdMap<Name, Arc<Deployment>>) {
        if self.well.len() > deployments.len() + deployments.len() / 4 {
            let present: std::collections::HashSet<&Arc<str>> =
                deployments.values().map(|deployment| &deployment.digest).collect();
            self.well.retain(|digest, _| present.contains(digest));
        }
    }
}
