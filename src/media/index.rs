//! What a tree of files holds: resolved once when a boot is loaded, plain numbers afterwards.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use crate::model::content::FileId;
use crate::model::similar::distance;
use crate::model::{Content, Extent};

/// The files of one ISO image or directory, by path (no leading slash, `/` between parts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// What a person would call it: volume label of an image, else the file's name.
    pub label: String,
    /// Every regular file, and every link that leads to one.
    pub files: BTreeMap<Box<str>, Entry>,
    /// Every link that leads to a directory, with that directory's real path (`""` is the root):
    /// `dists/stable` of a Debian disc is one.
    pub links: BTreeMap<Box<str>, Box<str>>,
    /// Files that exist and can't be served as their bytes lie, and why.
    pub refused: BTreeMap<Box<str>, Box<str>>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file on disk that holds the bytes: the image itself, or the file in a directory.
    pub path: Arc<Path>,
    pub id: FileId,
    pub extents: Arc<[Extent]>,
}

/// One line of a directory's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    Folder,
    File(&'a Entry),
    /// A link to the directory of this path.
    Link(&'a str),
    /// Present and not servable, and why.
    Refused(&'a str),
}

/// Most parts a path may have to be looked up.
const MOST_PARTS: usize = 256;
/// Most directories one look-up visits: names that differ by case only multiply.
const MOST_VISITS: usize = 2 * MOST_PARTS;
/// Most suggestions `nearest` makes.
const SUGGESTIONS: usize = 3;

impl Entry {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.length).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn content(&self) -> Content {
        Content::File { path: self.path.clone(), id: self.id, extents: self.extents.clone() }
    }
}

impl Index {
    /// The file at `path`: the exact name first, then any case, since plain ISO 9660 has upper
    /// case only while manifests and installers write lower. Empty parts and leading slashes are
    /// ignored, `..` is refused, links to directories are followed.
    pub fn lookup(&self, path: &str) -> Option<&Entry> {
        self.files.get(path).or_else(|| self.descend(path, &|path| self.files.get(path)))
    }

    /// Why the file at `path`, which exists, can't be served.
    pub fn refusal(&self, path: &str) -> Option<&str> {
        self.descend(path, &|path| self.refused.get(path)).map(|why| &**why)
    }

    /// The entries of a directory by name; `None` if there is no such directory.
    pub fn list(&self, folder: &str) -> Option<BTreeMap<&str, Listed<'_>>> {
        let folder = self.folder(folder)?;
        Some(self.children(&folder))
    }

    /// Up to three paths that `name` may have been meant to be, the likeliest first.
    pub fn nearest(&self, name: &str) -> Vec<&str> {
        let wanted = name.trim_matches('/').to_lowercase();
        let wanted_base = base(&wanted);
        let mut ranked: Vec<(usize, &str)> = Vec::new();
        for path in self.files.keys() {
            let lower = path.to_lowercase();
            let rank = if base(&lower) == wanted_base {
                0
            } else {
                let allowed = wanted.len().max(lower.len()) / 3;
                match distance(&wanted, &lower, allowed) {
                    Some(distance) => distance,
                    None => continue,
                }
            };
            ranked.push((rank, path));
        }
        ranked.sort_by_key(|(rank, path)| (*rank, path.len(), *path));
        ranked.into_iter().take(SUGGESTIONS).map(|(_, path)| path).collect()
    }

    /// The real path of a directory, links followed, any case.
    fn folder(&self, path: &str) -> Option<String> {
        if path.split('/').all(str::is_empty) {
            return Some(String::new());
        }
        self.descend(path, &|path| match self.links.get(path) {
            Some(target) => Some(target.to_string()),
            None => self.has_folder(path).then(|| path.to_owned()),
        })
    }

    fn has_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        first_below(&self.files, &below).is_some()
            || first_below(&self.links, &below).is_some()
            || first_below(&self.refused, &below).is_some()
    }

    /// Walks `path` part by part and asks `find` about the real path that results.
    fn descend<T>(&self, path: &str, find: &dyn Fn(&str) -> Option<T>) -> Option<T> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") || parts.len() > MOST_PARTS {
            return None;
        }
        let visits = Cell::new(MOST_VISITS);
        self.step("", &parts, find, &visits)
    }

    fn step<T>(
        &self,
        folder: &str,
        parts: &[&str],
        find: &dyn Fn(&str) -> Option<T>,
        visits: &Cell<usize>,
    ) -> Option<T> {
        let (part, rest) = parts.split_first()?;
        visits.set(visits.get().checked_sub(1)?);
        let onward = |name: &str| {
            let path = join(folder, name);
            if rest.is_empty() {
                return find(&path);
            }
            match self.links.get(path.as_str()) {
                Some(real) => self.step(real, rest, find, visits),
                None => self.has_folder(&path).then(|| self.step(&path, rest, find, visits))?,
            }
        };
        onward(part).or_else(|| {
            let other = |name: &&str| *name != *part && same_letters(name, part);
            self.children(folder).into_keys().filter(other).find_map(onward)
        })
    }

    fn children(&self, folder: &str) -> BTreeMap<&str, Listed<'_>> {
        let mut children = BTreeMap::new();
        collect(&mut children, &self.files, folder, Listed::File);
        collect(&mut children, &self.links, folder, |target| Listed::Link(target));
        collect(&mut children, &self.refused, folder, |why| Listed::Refused(why));
        children
    }
}

