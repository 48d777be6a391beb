//! An inventory in a directory.
//!
//! Links that lead nowhere or out of it, special files and names that are not UTF-8 are left out: a
//! manifest that names one gets a problem. A file called `.toml` is an error instead: no manifest names it,
//! so its absence would go unnoticed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Body, LeftOut, Snapshot, SourceError};
use crate::model::hex;

/// Most files and directories of one inventory.
const MOST_FILES: usize = 1_000_000;
/// How often one folder may be read, by its own name and through links: links that lead to several
/// folders with such links each would make a tree without end.
const MOST_LINKS: u32 = 1000;
/// What some file systems have at their root, for their own repairs and for root's eyes only.
const LOST_AND_FOUND: &str = "lost+found";
/// How often a read starts again because a file vanished in the middle of it: editors replace
/// files by renaming.
const ATTEMPTS: usize = 3;

/// Everything below `root`: hidden files and folders left out, links followed inside the root.
/// A root that is missing or can't be read is an error, never an empty snapshot.
pub fn read(root: &Path) -> Result<Snapshot, SourceError> {
    read_within(root, Body::ALL_MAX)
}

/// The same; `most` are the bytes of all files in memory together.
fn read_within(root: &Path, most: u64) -> Result<Snapshot, SourceError> {
    let mut attempt = 1;
    loop {
        match attempt_read(root, most) {
            Err(Failure::Vanished(_)) if attempt < ATTEMPTS && root.is_dir() => attempt += 1,
            Err(Failure::Vanished(error) | Failure::Final(error)) => return Err(error),
            Err(Failure::Forbidden(error)) => {
                let why = error.to_string();
                return Err(SourceError::Unreadable { path: root.into(), why });
            }
            Ok((files, left_out)) => {
                let revision = revision(&files, &left_out);
                return Ok(Snapshot { revision, commit: None, files: bodies(files), left_out });
            }
        }
    }
}

/// An error, and whether another try may end better.
enum Failure {
    Vanished(SourceError),
    Final(SourceError),
    /// One file may not be read by this user.
    Forbidden(io::Error),
}

/// A file as it was read.
struct Loaded {
    body: Body,
    /// Used in the revision in place of the bytes of large files.
    identity: [u64; 5],
}

type Files = BTreeMap<Arc<str>, Loaded>;
type Left = BTreeMap<Arc<str>, LeftOut>;

fn bodies(files: Files) -> BTreeMap<Arc<str>, Body> {
    files.into_iter().map(|(path, file)| (path, file.body)).collect()
}

fn attempt_read(root: &Path, room: u64) -> Result<(Files, Left), Failure> {
    let real = std::fs::canonicalize(root).map_err(|error| unreadable(root, &error))?;
    let (files, left_out) = (Files::new(), Left::new());
    let mut reader = Reader { root: real.clone(), files, left_out, visited: 0, room, linked: HashMap::new() };
    reader.folder(&real, "", &mut vec![real.clone()])?;
    Ok((reader.files, reader.left_out))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::NotADirectory => "this is a file; an inventory is a folder".to_owned(),
        _ => error.to_string(),
    };
    let failure = SourceError::Unreadable { path: path.into(), why };
    match error.kind() {
        io::ErrorKind::NotFound => Failure::Vanished(failure),
        _ => Failure::Final(failure),
    }
}

struct Reader {
    root: PathBuf,
    files: Files,
    left_out: Left,
    visited: usize,
    /// How many bytes of files may still be held in memory.
    room: u64,
    /// How often links led to a folder.
    linked: HashMap<PathBuf, u32>,
}

