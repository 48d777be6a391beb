//! Visits every directory of a disc once.

use std::collections::HashSet;

use hadris_fs::{DirCursor, DirEntry, FileType, NodeId};

use super::disc::{Disc, Trouble};
use super::tree::{Kind, Tree};

/// Deepest nesting followed; the longest path Linux accepts has fewer parts.
const DEEPEST: usize = 2048;
/// Longest target of a symbolic link, as in Linux.
const LONGEST_LINK: usize = 4096;

/// A directory that is still to be visited.
struct Pending {
    path: String,
    node: NodeId,
    depth: usize,
}

/// The tree below the root of `disc`, of at most `most` entries.
pub(super) fn walk<D: Disc>(disc: &mut D, most: usize) -> Result<Tree, Trouble> {
    let mut tree = Tree::default();
    let root = disc.root();
    let mut seen = HashSet::from([root]);
    let mut pending = vec![Pending { path: String::new(), node: root, depth: 0 }];
    while let Some(folder) = pending.pop() {
        let mut cursor = DirCursor::default();
        while let Some(entry) =
            disc.readdir(folder.node, cursor).map_err(|error| D::trouble(&error, &folder.path))?
        {
            if entry.next_cursor() == cursor {
                return Err(Trouble::Damaged(format!("the directory `{}` never ends", folder.path)));
            }
            cursor = entry.next_cursor();
            let Some(name) = usable(&entry) else { continue };
            let path = join(&folder.path, &name);
            let kind = describe(disc, &entry, &path)?;
            let is_folder = matches!(kind, Some(Kind::Folder));
            if let Some(kind) = kind {
                tree.insert(path.clone(), kind);
            }
            if tree.len() > most {
                return Err(Trouble::Damaged(format!("it holds more than {most} entries")));
            }
            // Two records that name one directory are a crafted loop or a hard link: once is enough.
            if is_folder && seen.insert(entry.node()) {
                if folder.depth == DEEPEST {
                    return Err(Trouble::Damaged(format!(
                        "its directories are nested deeper than {DEEPEST}"
                    )));
                }
                pending.push(Pending { path, node: entry.node(), depth: folder.depth + 1 });
            }
        }
    }
    Ok(tree)
}

/// The entry's name, if a path can hold it.
fn usable(entry: &DirEntry) -> Option<String> {
    let name = String::from_utf8_lossy(entry.name().as_bytes());
    let broken = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
    (!broken).then(|| name.into_owned())
}

pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// `None` for what can't be served: devices, sockets, pipes.
fn describe<D: Disc>(disc: &mut D, entry: &DirEntry, path: &str) -> Result<Option<Kind>, Trouble> {
    let kind = match entry.file_type() {
        FileType::Dir => Kind::Folder,
        FileType::File => disc.file(entry.node()).map_err(|error| D::trouble(&error, path))?,
        FileType::Symlink => {
            let mut target = [0; LONGEST_LINK];
            let target =
                disc.readlink(entry.node(), &mut target).map_err(|error| D::trouble(&error, path))?;
            Kind::Link(String::from_utf8_lossy(target).into_owned())
        }
        _ => return Ok(None),
    };
    Ok(Some(kind))
}
