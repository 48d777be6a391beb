//! A directory on disk as an index: an unpacked image, or files kept side by side.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::{Entry, Index, MediaError, identity, lfs, regular};
use crate::model::Extent;

/// Most files and directories that one tree may hold.
const MOST_ENTRIES: usize = 2_000_000;

/// Every file below `root`, hidden ones too (installers ask for `.treeinfo`). Links that lead
/// out of the directory are listed as refused.
pub fn open(root: &Path) -> Result<Index, MediaError> {
    open_noting(root, &|_, _| {})
}

/// The same; `note` gets every path that decided what was found.
pub(super) fn open_noting(root: &Path, note: &dyn Fn(&Path, &Metadata)) -> Result<Index, MediaError> {
    if regular::is_kernels(root) {
        let why = "it lies in a file system of the kernel such as /proc or /sys".into();
        return Err(MediaError::Io { path: root.into(), why });
    }
    let real = std::fs::canonicalize(root).map_err(|error| identity::failed(root, &error))?;
    let label = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut walk = Walk { root: real.clone(), index: Index { label, ..Index::default() }, seen: 0, note };
    std::fs::metadata(&walk.root).map(|metadata| note(&real, &metadata)).unwrap_or_default();
    let mut pending = vec![(real, String::new())];
    while let Some((folder, prefix)) = pending.pop() {
        for (name, path) in children(&folder)? {
            let inside = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if walk.visit(&path, &inside)? {
                pending.push((path, inside));
            }
        }
    }
    Ok(walk.index)
}

/// A single file, whole.
pub fn file(path: &Path) -> Result<Entry, MediaError> {
    // Opened, because a file that can't be read can't be served.
    let (_, metadata) = regular::open(path)?;
    if lfs::is_pointer(path, metadata.len()) {
        return Err(MediaError::Io { path: path.into(), why: lfs::WHY.into() });
    }
    Ok(whole(path, &metadata))
}

fn whole(path: &Path, metadata: &Metadata) -> Entry {
    let extents: Arc<[Extent]> = match metadata.len() {
        0 => Arc::from([]),
        length => Arc::from([Extent { offset: 0, length }]),
    };
    Entry { path: path.into(), id: identity::at(path, metadata), extents }
}

fn children(folder: &Path) -> Result<BTreeMap<String, PathBuf>, MediaError> {
    let fail = |error: std::io::Error| identity::failed(folder, &error);
    let mut children = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        children.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
    }
    Ok(children)
}

struct Walk<'n> {
    root: PathBuf,
    index: Index,
    seen: usize,
    note: &'n dyn Fn(&Path, &Metadata),
}

impl Walk<'_> {
    /// Enters one thing into the index; true if it is a directory to look into.
    fn visit(&mut self, path: &Path, inside: &str) -> Result<bool, MediaError> {
        self.seen += 1;
        if self.seen > MOST_ENTRIES {
            let why = format!("it holds more than {MOST_ENTRIES} entries");
            return Err(MediaError::NotAnImage { path: self.root.clone(), why });
        }
        let fail = |error: std::io::Error| identity::failed(path, &error);
        let metadata = std::fs::symlink_metadata(path).map_err(fail)?;
        (self.note)(path, &metadata);
        if metadata.is_symlink() {
            self.link(path, inside);
        } else if metadata.is_file() {
            self.put(path, &metadata, inside);
        }
        Ok(metadata.is_dir())
    }

    /// Enters a file; one that can't be read can't be served.
    fn put(&mut self, path: &Path, metadata: &Metadata, inside: &str) {
        match faccessat(AT_FDCWD, path, AccessFlags::R_OK, AtFlags::AT_EACCESS) {
            Ok(()) => drop(self.index.files.insert(inside.into(), whole(path, metadata))),
            Err(error) => {
                let why = format!("it can't be read: {}", std::io::Error::from(error));
                self.index.refused.insert(inside.into(), why.into());
            }
        }
    }

    /// A link that leads nowhere or in a circle is left out, as `cat` would leave it.
    fn link(&mut self, path: &Path, inside: &str) {
        let Ok(target) = std::fs::canonicalize(path) else { return };
        let Ok(relative) = target.strip_prefix(&self.root) else {
            self.index.refused.insert(inside.into(), "the link leads out of the directory".into());
            return;
        };
        let Ok(metadata) = std::fs::metadata(&target) else { return };
        if metadata.is_file() {
            self.put(&target, &metadata, inside);
        } else if metadata.is_dir() {
            self.index.links.insert(inside.into(), relative.to_string_lossy().into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_can_not_be_read_is_no_file_to_serve() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        std::fs::write(&path, "12345").unwrap();
        let allow =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        allow(folder.path(), 0o755);
        let as_nobody = || {
            // SAFETY: changes what this thread may open, and nothing else.
            let before = unsafe { libc::setfsuid(65_534) };
            let found = (file(&path), open(folder.path()).unwrap());
            // SAFETY: as above.
            unsafe { libc::setfsuid(before.unsigned_abs()) };
            found
        };
        allow(&path, 0);
        let (alone, tree) = as_nobody();
        assert!(matches!(alone, Err(MediaError::Io { why, .. }) if why.contains("Permission denied")));
        assert!(tree.lookup("k").is_none() && tree.refusal("k").unwrap().contains("Permission denied"));
        allow(&path, 0o644);
        let (alone, tree) = as_nobody();
        assert_eq!((alone.unwrap().len(), tree.lookup("k").map(Entry::len)), (5, Some(5)));
    }

    #[test]
    fn lists_files_and_inner_links_and_refuses_outer_ones() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tree");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/k"), "12345").unwrap();
        std::fs::write(root.join(".treeinfo"), "").unwrap();
        std::fs::write(folder.path().join("secret"), "s").unwrap();
        symlink("b/k", root.join("a/link")).unwrap();
        symlink("a/b", root.join("short")).unwrap();
        symlink("..", root.join("a/up")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        symlink("../secret", root.join("leak")).unwrap();
        let index = open(&root).unwrap();
        assert_eq!(index.files.keys().map(|k| &**k).collect::<Vec<_>>(), [".treeinfo", "a/b/k", "a/link"]);
        assert_eq!(index.lookup("SHORT/K").unwrap().len(), 5);
        assert_eq!(index.lookup("a/up/a/up/short/k").unwrap().len(), 5);
        assert!(index.lookup("leak").is_none());
        assert_eq!(index.refusal("leak"), Some("the link leads out of the directory"));
        assert!(matches!(open(&root.join("nothing")), Err(MediaError::Missing { .. })));
        assert!(matches!(file(&root), Err(MediaError::Io { .. })));
    }
}
