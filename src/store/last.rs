//! `state.last`: the number of the last frame of the log, kept outside of it, and which file it lies in. It
//! shows what the log can't show of itself: that an earlier copy of it was put in the place of a later one, that
//! frames at its end are gone, and that the whole directory is a copy.
//!
//! It is written after each batch and not synchronised: a crash of the daemon leaves it whole, and after a
//! power cut it may be behind the log, which proves nothing. It is never ahead of it.
//!
//! What it does not show: a directory that was put back together with this file in place (a snapshot of
//! the block device or of the file system, or files that were overwritten one by one, this one included).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::log::digest::{Sip, SipKey};
use super::mark::RecordKey;

/// The file's name in the state directory.
pub(super) const FILE: &str = "state.last";
/// The number of a frame, an inode, a time of birth, and the digest of these.
const LENGTH: usize = 8 + 8 + 16 + 8;

/// Which file it is. A copy has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    inode: u64,
    /// When the file was made, in nanoseconds; 0 where the file system does not record it.
    born: u128,
}

impl Place {
    fn of(file: &File) -> io::Result<Place> {
        let metadata = file.metadata()?;
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Ok(Place { inode: metadata.ino(), born: born.map_or(0, |born| born.as_nanos()) })
    }

    /// The time of birth decides where it is known: the inode of a removed file is given away again.
    fn is(self, other: Place) -> bool {
        match self.born == 0 || other.born == 0 {
            true => self.inode == other.inode,
            false => self.born == other.born,
        }
    }
}

/// What the file said when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing: it was not there (an earlier version left none), or it does not fit its digest.
    Nothing,
    /// `voldemort state backup` made it.
    Backup,
    /// It lies in another file than the one it was written to.
    Copied,
    /// The log had this frame at least.
    Frame(u64),
}

/// The file, open.
#[derive(Debug)]
pub(super) struct Last {
    file: File,
    path: PathBuf,
    key: SipKey,
    place: Place,
    fails: bool,
}

impl Last {
    /// Opens the file of a state directory, or makes it, and what it says.
    ///
    /// # Errors
    ///
    /// If the system does not let it be read or written.
    pub(super) fn open(directory: &Path, key: &RecordKey) -> io::Result<(Last, Said)> {
        let path = directory.join(FILE);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let key = sip_key(key);
        let said = read(&file, &key)?;
        Ok((Last { place: Place::of(&file)?, file, path, key, fails: false }, said))
    }

    /// Notes what is on disk. That it can't be noted is no reason to fail.
    pub(super) fn note(&mut self, frame: u64) {
        let written = self.file.write_all_at(&value(&self.key, frame, self.place), 0);
        if let Err(error) = &written
            && !self.fails
        {
            tracing::warn!("{}: the last frame can't be noted: {error}", self.path.display());
        }
        self.fails = written.is_err();
    }
}

/// What the file of a directory says, which stays as it is.
///
/// # Errors
///
/// If it is there and can't be read.
pub(super) fn look(directory: &Path, key: &RecordKey) -> io::Result<Said> {
    match File::open(directory.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Said::Nothing),
        opened => read(&opened?, &sip_key(key)),
    }
}

/// Marks a backup, so that a daemon that uses it directly recognises it as a copy.
pub(super) fn mark_backup(directory: &Path, key: &RecordKey) -> io::Result<()> {
    super::directory::put(&directory.join(FILE), &value(&sip_key(key), 0, Place::default()))
}

fn sip_key(key: &RecordKey) -> SipKey {
    let digest = Sha256::new().chain_update(b"last").chain_update(key).finalize();
    let half = |at: usize| digest[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    [half(0), half(8)]
}

fn value(key: &SipKey, frame: u64, place: Place) -> Vec<u8> {
    let mut value = [frame.to_le_bytes(), place.inode.to_le_bytes()].concat();
    value.extend_from_slice(&place.born.to_le_bytes());
    let digest = Sip::new(key).finish_with(&value);
    value.extend_from_slice(&digest.to_le_bytes());
    value
}

fn read(file: &File, key: &SipKey) -> io::Result<Said> {
    let mut bytes = [0; LENGTH];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Said::Nothing),
        read => read?,
    }
    let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let born = u128::from(number(16)) | u128::from(number(24)) << 64;
    let (frame, place) = (number(0), Place { inode: number(8), born });
    if value(key, frame, place) != bytes {
        return Ok(Said::Nothing);
    }
    Ok(match place.is(Place::of(file)?) {
        _ if place == Place::default() => Said::Backup,
        true => Said::Frame(frame),
        false => Said::Copied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_last_batch_and_a_copy_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let key = [3; 32];
        let (mut last, said) = Last::open(folder.path(), &key).unwrap();
        assert_eq!(said, Said::Nothing);
        last.note(7);
        last.note(9);
        assert_eq!(look(folder.path(), &key).unwrap(), Said::Frame(9));
        assert_eq!(look(folder.path(), &[4; 32]).unwrap(), Said::Nothing);
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(look(folder.path(), &key).unwrap(), Said::Nothing, "bit {bit}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(look(folder.path(), &key).unwrap(), Said::Frame(9));
        std::fs::rename(&path, folder.path().join("other")).unwrap();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(look(folder.path(), &key).unwrap(), Said::Copied);
        mark_backup(folder.path(), &key).unwrap();
        assert_eq!(look(folder.path(), &key).unwrap(), Said::Backup);
    }

    #[test]
    fn a_birth_that_is_known_decides() {
        let place = |inode, born| Place { inode, born };
        assert!(place(1, 5).is(place(2, 5)), "a file system may number its files anew");
        assert!(!place(1, 5).is(place(1, 6)), "a number that was given away again");
        assert!(place(1, 0).is(place(1, 6)) && !place(1, 0).is(place(2, 6)));
    }
}
