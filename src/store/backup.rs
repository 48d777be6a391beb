//! Copies of a state directory: a directory like it, made while a daemon may be writing.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::Snapshot;
use super::former::v01;
use super::inspect::mark_error;
use super::log::digest::Keys;
use super::log::disk::Files;
use super::log::frame::{Flag, Raw};
use super::log::load::Image;
use super::log::read::Mode;
use super::log::{self, Log};
use super::mark::{self, Mark, Phase};
use super::{directory, events, former, last};
use crate::state::record::{Record, RecordKind};

/// Folders that are copied as they are. What is fetched again (`git`) or lies elsewhere too (`media`) is not.
const FOLDERS: [&str; 4] = ["audit", "history", "inventory.git", "tls"];

/// Copies a state directory to `to`, which must be absent or empty.
///
/// # Errors
///
/// A sentence that names the file; `to` can't be used as a state directory then.
pub fn backup(from: &Path, to: &Path) -> Result<(), String> {
    let mark = mark_of(from)?;
    copy(from, to, &mark, false)?;
    last::mark_backup(to, &mark.record_key).map_err(|error| named(&to.join(last::FILE), &error))?;
    finish(to, &mark)
}

/// Restores a copy to `to`, which must be absent or empty, as a lineage of its own: its installations are
/// doubtful, and earlier URLs are invalid. `fresh` are random bytes.
///
/// # Errors
///
/// A sentence that names the file; `to` can't be used as a state directory then.
pub fn restore(from: &Path, to: &Path, fresh: &[u8; 48]) -> Result<(), String> {
    let Mark { record_key, .. } = mark_of(from)?;
    let mark = Mark { record_key, ..Mark::new(Phase::Ready, fresh) };
    copy(from, to, &mark, true)?;
    finish(to, &mark)
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn mark_of(from: &Path) -> Result<Mark, String> {
    let path = mark::path(from);
    match Mark::read(from) {
        Ok(Some(mark)) if mark.is_former => Err(named(
            from,
            &"it is of an earlier version: start the daemon once, which upgrades it, or copy it while no daemon runs",
        )),
        Ok(Some(mark)) if mark.phase == Phase::Ready => Ok(mark),
        Ok(Some(_)) => Err(named(&path, &"the directory is not made yet: start the daemon once")),
        Ok(None) if from.join(v01::FILE).exists() => Err(named(
            from,
            &"it is of version 0.1: start the daemon once, which upgrades it, or copy it while no daemon runs",
        )),
        Ok(None) => Err(named(&path, &"no such file: this is no state directory")),
        Err(why) => Err(named(&path, &mark_error(why))),
    }
}

/// Everything but the key, without which the copy does not count as complete. The log of a `restored` copy
/// records that it is one.
fn copy(from: &Path, to: &Path, mark: &Mark, restored: bool) -> Result<(), String> {
    make(to)?;
    copy_log(from, to, mark, restored)?;
    let (source, target) = (from.join(events::FILE), to.join(events::FILE));
    let copied = Snapshot::take(&source).and_then(|snapshot| snapshot.copy(events::TABLE, &target));
    copied.map_err(|error| named(&source, &error))?;
    for folder in FOLDERS {
        let (source, target) = (from.join(folder), to.join(folder));
        if source.is_dir() {
            copy_folder(&source, &target).map_err(|error| named(&source, &error))?;
        }
    }
    former::refuse(to).map_err(|error| named(to, &error))
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

/// Writes what the log holds to a new one. The log may grow meanwhile, and its files may take the places of
/// others: what is read then is tried again.
fn copy_log(from: &Path, to: &Path, mark: &Mark, restored: bool) -> Result<(), String> {
    const TRIES: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(20);
    let (keys, source) = (Keys::new(&mark.record_key), Files::new(from));
    let show = |name: &str| from.join(name).display().to_string();
    let mut last = String::new();
    for attempt in 0..TRIES {
        std::thread::sleep(PAUSE * attempt);
        let image = Image::read(&source).map_err(|error| error.to_string())?;
        let loaded = match image.load(&keys, None, Mode::Strict, &show) {
            Ok(loaded) => loaded,
            Err(error) => {
                last = error.to_string();
                continue;
            }
        };
        let mut bytes = Vec::new();
        Record::Restored(true).write_value(&mut bytes);
        let kind = RecordKind::Restored.code();
        let own = restored.then_some(Raw { kind, flag: Flag::Put, key: &[], value: &bytes });
        let ends = |raw: &Raw| {
            raw.kind == kind || RecordKind::of_code(raw.kind).is_some_and(RecordKind::ends_with_restore)
        };
        let raws = loaded.laid.raws().filter(|raw| !restored || !ends(raw)).chain(own);
        return Log::create(&Files::new(to), &keys, 1, 0, loaded.next_event, raws)
            .map_err(|error| named(&to.join(log::SNAPSHOT), &error));
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
