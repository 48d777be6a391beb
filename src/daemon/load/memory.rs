//! What one load found out and the next need not find out again: files that were read, and
//! deployments that were resolved and that are known to boot. A load with a memory finds what
//! one without would find.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::num::NonZero;
use std::sync::Arc;

use bytes::Bytes;

use super::Depth;
use crate::desired::{Boot, Deployment, Earlier, Machine, Subnet};
use crate::manifest::{self, Documents, Part, Problem, Sources};
use crate::model::Name;

/// The memory of one inventory. An empty one is as good as any, only slower.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) manifests: Manifests,
    pub(super) resolved: Earlier,
    pub(super) rehearsed: Rehearsed,
}

/// Manifests as they were last read.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    sources: Sources,
    parts: BTreeMap<u32, Part>,
}

impl Manifests {
    /// Reads the files that are not the same as before, on all processors.
    pub fn read(&mut self, files: &BTreeMap<Arc<str>, Bytes>) -> (Documents, Vec<Problem>) {
        let sources = self.sources.next(files);
        let before = std::mem::replace(&mut self.sources, sources.clone());
        self.parts.retain(|file, _| sources.is_same(&before, *file));
        let manifests = sources.iter().filter(|(_, source)| manifest::is_manifest(&source.name));
        let unread = manifests.map(|(file, _)| file).filter(|file| !self.parts.contains_key(file));
        let unread: Vec<u32> = unread.collect();
        let read = share(&unread, |some| {
            let parts = some.iter().map(|file| (*file, manifest::part(&sources, *file)));
            parts.collect::<Vec<_>>()
        });
        self.parts.extend(read.into_iter().flatten());
        manifest::join(sources, self.parts.values())
    }
}

/// The deployments whose rehearsed boots all came to a good end.
#[derive(Debug, Default)]
pub(super) struct Rehearsed {
    /// By their digests.
    well: HashMap<Arc<str>, Scene>,
}

/// What decides a rehearsal beside what is in a deployment's digest.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub depth: Depth,
    /// The address of the rehearsing server.
    pub server: Ipv4Addr,
    pub subnet: Arc<Subnet>,
    /// With the files that are at hand.
    pub boot: Arc<Boot>,
    /// `None`: no machine is free for it.
    pub machine: Option<Arc<Machine>>,
}

impl PartialEq for Scene {
    fn eq(&self, other: &Scene) -> bool {
        let Scene { depth, server, subnet, boot, machine } = self;
        let same_machine = match (machine, &other.machine) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || (one.name == two.name && one.macs == two.macs),
            (one, two) => one.is_none() && two.is_none(),
        };
        same_machine
            && *depth == other.depth
            && *server == other.server
            && same(subnet, &other.subnet)
            && same(boot, &other.boot)
    }
}

fn same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl Rehearsed {
    pub fn is_known(&self, deployment: &Deployment, scene: &Scene) -> bool {
        self.well.get(&deployment.digest).is_some_and(|known| known == scene)
    }

    pub fn keep(&mut self, digest: Arc<str>, scene: Scene) {
        self.well.insert(digest, scene);
    }

    /// Forgets deployments that are no more, when they get many.
    pub fn trim(&mut self, deployments: &BTreeMap<Name, Arc<Deployment>>) {
        if self.well.len() > deployments.len() + deployments.len() / 4 {
            let present: std::collections::HashSet<&Arc<str>> =
                deployments.values().map(|deployment| &deployment.digest).collect();
            self.well.retain(|digest, _| present.contains(digest));
        }
    }
}

/// Works on parts of a list on all processors; the results are in the order of the list.
pub(super) fn share<T: Sync, R: Send>(list: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    /// Fewer than this are done before another thread has started.
    const LEAST: usize = 16;
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let part = list.len().div_ceil(workers).max(LEAST);
    if list.len() <= part {
        return vec![work(list)];
    }
    std::thread::scope(|scope| {
        let parts: Vec<_> = list.chunks(part).map(|part| scope.spawn(|| work(part))).collect();
        parts.into_iter().map(|part| part.join().expect("a load does not panic")).collect()
    })
}
