//! The files of a tree that a client sent. It names no file of this host: texts are kept by content in the
//! state directory; files that it only describes are looked for in the daemon's own source and media, and
//! are used if they are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::reconcile::PATIENCE;
use crate::api::resource::Blob;
use crate::media::{Entry, Index, Library, MediaError, Parts, Patient, Seen, Shelf, identity};
use crate::model::hex;
use crate::state::Revision;

/// Most bytes of all files that were sent and are kept.
const KEPT_MAX: u64 = 256 << 20;
/// How long a file that is not served is kept: a person may be looking at a plan with it.
const KEPT: Duration = Duration::from_secs(24 * 3600);
const ABSENT: &str = "this daemon has no file with the content that yours has; put it into the directory \
    or repository that the daemon follows, or into one of its [media] paths (files of up to 1 MiB are sent)";
const ELSEWHERE: &str = "a tree that is sent names files of its own, of the daemon's source and of [media] \
    paths; add its directory to [media] paths in the daemon's file";

/// Where a sent tree's files may lie on this host already.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// What the source holds: path in the inventory, path on disk.
    pub copies: BTreeMap<Arc<str>, PathBuf>,
    /// The source's own directory, if it is one.
    pub root: Option<PathBuf>,
    /// Images that are served now, wherever they lie.
    pub images: BTreeSet<PathBuf>,
}

/// What is known of a tree that was sent, while it is loaded.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// What the names of its files begin with: `lab:` where there are several sources.
    pub prefix: String,
    pub places: Places,
    /// Files that it describes and that are not here, and whether it says what they hold.
    absent: BTreeMap<Arc<str>, bool>,
    /// Those of them that it needs and does not say enough of.
    wanted: Mutex<BTreeSet<Arc<str>>>,
}

impl Sent {
    /// Looks for the files that a tree describes; those that are here by their place on disk.
    pub(super) fn find(
        prefix: String,
        places: Places,
        media: BTreeMap<String, Blob>,
        shelf: &Shelf,
    ) -> (Sent, BTreeMap<Arc<str>, PathBuf>) {
        let (mut copies, mut absent) = (BTreeMap::new(), BTreeMap::new());
        for (path, blob) in media {
            let same = |candidate: &PathBuf| is_same(candidate, &blob, shelf);
            let found = places.candidates(&path, shelf).into_iter().find(same);
            match found {
                Some(found) => drop(copies.insert(path.into(), found)),
                None => drop(absent.insert(format!("{prefix}{path}").into(), blob.sha256.is_some())),
            }
        }
        (Sent { prefix, places, absent, wanted: Mutex::default() }, copies)
    }

    /// The files of the inventory that have to be sent, or of which the digest is needed.
    pub(super) fn wanted(&self) -> Vec<String> {
        let own = |path: &Arc<str>| path.strip_prefix(&*self.prefix).unwrap_or(path).to_owned();
        lock(&self.wanted).iter().map(own).collect()
    }
}

impl Places {
    /// Where a file of this path would be.
    fn candidates(&self, path: &str, shelf: &Shelf) -> Vec<PathBuf> {
        let copy = self.copies.get(path).cloned();
        let inside = self.root.as_ref().filter(|root| is_within(&root.join(path), root));
        let own = inside.map(|root| root.join(path));
        let media = shelf.media().iter().map(|folder| folder.join(path));
        copy.into_iter().chain(own).chain(media).collect()
    }
}

/// Whether a candidate is the file that is described.
fn is_same(candidate: &Path, blob: &Blob, shelf: &Shelf) -> bool {
    let Ok(metadata) = std::fs::metadata(candidate) else { return false };
    if !metadata.is_file() || metadata.len() != blob.length {
        return false;
    }
    let id = identity::of(&metadata);
    let digest = || blob.sha256.as_deref().is_some_and(|sha256| shelf.has_digest(candidate, sha256));
    id.to_string() == blob.mark || digest()
}

fn is_within(path: &Path, root: &Path) -> bool {
    match (std::fs::canonicalize(path), std::fs::canonicalize(root)) {
        (Ok(path), Ok(root)) => path.starts_with(root),
        _ => false,
    }
}

/// A library over the files of a revision that lie nowhere on disk, and over a shelf for all others.
pub(super) struct Posted<'a> {
    pub shelf: &'a Shelf,
    /// The same shelf, which notes what it looks at and never waits long.
    pub others: &'a Patient,
    pub seen: Arc<Seen>,
    pub revision: &'a Revision,
    pub copies: &'a BTreeMap<Arc<str>, PathBuf>,
    /// Where they are put when they are needed.
    pub folder: &'a Path,
    /// Absent for what a source holds, or held when it was kept.
    pub sent: Option<&'a Arc<Sent>>,
}

