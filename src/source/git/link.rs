//! The first fetch from a repository on this host. Packs and loose objects never change once they
//! are written, so they are linked into the mirror, as `git clone` does: nothing is read, compared
//! and compressed again. A link outlives whatever is pruned there. Everything unusual is left to
//! libgit2's transport.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository, TreeWalkMode, TreeWalkResult};

/// With more files than this the transport, which makes one pack of all, is the better way.
const MOST_LINKS: usize = 1000;
/// What says that objects are elsewhere or not all there.
const UNUSUAL: [&str; 2] = ["objects/info/alternates", "shallow"];

/// Links the objects of the repository at `folder` (bare, or `.git`) into the mirror. True if
/// `wanted` and every file of it is there then; otherwise what was linked does no harm.
pub(super) fn objects(folder: &Path, mirror: &Repository, wanted: Oid) -> bool {
    if UNUSUAL.iter().any(|name| folder.join(name).exists()) {
        return false;
    }
    let (from, to) = (folder.join("objects"), mirror.path().join("objects"));
    let Ok(before) = files(&from) else { return false };
    // An object that moves into a pack between two looks could be missed by both.
    before.iter().all(|file| link(&from.join(file), &to.join(file)).is_ok())
        && files(&from).is_ok_and(|after| after == before)
        && mirror.odb().and_then(|odb| odb.refresh()).is_ok()
        && is_whole(mirror, wanted).unwrap_or(false)
}

/// The packs with their indexes and the loose objects, below `objects`; an error if there are many,
/// or packs that lack what another repository is to send.
fn files(objects: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(objects)? {
        let folder = folder?.file_name();
        let Some(name) = folder.to_str().filter(|name| name.len() == 2 || *name == "pack") else { continue };
        for file in std::fs::read_dir(objects.join(name))? {
            let path = Path::new(name).join(file?.file_name());
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("promisor") => return Err(io::Error::other("objects are missing")),
                None if name == "pack" => continue,
                None | Some("pack" | "idx") => drop(found.insert(path)),
                Some(_) => {}
            }
        }
        if found.len() > MOST_LINKS {
            return Err(io::Error::other("many files"));
        }
    }
    Ok(found)
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Whether all files of a commit are there.
fn is_whole(mirror: &Repository, wanted: Oid) -> Result<bool, git2::Error> {
    let odb = mirror.odb()?;
    let tree = mirror.find_object(wanted, None)?.peel_to_tree()?;
    let mut whole = true;
    let walked = tree.walk(TreeWalkMode::PreOrder, |_, entry| {
        whole &= entry.kind() != Some(ObjectType::Blob) || odb.exists(entry.id());
        if whole { TreeWalkResult::Ok } else { TreeWalkResult::Abort }
    });
    Ok(walked.is_ok() && whole)
}
