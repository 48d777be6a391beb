//! Two writers: what is applied by hand stands beside what the daemon reads from its source.

use std::path::Path;

use crate::api::resource::{Outcome, SourceStatus, Tree};
use crate::cli::Exit;
use crate::cli::exit::talk;
use crate::cli::remote::Remote;
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

/// A source goes on to be followed.
pub(super) fn warn_of_undoing(outcome: &Outcome, source: Option<&SourceStatus>) -> Exit {
    if let (Outcome::Applied { plan }, Some(source)) = (outcome, source)
        && plan.to != source.attempted
        && commit_of(source).is_some()
    {
        talk(&format!(
            "warning: source {} is followed and is at {}: its next commit undoes this; commit what you applied",
            source.name, source.attempted
        ));
    }
    Exit::Done
}
