//! What a walk found, and where its symbolic links lead.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::walk::join;
use crate::model::Extent;

/// Most links followed on the way to one file, as in Linux.
const MOST_HOPS: usize = 40;

/// One thing in a disc's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File(Arc<[Extent]>),
    /// A symbolic link and its target as written.
    Link(String),
    /// A file that exists and can't be served as it lies, and why.
    Refused(Box<str>),
}

/// All entries by path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Kind>,
}

impl Tree {
    pub(super) fn insert(&mut self, path: String, kind: Kind) {
        self.nodes.insert(path, kind);
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes in all files together.
    pub(super) fn bytes(&self) -> u128 {
        let files = self.nodes.values().filter_map(|kind| match kind {
            Kind::File(extents) => Some(extents),
            _ => None,
        });
        files.flat_map(|extents| extents.iter()).map(|extent| u128::from(extent.length)).sum()
    }

    /// Every file, and every link that leads to one, under its own path.
    pub(super) fn files(&self) -> impl Iterator<Item = (Box<str>, &Kind)> {
        self.nodes.iter().filter_map(|(path, kind)| match kind {
            Kind::Folder => None,
            Kind::Link(_) => {
                let target = self.nodes.get(&self.real(path)?)?;
                (*target != Kind::Folder).then(|| (path.as_str().into(), target))
            }
            Kind::File(_) | Kind::Refused(_) => Some((path.as_str().into(), kind)),
        })
    }

    /// Every link that leads to a directory, with that directory's real path.
    pub(super) fn folders(&self) -> BTreeMap<Box<str>, Box<str>> {
        let links = self.nodes.iter().filter(|(_, kind)| matches!(kind, Kind::Link(_)));
        links
            .filter_map(|(path, _)| {
                let real = self.real(path)?;
                let is_folder = real.is_empty() || self.nodes.get(&real) == Some(&Kind::Folder);
                is_folder.then(|| (path.as_str().into(), real.into()))
            })
            .collect()
    }

    /// The path without links that `path` leads to; `None` where it leads nowhere, in a circle, or out of
    /// the image.
    fn real(&self, path: &str) -> Option<String> {
        let mut real: Vec<String> = Vec::new();
        let mut rest: Vec<String> = parts(path);
        let mut hops = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                real.pop()?;
                continue;
            }
            let here = join(&real.join("/"), &part);
            match self.nodes.get(&here)? {
                Kind::Link(target) => {
                    hops += 1;
                    if hops > MOST_HOPS {
                        return None;
                    }
                    if target.starts_with('/') {
                        real.clear();
                    }
                    rest.extend(parts(target));
                }
                Kind::Folder => real.push(part),
                Kind::File(_) | Kind::Refused(_) if rest.is_empty() => real.push(part),
                Kind::File(_) | Kind::Refused(_) => return None,
            }
        }
        Some(real.join("/"))
    }
}

/// The parts of a path, last first, without empty ones and dots.
fn parts(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, what) in entries {
            let kind = match *what {
                "folder" => Kind::Folder,
                "file" => Kind::File([Extent { offset: 1, length: 2 }].into()),
                target => Kind::Link(target.to_owned()),
            };
            tree.insert((*path).to_owned(), kind);
        }
        tree
    }

    #[test]
    fn links_lead_to_files_and_folders_and_loops_end() {
        let tree = tree(&[
            ("a", "folder"),
            ("a/k", "file"),
            ("a/up", "../a/k"),
            ("a/rooted", "/a/k"),
            ("chain", "a/up"),
            ("debian", "."),
            ("b", "a"),
            ("via", "b/k"),
            ("loop1", "loop2"),
            ("loop2", "loop1"),
            ("self", "self/x"),
            ("out", "../../etc/passwd"),
            ("gone", "nowhere"),
            ("through", "a/k/x"),
        ]);
        let files: Vec<Box<str>> = tree.files().map(|(path, _)| path).collect();
        assert_eq!(files, ["a/k", "a/rooted", "a/up", "chain", "via"].map(Box::from));
        let folders: Vec<(Box<str>, Box<str>)> = tree.folders().into_iter().collect();
        assert_eq!(folders, [("b".into(), "a".into()), ("debian".into(), "".into())]);
    }
}
