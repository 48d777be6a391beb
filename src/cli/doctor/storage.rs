//! The state directory: whose it is, what is in it, and how much room there is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statfs::{FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use nix::unistd::{Uid, User};

use super::finding::Finding;
use crate::config::{Config, read};
use crate::store::inspect;

const MEBIBYTE: u64 = 1 << 20;
/// Below, the daemon is about to store nothing any more.
const LITTLE: u64 = 64 * MEBIBYTE;
/// Below, a few hundred megabytes of copies of repositories may not find room.
const FEW: u64 = 1024 * MEBIBYTE;

pub(super) fn look(config: Option<&Config>) -> Vec<Finding> {
    let directory = config.map_or(Path::new(read::STATE), |config| &config.state.directory);
    let mut findings = vec![room(directory)];
    match directory.metadata() {
        Ok(metadata) => {
            findings.push(owner(directory, metadata.uid(), metadata.mode(), metadata.is_dir()));
            findings.extend(content(directory));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let finding = Finding::about("state", directory.display());
            findings.push(finding.ok("not there yet: the first start makes it, and wants to know whether the site is new (--new-site)"));
        }
        Err(error) => findings.push(
            Finding::about("state", directory.display()).unknown(error.to_string(), "look again as root"),
        ),
    }
    findings
}

/// What `voldemort state check` finds wrong; nothing where all is well.
fn content(directory: &Path) -> Vec<Finding> {
    let wrong = inspect::inspect(directory).into_iter().filter(|finding| !finding.is_well);
    let finding = |wrong: inspect::Finding| {
        Finding::about("state", directory.display())
            .error(wrong.text, format!("voldemort state check --directory {}", directory.display()))
    };
    // Whether others can read it is said of the owner.
    wrong.filter(|wrong| !wrong.text.contains("others can read it")).map(finding).collect()
}

fn owner(directory: &Path, uid: u32, mode: u32, is_directory: bool) -> Finding {
    let finding = Finding::about("state", directory.display());
    if !is_directory {
        return finding
            .error("it is no directory", "move it away, or name another [state] directory in the settings");
    }
    let name =
        User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let service = User::from_name("voldemort").ok().flatten();
    if mode & 0o077 != 0 {
        let advice = format!("chmod 700 {}: keys and secrets are in it", directory.display());
        return finding.warning(format!("its mode {:o} lets others look into it", mode & 0o7777), advice);
    }
    match service {
        Some(service) if service.uid.as_raw() != uid => finding.warning(
            format!("it belongs to {name}, and the daemon of the packages runs as voldemort"),
            format!(
                "chown -R voldemort:voldemort {}, unless you start the daemon as {name}",
                directory.display()
            ),
        ),
        _ => finding.ok(format!("it belongs to {name}")),
    }
}

/// Room on its file system, or on the one where it is going to be.
fn room(directory: &Path) -> Finding {
    let finding = Finding::about("disk", directory.display());
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let (room, kind) = match (statvfs(there), statfs(there)) {
        (Ok(room), Ok(kind)) => (room, kind.filesystem_type()),
        (Err(error), _) | (_, Err(error)) => {
            return finding.unknown(format!("{}: {error}", there.display()), "look with `df`");
        }
    };
    judge(finding, &Room::of(&room), is_volatile(kind))
}

/// Why what is stored there may be gone after a restart of the host or the container.
fn is_volatile(kind: FsType) -> Option<&'static str> {
    match kind {
        TMPFS_MAGIC => Some("it is in memory (tmpfs): the next start of the host finds nothing"),
        OVERLAYFS_SUPER_MAGIC => {
            Some("it is in a container's own layer (overlay): the next container finds nothing")
        }
        _ => None,
    }
}

struct Room {
    /// Bytes that are free.
    bytes: u64,
    /// Files that can still be made; none is counted where the file system has no limit.
    files: Option<u64>,
    is_read_only: bool,
}

impl Room {
    fn of(found: &Statvfs) -> Room {
        // What is free for everybody: the daemon is not root.
        let bytes = found.blocks_available().saturating_mul(found.fragment_size());
        let files = (found.files() > 0).then(|| found.files_available());
        Room { bytes, files, is_read_only: found.flags().contains(FsFlags::ST_RDONLY) }
    }
}

fn judge(finding: Finding, room: &Room, volatile: Option<&str>) -> Finding {
    let free = format!("{} MiB are free", room.bytes / MEBIBYTE);
    if room.is_read_only {
        return finding.error(
            "the file system is read-only",
            "mount it for writing, or name another [state] directory",
        );
    }
    if let Some(why) = volatile {
        let advice = "put it on a disk that lasts (a volume, for a container): which machines are installed is written there";
        return finding.warning(format!("{free}, but {why}"), advice);
    }
    if room.files.is_some_and(|files| files < 1_000) {
        let left = room.files.unwrap_or_default();
        return finding
            .error(format!("{left} files can be made there"), "delete files there, or use a larger disk");
    }
    match room.bytes {
        bytes if bytes < LITTLE => finding
            .error(free, "make room: nothing can be stored on a full disk, and nothing is installed then"),
        bytes if bytes < FEW => finding.warning(free, "make room: 1 GiB is enough for most sites"),
        _ => finding.ok(free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn room_is_judged() {
        let level = |bytes, files, is_read_only, volatile| {
            judge(Finding::about("disk", "/x"), &Room { bytes, files, is_read_only }, volatile).level
        };
        assert_eq!(level(FEW, Some(5_000), false, None), Level::Ok);
        assert_eq!(level(FEW, None, false, None), Level::Ok);
        assert_eq!(level(FEW - 1, None, false, None), Level::Warning);
        assert_eq!(level(LITTLE - 1, None, false, None), Level::Error);
        assert_eq!(level(FEW, Some(10), false, None), Level::Error);
        assert_eq!(level(FEW, None, true, None), Level::Error);
        assert_eq!(level(FEW, None, false, is_volatile(TMPFS_MAGIC)), Level::Warning);
    }

    #[test]
    fn a_directory_that_others_can_read_or_that_is_none_is_named() {
        let path = Path::new("/x");
        assert_eq!(owner(path, 0, 0o40755, true).level, Level::Warning);
        assert_eq!(owner(path, 0, 0o100600, false).level, Level::Error);
        let folder = tempfile::tempdir().unwrap();
        assert!(room(&folder.path().join("not/there/yet")).found.contains("MiB"));
    }
}
