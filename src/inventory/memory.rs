//! What one load found out and the next need not find out again: files that were read, and
//! deployments that were resolved and that are known to boot. A load with a memory finds what
//! one without would find.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Depth;
use super::simulated::SimulatedBoots;
use crate::desired::{Desired, Earlier, Step};
use crate::manifest::{self, Documents, Environment, Fleet, Level, Part, Problem, Sources, Tree};
use crate::model::Name;

/// The memory of one inventory. An empty one is as good as any, only slower.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) manifests: Manifests,
    pub(super) resolved: Earlier,
    pub(super) simulated: SimulatedBoots,
    pub(super) simulated_pools: SimulatedBoots,
    /// The last load, if it found no error.
    pub(super) last_valid: Option<(Depth, Arc<Desired>)>,
    /// Of the same inventory with each of its environments.
    pub(super) environments: BTreeMap<Name, Memory>,
}

/// Manifests as they were last read.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    sources: Sources,
    parts: BTreeMap<u32, Arc<Part>>,
    /// All of them with what is wrong with them, if that is no error.
    joined: Option<(Arc<Documents>, Vec<Problem>)>,
}

/// What was read.
pub(super) struct Read {
    pub documents: Arc<Documents>,
    pub problems: Vec<Problem>,
    /// What differs from the time before, where it is only machines and deployments, and few.
    pub step: Option<Step>,
}

impl Manifests {
    /// The files of a revision, numbered as they were where they are the same; the settings of the source
    /// `leading` lead.
    pub(super) fn sources<'a>(
        &self,
        trees: impl IntoIterator<Item = Tree<'a>>,
        leading: Option<&Name>,
    ) -> Sources {
        self.sources.next(trees, leading)
    }

    /// Reads the files that are not the same as before, on all processors.
    pub(super) fn read(&mut self, sources: Sources, environment: &Environment) -> Read {
        let before = std::mem::replace(&mut self.sources, sources.clone());
        let files = sources.changed(&before);
        let gone: Vec<Option<Arc<Part>>> = files.iter().map(|file| self.parts.remove(file)).collect();
        // Overlays change what a part means.
        let plain = !manifest::is_overlaid(&sources, environment);
        let joined = self.joined.take().filter(|_| plain && sources.are_named_as(&before));
        // The problems stay: a step has no file with a problem.
        let cross_file_problems = joined.as_ref().map(|(_, problems)| problems.clone()).unwrap_or_default();
        let joined = joined.map(|(documents, _)| documents);
        let unread = manifest::base_manifests(&sources).filter(|file| !self.parts.contains_key(file));
        let unread: Vec<u32> = unread.collect();
        let read = share(&unread, |some| {
            let parts = some.iter().map(|file| (*file, Arc::new(manifest::part(&sources, *file))));
            parts.collect::<Vec<_>>()
        });
        self.parts.extend(read.into_iter().flatten());
        let stepped = joined.and_then(|joined| self.step(joined, sources.clone(), files, &gone));
        let (documents, problems, step) = match stepped {
            Some((documents, step)) => (documents, cross_file_problems, Some(step)),
            None => {
                let (documents, problems) =
                    manifest::join(sources, self.parts.values().map(|part| &**part), environment);
                (Arc::new(documents), problems, None)
            }
        };
        let valid = problems.iter().all(|problem| problem.level != Level::Error);
        self.joined = (plain && valid).then(|| (documents.clone(), problems.clone()));
        Read { documents, problems, step }
    }

    /// `joined` with the present content of the changed `files`; `gone` is the former.
    fn step(
        &self,
        mut joined: Arc<Documents>,
        sources: Sources,
        files: Vec<u32>,
        gone: &[Option<Arc<Part>>],
    ) -> Option<(Arc<Documents>, Step)> {
        let mut step = Step { files, gone: Fleet::default(), fresh: Fleet::default() };
        for (file, gone) in step.files.iter().zip(gone) {
            let fresh = self.parts.get(file);
            let small = gone.iter().all(|part| part.join_fleet(&mut step.gone))
                && fresh.iter().all(|part| part.join_fleet(&mut step.fresh));
            // A file that is no manifest may be named by any.
            if !small || (gone.is_none() && fresh.is_none()) {
                return None;
            }
        }
        // With more than that everything is as quick.
        if step.fresh.deployments.len() * 4 > joined.deployments.len() {
            return None;
        }
        let documents = Arc::make_mut(&mut joined);
        documents.exchange(sources, &step.gone, &step.fresh).then_some((joined, step))
    }

    /// The same for other environments of the same files.
    pub(super) fn lend(&self) -> Manifests {
        Manifests { sources: self.sources.clone(), parts: self.parts.clone(), joined: None }
    }
}

/// Works on parts of a list on all processors; the results are in the order of the list. A thread that is
/// done takes the next part, so that a busy processor delays no other.
pub(super) fn share<T: Sync, R: Send>(list: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    /// Fewer than this are done before another thread has started.
    const LEAST: usize = 16;
    const PARTS_EACH: usize = 16;
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let parts: Vec<&[T]> = list.chunks(list.len().div_ceil(workers * PARTS_EACH).max(LEAST)).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(at) else { return done };
            done.push((at, work(part)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers.min(parts.len())).map(|_| scope.spawn(run)).collect();
        let own = run();
        let others = others.into_iter().flat_map(|other| other.join().expect("a load does not panic"));
        own.into_iter().chain(others).collect::<Vec<_>>()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_work_keeps_the_order() {
        for length in [0, 1, 16, 17, 5_000] {
            let list: Vec<usize> = (0..length).collect();
            let doubled = share(&list, |part| part.iter().map(|number| number * 2).collect::<Vec<_>>());
            let whole: Vec<usize> = doubled.into_iter().flatten().collect();
            assert_eq!(whole, list.iter().map(|number| number * 2).collect::<Vec<_>>());
        }
    }
}
