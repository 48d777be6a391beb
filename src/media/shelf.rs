//! The library of images and files on this host's disks.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::fetched::{Fetch, Fetched, is_url, last_part};
use super::patient::Jobs;
use super::verify::Verifier;
use super::{
    Entry, Index, Library, MediaError, Parts, Programs, Seen, Sight, directory, identity, image, initrd, lfs,
    regular,
};
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
    /// Where everything that is looked at is noted.
    seen: Option<Arc<Seen>>,
    /// What the initrds of agents are made around; none are made without.
    programs: Option<Arc<Programs>>,
    /// Images named by their address; none are fetched without.
    fetched: Option<Fetched>,
}

/// What takes long about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Fetch,
    Digest,
}

/// Called with the bytes done and their number; false ends the work.
pub(super) type GoesOn<'a> = &'a dyn Fn(Work, u64, u64) -> bool;

#[derive(Debug, Default)]
struct Indexes {
    jobs: Arc<Jobs>,
    verifier: Verifier,
    slots: Mutex<HashMap<PathBuf, Arc<Mutex<Option<CachedIndex>>>>>,
    initrds: initrd::Stock,
}

#[derive(Debug)]
struct CachedIndex {
    sight: Sight,
    index: Arc<Index>,
}

/// Where a name was found.
enum Found {
    /// Inside the inventory or a media directory.
    Shelved(PathBuf),
    /// A copy of a file of a git inventory.
    Copy(PathBuf),
    /// At an absolute path elsewhere.
    Elsewhere(PathBuf),
}

impl Shelf {
    /// A shelf over the `media` directories. Digests of verified images are noted in the
    /// directory `digests`, if given.
    pub fn new(media: Vec<PathBuf>, digests: Option<PathBuf>) -> Shelf {
        let indexes = Indexes { verifier: Verifier::new(digests), ..Indexes::default() };
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

    /// The same shelf, which notes in `seen` what it looks at.
    pub fn noting(&self, seen: Arc<Seen>) -> Shelf {
        Shelf { seen: Some(seen), ..self.clone() }
    }

    /// The same shelf, which makes the initrds of agents around these programs.
    pub fn making_agents(&self, programs: Programs) -> Shelf {
        Shelf { programs: Some(Arc::new(programs)), ..self.clone() }
    }

    /// The same shelf, which has images that are named by their address fetched into `folder`.
    pub fn fetching(&self, folder: PathBuf, fetch: Arc<dyn Fetch>) -> Shelf {
        Shelf { fetched: Some(Fetched { folder, fetch, failures: Arc::default() }), ..self.clone() }
    }

    /// A text that is another one where `name` may mean another file.
    pub(super) fn meaning(&self, name: &str) -> String {
        // Of one address there is one download, whoever asks.
        if is_url(name) {
            return name.to_owned();
        }
        let copy = self.copies.get(name).map(|copy| copy.as_path());
        format!("{name}\0{:?}\0{:?}", self.inventory, copy)
    }

    pub(super) fn jobs(&self) -> &Arc<Jobs> {
        &self.indexes.jobs
    }

    fn look(&self, path: &Path) {
        if let Some(seen) = &self.seen {
            seen.look(path);
        }
    }

    /// Whether there is anything at `path`, which is noted either way.
    fn exists(&self, path: &Path) -> Result<bool, MediaError> {
        self.look(path);
        exists(path)
    }

    /// The media directories.
    pub fn media(&self) -> &[PathBuf] {
        &self.media
    }

    /// Whether the file at `path` has this SHA-256 (hexadecimal digits); false if it can't be read.
    pub fn has_digest(&self, path: &Path, sha256: &str) -> bool {
        self.indexes.verifier.verify(path, sha256).is_ok()
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
            self.look(copy);
            return self.beside_manifests(copy);
        }
        if let Some(root) = &self.inventory {
            let candidate = root.join(&plain);
            if self.exists(&candidate)? {
                // A person who may commit a link must not be able to publish the host's files.
                return match within(&candidate, root) || self.in_media(&candidate) {
                    true => Ok(Found::Shelved(candidate)),
                    false => {
                        let target = std::fs::canonicalize(&candidate).unwrap_or_default();
                        Err(MediaError::Outside { path: candidate, target })
                    }
                };
            }
        }
        for candidate in self.media.iter().map(|folder| folder.join(&plain)) {
            if self.exists(&candidate)? {
                return Ok(Found::Shelved(candidate));
            }
        }
        Err(MediaError::Missing { path: path.into(), beside: self.beside(&plain) })
    }

    /// A file of the inventory itself. A link out of the inventory is accepted only into a media directory:
    /// a person who may write a link must not be able to publish the host's files.
    fn beside_manifests(&self, path: &Path) -> Result<Found, MediaError> {
        let is_link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_link && path.exists() && !self.in_media(path) {
            let target = std::fs::canonicalize(path).unwrap_or_default();
            return Err(MediaError::Outside { path: path.into(), target });
        }
        Ok(match FileId::of_content(name, 0) {
            Some(_) => Found::Copy(path.into()),
            None => Found::Shelved(path.into()),
        })
    }

