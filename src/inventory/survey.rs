//! An inventory and all its environments, as one list of problems: each mistake once, and attributed to an
//! environment only if it is one of that environment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::{Depth, Loaded, Memory};
use crate::desired::Options;
use crate::manifest::{Code, Environment, Mark, Problem, Sources, environment};
use crate::media::Library;
use crate::model::Name;

/// What makes a problem the same in two environments.
type Key = (Code, Mark);

fn key(problem: &Problem) -> Key {
    (problem.code, problem.mark())
}

/// Whether a problem says that something is unused, which takes looking at every environment.
fn is_of_no_use(problem: &Problem) -> bool {
    matches!(problem.code, Code::Unused | Code::UnusedSecret)
}

/// Checks the inventory without an environment and with each of those it has. Documents and desired state
/// are those without.
pub fn survey(
    revision: Arc<str>,
    files: &BTreeMap<Arc<str>, Bytes>,
    library: &dyn Library,
    options: &Options,
    depth: Depth,
) -> Loaded {
    survey_again(&mut Memory::default(), revision, files, library, options, depth)
}

/// The same, quicker for what earlier surveys with this memory have seen.
pub fn survey_again(
    memory: &mut Memory,
    revision: Arc<str>,
    files: &BTreeMap<Arc<str>, Bytes>,
    library: &dyn Library,
    options: &Options,
    depth: Depth,
) -> Loaded {
    let sources = memory.manifests.sources([(None, files)], None);
    let examine = |memory: &mut Memory, environment: &Environment| {
        memory.examine(revision.clone(), sources.clone(), environment, library, options, depth)
    };
    let mut base = examine(memory, &Environment::base());
    let mut known = std::mem::take(&mut memory.environments);
    let mut others = Others::default();
    for environment in Environment::all(files.keys().map(|path| &**path)) {
        let Some(name) = environment.name() else { continue };
        let manifests = memory.manifests.lend();
        let own = memory.environments.entry(name.clone()).or_insert(known.remove(name).unwrap_or_default());
        own.manifests = manifests;
        let Loaded { documents, problems: found, desired: _, environments: _ } = examine(own, &environment);
        let overlay = |file: &u32| environment.owns(documents.sources.inside(*file));
        let unparsed = documents.unparsed.iter().copied().filter(overlay).collect::<Vec<_>>();
        if !unparsed.is_empty() {
            Arc::make_mut(&mut base.documents).unparsed.extend(unparsed);
        }
        let unused: HashSet<Key> = found.iter().filter(|one| is_of_no_use(one)).map(key).collect();
        base.problems.retain(|one| !is_of_no_use(one) || unused.contains(&key(one)));
        others.add(name, found, &environment, &base.documents.sources);
        base.environments.push(name.clone());
    }
    let known: HashSet<Key> = base.problems.iter().map(key).collect();
    base.problems.extend(others.problems_beside(&known, &base.documents.sources));
    base.problems.sort_by_key(|problem| (problem.mark(), problem.code));
    base
}

/// Leaves out what an environment can't know: whether another one uses what it does not.
pub(super) fn keep_own(loaded: &mut Loaded, environment: &Environment) {
    if environment.name().is_none() && !has_environments(&loaded.documents.sources) {
        return;
    }
    let sources = &loaded.documents.sources;
    loaded.problems.retain(|problem| is_own(problem, environment, sources));
}

fn has_environments(sources: &Sources) -> bool {
    sources.iter().any(|(_, source)| environment::part(source.path.inside()).is_some())
}

fn is_own(problem: &Problem, environment: &Environment, sources: &Sources) -> bool {
    !is_of_no_use(problem) || environment.owns(sources.inside(problem.mark().file))
}

/// Problems found in environments, with those that have them.
#[derive(Default)]
struct Others {
    found: Vec<(Problem, Vec<Name>)>,
    index: HashMap<Key, usize>,
}

impl Others {
    fn add(&mut self, name: &Name, found: Vec<Problem>, environment: &Environment, sources: &Sources) {
        for problem in found.into_iter().filter(|problem| is_own(problem, environment, sources)) {
            match self.index.get(&key(&problem)) {
                // Several of one kind at one place, in one environment.
                Some(at) if self.found[*at].1.last() != Some(name) => self.found[*at].1.push(name.clone()),
                _ => {
                    self.index.insert(key(&problem), self.found.len());
                    self.found.push((problem, vec![name.clone()]));
                }
            }
        }
    }

    /// The problems that are not in the inventory itself. The file's path names the environment of
    /// those in overlays.
    fn problems_beside(self, known: &HashSet<Key>, sources: &Sources) -> Vec<Problem> {
        let noted = |(mut problem, names): (Problem, Vec<Name>)| {
            if environment::part(sources.inside(problem.mark().file)).is_none() {
                let plural = if names.len() == 1 { "" } else { "s" };
                let names = names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
                problem.message += &format!(" (in environment{plural} {names})");
            }
            problem
        };
        self.found.into_iter().filter(|(problem, _)| !known.contains(&key(problem))).map(noted).collect()
    }
}
