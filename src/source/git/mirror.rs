//! The bare repository that fetches fill and snapshots are read from.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use git2::{ObjectType, Odb, Oid, Repository, Signature, Tree, TreeEntry};

use super::{Fetched, copies, tidy};
use crate::model::Time;
use crate::source::{Body, Commit, LeftOut, Snapshot, SourceError};

/// The reference that every fetch of a branch or tag writes.
pub(crate) const FOLLOWED: &str = "refs/followed";
/// Name and commit of the last fetch, for a start without the repository.
const NOTE: &str = "followed.txt";
/// Most files and folders of one inventory, deepest nesting, and links followed on the way to one
/// file, as in Linux (path_resolution(7)).
const MOST_FILES: usize = 1_000_000;
const DEEPEST: usize = 128;
const MOST_HOPS: usize = 40;
/// Most commits that are looked at for one.
const COMMITS_MAX: usize = 1000;
/// Largest file, in bytes: libgit2 reads a file in one piece.
pub(super) const LARGEST: u64 = 256 << 20;
pub(super) const ELSEWHERE: &str = "put images on this host and name their folder in `[media] paths`";
/// Files that are read and never served: they need no copy on disk.
const READ_ONLY: [&str; 3] = [".toml", ".liquid", ".age"];

#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    /// The bare repository.
    pub path: PathBuf,
    /// Where files that are large or may be served are copied to, by the id of their content.
    pub copies: PathBuf,
}

/// A snapshot and the id of the tree it was read from: two commits of one tree are one inventory.
pub(crate) struct Reading {
    pub snapshot: Snapshot,
    pub tree: Arc<str>,
}

/// A tree that was read.
#[derive(Clone, Debug)]
pub(crate) struct KnownTree {
    pub tree: Arc<str>,
    /// Its copies on disk, with their lengths in bytes.
    copies: Arc<[(PathBuf, u64)]>,
}

impl KnownTree {
    /// Whether every copy is still there as it was written.
    fn is_whole(&self) -> bool {
        self.copies.iter().all(|(path, length)| copies::is_untouched(path, *length))
    }
}

impl Reading {
    pub(crate) fn known(&self) -> KnownTree {
        let copy = |body: &Body| match body {
            Body::OnDisk { path, length } => Some((path.clone(), *length)),
            Body::Inline { bytes, path } => Some((path.clone()?, bytes.len() as u64)),
        };
        KnownTree { tree: self.tree.clone(), copies: self.snapshot.files.values().filter_map(copy).collect() }
    }
}

/// Opens the mirror, or makes it anew: a damaged one holds nothing that can't be fetched again.
pub(crate) fn open_or_create(path: &Path) -> Result<Repository, String> {
    if let Ok(repository) = Repository::open_bare(path) {
        return Ok(repository);
    }
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(&error)),
        _ => {}
    }
    own_folder(path).map_err(|error| fail(&error))?;
    Repository::init_bare(path).map_err(|error| fail(&error))
}

/// Makes a folder, and those on the way to it, for this user alone, whatever the umask.
pub(crate) fn own_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the daemon's own repository, with one empty commit, unless it exists.
pub(crate) fn create_own(path: &Path) -> Result<(), git2::Error> {
    if path.exists() {
        tidy::unlock(path);
        return Ok(());
    }
    own_folder(path).map_err(|error| git2::Error::from_str(&format!("{}: {error}", path.display())))?;
    let mut options = git2::RepositoryInitOptions::new();
    let repository = Repository::init_opts(path, options.bare(true).mkpath(true).initial_head("main"))?;
    let author = Signature::now("voldemort", "voldemort@localhost")?;
    let tree = repository.find_tree(repository.treebuilder(None)?.write()?)?;
    repository.commit(Some("HEAD"), &author, &author, "Begin an empty inventory", &tree, &[])?;
    Ok(())
}