    fn in_media(&self, path: &Path) -> bool {
        self.media.iter().any(|folder| within(path, folder))
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
        if !self.exists(path)? {
            return Err(MediaError::Missing { path: path.into(), beside: Vec::new() });
        }
        let shelved = self.inventory.iter().chain(self.media.iter()).any(|root| within(path, root));
        Ok(if shelved { Found::Shelved(path.into()) } else { Found::Elsewhere(path.into()) })
    }
}

impl Shelf {
    /// As [`Library::image`]; `goes_on` hears of what takes long, and ends it when it returns false.
    pub(super) fn image_watched(
        &self,
        file: &str,
        sha256: Option<&str>,
        goes_on: GoesOn<'_>,
    ) -> Result<Arc<Index>, MediaError> {
        if is_url(file) {
            return self.named_by_url(file, sha256.unwrap_or_default(), goes_on);
        }
        let (path, elsewhere, copied) = match self.find(file)? {
            Found::Shelved(path) => (path, false, false),
            Found::Copy(path) => (path, false, true),
            Found::Elsewhere(path) => (path, true, false),
        };
        let is_dir = std::fs::metadata(&path).map_err(|error| identity::failed(&path, &error))?.is_dir();
        if is_dir {
            return match (elsewhere, sha256) {
                (true, _) => Err(refused(&path, NOT_SHELVED)),
                (_, Some(_)) => Err(refused(&path, "a directory has no sha256: leave it out")),
                _ => Ok(Arc::new(self.open_directory(&path)?)),
            };
        }
        let metadata = regular::stat(&path)?;
        // Of a file elsewhere that is no image nothing is disclosed, not even its digest.
        if elsewhere {
            self.indexes.get(&path, Sight::of(&path, &metadata))?;
        }
        if let Some(expected) = sha256 {
            self.indexes
                .verifier
                .verify_watched(&path, expected, &|done, total| goes_on(Work::Digest, done, total))?;
        }
        let index = self.indexes.get(&path, Sight::of(&path, &metadata));
        if copied { in_git(index) } else { index }
    }

    /// An image that is named by its address: one of that name among the media if it has the digest, else the
    /// one that was fetched, which is brought first.
    fn named_by_url(&self, url: &str, sha256: &str, goes_on: GoesOn<'_>) -> Result<Arc<Index>, MediaError> {
        let digest = |done, total| goes_on(Work::Digest, done, total);
        let open = |path: &Path| {
            let metadata = regular::stat(path)?;
            self.indexes.verifier.verify_watched(path, sha256, &digest)?;
            self.indexes.get(path, Sight::of(path, &metadata))
        };
        let shelved = last_part(url)
            .into_iter()
            .flat_map(|name| self.media.iter().map(move |folder| folder.join(name)));
        for candidate in shelved {
            if self.exists(&candidate)? {
                match open(&candidate) {
                    // Another file of the same name: it is not what is meant.
                    Err(MediaError::Checksum { .. }) => {}
                    found => return found,
                }
            }
        }
        let Some(fetched) = &self.fetched else {
            return Err(MediaError::Missing { path: url.into(), beside: Vec::new() });
        };
        let place = fetched.place(sha256);
        if !self.exists(&place)? {
            fetched.bring(url, sha256, &|done, total| goes_on(Work::Fetch, done, total))?;
            self.look(&place);
        }
        open(&place)
    }

    fn open_directory(&self, path: &Path) -> Result<Index, MediaError> {
        match &self.seen {
            None => directory::open(path),
            Some(seen) => {
                let note = |path: &Path, metadata: &Metadata| match metadata.is_symlink() {
                    true => seen.look(path),
                    false => seen.note(path, Some(Sight::of(path, metadata))),
                };
                directory::open_noting(path, &note)
            }
        }
    }
}

impl Shelf {
    /// As [`Library::agent`]; `goes_on` is called now and then, and ends it when it returns false.
    pub(super) fn agent_watched(
        &self,
        parts: &Parts,
        thorough: bool,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Entry>, MediaError> {
        match &self.programs {
            Some(programs) => self.indexes.initrds.get(parts, programs, goes_on).map(Some),
            None if thorough => initrd::examine(parts, goes_on).map(|()| None),
            None => initrd::survey(parts).map(|()| None),
        }
    }
}

impl Library for Shelf {
    /// Images may lie anywhere on the host; directories only in the inventory and below the
    /// media directories, since a directory could be `/etc`.
    fn image(&self, file: &str, sha256: Option<&str>) -> Result<Arc<Index>, MediaError> {
        self.image_watched(file, sha256, &|_, _, _| true)
    }

