//! From the files of an inventory to desired state that is known to boot: parsed, resolved, and
//! every boot rehearsed. `check` and the daemon use the same function, so that what was checked
//! is what is served.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use bytes::Bytes;

use crate::desired::{self, Deployment, Desired, Options};
use crate::manifest::{self, Code, Documents, Level, Mark, Problem, report};
use crate::media::Library;
use crate::model::{Firmware, Time};
use crate::walk::{self, End, Walk};

/// An inventory, as far as it could be understood.
#[derive(Debug)]
pub struct Loaded {
    pub documents: Documents,
    /// To be served only without errors.
    pub desired: Arc<Desired>,
    /// In the order of their places.
    pub problems: Vec<Problem>,
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

/// Parses, resolves and rehearses `files` (by path relative to the inventory).
pub fn load(
    revision: Arc<str>,
    files: &BTreeMap<Arc<str>, Bytes>,
    library: &dyn Library,
    options: &Options,
    depth: Depth,
) -> Loaded {
    let (documents, mut problems) = manifest::parse(files);
    let (desired, found) = desired::resolve(&documents, library, options);
    problems.extend(found);
    let desired = Arc::new(Desired { revision, ..desired });
    if !problems.iter().any(|problem| problem.level == Level::Error) {
        problems.extend(documents.weigh(rehearse(&documents, &desired, depth)));
    }
    problems.sort_by_key(|problem| (problem.mark(), problem.code));
    Loaded { documents, desired, problems }
}

/// Boots every deployment in memory, on all processors.
fn rehearse(documents: &Documents, desired: &Arc<Desired>, depth: Depth) -> Vec<Problem> {
    let deployments: Vec<&Arc<Deployment>> = desired.deployments.values().collect();
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = deployments.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = deployments
            .chunks(share)
            .map(|part| scope.spawn(move || boot_all(documents, desired, part, depth)))
            .collect();
        let found = parts.into_iter().flat_map(|part| part.join().unwrap_or_default());
        found.collect()
    })
}

fn boot_all(
    documents: &Documents,
    desired: &Arc<Desired>,
    part: &[&Arc<Deployment>],
    depth: Depth,
) -> Vec<Problem> {
    let mut rehearsals = BTreeMap::new();
    let mut problems = Vec::new();
    for deployment in part {
        let table = rehearsals
            .entry(&deployment.subnet.name)
            .or_insert_with(|| walk::rehearsal(desired.clone(), &deployment.subnet));
        let firmwares = walk::firmwares(deployment.boot.cpu);
        let firmwares = match depth {
            Depth::EveryFirmware => firmwares,
            Depth::OneFirmware => &firmwares[..1],
        };
        let problem = firmwares.iter().find_map(|firmware| {
            let walk = walk::walk(table, deployment, *firmware, Time(0));
            judge(documents, deployment, *firmware, &walk)
        });
        problems.extend(problem);
    }
    problems
}

/// What is wrong with a walk, if anything.
fn judge(documents: &Documents, deployment: &Deployment, firmware: Firmware, walk: &Walk) -> Option<Problem> {
    let mark = documents.deployments.get(&deployment.name)?.mark;
    if let End::Stopped(why) = &walk.end {
        let message = format!("{} does not boot with {firmware} firmware: {why}", deployment.name);
        let mut problem = Problem::new(Code::Walk, mark, message, "this boot was rehearsed");
        for step in &walk.steps {
            problem = problem.note(format!("{}: {}", step.stage, step.text));
        }
        return Some(problem);
    }
    let template = deployment.template.as_ref()?;
    let (file, text) = walk.answers.first()?;
    let error = template.kind.check(text).into_iter().next()?;
    let message = format!("the {} of {} is not right: {}", file, deployment.name, error.message);
    let line = text.lines().nth(error.line.saturating_sub(1) as usize).unwrap_or_default();
    let declared = documents.templates.get(&template.name).map_or(mark, |template| template.mark);
    let problem =
        Problem::new(Code::Answers, declared, message, format!("rendered from template {}", template.name));
    Some(also(problem, declared, mark).note(format!("line {} of the rendered file: {line}", error.line)))
}

fn also(problem: Problem, declared: Mark, mark: Mark) -> Problem {
    if declared == mark { problem } else { problem.also(mark, "for this deployment") }
}