/// The commit that `FOLLOWED` leads to, tags followed.
pub(crate) fn followed(repository: &Repository) -> Result<Oid, String> {
    let reference = repository.find_reference(FOLLOWED).map_err(|error| error.message().to_owned())?;
    let commit = reference.peel_to_commit().map_err(|_| "it does not lead to a commit".to_owned())?;
    Ok(commit.id())
}

/// Whether what the last fetch brought can't be read.
pub(crate) fn is_damaged(repository: &Repository) -> bool {
    let Ok(reference) = repository.find_reference(FOLLOWED) else { return false };
    reference.peel_to_commit().and_then(|commit| commit.tree().map(drop)).is_err()
}

/// Remembers a fetch.
pub(crate) fn note(mirror: &Path, fetched: &Fetched) -> io::Result<()> {
    let draft = mirror.join(format!("{NOTE}.new"));
    std::fs::write(&draft, format!("{}\t{}\n", fetched.commit, fetched.name))?;
    std::fs::rename(draft, mirror.join(NOTE))
}

impl Mirror {
    /// What the last fetch brought, if there was one.
    pub(crate) fn last_fetched(&self) -> Option<Fetched> {
        let text = std::fs::read_to_string(self.path.join(NOTE)).ok()?;
        let (commit, name) = text.trim_end().split_once('\t')?;
        Some(Fetched { commit: commit.to_owned(), name: name.to_owned() })
    }

    /// The latest commit from `base` on that has this line in its message, of the last day and of the last thousand.
    pub(crate) fn commit_with(&self, base: &str, line: &str) -> Option<String> {
        let repository = Repository::open_bare(&self.path).ok()?;
        let mut walk = repository.revwalk().ok()?;
        walk.push(Oid::from_str(base).ok()?).ok()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        let day = i64::try_from(now).ok()? - 24 * 60 * 60;
        let commits = walk.take(COMMITS_MAX).filter_map(|id| repository.find_commit(id.ok()?).ok());
        let has_it = |commit: &git2::Commit<'_>| {
            commit.message().is_ok_and(|text| text.lines().any(|own| own == line))
        };
        let mut recent = commits.filter(|commit| commit.time().seconds() >= day);
        recent.find(has_it).map(|commit| commit.id().to_string())
    }

    /// The inventory below `path` at a commit, blobs straight from the object store. `None` if
    /// that is the tree `known`, which was read already and whose copies are as they were.
    pub(crate) fn read(
        &self,
        fetched: &Fetched,
        path: &str,
        known: Option<&KnownTree>,
    ) -> Result<Option<Reading>, SourceError> {
        let revision = fetched.revision();
        let repository = Repository::open_bare(&self.path).map_err(failed)?;
        let found =
            Oid::from_str(&fetched.commit).and_then(|id| repository.find_commit(id)).map_err(failed)?;
        let mut tree = found.tree().map_err(failed)?;
        if !path.is_empty() {
            let missing = |_| SourceError::Git(format!("{revision} has no folder `{path}`"));
            let entry = tree.get_path(Path::new(path)).map_err(missing)?;
            tree = entry.to_object(&repository).and_then(|object| object.peel_to_tree()).map_err(missing)?;
        }
        let id: Arc<str> = tree.id().to_string().into();
        if known.is_some_and(|known| known.tree == id && known.is_whole()) {
            return Ok(None);
        }
        let mut reader = Reader {
            repository: &repository,
            odb: repository.odb().map_err(failed)?,
            copies: &self.copies,
            root: tree.clone(),
            files: BTreeMap::new(),
            left_out: BTreeMap::new(),
            seen: BTreeMap::new(),
            entries: 0,
            held: 0,
            copied: 0,
        };
        reader.folder(&tree, "", &mut vec![String::new()])?;
        let Reader { files, left_out, .. } = reader;
        let commit = Some(Commit {
            author: found.author().to_string().into(),
            subject: found.summary().ok().flatten().unwrap_or_default().into(),
            at: Time(found.time().seconds().max(0).cast_unsigned().saturating_mul(1000)),
        });
        Ok(Some(Reading { snapshot: Snapshot { revision, commit, files, left_out }, tree: id }))
    }
}

