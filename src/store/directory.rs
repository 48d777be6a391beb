//! The state directory itself: for its owner's eyes alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a state directory may hold at its top: of this version, of 0.1, and of the other rooms.
const OURS: [&str; 24] = [
    "state.key",
    "state.last",
    "records.snapshot",
    "records.snapshot.new",
    "records.log.new",
    "state.redb",
    "state.redb.old",
    "records.redb",
    "events.redb",
    "leases4.journal",
    "leases4.new",
    "leases.journal",
    "leases.new",
    "history",
    "audit",
    "inventory.git",
    "git",
    "digests",
    "digests.new",
    "media",
    "tls",
    "api.token",
    "lost+found",
    ".nfs",
];

fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || super::log::number_of(name).is_some()
}

/// Makes the directory, or removes other users' permission to read an existing one. Returns the
/// corrections, a sentence each.
pub(super) fn prepare(directory: &Path) -> io::Result<Vec<String>> {
    if let Some(parent) = directory.parent() {
        // Whatever the umask: a user who could write there could replace the directory.
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    if let Err(error) = DirBuilder::new().mode(0o700).create(directory)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let mut mended = Vec::new();
    let entries = std::fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    let names: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // Another program's directory stays as it is: `/tmp` must not be closed because of a wrong setting.
    let foreign = names.iter().find(|name| !is_ours(name) && !name.starts_with('.'));
    let mode = std::fs::metadata(directory)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        match foreign {
            Some(name) if !names.iter().any(|name| name == "state.key" || name == "state.redb") => {
                mended.push(format!(
                    "the state directory {} can be read by others (mode {mode:o}) and holds {name}, which is not \
                     voldemort's: give voldemort a directory of its own",
                    directory.display()
                ))
            }
            _ => {
                let closed = close(directory, mode, 0o700);
                // A new one held nothing readable so far.
                mended.extend(closed.filter(|_| !names.is_empty()));
            }
        }
    }
    for entry in entries {
        let metadata = entry.metadata()?;
        let mode = metadata.mode() & 0o7777;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = metadata.is_file() && is_ours(&name);
        if is_file && mode & 0o177 != 0 {
            mended.extend(close(&entry.path(), mode, 0o600));
        }
    }
    for page in std::fs::read_dir(directory.join("history")).into_iter().flatten().flatten() {
        let mode = page.metadata()?.mode() & 0o7777;
        if page.metadata()?.is_file() && mode & 0o177 != 0 {
            mended.extend(close(&page.path(), mode, 0o600));
        }
    }
    Ok(mended)
}

fn close(path: &Path, was: u32, mode: u32) -> Option<String> {
    let path_text = path.display();
    Some(match std::fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) => format!("{path_text} had mode {was:o}, which let others read it; it is now {mode:o}"),
        Err(error) => format!(
            "{path_text} has mode {was:o}, which lets others read it, and that can't be changed: {error}"
        ),
    })
}

/// A new file that only its owner reads and writes; an earlier one of that name is emptied.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Tries whether so many bytes can be written into a directory; they are gone again when this returns,
/// also after a crash.
pub(super) fn has_room(directory: &Path, bytes: usize) -> io::Result<()> {
    let path = directory.join("room.draft");
    let mut file = create(&path)?;
    remove(&path)?;
    const PIECE: usize = 64 << 10;
    for _ in 0..bytes.div_ceil(PIECE) {
        file.write_all(&[1; PIECE])?;
    }
    file.sync_data()
}

/// Puts a file in place whole, readable for its owner alone, and on disk when this returns.
pub(super) fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    sync(path)
}

/// Makes a new name, or one that is gone, last.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Removes a file if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The names that say that a file is damaged, in order.
fn names_aside(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = path.to_owned();
    (1_u64..).map(move |number| path.with_file_name(format!("{name}.lost-{number}")))
}

/// Gives what is damaged a second name, which says so, before it is written anew; nothing if it is not there, or got
/// one before.
pub(super) fn keep_aside(path: &Path) -> io::Result<()> {
    let own = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    for name in names_aside(path) {
        match std::fs::metadata(&name) {
            Ok(other) if (other.dev(), other.ino()) == (own.dev(), own.ino()) => return Ok(()),
            Ok(_) => {}
            Err(_) => {
                std::fs::hard_link(path, &name).or_else(|_| std::fs::copy(path, &name).map(drop))?;
                return sync(path);
            }
        }
    }
    Ok(())
}

/// Puts what is damaged out of the way, under a name that says so; nothing if it is not there.
pub(super) fn aside(path: &Path) -> io::Result<()> {
    let free = names_aside(path).find(|name| !name.exists());
    match free.map_or(Ok(()), |free| std::fs::rename(path, free)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync(path),
    }
}
