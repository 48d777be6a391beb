//! Which directories must be watched so that no change of a path's content goes unseen.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// One directory to watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatchedDirectory {
    pub path: PathBuf,
    /// The one name in it that matters; `None` for everything below it.
    pub name: Option<OsString>,
    /// Which directory this was: watches follow the directory, not its name.
    identity: (u64, u64),
}

/// Most links on the way to a directory, as in Linux.
const MOST_HOPS: usize = 40;

impl WatchedDirectory {
    /// Everything below the directory `path`; `None` if there is no such directory.
    pub(crate) fn deep(path: &Path) -> Option<WatchedDirectory> {
        WatchedDirectory::new(path, None)
    }

    /// One name in the directory `path`.
    pub(crate) fn name(path: &Path, name: &OsStr) -> Option<WatchedDirectory> {
        WatchedDirectory::new(path, Some(name.to_owned()))
    }

    fn new(path: &Path, name: Option<OsString>) -> Option<WatchedDirectory> {
        let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.is_dir())?;
        Some(WatchedDirectory { path: path.to_path_buf(), name, identity: (metadata.dev(), metadata.ino()) })
    }

    /// Whether a change of `path` is one of this place.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        match (path.strip_prefix(&self.path), &self.name) {
            (Ok(below), Some(name)) => below.as_os_str().is_empty() || below == Path::new(name),
            (Ok(_), None) => true,
            (Err(_), _) => false,
        }
    }
}

/// The directory itself with everything below it, and every directory in which a link on the way
/// to it, or the directory itself, could be replaced, removed or made again.
pub(crate) fn of_directory(root: &Path) -> BTreeSet<WatchedDirectory> {
    let mut places = names_to(root);
    places.extend(std::fs::canonicalize(root).ok().and_then(|real| WatchedDirectory::deep(&real)));
    places
}

/// The names on the way to `path`, each in its directory.
pub(crate) fn names_to(path: &Path) -> BTreeSet<WatchedDirectory> {
    on_the_way(path).iter().filter_map(|(folder, name)| WatchedDirectory::name(folder, name)).collect()
}

/// The directories and the names in them that lead to `root`: where a part is a link, where a
/// part is missing, and the last one.
fn on_the_way(root: &Path) -> Vec<(PathBuf, OsString)> {
    let Ok(absolute) = std::path::absolute(root) else { return Vec::new() };
    let mut holders = Vec::new();
    let mut real = PathBuf::from("/");
    let mut rest = parts(&absolute);
    let mut hops = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let here = real.join(&part);
        let link = std::fs::read_link(&here).ok().filter(|_| hops < MOST_HOPS);
        let exists = std::fs::symlink_metadata(&here).is_ok();
        if link.is_some() || rest.is_empty() || !exists {
            holders.push((real.clone(), part));
        }
        match link {
            Some(target) => {
                hops += 1;
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                rest.extend(parts(&target));
            }
            None if exists => real = here,
            None => return holders,
        }
    }
    holders
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_replaceable_name_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(base.join("store/v1/inventory")).unwrap();
        fs::create_dir_all(base.join("links")).unwrap();
        symlink("../store/v1", base.join("links/current")).unwrap();
        let root = base.join("links/current/inventory");
        let places = of_directory(&root);
        let watched = |path: &str| {
            places.iter().find(|place| place.path == base.join(path)).map(|place| place.name.as_deref())
        };
        assert_eq!(watched("links"), Some(Some(OsStr::new("current"))), "where the link is swapped");
        assert_eq!(
            watched("store/v1"),
            Some(Some(OsStr::new("inventory"))),
            "where the directory can be removed"
        );
        assert_eq!(watched("store/v1/inventory"), Some(None));
        assert!(places.iter().all(|place| !place.covers(&base.join("links/other"))), "a neighbour");
        assert!(places.iter().any(|place| place.covers(&base.join("store/v1/inventory/x"))));
        fs::remove_dir_all(base.join("store/v1")).unwrap();
        let places = of_directory(&root);
        assert!(places.iter().any(|place| place.path == base.join("store")), "where it may come back");
    }

    #[test]
    fn a_directory_made_again_is_another_place() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let first = of_directory(&root);
        // Renamed, not removed: the file system may give a freed inode to the next directory.
        fs::rename(&root, folder.path().join("old")).unwrap();
        fs::create_dir(&root).unwrap();
        assert_ne!(of_directory(&root), first);
    }
}