    fn file(&self, path: &str) -> Result<Entry, MediaError> {
        match self.find(path)? {
            Found::Shelved(path) => directory::file(&path),
            Found::Copy(path) => in_git(directory::file(&path)),
            Found::Elsewhere(path) => Err(refused(&path, NOT_SHELVED)),
        }
    }

    fn agent(&self, parts: &Parts, thorough: bool) -> Result<Option<Entry>, MediaError> {
        self.agent_watched(parts, thorough, &|| true)
    }
}

/// In a commit a pointer of Git LFS has another cure.
fn in_git<T>(found: Result<T, MediaError>) -> Result<T, MediaError> {
    found.map_err(|error| match error {
        MediaError::Io { path, why } if why == lfs::WHY => {
            MediaError::Io { path, why: lfs::WHY_IN_GIT.into() }
        }
        MediaError::NotAnImage { path, why } if why == lfs::WHY => {
            MediaError::NotAnImage { path, why: lfs::WHY_IN_GIT.into() }
        }
        other => other,
    })
}

const NOT_SHELVED: &str = "it lies outside the inventory and the media directories; \
    add its directory to [media] paths in the daemon's file";

impl Indexes {
    /// One reader per image: who comes second waits for the first one's result.
    fn get(&self, path: &Path, sight: Sight) -> Result<Arc<Index>, MediaError> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(|poison| poison.into_inner());
            slots.entry(path.to_path_buf()).or_default().clone()
        };
        let mut known = slot.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(known) = known.as_ref().filter(|known| known.sight == sight) {
            return Ok(known.index.clone());
        }
        let index = Arc::new(image::open(path)?);
        *known = Some(CachedIndex { sight, index: index.clone() });
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
        assert!(matches!(shelf.file("leak"), Err(MediaError::Outside { target, .. }) if target == host));
        for name in ["../host", "", "files", host.to_str().unwrap()] {
            assert!(matches!(shelf.file(name), Err(MediaError::Io { .. })), "{name}");
        }
        for name in ["c", "files/a/x"] {
            assert!(matches!(shelf.file(name), Err(MediaError::Missing { .. })), "{name}");
        }
        assert_eq!(shelf.image(media.to_str().unwrap(), None).unwrap().files.len(), 1);
        assert!(matches!(shelf.image("/etc", None), Err(MediaError::Io { .. })));
    }

    /// The natural way to a big disk: a link in the inventory, and its target in `[media] paths`.
    #[test]
    fn a_link_may_lead_into_a_media_directory() {
        let folder = tempfile::tempdir().unwrap();
        let (inventory, media) = (folder.path().join("inventory"), folder.path().join("media"));
        std::fs::create_dir_all(&inventory).unwrap();
        std::fs::create_dir_all(&media).unwrap();
        std::fs::write(media.join("k"), "22").unwrap();
        symlink("../media/k", inventory.join("k")).unwrap();
        let shelf = |media: Vec<PathBuf>| Shelf::new(media, None).with_directory(inventory.clone());
        assert_eq!(shelf(vec![media]).file("k").unwrap().len(), 2);
        assert!(matches!(shelf(Vec::new()).file("k"), Err(MediaError::Outside { .. })));
    }

    #[test]
    fn what_is_looked_at_is_noted_found_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("inventory/tree/deep")).unwrap();
        std::fs::create_dir_all(at("media")).unwrap();
        std::fs::write(at("media/k"), "22").unwrap();
        let seen = Arc::new(Seen::default());
        let shelf = Shelf::new(vec![at("media")], None).with_directory(at("inventory")).noting(seen.clone());
        shelf.file("k").unwrap();
        shelf.file("absent").unwrap_err();
        shelf.image("tree", None).unwrap();
        let found: Vec<(PathBuf, bool)> =
            seen.paths().into_iter().map(|(path, found)| (path, found.is_some())).collect();
        let paths = [
            ("inventory/absent", false),
            ("inventory/k", false),
            ("inventory/tree", true),
            ("inventory/tree/deep", true),
            ("media/absent", false),
            ("media/k", true),
        ];
        assert_eq!(found, paths.map(|(path, there)| (at(path), there)));
    }

    #[test]
    fn copies_stand_in_for_a_git_inventory() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("0123");
        std::fs::write(&copy, "kernel").unwrap();
        let shelf = Shelf::default().with_copies([(Arc::from("files/vmlinuz"), copy)].into());
        assert_eq!(shelf.file("files/vmlinuz").unwrap().len(), 6);
        assert!(matches!(shelf.file("files/initrd"), Err(MediaError::Missing { .. })));
        let copy = folder.path().join("0123456789012345678901234567890123456789");
        std::fs::write(&copy, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        let shelf = shelf.with_copies([(Arc::from("files/vmlinuz"), copy)].into());
        assert!(shelf.file("files/vmlinuz").unwrap_err().to_string().contains("[media] paths"));
        assert!(shelf.image("files/vmlinuz", None).unwrap_err().to_string().contains("[media] paths"));
    }
}
