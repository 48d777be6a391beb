//! Keeps what fetches leave behind from growing for ever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::Repository;

/// Packs and loose objects from which on a mirror is packed anew: each fetch adds some.
const MOST_PACKS: usize = 50;
const MOST_LOOSE: usize = 5_000;
/// How long copies and mirrors that nothing names are kept: whatever is served from them has long
/// ended by then.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of all copies from which on those that nothing names go earlier.
const MOST_COPIED: u64 = 4 << 30;
/// Copies used within this time may belong to a revision that is being read.
const IN_THE_MAKING: Duration = Duration::from_secs(3600);

/// Longest time that a git command holds a lock.
const HELD_LONGEST: Duration = Duration::from_secs(60);

/// Packs what the mirror's references lead to into one file and drops everything else, if there is much of
/// it. Nothing else may use the mirror meanwhile.
pub(super) fn pack(repository: &Repository) -> Result<(), git2::Error> {
    let objects = repository.path().join("objects");
    let packs = files(&objects.join("pack"));
    let loose: Vec<PathBuf> =
        (0..=255).flat_map(|byte| files(&objects.join(format!("{byte:02x}")))).collect();
    let count = packs.iter().filter(|path| path.extension().is_some_and(|ending| ending == "pack")).count();
    if count <= MOST_PACKS && loose.len() <= MOST_LOOSE {
        return Ok(());
    }
    let stale: Vec<PathBuf> = packs.into_iter().chain(loose).collect();
    repack(repository, &stale)
}

/// Removes what a killed fetch left in the mirror: half packs, which fill the disk, and locks, which block
/// every later fetch. Nothing else may use the mirror meanwhile.
pub(super) fn clear(mirror: &Path) {
    let objects = ["objects", "objects/pack"].map(|folder| files(&mirror.join(folder))).into_iter().flatten();
    // As libgit2's futils.c names its temporary files.
    let halves = objects.filter(|path| path.to_string_lossy().contains("_git2_"));
    for path in halves.chain(locks(mirror)) {
        // What stays is found by the fetch itself.
        let _ = std::fs::remove_file(path);
    }
}

/// Removes locks that a commit which was killed left in the daemon's own repository and that would refuse
/// every later one. No git command holds one for so long.
pub(super) fn unlock(repository: &Path) {
    for path in locks(repository) {
        if age(&path).is_some_and(|age| age > HELD_LONGEST) {
            remove(&path);
        }
    }
}

/// The locks beside a repository's own files and references.
fn locks(repository: &Path) -> Vec<PathBuf> {
    let mut locks = files(repository);
    let mut folders = vec![repository.join("refs")];
    while let Some(folder) = folders.pop() {
        for path in files(&folder) {
            match path.is_dir() {
                true => folders.push(path),
                false => locks.push(path),
            }
        }
    }
    locks.retain(|path| has_ending(path, "lock"));
    locks
}

/// Writes one pack and removes the `stale` files. Of a shallow mirror only the newest commits stay:
/// what lies before them was never asked for.
fn repack(repository: &Repository, stale: &[PathBuf]) -> Result<(), git2::Error> {
    let mut builder = repository.packbuilder()?;
    let mut commits = BTreeSet::new();
    for reference in repository.references()? {
        let reference = reference?;
        let Some(id) = reference.target() else { continue };
        commits.extend(reference.peel_to_commit().map(|commit| commit.id()));
        // An annotated tag is an object beside its commit.
        builder.insert_object(id, None)?;
    }
    let shallow = repository.is_shallow();
    let mut walk = repository.revwalk()?;
    for commit in &commits {
        match shallow {
            true => builder.insert_commit(*commit)?,
            false => walk.push(*commit)?,
        }
    }
    builder.insert_walk(&mut walk)?;
    builder.write(&repository.path().join("objects/pack"), 0)?;
    let fresh = builder.name()?.unwrap_or_default().to_owned();
    if shallow {
        let edge: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let path = repository.path().join("shallow");
        let draft = path.with_extension("new");
        let written = std::fs::write(&draft, edge).and_then(|()| std::fs::rename(draft, path));
        written.map_err(|error| git2::Error::from_str(&error.to_string()))?;
    }
    for path in stale.iter().filter(|path| !path.to_string_lossy().contains(&fresh)) {
        // What stays is tried again next time.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Removes the copies and mirrors below `place` that are not among `used` and have been unused for
/// long, and of other copies the longest unused while all together are larger than [`MOST_COPIED`].
pub fn sweep(place: &Path, used: &BTreeSet<PathBuf>) {
    let mirrors = files(place).into_iter().filter(|path| has_ending(path, "git"));
    for path in mirrors.filter(|path| !used.contains(path) && age(path).is_some_and(|age| age > KEPT)) {
        remove(&path);
    }
    let mut copies: Vec<(Duration, u64, PathBuf)> = Vec::new();
    for path in files(&place.join("copies")) {
        let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        copies.extend(age(&path).map(|age| (age, length, path)));
    }
    copies.sort();
    let mut left: u64 = copies.iter().map(|(_, length, _)| length).sum();
    while let Some((age, length, path)) = copies.pop() {
        let much = left > MOST_COPIED && age > IN_THE_MAKING;
        if !used.contains(&path) && (age > KEPT || much) {
            remove(&path);
            left -= length;
        }
    }
}

fn remove(path: &Path) {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "this is not needed any more and can't be removed");
    }
}

