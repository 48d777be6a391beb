//! An inventory in a directory.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Body, Snapshot, SourceError};
use crate::model::hex;

/// Most files and directories of one inventory.
const MOST_FILES: usize = 1_000_000;
/// How often one folder may be read, by its own name and through links: links that lead to several
/// folders with such links each would make a tree without end.
const MOST_LINKS: u32 = 1000;
/// How often a read starts again because a file vanished in the middle of it: editors replace
/// files by renaming.
const ATTEMPTS: usize = 3;

/// Everything below `root`: hidden files and folders left out, links followed inside the root.
/// A root that is missing or can't be read is an error, never an empty snapshot.
pub fn read(root: &Path) -> Result<Snapshot, SourceError> {
    let mut attempt = 1;
    loop {
        match attempt_read(root) {
            Err(Failure::Vanished(_)) if attempt < ATTEMPTS && root.is_dir() => attempt += 1,
            Err(Failure::Vanished(error) | Failure::Final(error)) => return Err(error),
            Ok(files) => return Ok(Snapshot { revision: revision(&files), files: bodies(files) }),
        }
    }
}

/// An error, and whether another try may end better.
enum Failure {
    Vanished(SourceError),
    Final(SourceError),
}

/// A file as it was read.
struct Loaded {
    body: Body,
    /// Stands for the bytes of large files in the revision.
    identity: [u64; 5],
}

type Files = BTreeMap<Arc<str>, Loaded>;

fn bodies(files: Files) -> BTreeMap<Arc<str>, Body> {
    files.into_iter().map(|(path, file)| (path, file.body)).collect()
}

fn attempt_read(root: &Path) -> Result<Files, Failure> {
    let real = std::fs::canonicalize(root).map_err(|error| unreadable(root, &error))?;
    let mut reader = Reader { root: real.clone(), files: Files::new(), visited: 0, linked: HashMap::new() };
    reader.folder(&real, "", &mut vec![real.clone()])?;
    Ok(reader.files)
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
    visited: usize,
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
            let Some(name) = name.to_str() else {
                return Err(Failure::Final(SourceError::Name { path }));
            };
            if name.starts_with('.') {
                continue;
            }
            self.visited += 1;
            if self.visited > MOST_FILES {
                let path = self.root.clone();
                return Err(Failure::Final(SourceError::Crowded { path, most: MOST_FILES }));
            }
            let inside = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
            self.thing(&path, inside, above)?;
        }
        Ok(())
    }

    fn thing(&mut self, path: &Path, inside: String, above: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let metadata = std::fs::symlink_metadata(path).map_err(|error| unreadable(path, &error))?;
        let is_link = metadata.is_symlink();
        let (real, metadata) = match is_link {
            false => (path.to_path_buf(), metadata),
            true => match self.follow(path)? {
                Some(found) => found,
                None => return missed(path, "the link leads in a circle"),
            },
        };
        if metadata.is_file() {
            self.files.insert(inside.into(), load(real, &metadata)?);
        } else if !metadata.is_dir() {
            return missed(path, "this is neither a file nor a folder");
        } else if !above.contains(&real) {
            self.linked(&real, is_link)?;
            above.push(real.clone());
            self.folder(&real, &inside, above)?;
            above.pop();
        }
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

    /// The real path that a link leads to; `None` for a circle.
    fn follow(&self, path: &Path) -> Result<Option<(PathBuf, Metadata)>, Failure> {
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(None),
            Err(error) => return Err(unreadable(path, &error)),
        };
        if !real.starts_with(&self.root) {
            return Err(Failure::Final(SourceError::Escapes { path: path.into(), target: real }));
        }
        let metadata = std::fs::metadata(&real).map_err(|error| unreadable(&real, &error))?;
        Ok(Some((real, metadata)))
    }
}

/// What is no file is no part of an inventory; but who calls it a manifest misses it.
fn missed(path: &Path, why: &str) -> Result<(), Failure> {
    match path.extension().is_some_and(|extension| extension == "toml") {
        true => Err(Failure::Final(SourceError::Unreadable { path: path.into(), why: why.into() })),
        false => Ok(()),
    }
}

fn load(path: PathBuf, metadata: &Metadata) -> Result<Loaded, Failure> {
    let fail = |error: io::Error| unreadable(&path, &error);
    let modified = (metadata.mtime() as u64, metadata.mtime_nsec() as u64);
    let identity = [metadata.dev(), metadata.ino(), metadata.len(), modified.0, modified.1];
    if metadata.len() > Body::INLINE_MAX {
        return Ok(Loaded { body: Body::OnDisk { path, length: metadata.len() }, identity });
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    let file = File::open(&path).map_err(fail)?;
    // A file that grows meanwhile must not fill the memory.
    file.take(Body::INLINE_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > Body::INLINE_MAX {
        let why = "it grew while it was being read".to_owned();
        return Err(Failure::Vanished(SourceError::Unreadable { path, why }));
    }
    Ok(Loaded { body: Body::Inline { bytes: Bytes::from(bytes), path: Some(path) }, identity })
}

/// `dir@sha256:…` over the sorted paths and their bytes; a large file's identity stands for them.
fn revision(files: &Files) -> Arc<str> {
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
    format!("dir@sha256:{}", hex(&hasher.finalize())).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

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
            File::create(folder.path().join(name)).unwrap().set_len(length).unwrap();
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
        assert!(matches!(read(folder.path()), Err(SourceError::Unreadable { .. })));
    }

    #[test]
    fn links_out_of_the_root_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(folder.path().join("secret"), "s").unwrap();
        symlink("../secret", root.join("a.toml")).unwrap();
        let error = read(&root).unwrap_err();
        assert!(matches!(&error, SourceError::Escapes { .. }), "{error}");
        assert!(error.to_string().contains("a.toml") && error.to_string().contains("secret"), "{error}");
    }
}
