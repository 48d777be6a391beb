//! Digests of images, computed once per identity: a restart with a 10 GB image is quick.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::{MediaError, identity};
use crate::model::content::FileId;
use crate::model::hex;

const CHUNK: usize = 1 << 20;

/// Remembers the digests of files, in memory and (given a directory) on disk.
#[derive(Debug, Default)]
pub struct Verifier {
    directory: Option<PathBuf>,
    known: Mutex<HashMap<FileId, String>>,
}

impl Verifier {
    /// Digests are kept in `directory`, one small file each, named after the image's identity.
    pub fn new(directory: Option<PathBuf>) -> Verifier {
        Verifier { directory, known: Mutex::default() }
    }

    /// Checks that the file at `path` has the digest `expected` (hexadecimal, any case).
    pub fn verify(&self, path: &Path, expected: &str) -> Result<(), MediaError> {
        let found = self.digest(path)?;
        if found.eq_ignore_ascii_case(expected.trim()) {
            return Ok(());
        }
        Err(MediaError::Checksum { path: path.into(), expected: expected.into(), found })
    }

    /// The SHA-256 of the file at `path` in lower-case hexadecimal digits.
    pub fn digest(&self, path: &Path) -> Result<String, MediaError> {
        let fail = |error: io::Error| identity::failed(path, &error);
        let id = identity::of(&std::fs::metadata(path).map_err(fail)?);
        if let Some(known) = self.remembered(id) {
            return Ok(known);
        }
        let mut file = File::open(path).map_err(fail)?;
        let digest = sha256(&mut file).map_err(fail)?;
        let after = identity::of(&file.metadata().map_err(fail)?);
        if after != id {
            return Err(MediaError::Io {
                path: path.into(),
                why: "it changed while it was being read".into(),
            });
        }
        self.remember(id, &digest);
        Ok(digest)
    }

    fn remembered(&self, id: FileId) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(digest) = known.get(&id) {
            return Some(digest.clone());
        }
        let text = std::fs::read_to_string(self.place(id)?).ok()?;
        let digest = text.trim().to_owned();
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| {
            known.insert(id, digest.clone());
            digest
        })
    }

    /// Not being able to write the note costs time at the next start and nothing else.
    fn remember(&self, id: FileId, digest: &str) {
        self.known.lock().unwrap_or_else(|poison| poison.into_inner()).insert(id, digest.to_owned());
        let Some(place) = self.place(id) else { return };
        let draft = place.with_extension(format!("{}.new", std::process::id()));
        let written = place
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&draft, format!("{digest}\n")))
            .and_then(|()| std::fs::rename(&draft, &place));
        if let Err(error) = written {
            tracing::warn!(path = %place.display(), %error, "an image's digest could not be noted");
        }
    }

    fn place(&self, id: FileId) -> Option<PathBuf> {
        let FileId { device, inode, size, modified } = id;
        let name = format!("{device:x}-{inode:x}-{size:x}-{modified:x}");
        Some(self.directory.as_ref()?.join(name))
    }
}

fn sha256(file: &mut File) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(length) => hasher.update(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_computed_once_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.iso");
        std::fs::write(&path, "abc").unwrap();
        let cache = folder.path().join("digests");
        let first = Verifier::new(Some(cache.clone()));
        first.verify(&path, &ABC.to_uppercase()).unwrap();
        let note = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        // A planted note shows that a second verifier trusts it instead of reading the file again.
        std::fs::write(&note, "0".repeat(64)).unwrap();
        assert_eq!(Verifier::new(Some(cache.clone())).digest(&path).unwrap(), "0".repeat(64));
        assert_eq!(first.digest(&path).unwrap(), ABC, "memory comes before disk");
        std::fs::write(&note, "rubbish").unwrap();
        assert_eq!(Verifier::new(Some(cache)).digest(&path).unwrap(), ABC, "a broken note is ignored");
    }

    #[test]
    fn other_bytes_are_refused_naming_both_digests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.iso");
        std::fs::write(&path, "abc").unwrap();
        let verifier = Verifier::default();
        let error = verifier.verify(&path, &"1".repeat(64)).unwrap_err();
        assert!(error.to_string().contains(ABC) && error.to_string().contains(&"1".repeat(64)), "{error}");
        std::fs::write(&path, "abcd").unwrap();
        assert_ne!(verifier.digest(&path).unwrap(), ABC, "a changed file is read again");
        assert!(matches!(verifier.digest(&folder.path().join("no")), Err(MediaError::Missing { .. })));
    }
}