impl Reader {
    /// Reads a real directory; `above` are the real directories on the way to it, itself included.
    fn folder(&mut self, folder: &Path, inside: &str, above: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let fail = |error: io::Error| unreadable(folder, &error);
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if inside.is_empty() && name == LOST_AND_FOUND {
                continue;
            }
            self.visited += 1;
            if self.visited > MOST_FILES {
                let path = self.root.clone();
                return Err(Failure::Final(SourceError::Crowded { path, most: MOST_FILES }));
            }
            let shown = name.to_string_lossy();
            let place = if inside.is_empty() { shown.to_string() } else { format!("{inside}/{shown}") };
            match name.to_str() {
                None => self.leave_out(&path, place, LeftOut::because("the name is not UTF-8"))?,
                Some(_) => self.thing(&path, place, above)?,
            }
        }
        Ok(())
    }

    fn thing(&mut self, path: &Path, inside: String, above: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let metadata = std::fs::symlink_metadata(path).map_err(|error| unreadable(path, &error))?;
        let is_link = metadata.is_symlink();
        let (real, metadata) = match is_link {
            false => (path.to_path_buf(), metadata),
            true => match self.follow(path)? {
                Ok(found) => found,
                Err(left_out) => return self.leave_out(path, inside, left_out),
            },
        };
        if metadata.is_file() {
            self.file(path, real, &metadata, inside)?;
        } else if !metadata.is_dir() {
            let why = "it is neither a file nor a folder";
            return self.leave_out(path, inside, LeftOut::because(why));
        } else if !above.contains(&real) {
            self.linked(&real, is_link)?;
            above.push(real.clone());
            self.folder(&real, &inside, above)?;
            above.pop();
        }
        Ok(())
    }

    /// `path` is where it was found, `real` where its bytes are.
    fn file(
        &mut self,
        path: &Path,
        real: PathBuf,
        metadata: &Metadata,
        inside: String,
    ) -> Result<(), Failure> {
        let file = match load(real.clone(), metadata, &inside) {
            Ok(file) => file,
            // Private notes, for example.
            Err(Failure::Forbidden(error)) => {
                let left_out = LeftOut { why: error.to_string(), link: Some(real) };
                return self.leave_out(path, inside, left_out);
            }
            Err(other) => return Err(other),
        };
        let held = match &file.body {
            Body::Inline { bytes, .. } => bytes.len() as u64,
            Body::OnDisk { .. } => 0,
        };
        let Some(room) = self.room.checked_sub(held) else {
            let why = format!(
                "with `{inside}` its small files hold more than the {} MiB that they may have together: is this \
                 the inventory's directory?",
                Body::ALL_MAX >> 20
            );
            return Err(Failure::Final(SourceError::Bulky { path: self.root.clone(), why }));
        };
        self.room = room;
        self.files.insert(inside.into(), file);
        Ok(())
    }

    /// Leaves the file out, unless it is named like a manifest.
    fn leave_out(&mut self, path: &Path, inside: String, left_out: LeftOut) -> Result<(), Failure> {
        if path.extension().is_some_and(|extension| extension == "toml") {
            let error = SourceError::NoManifest { path: path.into(), why: left_out.why };
            // A link may be dangling while its target is being replaced.
            return Err(Failure::Vanished(error));
        }
        self.left_out.insert(inside.into(), left_out);
        Ok(())
    }

    fn linked(&mut self, folder: &Path, is_link: bool) -> Result<(), Failure> {
        // Folders that no link leads to are read once.
        if !is_link {
            return Ok(());
        }
        let count = self.linked.entry(folder.to_path_buf()).or_default();
        *count += 1;
        if *count <= MOST_LINKS {
            return Ok(());
        }
        let why = format!("links lead to this folder more than {MOST_LINKS} times");
        Err(Failure::Final(SourceError::Unreadable { path: folder.into(), why }))
    }

    /// What a link leads to, or why it is left out.
    fn follow(&self, path: &Path) -> Result<Result<(PathBuf, Metadata), LeftOut>, Failure> {
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Ok(Err(LeftOut::because("the link leads in a circle")));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                let target = std::fs::read_link(path).unwrap_or_default();
                let why = format!("the link leads to {}, which does not exist", target.display());
                return Ok(Err(LeftOut { why, link: Some(path.into()) }));
            }
            Err(error) => return Err(unreadable(path, &error)),
        };
        if !real.starts_with(&self.root) {
            let why = format!(
                "the link leads out of the inventory, to {}; it counts only where that lies in `[media] paths`",
                real.display()
            );
            return Ok(Err(LeftOut { why, link: Some(path.into()) }));
        }
        let metadata = std::fs::metadata(&real).map_err(|error| unreadable(&real, &error))?;
        Ok(Ok((real, metadata)))
    }
}

fn load(path: PathBuf, metadata: &Metadata, inside: &str) -> Result<Loaded, Failure> {
    let fail = |error: io::Error| unreadable(&path, &error);
    let modified = (metadata.mtime() as u64, metadata.mtime_nsec() as u64);
    let identity = [metadata.dev(), metadata.ino(), metadata.len(), modified.0, modified.1];
    if !Body::is_held(inside, metadata.len()) {
        return Ok(Loaded { body: Body::OnDisk { path, length: metadata.len() }, identity });
    }
    let most = Body::held_max(inside);
    let mut bytes = Vec::with_capacity(metadata.len().min(most) as usize);
    // Something else may have taken its place since: a FIFO would block for ever.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::Forbidden(error),
        _ => fail(error),
    })?;
    if !file.metadata().map_err(fail)?.is_file() {
        let why = "it is no file any more".to_owned();
        return Err(Failure::Vanished(SourceError::Unreadable { path, why }));
    }
    // A file that grows meanwhile must not fill the memory.
    file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    let is_manifest = Body::is_held(inside, u64::MAX);
    if is_manifest {
        bytes.truncate(most as usize);
    } else if bytes.len() as u64 > most {
        let why = "it grew while it was being read".to_owned();
        return Err(Failure::Vanished(SourceError::Unreadable { path, why }));
    }
    Ok(Loaded { body: Body::Inline { bytes: Bytes::from(bytes), path: Some(path) }, identity })
}

