//! From the files of an inventory to desired state: the part of the pipeline that `check`,
//! `plan` and the daemon have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Desired;
use super::resolve::{Options, resolve};
use crate::manifest::problem::{Level, Problem};
use crate::manifest::{Sources, parse, report};
use crate::media::Library;

/// An inventory, read.
#[derive(Debug)]
pub struct Loaded {
    /// The desired state as far as it could be told; to be served only without errors.
    pub desired: Arc<Desired>,
    pub problems: Vec<Problem>,
    pub sources: Sources,
}

impl Loaded {
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| problem.level == Level::Error).count()
    }

    /// Every error, as `check` prints them.
    pub fn report(&self) -> String {
        let errors = self.problems.iter().filter(|problem| problem.level == Level::Error);
        errors.map(|problem| report::full(problem, &self.sources, false)).collect::<Vec<_>>().join("\n")
    }
}

/// Parses and resolves `files` (by path relative to the inventory).
pub fn load(revision: Arc<str>, files: &BTreeMap<Arc<str>, Bytes>, library: &dyn Library, options: &Options) -> Loaded {
    let (documents, mut problems) = parse(files);
    let (desired, found) = resolve(&documents, library, options);
    problems.extend(found);
    let desired = Arc::new(Desired { revision, ..desired });
    Loaded { desired, problems, sources: documents.sources }
}