fn first_below<'a, T>(map: &'a BTreeMap<Box<str>, T>, below: &str) -> Option<(&'a str, &'a T)> {
    let range = map.range::<str, _>((Bound::Excluded(below), Bound::Unbounded));
    range.take(1).find(|(path, _)| path.starts_with(below)).map(|(path, value)| (&**path, value))
}

/// Adds the names directly below `folder`, jumping over what lies in the directories there.
fn collect<'a, T>(
    into: &mut BTreeMap<&'a str, Listed<'a>>,
    map: &'a BTreeMap<Box<str>, T>,
    folder: &str,
    listed: impl Fn(&'a T) -> Listed<'a>,
) {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut from = prefix.clone();
    while let Some((path, value)) =
        map.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded)).next()
    {
        let Some(rest) = path.strip_prefix(prefix.as_str()) else { return };
        match rest.split_once('/') {
            None => {
                into.insert(rest, listed(value));
                from = format!("{path}\0");
            }
            // `0` is the character after `/`: the directory's contents end there.
            Some((name, _)) => {
                into.entry(name).or_insert(Listed::Folder);
                from = format!("{prefix}{name}0");
            }
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn same_letters(left: &str, right: &str) -> bool {
    left.chars().flat_map(char::to_lowercase).eq(right.chars().flat_map(char::to_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64) -> Entry {
        let extents = [Extent { offset, length: 10 }].into();
        Entry { path: Path::new("/x.iso").into(), id: FileId::default(), extents }
    }

    fn index(paths: &[&str], links: &[(&str, &str)]) -> Index {
        let files = paths.iter().enumerate().map(|(n, path)| ((*path).into(), entry(n as u64))).collect();
        let links = links.iter().map(|(path, to)| ((*path).into(), (*to).into())).collect();
        Index { files, links, ..Index::default() }
    }

    #[test]
    fn exact_names_win_and_any_case_comes_second() {
        let index = index(&["Boot/Only", "boot/Kernel", "boot/kernel", "x"], &[]);
        assert_eq!(index.lookup("boot/kernel"), Some(&entry(2)));
        assert_eq!(index.lookup("/boot//kernel"), Some(&entry(2)));
        assert_eq!(index.lookup("BOOT/KERNEL"), Some(&entry(1)));
        assert_eq!(index.lookup("boot/ONLY"), Some(&entry(0)), "the other spelling of the directory");
        for absent in ["", "/", "boot", "boot/kernel/x", "boot/../x", "..", "y"] {
            assert_eq!(index.lookup(absent), None, "{absent}");
        }
    }

    #[test]
    fn links_to_directories_are_followed_without_end_of_circles() {
        let index = index(&["dists/bookworm/Release"], &[("dists/stable", "dists/bookworm"), ("debian", "")]);
        let release = Some(&entry(0));
        assert_eq!(index.lookup("dists/stable/Release"), release);
        assert_eq!(index.lookup("debian/debian/dists/stable/release"), release);
        assert_eq!(index.lookup(&format!("{}x", "debian/".repeat(100_000))), None);
        assert_eq!(index.list("debian/dists").unwrap(), index.list("dists").unwrap());
    }

    #[test]
    fn listings_jump_over_what_lies_deeper() {
        let index = index(&["a/b/c", "a/b/d", "a/b0", "a/b-", "a/c", "a0"], &[("a/l", "a/b")]);
        let names: Vec<&str> = index.list("a").unwrap().into_keys().collect();
        assert_eq!(names, ["b", "b-", "b0", "c", "l"]);
        let root = index.list("/").unwrap();
        assert_eq!(root.keys().copied().collect::<Vec<_>>(), ["a", "a0"]);
        assert_eq!(root["a"], Listed::Folder);
        assert_eq!(index.list("A/L").unwrap().into_keys().collect::<Vec<_>>(), ["c", "d"]);
        assert_eq!(index.list("nowhere"), None);
        assert_eq!(index.list("a/c"), None, "a file is no directory");
    }

    #[test]
    fn suggestions_find_moved_and_mistyped_files() {
        let index = index(&["casper/vmlinuz", "install.amd/initrd.gz", "install.amd/vmlinuz"], &[]);
        assert_eq!(index.nearest("install.amd/vmlinux")[0], "install.amd/vmlinuz");
        assert_eq!(index.nearest("install/initrd.gz")[0], "install.amd/initrd.gz");
        assert_eq!(index.nearest("zzzzzzzzzzzzzzzzzzzzzzz"), [] as [&str; 0]);
    }
}
