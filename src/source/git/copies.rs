//! Copies of files of a repository, each under the name of its content: what machines fetch is read
//! from there. A copy is sealed by its modification time ([`FileId::SEAL`]); one without the seal was
//! made by an earlier version, restored from a backup or written to, and is compared with its name
//! before it is used.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use git2::{ObjectType, Odb, Oid, Repository};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::model::content::FileId;

/// Device and inode of copies whose content was compared with their name since the start: a crash
/// of the host may have left holes in them.
static COMPARED: Mutex<Option<HashSet<(u64, u64, Oid)>>> = Mutex::new(None);
/// Distinguishes the drafts of this process: several readers write copies at once.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// Whether the copy at `path` holds the `length` bytes of the blob `id`; marks it as used now.
pub(super) fn is_whole(path: &Path, id: Oid, length: u64) -> bool {
    let Some(found) = sealed(path, length) else { return verify(path, id, length) };
    if !is_compared(&found, id) && !verify(path, id, length) {
        return false;
    }
    touch(path);
    true
}

/// Whether the copy is there as it was left: a cheap look, for copies that were compared before.
pub(super) fn is_untouched(path: &Path, length: u64) -> bool {
    sealed(path, length).is_some()
}

/// Rewrites those of the `wanted` copies below `place` that are gone or were written to, from the first
/// mirror that has them. A copy that no mirror has is missing when it is opened.
pub fn heal<'p>(place: &Path, wanted: impl Iterator<Item = &'p PathBuf>) {
    let folder = place.join("copies");
    let is_ill = |path: &&PathBuf| path.parent() == Some(&*folder) && !is_sealed(path);
    let mut ill: Vec<&PathBuf> = wanted.filter(is_ill).collect();
    if ill.is_empty() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(place) else { return };
    let mirrors = entries.filter_map(|entry| Some(entry.ok()?.path()));
    for mirror in mirrors.filter(|path| path.extension().is_some_and(|ending| ending == "git")) {
        let Ok(repository) = Repository::open_bare(&mirror) else { continue };
        let Ok(objects) = repository.odb() else { continue };
        ill.retain(|path| !restored(&objects, path));
    }
}

/// Whether the copy is as it should be now.
fn restored(objects: &Odb<'_>, path: &Path) -> bool {
    let id = path.file_name().and_then(|name| Oid::from_str(name.to_str()?).ok());
    let Some((id, object)) = id.and_then(|id| Some((id, objects.read(id).ok()?))) else { return false };
    if is_whole(path, id, object.len() as u64) {
        return true;
    }
    match write(path, id, object.data()) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a copy of a file can't be made anew");
            false
        }
    }
}

fn is_sealed(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && has_seal(&found))
}

fn has_seal(found: &Metadata) -> bool {
    i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()) == FileId::SEAL
}

/// Writes a copy, whole or not at all.
pub(super) fn write(path: &Path, id: Oid, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        super::mirror::own_folder(folder)?;
    }
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let written = fill(&draft, content).and_then(|found| {
        std::fs::rename(&draft, path)?;
        Ok(found)
    });
    match written {
        Ok(found) => {
            remember(&found, id);
            Ok(())
        }
        Err(error) => {
            // A full disk gets its room back.
            let _ = std::fs::remove_file(&draft);
            Err(error)
        }
    }
}

/// Marks a copy as used now, in its access time: the modification time is its seal.
pub(super) fn touch(path: &Path) {
    // The time is only used by the sweep; a failure here does no harm.
    let _ = utimensat(
        nix::fcntl::AT_FDCWD,
        path,
        &TimeSpec::UTIME_NOW,
        &TimeSpec::UTIME_OMIT,
        UtimensatFlags::NoFollowSymlink,
    );
}

fn fill(draft: &Path, content: &[u8]) -> io::Result<Metadata> {
    let mut file = File::create_new(draft)?;
    file.write_all(content)?;
    file.set_modified(seal())?;
    file.metadata()
}

fn seal() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(FileId::SEAL as u64)
}

