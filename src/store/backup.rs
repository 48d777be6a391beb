//! Copies of a state directory: a directory like it, made while a daemon may be writing.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::inspect::mark_error;
use super::journal::{self, Journal};
use super::mark::{self, Mark, Phase};
use super::records::{self, Records, Snapshot};
use super::{directory, events, former, last};

/// Folders that are copied as they are. What is fetched again (`git`) or lies elsewhere too (`media`) is not.
const FOLDERS: [&str; 3] = ["history", "inventory.git", "tls"];

/// Copies a state directory to `to`, which must be absent or empty.
///
/// # Errors
///
/// A sentence that names the file; `to` can't be used as a state directory then.
pub fn backup(from: &Path, to: &Path) -> Result<(), String> {
    let mark = mark_of(from)?;
    copy(from, to, &mark)?;
    last::mark_backup(to, &mark.record_key).map_err(|error| named(&to.join(last::FILE), &error))?;
    finish(to, &mark)
}

/// Puts a copy back to `to`, which must be absent or empty, as a lineage of its own: its installations
/// are doubtful, and URLs of before open nothing. `fresh` are random bytes.
///
/// # Errors
///
/// A sentence that names the file; `to` can't be used as a state directory then.
pub fn restore(from: &Path, to: &Path, fresh: &[u8; 48]) -> Result<(), String> {
    let Mark { record_key, .. } = mark_of(from)?;
    let mark = Mark { record_key, ..Mark::new(Phase::Ready, fresh) };
    copy(from, to, &mark)?;
    let opened = Records::open(to, mark.record_key.clone());
    let (mut records, _) = opened.map_err(|error| named(&to.join(records::FILE), &error))?;
    records
        .write(&[], |head| (head.restored, head.journal) = (true, (0, 0)))
        .map_err(|error| named(&to.join(records::FILE), &error))?;
    drop(records);
    finish(to, &mark)
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn mark_of(from: &Path) -> Result<Mark, String> {
    let path = mark::path(from);
    match Mark::read(from) {
        Ok(Some(mark)) if mark.phase == Phase::Ready => Ok(mark),
        Ok(Some(_)) => Err(named(&path, &"the directory is not made yet: start the daemon once")),
        Ok(None) if from.join(former::FILE).exists() => Err(named(
            from,
            &"it is of version 0.1: start the daemon once, which upgrades it, or copy it while no daemon runs",
        )),
        Ok(None) => Err(named(&path, &"no such file: this is no state directory")),
        Err(why) => Err(named(&path, &mark_error(why))),
    }
}

/// Everything but the key, without which nobody takes it for whole.
fn copy(from: &Path, to: &Path, mark: &Mark) -> Result<(), String> {
    make(to)?;
    let (source, target) = (from.join(records::FILE), to.join(records::FILE));
    let snapshot = Snapshot::take(&source).map_err(|error| named(&source, &error))?;
    let contents = snapshot.contents(&mark.record_key).map_err(|error| named(&source, &error))?;
    snapshot.copy(records::TABLE, &target).map_err(|error| named(&target, &error))?;
    // Read after the records: a lease more than they know of does no harm.
    let leases = leases_of(from, mark)?;
    let (generation, batch) = (contents.head.journal.0, contents.head.batch);
    Journal::create(to, mark.record_key.salt(), generation + 1, batch, leases.values())
        .map_err(|error| named(&to.join(journal::FILE), &error))?;
    let (source, target) = (from.join(events::FILE), to.join(events::FILE));
    let copied = Snapshot::take(&source).and_then(|snapshot| snapshot.copy(events::TABLE, &target));
    copied.map_err(|error| named(&source, &error))?;
    for folder in FOLDERS {
        let (source, target) = (from.join(folder), to.join(folder));
        if source.is_dir() {
            copy_folder(&source, &target).map_err(|error| named(&source, &error))?;
        }
    }
    former::refuse(to).map_err(|error| named(&to.join(former::FILE), &error))
}

fn finish(to: &Path, mark: &Mark) -> Result<(), String> {
    mark.write(to).map_err(|error| named(&mark::path(to), &error))
}

fn make(to: &Path) -> Result<(), String> {
    match std::fs::read_dir(to) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(named(to, &"it is not empty, and nothing is overwritten: name a new folder")),
            None => directory::prepare(to).map(drop).map_err(|error| named(to, &error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).create(to).map_err(|error| named(to, &error))
        }
        Err(error) => Err(named(to, &error)),
    }
}

/// The leases of a journal that may grow, or be replaced, while it is read.
fn leases_of(from: &Path, mark: &Mark) -> Result<BTreeMap<std::net::Ipv4Addr, crate::state::Lease>, String> {
    const TRIES: usize = 5;
    let path = from.join(journal::FILE);
    let mut last = String::new();
    for _ in 0..TRIES {
        let bytes = std::fs::read(&path).map_err(|error| named(&path, &error))?;
        let mut leases = BTreeMap::new();
        match journal::frame::replay(&bytes, &mark.record_key.salt(), &mut leases) {
            Ok(_) => return Ok(leases),
            Err(damage) => last = named(&path, &damage),
        }
    }
    Err(last)
}

/// Names that point to others are copied before what they point to: a repository is whole at any time.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort_by_key(|path| (path.ends_with("objects"), path.clone()));
    for path in entries {
        let Some(name) = path.file_name() else { continue };
        let kind = match std::fs::symlink_metadata(&path) {
            // Something temporary that is gone again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            kind => kind?.file_type(),
        };
        if kind.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else if kind.is_file() {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
