//! A directory as it is at some revision of the repository it lies in.

use std::path::Path;

use git2::{Oid, Repository};

use super::Fetched;
use super::mirror::Mirror;
use crate::source::{Snapshot, SourceError};

/// Whether what is checked out where `directory` lies is neither this commit nor comes after it; `None` where it lies in no
/// repository.
pub fn lacks(directory: &Path, commit: &str) -> Option<bool> {
    let repository = Repository::discover(directory).ok()?;
    let head = repository.head().ok()?.peel_to_commit().ok()?.id();
    let wanted = Oid::from_str(commit).ok()?;
    Some(head != wanted && !repository.graph_descendant_of(head, wanted).unwrap_or(false))
}

/// The files of `directory` at `revision` (a branch, a tag, `HEAD~1`, a commit). Files that are
/// not kept in memory are copied to `copies`.
pub fn at(directory: &Path, revision: &str, copies: &Path) -> Result<Snapshot, SourceError> {
    let failed = |why: String| SourceError::Git(why);
    let directory = std::fs::canonicalize(directory)
        .map_err(|error| SourceError::Unreadable { path: directory.into(), why: error.to_string() })?;
    let repository = Repository::discover(&directory)
        .map_err(|_| failed(format!("{} lies in no git repository", directory.display())))?;
    if repository.is_bare() {
        let why = "is a repository without a work tree, so there are no files to compare with";
        return Err(failed(format!("{} {why}", directory.display())));
    }
    let root = repository.workdir().and_then(|root| std::fs::canonicalize(root).ok());
    let inside = root.as_ref().and_then(|root| directory.strip_prefix(root).ok()).unwrap_or(Path::new(""));
    let commit = repository
        .revparse_single(revision)
        .and_then(|object| object.peel_to_commit())
        .map_err(|error| {
            let hint = match repository.is_shallow() {
                true => {
                    ". This is a shallow clone, whose history is cut off: `git fetch --unshallow` brings the rest \
                     (`fetch-depth: 0` in GitHub's checkout, `GIT_DEPTH: 0` in GitLab's jobs)"
                }
                false => "",
            };
            failed(format!("`{revision}` is no commit here: {}{hint}", error.message()))
        })?;
    let mirror = Mirror { path: repository.commondir().into(), copies: copies.into() };
    let fetched = Fetched { commit: commit.id().to_string(), name: revision.to_owned() };
    let reading = mirror.read(&fetched, &inside.display().to_string(), None)?;
    Ok(reading.expect("no tree is known yet").snapshot)
}
