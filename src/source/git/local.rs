//! Repositories on this host: where a new commit shows.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::source::watch::watched::{self, WatchedDirectory};

/// The path behind a URL, if it is one of this host.
pub(crate) fn path(url: &str) -> Option<PathBuf> {
    if let Some(path) = url.strip_prefix("file://") {
        return Some(path.strip_prefix("localhost").unwrap_or(path).into());
    }
    let remote = url.contains("://") || super::address::is_scp_like(url);
    (!remote).then(|| url.into())
}

/// The references of the repository at `path`, bare or with a work tree, and the names on the
/// way to them.
pub(crate) fn places(path: &Path) -> BTreeSet<WatchedDirectory> {
    let (folder, common) = (git_folder(path), folder(path));
    let mut places = watched::names_to(&common);
    for (folder, name) in [(&folder, "HEAD"), (&common, "packed-refs"), (&common, "refs")] {
        places.extend(WatchedDirectory::name(folder, OsStr::new(name)));
    }
    places.extend(WatchedDirectory::deep(&common.join("refs")));
    places
}

/// Where the objects and references of the repository at `path` lie.
pub(crate) fn folder(path: &Path) -> PathBuf {
    common_folder(&git_folder(path))
}

/// `.git` of a work tree, which may be a file that names another place; else the path itself.
fn git_folder(path: &Path) -> PathBuf {
    let inner = path.join(".git");
    if inner.is_dir() {
        return inner;
    }
    match std::fs::read_to_string(&inner) {
        Ok(text) => path.join(text.trim().strip_prefix("gitdir:").unwrap_or_default().trim()),
        Err(_) => path.to_path_buf(),
    }
}

/// Where the references of a linked work tree lie.
fn common_folder(folder: &Path) -> PathBuf {
    match std::fs::read_to_string(folder.join("commondir")) {
        Ok(text) => folder.join(text.trim()),
        Err(_) => folder.to_path_buf(),
    }
}

/// Git takes a lock beside each reference before it renames it into place.
pub(crate) fn is_noise(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_host_are_paths() {
        assert_eq!(path("/srv/x.git"), Some("/srv/x.git".into()));
        assert_eq!(path("file:///srv/x.git"), Some("/srv/x.git".into()));
        assert_eq!(path("file://localhost/srv/x.git"), Some("/srv/x.git".into()));
        for url in ["https://h/x", "git@h:x", "ssh://h/x"] {
            assert_eq!(path(url), None, "{url}");
        }
    }
}
