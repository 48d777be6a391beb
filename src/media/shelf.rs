//! The library on this host's disks.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::verify::Verifier;
use super::{Entry, Index, Library, MediaError, directory, identity, image};
use crate::model::content::FileId;

/// Looks for images and files in the inventory, then in each media directory. Indexes are kept
/// for as long as the image's identity stays the same, and shared by every shelf made from this one.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    inventory: Option<PathBuf>,
    /// Files of an inventory that is no directory (git), by their path in it.
    copies: Arc<BTreeMap<Arc<str>, PathBuf>>,
    media: Arc<[PathBuf]>,
    indexes: Arc<Indexes>,
}

#[derive(Debug, Default)]
struct Indexes {
    verifier: Verifier,
    slots: Mutex<HashMap<PathBuf, Arc<Mutex<Option<Known>>>>>,
}

#[derive(Debug)]
struct Known {
    id: FileId,
    index: Arc<Index>,
}

/// Where a name was found.
enum Found {
    /// Inside the inventory or a media directory.
    Shelved(PathBuf),
    /// At an absolute path elsewhere.
    Elsewhere(PathBuf),
}

impl Shelf {
    /// A shelf over the `media` directories. Digests of verified images are noted in the
    /// directory `digests`, if given.
    pub fn new(media: Vec<PathBuf>, digests: Option<PathBuf>) -> Shelf {
        let indexes = Indexes { verifier: Verifier::new(digests), slots: Mutex::default() };
        Shelf { media: media.into(), indexes: Arc::new(indexes), ..Shelf::default() }
    }

    /// The same shelf with the inventory in the directory `root`.
    pub fn with_directory(&self, root: PathBuf) -> Shelf {
        Shelf { inventory: Some(root), ..self.clone() }
    }

    /// The same shelf with an inventory whose files lie elsewhere: path in the inventory, path
    /// on disk.
    pub fn with_copies(&self, copies: BTreeMap<Arc<str>, PathBuf>) -> Shelf {
        Shelf { inventory: None, copies: Arc::new(copies), ..self.clone() }
    }

    fn find(&self, name: &str) -> Result<Found, MediaError> {
        let path = Path::new(name);
        let strange = |part| !matches!(part, Component::Normal(_) | Component::CurDir | Component::RootDir);
        if name.is_empty() || name.contains('\0') || path.components().any(strange) {
            return Err(refused(path, "a path may hold neither `..` nor be empty"));
        }
        if path.is_absolute() {
            return self.find_absolute(path);
        }
        let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        if let Some(copy) = plain.to_str().and_then(|plain| self.copies.get(plain)) {
            return Ok(Found::Shelved(copy.clone()));
        }
        if let Some(root) = &self.inventory {
            let candidate = root.join(&plain);
            if exists(&candidate)? {
                // Whoever may commit a link must not be able to publish the host's files.
                return match within(&candidate, root) {
                    true => Ok(Found::Shelved(candidate)),
                    false => Err(refused(&candidate, "the link leads out of the inventory")),
                };
            }
        }
        for candidate in self.media.iter().map(|folder| folder.join(&plain)) {
            if exists(&candidate)? {
                return Ok(Found::Shelved(candidate));
            }
        }
        Err(MediaError::Missing { path: path.into(), beside: self.beside(&plain) })
    }

    /// The names in the folder of a path in the inventory.
    fn beside(&self, plain: &Path) -> Vec<String> {
        const MOST: usize = 1000;
        let folder = plain.parent().unwrap_or(Path::new(""));
        let copies = self.copies.keys().filter(|path| Path::new(&***path).parent() == Some(folder));
        let copies = copies.map(|path| path.to_string());
        let root = self.inventory.as_ref().filter(|root| within(&root.join(folder), root));
        let entries = root.and_then(|root| std::fs::read_dir(root.join(folder)).ok()).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let paths = names.filter_map(|name| Some(folder.join(name).to_str()?.to_owned()));
        copies.chain(paths).take(MOST).collect()
    }

    fn find_absolute(&self, path: &Path) -> Result<Found, MediaError> {
        if !exists(path)? {
            return Err(MediaError::Missing { path: path.into(), beside: Vec::new() });
        }
        let shelved = self.inventory.iter().chain(self.media.iter()).any(|root| within(path, root));
        Ok(if shelved { Found::Shelved(path.into()) } else { Found::Elsewhere(path.into()) })
    }
}