impl Library for Posted<'_> {
    fn image(&self, file: &str, sha256: Option<&str>) -> Result<Arc<Index>, MediaError> {
        match self.own(file)? {
            Some((name, path)) => self.holding(&name, path).image(&name, sha256),
            None => self.others.image(file, sha256),
        }
    }

    fn file(&self, path: &str) -> Result<Entry, MediaError> {
        match self.own(path)? {
            Some((name, path)) => self.holding(&name, path).file(&name),
            None => self.others.file(path),
        }
    }

    fn agent(&self, parts: &Parts, thorough: bool) -> Result<Option<Entry>, MediaError> {
        self.others.agent(parts, thorough)
    }
}

impl Posted<'_> {
    fn holding(&self, name: &str, path: PathBuf) -> Patient {
        let shelf = self.shelf.with_copies([(name.into(), path)].into());
        Patient::new(&shelf, self.seen.clone(), PATIENCE)
    }

    /// A file of the tree by its plain name and its place on disk; `None` for what the shelf knows.
    fn own(&self, name: &str) -> Result<Option<(String, PathBuf)>, MediaError> {
        let path = Path::new(name);
        if path.is_absolute() {
            return if self.is_open(path)? { Ok(None) } else { Err(failed(name, ELSEWHERE)) };
        }
        let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        let Some(plain) = plain.to_str() else { return Ok(None) };
        if self.copies.contains_key(plain) {
            return Ok(None);
        }
        if let Some((path, known)) = self.sent.and_then(|sent| sent.absent.get_key_value(plain)) {
            if let Some(sent) = self.sent.filter(|_| !known) {
                lock(&sent.wanted).insert(path.clone());
            }
            return Err(failed(name, ABSENT));
        }
        let Some(bytes) = self.revision.find(plain) else { return Ok(None) };
        let place = match self.known(plain, bytes)? {
            Some(place) => place,
            None => keep(self.folder, bytes).map_err(|error| failed(name, &error.to_string()))?,
        };
        Ok(Some((plain.to_owned(), place)))
    }

    /// The same bytes where the source or the media have them.
    fn known(&self, plain: &str, bytes: &Bytes) -> Result<Option<PathBuf>, MediaError> {
        let Some(sent) = self.sent else { return Ok(None) };
        let Some(path) = plain.strip_prefix(&*sent.prefix).map(str::to_owned) else { return Ok(None) };
        let (sent, shelf, bytes) = (sent.clone(), self.shelf.clone(), bytes.clone());
        self.others.beside(Path::new(plain), move || {
            let candidates = sent.places.candidates(&path, &shelf);
            candidates.into_iter().find(|candidate| holds(candidate, &bytes))
        })
    }

    /// Whether an absolute path may be looked at: the sender of a tree must not learn what else lies on
    /// this host.
    fn is_open(&self, path: &Path) -> Result<bool, MediaError> {
        let Some(sent) = self.sent else { return Ok(true) };
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !plain || sent.places.images.contains(path) {
            return Ok(plain);
        }
        let roots: Vec<PathBuf> = sent.places.root.iter().chain(self.shelf.media()).cloned().collect();
        let place = path.to_owned();
        self.others.beside(path, move || roots.iter().any(|root| is_within(&place, root)))
    }
}

fn failed(name: &str, why: &str) -> MediaError {
    MediaError::Io { path: name.into(), why: why.into() }
}

fn holds(path: &Path, bytes: &Bytes) -> bool {
    let same_size = |metadata: std::fs::Metadata| metadata.is_file() && metadata.len() == bytes.len() as u64;
    std::fs::metadata(path).is_ok_and(same_size) && std::fs::read(path).is_ok_and(|there| there == *bytes)
}

/// Puts bytes into the folder under the name of their digest, unless they are there.
fn keep(folder: &Path, bytes: &Bytes) -> io::Result<PathBuf> {
    let place = folder.join(hex(&Sha256::digest(bytes)));
    if holds(&place, bytes) {
        return Ok(place);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let kept: u64 =
        files(folder).iter().filter_map(|path| std::fs::metadata(path).ok()).map(|it| it.len()).sum();
    if kept + bytes.len() as u64 > KEPT_MAX {
        let why = format!("files that were sent fill {} ({} MiB)", folder.display(), KEPT_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::StorageFull, why));
    }
    let draft = place.with_extension(format!("{:?}.new", std::thread::current().id()));
    let _ = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, &place)?;
    // What was named is there after a power cut, too.
    File::open(folder)?.sync_all()?;
    Ok(place)
}

