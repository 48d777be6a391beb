//! Digests of images, computed once per identity: a restart with a 10 GB image is quick.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::{MediaError, Sight, identity, regular};
use crate::model::content::FileId;
use crate::model::hex;

const CHUNK: usize = 1 << 20;

/// Called with the bytes done and their number; false ends the work.
type GoesOn<'a> = dyn Fn(u64, u64) -> bool + 'a;

/// Remembers the digests of files, in memory and (given a directory) on disk.
#[derive(Debug, Default)]
pub struct Verifier {
    directory: Option<PathBuf>,
    known: Mutex<HashMap<Sight, String>>,
}

impl Verifier {
    /// Digests are kept in `directory`, one small file each, named after the image's identity.
    pub fn new(directory: Option<PathBuf>) -> Verifier {
        Verifier { directory, known: Mutex::default() }
    }

    /// Checks that the file at `path` has the digest `expected` (hexadecimal, any case).
    pub fn verify(&self, path: &Path, expected: &str) -> Result<(), MediaError> {
        self.verify_watched(path, expected, &|_, _| true)
    }

    /// The same; `goes_on` is called with the bytes done and their number now and then, and ends the
    /// reading when it returns false.
    pub(super) fn verify_watched(
        &self,
        path: &Path,
        expected: &str,
        goes_on: &GoesOn<'_>,
    ) -> Result<(), MediaError> {
        let (mut found, noted) = self.digest_watched(path, goes_on)?;
        let expected = expected.trim();
        // A note on disk may be damaged: nothing is refused because of one.
        if noted && !found.eq_ignore_ascii_case(expected) {
            found = self.computed(path, goes_on)?;
        }
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        Err(MediaError::Checksum { path: path.into(), expected: expected.into(), found })
    }

    /// The SHA-256 of the file at `path` in lower-case hexadecimal digits.
    pub fn digest(&self, path: &Path) -> Result<String, MediaError> {
        self.digest_watched(path, &|_, _| true).map(|(digest, _)| digest)
    }

    /// The digest, and whether it comes from a note on disk.
    fn digest_watched(&self, path: &Path, goes_on: &GoesOn<'_>) -> Result<(String, bool), MediaError> {
        let sight = Sight::of(path, &regular::stat(path)?);
        if let Some(digest) = self.lock().get(&sight) {
            return Ok((digest.clone(), false));
        }
        match self.noted(sight) {
            Some(digest) => Ok((digest, true)),
            None => Ok((self.computed(path, goes_on)?, false)),
        }
    }

    fn computed(&self, path: &Path, goes_on: &GoesOn<'_>) -> Result<String, MediaError> {
        let fail = |error: io::Error| identity::failed(path, &error);
        let (mut file, metadata) = regular::open(path)?;
        let before = Sight::of(path, &metadata);
        let digest = sha256(&mut file, metadata.len(), goes_on).map_err(fail)?;
        let after = Sight::of(path, &file.metadata().map_err(fail)?);
        if after != before {
            return Err(MediaError::Io {
                path: path.into(),
                why: "it changed while it was being read".into(),
            });
        }
        self.remember(after, &digest);
        Ok(digest)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sight, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was noted for the file, unless something happened to it since.
    fn noted(&self, sight: Sight) -> Option<String> {
        let text = std::fs::read_to_string(self.place(sight.id)?).ok()?;
        let mut words = text.split_whitespace();
        let digest = words.next()?.to_owned();
        // Earlier versions noted no time.
        if words.next().is_some_and(|changed| changed.parse() != Ok(sight.changed)) {
            return None;
        }
        (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digest)
    }

    /// Not being able to write the note costs time at the next start and nothing else.
    fn remember(&self, sight: Sight, digest: &str) {
        self.lock().insert(sight, digest.to_owned());
        let Some(place) = self.place(sight.id) else { return };
        let draft = place.with_extension(format!("{}.new", std::process::id()));
        let written = place
            .parent()
            .map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder))
            .and_then(|()| std::fs::write(&draft, format!("{digest} {}\n", sight.changed)))
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

/// The digest of the first `length` bytes: a file that grows has no end of its own.
fn sha256(file: &mut File, length: u64, goes_on: &GoesOn<'_>) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut file = file.take(length);
    let mut done = 0;
    while goes_on(done, length) {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(read) => {
                hasher.update(&chunk[..read]);
                done += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("its sha256 is no longer needed"))
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
        Verifier::new(Some(cache.clone())).verify(&path, ABC).expect("no damaged note refuses an image");
        let mended = std::fs::read_to_string(&note).unwrap();
        assert!(mended.starts_with(ABC), "it is written anew");
        let changed = Sight::at(&path).unwrap().changed;
        std::fs::write(&note, format!("{} {}", "0".repeat(64), changed + 1)).unwrap();
        assert_eq!(
            Verifier::new(Some(cache.clone())).digest(&path).unwrap(),
            ABC,
            "something happened since"
        );
        std::fs::write(&note, "rubbish").unwrap();
        assert_eq!(Verifier::new(Some(cache)).digest(&path).unwrap(), ABC, "a broken note is ignored");
    }

    #[test]
    fn a_digest_can_be_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.iso");
        std::fs::write(&path, vec![7; 3 * CHUNK]).unwrap();
        let seen = Mutex::new(Vec::new());
        let goes_on = |done, total| {
            seen.lock().unwrap().push((done, total));
            done < 2 * CHUNK as u64
        };
        let error = Verifier::default().verify_watched(&path, ABC, &goes_on).unwrap_err();
        assert!(error.to_string().contains("no longer needed"), "{error}");
        let chunk = CHUNK as u64;
        assert_eq!(*seen.lock().unwrap(), [0, chunk, 2 * chunk].map(|done| (done, 3 * chunk)));
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