fn failed(error: git2::Error) -> SourceError {
    SourceError::Mirror(error.message().to_owned())
}

struct Reader<'r> {
    repository: &'r Repository,
    odb: Odb<'r>,
    copies: &'r Path,
    root: Tree<'r>,
    files: BTreeMap<Arc<str>, Body>,
    left_out: BTreeMap<Arc<str>, LeftOut>,
    /// One content under many names is held once.
    seen: BTreeMap<(Oid, bool, bool), Body>,
    /// Counts what is walked over: small trees may name each other a million times.
    entries: usize,
    /// Bytes of files that are held in memory, and of larger ones.
    held: u64,
    copied: u64,
}

/// A real path in the inventory, and what is there; `None` at its root.
type Target = (String, Option<TreeEntry<'static>>);

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn outside(text: &str) -> String {
    format!("the link leads out of the inventory, to {text}; {ELSEWHERE}")
}

/// As in Linux (PATH_MAX).
const LONGEST_LINK: usize = 4096;
/// What git writes into a tree beside plain files and folders.
pub(super) const MODE_LINK: i32 = 0o120_000;

impl Reader<'_> {
    /// Reads a folder; `inside` is how it was reached, `above` are the real folders on the way to it, itself included.
    fn folder(&mut self, tree: &Tree<'_>, inside: &str, above: &mut Vec<String>) -> Result<(), SourceError> {
        if above.len() > DEEPEST + 1 {
            return Err(SourceError::Git(format!("`{inside}`: folders nested deeper than {DEEPEST}")));
        }
        let folder = above.last().cloned().unwrap_or_default();
        for entry in tree.iter() {
            self.entries += 1;
            if self.entries > MOST_FILES {
                return Err(SourceError::Crowded { path: inside.into(), most: MOST_FILES });
            }
            if entry.name_bytes().starts_with(b".") {
                continue;
            }
            let name = String::from_utf8_lossy(entry.name_bytes());
            let path = below(inside, &name);
            match std::str::from_utf8(entry.name_bytes()) {
                Err(_) => self.leave_out(&path, "the name is not UTF-8")?,
                Ok(_) if entry.filemode() == MODE_LINK => self.link(&below(&folder, &name), &path, above)?,
                Ok(_) => self.entry(&entry, below(&folder, &name), &path, above)?,
            }
        }
        Ok(())
    }

    /// Reads a file or folder; `real` is where it is, `path` how it was reached.
    fn entry(
        &mut self,
        entry: &TreeEntry<'_>,
        real: String,
        path: &str,
        above: &mut Vec<String>,
    ) -> Result<(), SourceError> {
        match entry.kind() {
            // A link led to a folder that holds it: a circle, which ends here.
            Some(ObjectType::Tree) if above.contains(&real) => Ok(()),
            Some(ObjectType::Tree) => {
                let tree = self.repository.find_tree(entry.id()).map_err(failed)?;
                above.push(real);
                self.folder(&tree, path, above)?;
                above.pop();
                Ok(())
            }
            Some(ObjectType::Blob) => {
                match self.body(entry.id(), path)? {
                    Ok(body) => drop(self.files.insert(path.into(), body)),
                    Err(why) => self.leave_out(path, why)?,
                }
                Ok(())
            }
            // A submodule names a commit of another repository: its files are not in this one.
            _ => self.leave_out(path, "it is a submodule, which is not followed"),
        }
    }

    /// Leaves the file out, unless it is named like a manifest: no other file names those, so their absence
    /// would go unnoticed.
    fn leave_out(&mut self, path: &str, why: impl Into<String>) -> Result<(), SourceError> {
        if path.ends_with(".toml") {
            return Err(SourceError::NoManifest { path: path.into(), why: why.into() });
        }
        self.left_out.insert(path.into(), LeftOut::because(why));
        Ok(())
    }

    /// A link is replaced by what it leads to inside the inventory.
    fn link(&mut self, real: &str, path: &str, above: &mut Vec<String>) -> Result<(), SourceError> {
        match self.resolve(real)? {
            Ok((target, Some(found))) => self.entry(&found, target, path, above),
            // The inventory itself, which holds the link.
            Ok((_, None)) => Ok(()),
            Err(why) => self.leave_out(path, why),
        }
    }

    /// Follows links in every part of a path, as Linux does: the real path, and what is there, which is `None` for the
    /// inventory's root. Or why the path leads nowhere in the inventory.
    fn resolve(&self, path: &str) -> Result<Result<Target, String>, SourceError> {
        let mut ahead: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let (mut real, mut at, mut link, mut hops) = (String::new(), None, String::new(), 0);
        while let Some(part) = ahead.pop() {
            let is_folder = at.as_ref().is_none_or(|at: &TreeEntry<'_>| at.kind() == Some(ObjectType::Tree));
            let missing = |real: &str| {
                let rest = ahead.iter().rev().filter(|part| !part.is_empty());
                let whole = rest.fold(real.to_owned(), |path, part| below(&path, part));
                Ok(Err(format!("the link leads to `{whole}`, which does not exist")))
            };
            let next = match &*part {
                _ if !is_folder => return missing(&below(&real, &part)),
                "" | "." => continue,
                ".." if real.is_empty() => return Ok(Err(outside(&link))),
                ".." => real.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned(),
                name => below(&real, name),
            };
            if next.is_empty() {
                (real, at) = (next, None);
                continue;
            }
            let Ok(found) = self.root.get_path(Path::new(&next)) else { return missing(&next) };
            if found.filemode() != MODE_LINK {
                (real, at) = (next, Some(found));
                continue;
            }
            hops += 1;
            if hops > MOST_HOPS {
                return Ok(Err("the link leads in a circle".to_owned()));
            }
            link = match self.link_text(found.id())? {
                Ok(text) if text.starts_with('/') => return Ok(Err(outside(&text))),
                Ok(text) => text,
                Err(why) => return Ok(Err(why)),
            };
            ahead.extend(link.rsplit('/').map(str::to_owned));
        }
        Ok(Ok((real, at)))
    }

    fn link_text(&self, id: Oid) -> Result<Result<String, String>, SourceError> {
        let (length, _) = self.odb.read_header(id).map_err(failed)?;
        if length > LONGEST_LINK {
            return Ok(Err(format!("it is a link of {length} bytes")));
        }
        let blob = self.repository.find_blob(id).map_err(failed)?;
        Ok(Ok(String::from_utf8_lossy(blob.content()).into_owned()))
    }

    /// Large files go to disk. Whatever a boot may name is copied there too, so that it can be
    /// served like a file. What is too large for that is left out for the reason given.
    fn body(&mut self, id: Oid, name: &str) -> Result<Result<Body, String>, SourceError> {
        let served = !READ_ONLY.iter().any(|ending| name.ends_with(ending));
        let is_manifest = Body::is_held(name, u64::MAX);
        if let Some(body) = self.seen.get(&(id, served, is_manifest)) {
            return Ok(Ok(body.clone()));
        }
        let (length, _) = self.odb.read_header(id).map_err(failed)?;
        let length = length as u64;
        let large = !Body::is_held(name, length);
        if let Err(why) = self.weigh(length, name)? {
            return Ok(Err(why));
        }
        let copy = self.copies.join(id.to_string());
        let body = if large && copies::is_whole(&copy, id, length) {
            Body::OnDisk { path: copy, length }
        } else {
            let object = self.odb.read(id).map_err(failed)?;
            if (large || served) && !copies::is_whole(&copy, id, length) {
                copies::write(&copy, id, object.data())
                    .map_err(|error| SourceError::Copy { path: copy.clone(), why: error.to_string() })?;
            }
            match large {
                true => Body::OnDisk { path: copy, length },
                false => {
                    let most = usize::try_from(Body::held_max(name)).unwrap_or(usize::MAX);
                    let data = object.data();
                    let bytes = Bytes::copy_from_slice(data.get(..most).unwrap_or(data));
                    Body::Inline { bytes, path: served.then_some(copy) }
                }
            }
        };
        self.seen.insert((id, served, is_manifest), body.clone());
        Ok(Ok(body))
    }

    /// Refuses what would fill memory or disk, by sizes alone, each content counted once: a small repository
    /// may unpack to any size. A file that is read from disk is left out, as `check` passes where nothing names
    /// it; small ones are refused together, as in a directory.
    fn weigh(&mut self, length: u64, name: &str) -> Result<Result<(), String>, SourceError> {
        let most = Body::ALL_MAX >> 20;
        if length > LARGEST {
            return Ok(Err(format!(
                "{} MiB are more than a file in a repository may have ({} MiB); {ELSEWHERE}",
                length >> 20,
                LARGEST >> 20
            )));
        }
        if !Body::is_held(name, length) {
            if self.copied + length > Body::ALL_MAX {
                return Ok(Err(format!(
                    "with it the repository's files of more than {} MiB would hold more than the {most} MiB that \
                     they may have together; {ELSEWHERE}",
                    Body::INLINE_MAX >> 20
                )));
            }
            self.copied += length;
            return Ok(Ok(()));
        }
        self.held += length;
        if self.held > Body::ALL_MAX {
            let why = format!(
                "with this file the inventory's small files hold more than the {most} MiB that they may have \
                 together; {ELSEWHERE}"
            );
            return Err(SourceError::Bulky { path: PathBuf::from(name), why });
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::source::directory;

    /// A folder with files and links to anything, by numbers that the seed gives.
    fn fill(root: &Path, mut seed: u64) {
        const FOLDERS: [&str; 4] = ["", "a", "a/c", "b"];
        const PARTS: [&str; 12] = ["..", "..", "a", "b", "c", "x", "l0", "l1", "l2", "l3", ".", ""];
        let mut number = |most: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % most
        };
        for folder in FOLDERS {
            std::fs::create_dir_all(root.join(folder)).unwrap();
            std::fs::write(root.join(folder).join("x"), folder).unwrap();
        }
        for name in ["l0", "l1", "l2", "l3"] {
            let parts: Vec<&str> = (0..=number(3)).map(|_| PARTS[number(PARTS.len())]).collect();
            // A link has a text, and an absolute one is no matter of the inventory.
            let target = parts.join("/");
            let target = target.trim_start_matches('/');
            let target = if target.is_empty() { "." } else { target };
            symlink(target, root.join(FOLDERS[number(FOLDERS.len())]).join(name)).unwrap();
        }
    }

    /// `check` reads the work tree, a daemon the commit.
    #[test]
    fn links_lead_where_they_lead_in_a_work_tree() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let repository = Repository::init(&tree).unwrap();
        let roots: Vec<String> = (0..300).map(|seed| format!("seed-{seed}")).collect();
        (0..).zip(&roots).for_each(|(seed, root)| fill(&tree.join(root), seed));
        let mut index = repository.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        let id = index.write_tree().unwrap();
        let author = Signature::now("t", "t@localhost").unwrap();
        let whole = repository.find_tree(id).unwrap();
        let commit = repository.commit(Some("HEAD"), &author, &author, "x", &whole, &[]).unwrap();
        let mirror = Mirror { path: tree.join(".git"), copies: folder.path().join("copies") };
        let fetched = Fetched { commit: commit.to_string(), name: "main".to_owned() };
        for root in &roots {
            let ours = mirror.read(&fetched, root, None).unwrap().unwrap().snapshot;
            let theirs = directory::read(&tree.join(root)).unwrap();
            assert_eq!(ours.inline(), theirs.inline(), "{root}");
            let left = |of: &Snapshot| of.left_out.keys().cloned().collect::<Vec<_>>();
            assert_eq!(left(&ours), left(&theirs), "{root}: {:?} {:?}", ours.left_out, theirs.left_out);
        }
    }
}