/// Removes what is not in `used` and was sent long ago.
pub(super) fn sweep(folder: &Path, used: &BTreeSet<PathBuf>) {
    let is_old = |path: &PathBuf| {
        let age = std::fs::metadata(path).and_then(|it| it.modified()).ok().and_then(|at| at.elapsed().ok());
        age.is_some_and(|age| age > KEPT)
    };
    for path in files(folder).iter().filter(|path| !used.contains(*path) && is_old(path)) {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "this is no longer needed and can't be removed");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SourceRevision;

    struct House {
        folder: tempfile::TempDir,
        shelf: Shelf,
    }

    impl House {
        fn new() -> House {
            let folder = tempfile::tempdir().unwrap();
            for name in ["source/files", "media", "host"] {
                std::fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            let shelf = Shelf::new(vec![folder.path().join("media")], None);
            House { folder, shelf }
        }

        fn write(&self, path: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(path);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn places(&self) -> Places {
            Places { root: Some(self.folder.path().join("source")), ..Places::default() }
        }

        fn find(&self, path: &str, blob: Blob) -> (Sent, BTreeMap<Arc<str>, PathBuf>) {
            Sent::find(String::new(), self.places(), [(path.to_owned(), blob)].into(), &self.shelf)
        }
    }

    fn blob(text: &str, with_digest: bool) -> Blob {
        let sha256 = with_digest.then(|| hex(&Sha256::digest(text)));
        Blob { length: text.len() as u64, mark: "x".into(), sha256 }
    }

    #[test]
    fn a_described_file_is_the_sources_or_the_medias_own_or_none() {
        let house = House::new();
        let own = house.write("source/files/k", "kernel");
        assert!(
            house.find("files/k", blob("kernel", false)).1.is_empty(),
            "a name and a length are no proof"
        );
        assert_eq!(house.find("files/k", blob("kernel", true)).1["files/k"], own);
        assert!(house.find("files/k", blob("colonel", true)).1.is_empty());
        let media = house.write("media/i", "initrd");
        assert_eq!(house.find("i", blob("initrd", true)).1["i"], media);
        let mark = identity::of(&std::fs::metadata(&media).unwrap()).to_string();
        assert_eq!(house.find("i", Blob { mark, ..blob("initrd", false) }).1["i"], media);
        // A link that leads out of the source publishes nothing.
        let secret = house.write("host/secret", "secret");
        std::os::unix::fs::symlink(secret, house.folder.path().join("source/files/link")).unwrap();
        assert!(house.find("files/link", blob("secret", true)).1.is_empty());
    }

    #[test]
    fn what_is_needed_is_asked_for_and_then_missed() {
        let house = House::new();
        let folder = house.folder.path().join("posted");
        for (known, wanted) in [(false, vec!["k".to_owned()]), (true, vec![])] {
            let (sent, copies) = house.find("k", blob("kernel", known));
            let sent = Arc::new(sent);
            let others = Patient::new(&house.shelf, Arc::default(), PATIENCE);
            let (shelf, others, seen) = (&house.shelf, &others, Arc::default());
            let (copies, folder, revision) = (&copies, &*folder, &Revision::default());
            let library = Posted { shelf, others, seen, revision, copies, folder, sent: Some(&sent) };
            let error = library.file("./k").unwrap_err().to_string();
            assert!(error.contains("[media] paths"), "{error}");
            assert_eq!(sent.wanted(), wanted);
        }
    }

    #[test]
    fn sent_bytes_are_kept_by_content_and_nothing_else_of_the_host_is_reached() {
        let house = House::new();
        let folder = house.folder.path().join("posted");
        let secret = house.write("host/secret", "secret");
        let (sent, copies) = house.find("other", blob("x", false));
        let sent = Arc::new(sent);
        let files: BTreeMap<Arc<str>, Bytes> =
            [("k".into(), Bytes::from("kernel")), ("m".into(), Bytes::from("in media"))].into();
        let revision = &Revision::of_one(SourceRevision { files, ..SourceRevision::default() });
        let others = Patient::new(&house.shelf, Arc::default(), PATIENCE);
        let (shelf, others, seen) = (&house.shelf, &others, Arc::default());
        let (copies, folder) = (&copies, &*folder);
        let library = Posted { shelf, others, seen, revision, copies, folder, sent: Some(&sent) };
        let entry = library.file("k").unwrap();
        assert_eq!(&*entry.path, folder.join(hex(&Sha256::digest("kernel"))));
        assert_eq!(std::fs::read(&entry.path).unwrap(), b"kernel");
        let media = house.write("media/m", "in media");
        assert_eq!(*library.file("m").unwrap().path, media, "the media's own is preferred");
        for name in [secret.to_str().unwrap(), "/etc/passwd", "/nowhere"] {
            let errors = [library.file(name).unwrap_err(), library.image(name, Some("00")).unwrap_err()];
            assert!(errors.iter().all(|error| error.to_string().contains(ELSEWHERE)), "{errors:?}");
        }
        assert!(library.file("../host/secret").is_err());
        sweep(folder, &BTreeSet::new());
        assert!(entry.path.exists(), "not yet");
    }
}