/// `dir@sha256:…` over the sorted paths and their bytes; for a large file its identity is used.
fn revision(files: &Files, left_out: &Left) -> Arc<str> {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (path, file) in files {
        field(path.as_bytes());
        match &file.body {
            Body::Inline { bytes, .. } => field(bytes),
            Body::OnDisk { .. } => {
                field(b"on disk");
                file.identity.iter().for_each(|number| field(&number.to_le_bytes()));
            }
        }
    }
    // A link that leads elsewhere decides what is served.
    for (path, link) in left_out.iter().filter_map(|(path, one)| Some((path, one.link.as_ref()?))) {
        field(path.as_bytes());
        field(b"link");
        field(std::fs::read_link(link).unwrap_or_default().as_os_str().as_encoded_bytes());
    }
    format!("dir@sha256:{}", hex(&hasher.finalize())).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::model::SourceCondition;

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.files.keys().map(|path| &**path).collect()
    }

    #[test]
    fn reads_what_is_visible_and_follows_inner_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("racks/one")).unwrap();
        fs::create_dir_all(root.join(".git/objects")).unwrap();
        fs::create_dir_all(root.join("..2024_01")).unwrap();
        fs::write(root.join("..2024_01/map.toml"), "m").unwrap();
        symlink("..2024_01", root.join("..data")).unwrap();
        symlink("..data/map.toml", root.join("map.toml")).unwrap();
        fs::write(root.join("racks/one/a.toml"), "a").unwrap();
        fs::write(root.join("racks/.swp"), "x").unwrap();
        fs::write(root.join(".git/objects/x"), "x").unwrap();
        symlink("..", root.join("racks/up")).unwrap();
        symlink("round", root.join("round")).unwrap();
        let snapshot = read(root).unwrap();
        assert_eq!(names(&snapshot), ["map.toml", "racks/one/a.toml"]);
        let Body::Inline { bytes, .. } = &snapshot.files["map.toml"] else {
            panic!("small files are inline")
        };
        assert_eq!(bytes, "m");
    }

    #[test]
    fn large_files_stay_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let edge = Body::INLINE_MAX;
        for (name, length) in [("edge", edge), ("large.iso", edge + 1)] {
            fs::File::create(folder.path().join(name)).unwrap().set_len(length).unwrap();
        }
        let snapshot = read(folder.path()).unwrap();
        assert!(matches!(&snapshot.files["edge"], Body::Inline { bytes, .. } if bytes.len() as u64 == edge));
        assert!(matches!(&snapshot.files["large.iso"], Body::OnDisk { length, .. } if *length == edge + 1));
    }

    #[test]
    fn a_revision_is_its_paths_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let revision_of = |text: &str| {
            fs::write(&path, text).unwrap();
            read(folder.path()).unwrap().revision
        };
        let (one, two) = (revision_of("one"), revision_of("two"));
        assert_ne!(one, two);
        assert_eq!(one, revision_of("one"), "the clock is no part of it");
        fs::rename(&path, folder.path().join("b.toml")).unwrap();
        assert_ne!(read(folder.path()).unwrap().revision, one, "the name is");
        assert!(one.starts_with("dir@sha256:"));
    }

    #[test]
    fn unreadable_is_never_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().files.is_empty(), "an empty directory is empty");
        let missing = read(&folder.path().join("gone")).unwrap_err();
        assert!(missing.to_string().ends_with("gone: no such file or directory"), "{missing}");
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(read(&folder.path().join("file")), Err(SourceError::Unreadable { .. })));
        symlink("nowhere", folder.path().join("dangling.toml")).unwrap();
        assert!(matches!(read(folder.path()), Err(SourceError::NoManifest { .. })));
    }

    /// A manifest that grew must not take its machines away.
    #[test]
    fn a_manifest_is_read_whole_and_what_is_too_large_is_held_to_be_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, length) in [("a.toml", 3 << 20), ("b.toml", 40 << 20), ("c.txt", 3 << 20)] {
            fs::File::create(folder.path().join(name)).unwrap().set_len(length).unwrap();
        }
        let files = read(folder.path()).unwrap().inline();
        let lengths: Vec<(&str, u64)> =
            files.iter().map(|(name, bytes)| (&**name, bytes.len() as u64)).collect();
        assert_eq!(lengths, [("a.toml", 3 << 20), ("b.toml", Body::MANIFEST_MAX + 1)]);
        assert!(read_within(folder.path(), 20 << 20).is_ok());
        let error = read_within(folder.path(), 19 << 20).unwrap_err();
        assert!(
            error.to_string().contains("b.toml") && error.condition() == SourceCondition::Invalid,
            "{error}"
        );
    }

    /// Files of others' are no reason to serve nothing, as long as they are no manifests.
    #[test]
    fn what_may_not_be_read_is_left_out_unless_it_is_a_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("lost+found")).unwrap();
        for name in ["a.toml", "notes", "private.toml"] {
            fs::write(root.join(name), "x").unwrap();
        }
        let allow = |name: &str, mode| {
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        allow("", 0o755);
        allow("notes", 0);
        allow("lost+found", 0);
        let as_nobody = || {
            // SAFETY: changes what this thread may open, and nothing else.
            let before = unsafe { libc::setfsuid(65_534) };
            let found = read(root);
            // SAFETY: as above.
            unsafe { libc::setfsuid(before.unsigned_abs()) };
            found
        };
        let found = as_nobody().unwrap();
        assert_eq!(names(&found), ["a.toml", "private.toml"]);
        assert_eq!(found.left_out.keys().map(|name| &**name).collect::<Vec<_>>(), ["notes"]);
        assert!(found.warnings().next().unwrap().contains("Permission denied"));
        assert!(found.copies().contains_key("notes"), "whoever names it learns why");
        allow("private.toml", 0);
        let error = as_nobody().unwrap_err();
        assert!(error.to_string().contains("private.toml: Permission denied"), "{error}");
        allow("private.toml", 0o644);
        allow("notes", 0o644);
        assert_ne!(as_nobody().unwrap().revision, found.revision);
    }

    /// A manifest that names one gets a problem; otherwise they do no harm.
    #[test]
    fn what_no_manifest_can_use_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(folder.path().join("big.iso"), "s").unwrap();
        fs::write(root.join("a.toml"), "a").unwrap();
        symlink("../big.iso", root.join("big.iso")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("a.toml/x", root.join("through-a-file")).unwrap();
        symlink("round", root.join("round")).unwrap();
        symlink("nowhere", root.join("two\nlines")).unwrap();
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"latin-\xe9")), "x").unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let snapshot = read(&root).unwrap();
        assert_eq!(names(&snapshot), ["a.toml"]);
        let warnings: Vec<String> = snapshot.warnings().collect();
        let begins =
            ["big.iso", "dangling", "fifo", "latin-\u{fffd}", "round", "through-a-file", "two\\nlines"];
        for (warning, begin) in std::iter::zip(&warnings, begins) {
            assert!(warning.starts_with(&format!("{begin} is left out: ")), "{warning}");
        }
        assert_eq!(warnings.len(), begins.len(), "{warnings:?}");
        assert!(warnings[0].contains("[media] paths"), "{}", warnings[0]);
        assert_eq!(snapshot.copies()["big.iso"], root.join("big.iso"));
        let before = snapshot.revision;
        fs::remove_file(root.join("big.iso")).unwrap();
        symlink("../other.iso", root.join("big.iso")).unwrap();
        assert_ne!(read(&root).unwrap().revision, before, "where a link leads is part of the revision");
    }

    /// Nothing leads to a manifest but its ending: it would go unnoticed.
    #[test]
    fn what_is_called_a_manifest_is_not_left_out() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("m.toml"), "").unwrap();
        let cases: [(&[u8], &str); 3] =
            [(b"x.toml", "nowhere"), (b"latin-\xe9.toml", "nowhere"), (b"out.toml", "OUT")];
        for (name, target) in cases {
            let folder = tempfile::tempdir().unwrap();
            let target = if target == "OUT" { outside.path().join("m.toml") } else { target.into() };
            symlink(target, folder.path().join(std::ffi::OsStr::from_bytes(name))).unwrap();
            let error = read(folder.path()).unwrap_err();
            assert!(matches!(&error, SourceError::NoManifest { .. }), "{error}");
            assert_eq!(error.condition(), SourceCondition::Invalid);
        }
    }
}