/// What is at `path`, if it is a sealed copy of that length.
fn sealed(path: &Path, length: u64) -> Option<Metadata> {
    let found = std::fs::symlink_metadata(path).ok()?;
    (found.is_file() && found.len() == length && has_seal(&found)).then_some(found)
}

/// Compares a copy with its name, and seals it if it holds what it should.
fn verify(path: &Path, id: Oid, length: u64) -> bool {
    let is_file = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == length);
    if !is_file || Oid::hash_file(ObjectType::Blob, path) != Ok(id) {
        return false;
    }
    let set = || File::open(path)?.set_modified(seal());
    let Some(found) = set().ok().and_then(|()| sealed(path, length)) else { return false };
    remember(&found, id);
    true
}

fn is_compared(found: &Metadata, id: Oid) -> bool {
    let compared = COMPARED.lock().unwrap_or_else(PoisonError::into_inner);
    compared.as_ref().is_some_and(|compared| compared.contains(&(found.dev(), found.ino(), id)))
}

fn remember(found: &Metadata, id: Oid) {
    let mut compared = COMPARED.lock().unwrap_or_else(PoisonError::into_inner);
    compared.get_or_insert_default().insert((found.dev(), found.ino(), id));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_are_gone_or_damaged_are_made_anew_from_any_mirror() {
        let place = tempfile::tempdir().unwrap();
        let copies = place.path().join("copies");
        let blob = |mirror: &str, text: &[u8]| {
            let id = Repository::init_bare(place.path().join(mirror)).unwrap().blob(text).unwrap();
            copies.join(id.to_string())
        };
        let (one, other) = (blob("a.git", b"kernel"), blob("b.git", b"initrd"));
        let unknown = copies.join(Oid::hash_object(ObjectType::Blob, b"?").unwrap().to_string());
        let elsewhere = place.path().join("vmlinuz");
        let all = [one.clone(), other.clone(), unknown.clone(), elsewhere.clone()];
        heal(place.path(), all.iter());
        let read = |path: &Path| std::fs::read(path).unwrap();
        assert_eq!((read(&one), read(&other)), (b"kernel".to_vec(), b"initrd".to_vec()));
        assert!(!unknown.exists() && !elsewhere.exists());
        std::fs::write(&one, "colonel").unwrap();
        std::fs::remove_file(&other).unwrap();
        std::fs::create_dir(&other).unwrap();
        heal(place.path(), all.iter());
        assert_eq!(read(&one), b"kernel");
        std::fs::remove_dir(&other).unwrap();
        heal(place.path(), all.iter());
        assert_eq!(read(&other), b"initrd");
    }

    #[test]
    fn a_copy_is_what_its_name_says_whatever_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let id = Oid::hash_object(ObjectType::Blob, b"kernel").unwrap();
        let path = folder.path().join("copies").join(id.to_string());
        assert!(!is_whole(&path, id, 6));
        write(&path, id, b"kernel").unwrap();
        assert!(is_whole(&path, id, 6) && is_untouched(&path, 6));
        // Restored without its times, or made by an earlier version.
        File::open(&path).unwrap().set_modified(SystemTime::now()).unwrap();
        assert!(!is_untouched(&path, 6));
        assert!(is_whole(&path, id, 6) && is_untouched(&path, 6), "it is sealed again");
        for other in [&b"kernal"[..], b"kern", b""] {
            std::fs::write(&path, other).unwrap();
            assert!(!is_whole(&path, id, 6), "{other:?}");
        }
        // A seal without a comparison since the start is not believed.
        std::fs::remove_file(&path).unwrap();
        let draft = folder.path().join("copies/draft");
        fill(&draft, b"kernal").unwrap();
        std::fs::hard_link(&draft, folder.path().join("keeps-its-inode")).unwrap();
        std::fs::rename(&draft, &path).unwrap();
        COMPARED.lock().unwrap().as_mut().unwrap().clear();
        assert!(!is_whole(&path, id, 6));
        write(&path, id, b"kernel").unwrap();
        assert!(is_whole(&path, id, 6));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }
}
