//! Two writers: what is applied by hand stands beside what the daemon reads from its source.

use std::path::Path;

use crate::api::resource::{SourceStatus, Tree};
use crate::cli::remote::Remote;
use crate::plan::Plan;
use crate::source::git::revision;

/// The source that a tree is applied in place of; `None` where the daemon does not say, or follows several and none is named.
pub(super) fn source(remote: &Remote, tree: &Tree) -> Option<SourceStatus> {
    let listed = remote.block_on(async |client| client.page::<SourceStatus>("/v1/sources").await);
    let (mut sources, _) = listed.ok()?;
    match &tree.source {
        Some(name) => sources.into_iter().find(|source| source.name == *name),
        None if sources.len() == 1 => sources.pop(),
        None => None,
    }
}

/// The commit that the source holds, if it is a repository.
fn commit_of(source: &SourceStatus) -> Option<&str> {
    Some(source.attempted.rsplit_once("@sha1:")?.1)
}

/// Why an inventory is rather not applied: it lacks commits that are served.
pub(super) fn older(source: &SourceStatus, directory: &Path) -> Option<String> {
    let lacks = revision::lacks(directory, commit_of(source)?)?;
    lacks.then(|| {
        format!(
            "{} lacks {}, which the daemon has from its source {}: applying it would undo what was committed there; get it \
             first (git pull), or give --allow-older",
            directory.display(),
            source.attempted,
            source.name
        )
    })
}

/// What a person should know before a tree is applied in place of what a source has: it goes on to be followed.
pub(super) fn undoing(plan: &Plan, source: &SourceStatus) -> Option<String> {
    commit_of(source).filter(|_| plan.to != source.attempted)?;
    Some(format!(
        "warning: source {} is followed and is at {}: its next commit undoes this; commit what you apply",
        source.name, source.attempted
    ))
}