/// Time since the last use. The modification time of a copy is its seal.
fn age(path: &Path) -> Option<Duration> {
    let metadata = std::fs::metadata(path).ok()?;
    let used = match metadata.is_dir() {
        true => metadata.modified().ok()?,
        false => metadata.modified().ok()?.max(metadata.accessed().ok()?),
    };
    used.elapsed().ok()
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::SystemTime;

    use super::super::copies;
    use super::*;

    #[test]
    fn only_old_and_unused_things_go() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("copies")).unwrap();
        for name in ["copies/old", "copies/used", "copies/new"] {
            fs::write(path(name), "x").unwrap();
        }
        fs::create_dir(path("old.git")).unwrap();
        let long_ago = SystemTime::now() - KEPT - Duration::from_secs(60);
        for name in ["copies/old", "copies/used", "old.git"] {
            let times = FileTimes::new().set_modified(long_ago).set_accessed(long_ago);
            File::open(path(name)).unwrap().set_times(times).unwrap();
        }
        sweep(place.path(), &[path("copies/used")].into());
        let left: Vec<bool> =
            ["copies/old", "copies/used", "copies/new", "old.git"].map(|name| path(name).exists()).to_vec();
        assert_eq!(left, [false, true, true, false]);
        copies::touch(&path("copies/used"));
        assert!(age(&path("copies/used")).unwrap() < KEPT);
        assert!(fs::metadata(path("copies/used")).unwrap().modified().unwrap() <= long_ago, "its seal stays");
    }

    #[test]
    fn the_longest_unused_copies_go_when_all_are_too_large() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("copies")).unwrap();
        let copy = |name: &str, hours: u64| {
            let path = place.path().join("copies").join(name);
            let file = File::create(&path).unwrap();
            file.set_len(MOST_COPIED / 2).unwrap();
            let then = SystemTime::now() - Duration::from_secs(hours * 3600);
            file.set_times(FileTimes::new().set_modified(then).set_accessed(then)).unwrap();
            path
        };
        let [oldest, used, older, fresh] =
            [("oldest", 9), ("used", 8), ("older", 7), ("fresh", 0)].map(|(name, hours)| copy(name, hours));
        sweep(place.path(), &[used.clone()].into());
        let left = [&oldest, &used, &older, &fresh].map(|path| path.exists());
        assert_eq!(left, [false, true, false, true]);
        copy("older", 7);
        fs::remove_file(&fresh).unwrap();
        sweep(place.path(), &[used].into());
        assert!(older.exists(), "there is room for it");
    }

    #[test]
    fn what_a_killed_fetch_left_is_cleared() {
        let mirror = tempfile::tempdir().unwrap();
        Repository::init_bare(mirror.path()).unwrap();
        let left = [
            "objects/pack/pack_git2_0a1b2c",
            "objects/tmp_object_git2_0a1b2c",
            "refs/followed.lock",
            "refs/fetched/heads/main.lock",
            "shallow.lock",
        ];
        fs::create_dir_all(mirror.path().join("refs/fetched/heads")).unwrap();
        for name in left.into_iter().chain(["objects/pack/pack-1.pack"]) {
            fs::write(mirror.path().join(name), "x").unwrap();
        }
        clear(mirror.path());
        assert!(left.iter().all(|name| !mirror.path().join(name).exists()));
        assert!(
            mirror.path().join("objects/pack/pack-1.pack").exists() && mirror.path().join("HEAD").exists()
        );
    }

    #[test]
    fn only_locks_that_nobody_holds_any_more_are_removed() {
        let own = tempfile::tempdir().unwrap();
        Repository::init_bare(own.path()).unwrap();
        let [held, left] = ["HEAD.lock", "refs/heads/main.lock"].map(|name| own.path().join(name));
        let long_ago = SystemTime::now() - 2 * HELD_LONGEST;
        for path in [&held, &left] {
            fs::write(path, "").unwrap();
        }
        let times = FileTimes::new().set_modified(long_ago).set_accessed(long_ago);
        File::open(&left).unwrap().set_times(times).unwrap();
        unlock(own.path());
        assert!(held.exists() && !left.exists());
    }

    #[test]
    fn a_mirror_of_many_packs_becomes_one() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        let author = git2::Signature::now("t", "t@localhost").unwrap();
        let mut parent = None;
        for number in 0..=MOST_PACKS {
            let blob = repository.blob(number.to_string().as_bytes()).unwrap();
            let mut tree = repository.treebuilder(None).unwrap();
            tree.insert("a", blob, 0o100_644).unwrap();
            let tree = repository.find_tree(tree.write().unwrap()).unwrap();
            let parents: Vec<git2::Commit<'_>> =
                parent.iter().map(|id| repository.find_commit(*id).unwrap()).collect();
            let parents: Vec<&git2::Commit<'_>> = parents.iter().collect();
            let commit =
                repository.commit(Some("refs/followed"), &author, &author, "m", &tree, &parents).unwrap();
            let mut builder = repository.packbuilder().unwrap();
            builder.insert_commit(commit).unwrap();
            builder.write(&folder.path().join("objects/pack"), 0).unwrap();
            parent = Some(commit);
        }
        pack(&repository).unwrap();
        let packs = files(&folder.path().join("objects/pack"));
        assert_eq!(packs.iter().filter(|path| path.extension().unwrap() == "pack").count(), 1, "{packs:?}");
        let again = Repository::open_bare(folder.path()).unwrap();
        let mut walk = again.revwalk().unwrap();
        walk.push(parent.unwrap()).unwrap();
        let trees =
            walk.map(|id| again.find_commit(id.unwrap()).unwrap().tree().unwrap().get(0).unwrap().id());
        assert_eq!(trees.filter(|blob| again.find_blob(*blob).is_ok()).count(), MOST_PACKS + 1);
    }

    /// A shallow mirror lacks the parents of its commits: that is no damage.
    #[test]
    fn a_shallow_mirror_is_packed_too() {
        let (whole, shallow) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let repository = Repository::init_bare(whole.path()).unwrap();
        let author = git2::Signature::now("t", "t@localhost").unwrap();
        let tree = repository.find_tree(repository.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let first = repository.commit(Some("HEAD"), &author, &author, "1", &tree, &[]).unwrap();
        let first = repository.find_commit(first).unwrap();
        let second = repository.commit(Some("HEAD"), &author, &author, "2", &tree, &[&first]).unwrap();
        Repository::init_bare(shallow.path()).unwrap();
        let packs = shallow.path().join("objects/pack");
        let mut builder = repository.packbuilder().unwrap();
        builder.insert_commit(second).unwrap();
        builder.write(&packs, 0).unwrap();
        fs::write(shallow.path().join("shallow"), format!("{second}\n")).unwrap();
        let mirror = Repository::open_bare(shallow.path()).unwrap();
        mirror.reference("refs/followed", second, true, "").unwrap();
        repack(&mirror, &files(&packs)).unwrap();
        let again = Repository::open_bare(shallow.path()).unwrap();
        assert!(again.find_commit(second).unwrap().tree().is_ok());
        assert!(again.find_commit(first.id()).is_err());
    }
}
