//! Files put in place whole or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// Writes `bytes` beside `path` and renames the file over it, so that no reader sees half a file. The new
/// file gets the old one's permissions. Where `path` is no ordinary file, such as `/dev/stdout` or a pipe,
/// it is written to directly.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = std::fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file()) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    Draft::write(path, bytes)?.publish()
}

/// What is to become of a file, beside it under a hidden name; removed unless published.
pub struct Draft {
    temporary: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Everything that takes room and time: what is left to do is one renaming.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<Draft> {
        let old = std::fs::metadata(path).ok();
        // A link stays a link: what it leads to is written.
        let target = if old.is_some() { std::fs::canonicalize(path)? } else { path.to_owned() };
        let (temporary, file) = beside(&target)?;
        let draft = Draft { temporary, target };
        fill(file, bytes, old.map(|old| old.permissions()))?;
        Ok(draft)
    }

    pub fn publish(&self) -> io::Result<()> {
        std::fs::rename(&self.temporary, &self.target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A published one is gone from here.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// A new hidden file in the same directory.
fn beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut number = std::process::id();
    loop {
        let temporary = path.with_file_name(format!(".{name}.{number}.new"));
        // Whatever the umask: only the owner and the group may write what machines are installed from.
        match OpenOptions::new().write(true).create_new(true).mode(0o664).open(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number = number.wrapping_add(1),
            result => return result.map(|file| (temporary, file)),
        }
    }
}

fn fill(mut file: File, bytes: &[u8], permissions: Option<Permissions>) -> io::Result<()> {
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.sync_all()
}

/// Whether `inside` is an ordinary file below `root`, and neither it nor a folder on the way is a
/// symbolic link.
pub fn is_own(root: &Path, inside: &str) -> bool {
    let mut path = root.to_path_buf();
    for part in Path::new(inside).components() {
        let Component::Normal(part) = part else { return false };
        path.push(part);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_symlink() => {}
            _ => return false,
        }
    }
    path.is_file()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_permissions_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("none/a.toml"), b"x").is_err());
    }

    #[test]
    fn links_are_nobodys_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("real")).unwrap();
        std::fs::write(root.join("real/a"), "").unwrap();
        symlink("real", root.join("linked")).unwrap();
        symlink("real/a", root.join("a")).unwrap();
        assert!(is_own(root, "real/a"));
        for other in ["linked/a", "a", "real", "real/../real/a", "gone", "/etc/passwd"] {
            assert!(!is_own(root, other), "{other}");
        }
    }
}