impl Library for Shelf {
    /// Images may lie anywhere on the host; directories only in the inventory and below the
    /// media directories, since a directory could be `/etc`.
    fn image(&self, file: &str, sha256: Option<&str>) -> Result<Arc<Index>, MediaError> {
        let (path, elsewhere) = match self.find(file)? {
            Found::Shelved(path) => (path, false),
            Found::Elsewhere(path) => (path, true),
        };
        let metadata = std::fs::metadata(&path).map_err(|error| identity::failed(&path, &error))?;
        if metadata.is_dir() {
            return match (elsewhere, sha256) {
                (true, _) => Err(refused(&path, NOT_SHELVED)),
                (_, Some(_)) => Err(refused(&path, "a directory has no sha256: leave it out")),
                _ => Ok(Arc::new(directory::open(&path)?)),
            };
        }
        if let Some(expected) = sha256 {
            self.indexes.verifier.verify(&path, expected)?;
        }
        self.indexes.get(&path, identity::of(&metadata))
    }

    fn file(&self, path: &str) -> Result<Entry, MediaError> {
        match self.find(path)? {
            Found::Shelved(path) => directory::file(&path),
            Found::Elsewhere(path) => Err(refused(&path, NOT_SHELVED)),
        }
    }
}

const NOT_SHELVED: &str = "it lies outside the inventory and the media directories; \
    add its directory to [media] paths in the daemon's file";

impl Indexes {
    /// One reader per image: who comes second waits for the first one's result.
    fn get(&self, path: &Path, id: FileId) -> Result<Arc<Index>, MediaError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(|poison| poison.into_inner());
            slots.entry(path.to_path_buf()).or_default().clone()
        };
        let mut known = slot.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(known) = known.as_ref().filter(|known| known.id == id) {
            return Ok(known.index.clone());
        }
        let index = Arc::new(image::open(path)?);
        *known = Some(Known { id, index: index.clone() });
        Ok(index)
    }
}

fn refused(path: &Path, why: &str) -> MediaError {
    MediaError::Io { path: path.into(), why: why.into() }
}

/// A dangling link exists too: what it names is reported when it is opened.
fn exists(path: &Path) -> Result<bool, MediaError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) => match identity::failed(path, &error) {
            MediaError::Missing { .. } => Ok(false),
            // A file where a directory is needed: nothing of that name here.
            _ if error.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
            other => Err(other),
        },
    }
}

/// Whether `path`, links resolved, lies below `root`, or does not exist.
fn within(path: &Path, root: &Path) -> bool {
    match (std::fs::canonicalize(path), std::fs::canonicalize(root)) {
        (Ok(path), Ok(root)) => path.starts_with(root),
        (Err(_), _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn searches_the_inventory_then_the_media_directories() {
        let folder = tempfile::tempdir().unwrap();
        let (inventory, media) = (folder.path().join("inventory"), folder.path().join("media"));
        std::fs::create_dir_all(inventory.join("files")).unwrap();
        std::fs::create_dir_all(&media).unwrap();
        std::fs::write(inventory.join("files/a"), "1").unwrap();
        std::fs::write(media.join("b"), "22").unwrap();
        std::fs::write(folder.path().join("host"), "333").unwrap();
        symlink("../host", inventory.join("leak")).unwrap();
        let shelf = Shelf::new(vec![media.clone()], None).with_directory(inventory.clone());
        assert_eq!(shelf.file("files/a").unwrap().len(), 1);
        assert_eq!(shelf.file("./files/a").unwrap().len(), 1);
        assert_eq!(shelf.file("b").unwrap().len(), 2);
        assert_eq!(shelf.file(media.join("b").to_str().unwrap()).unwrap().len(), 2);
        let host = folder.path().join("host");
        for name in ["leak", "../host", "", "files", host.to_str().unwrap()] {
            assert!(matches!(shelf.file(name), Err(MediaError::Io { .. })), "{name}");
        }
        for name in ["c", "files/a/x"] {
            assert!(matches!(shelf.file(name), Err(MediaError::Missing { .. })), "{name}");
        }
        assert_eq!(shelf.image(media.to_str().unwrap(), None).unwrap().files.len(), 1);
        assert!(matches!(shelf.image("/etc", None), Err(MediaError::Io { .. })));
    }

    #[test]
    fn copies_stand_in_for_a_git_inventory() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("0123");
        std::fs::write(&copy, "kernel").unwrap();
        let shelf = Shelf::default().with_copies([(Arc::from("files/vmlinuz"), copy)].into());
        assert_eq!(shelf.file("files/vmlinuz").unwrap().len(), 6);
        assert!(matches!(shelf.file("files/initrd"), Err(MediaError::Missing { .. })));
    }
}
