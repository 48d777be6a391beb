//! `state.last`: the number of the last batch of records and the end of the journal of leases, kept outside
//! both, and which file it lies in. It shows what they can't show of themselves: that an earlier copy was put
//! in the place of a later one (by a person, or by redb, which goes back to the transaction before where the
//! last one is damaged), that leases at the journal's end are gone, and that the whole directory is a copy.
//!
//! It is written after each batch and not synchronised: a crash of the daemon leaves it whole, and after a
//! power cut it may be behind the records, which proves nothing. It is never ahead of them.
//!
//! What it does not show: a directory that was put back together with this file in place (a snapshot of
//! the block device or of the file system, or files that were overwritten one by one, this one included).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::seal::Key;

/// The file's name in the state directory.
pub const FILE: &str = "state.last";
/// What its digest is of, besides the value.
const KIND: &str = "last";
/// Length of the value: a batch, the journal's generation and end, an inode and a time of birth.
const VALUE: usize = 8 + 8 + 8 + 8 + 16;

/// How far the state directory was at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many batches of records were written.
    pub batch: u64,
    /// Generation and end of the journal of leases.
    pub journal: (u64, u64),
}

/// Which file it is. A copy has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    inode: u64,
    /// When the file was made, in nanoseconds; 0 where the file system does not tell.
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
pub enum Said {
    /// Nothing: it was not there (an earlier version left none), or it does not fit its digest.
    Nothing,
    /// `voldemort state backup` made it.
    Backup,
    /// It lies in another file than the one it was written to.
    Copied,
    /// It was this far at least.
    Extent(Extent),
}

/// The file, open.
#[derive(Debug)]
pub struct Last {
    file: File,
    path: PathBuf,
    key: Key,
    place: Place,
    fails: bool,
}

impl Last {
    /// Opens the file of a state directory, or makes it, and what it says.
    ///
    /// # Errors
    ///
    /// If the system does not let it be read or written.
    pub fn open(directory: &Path, key: Key) -> io::Result<(Last, Said)> {
        let path = directory.join(FILE);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let said = read(&file, &key)?;
        Ok((Last { place: Place::of(&file)?, file, path, key, fails: false }, said))
    }

    /// Notes what is on disk. That it can't be noted is no reason to fail.
    pub fn note(&mut self, extent: Extent) {
        let written = self.file.write_all_at(&value(&self.key, extent, self.place), 0);
        if let Err(error) = &written
            && !self.fails
        {
            tracing::warn!("{}: the last batch can't be noted: {error}", self.path.display());
        }
        self.fails = written.is_err();
    }
}

/// What the file of a directory says, which stays as it is.
///
/// # Errors
///
/// If it is there and can't be read.
pub fn look(directory: &Path, key: &Key) -> io::Result<Said> {
    match File::open(directory.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Said::Nothing),
        opened => read(&opened?, key),
    }
}

/// Marks a backup: whoever uses it as it is uses a copy.
pub fn mark_backup(directory: &Path, key: &Key) -> io::Result<()> {
    super::directory::put(&directory.join(FILE), &value(key, Extent::default(), Place::default()))
}

fn value(key: &Key, extent: Extent, place: Place) -> Vec<u8> {
    let Extent { batch, journal: (generation, end) } = extent;
    let mut value = [0; VALUE];
    for (at, number) in [batch, generation, end, place.inode].into_iter().enumerate() {
        value[at * 8..at * 8 + 8].copy_from_slice(&number.to_le_bytes());
    }
    value[VALUE - 16..].copy_from_slice(&place.born.to_le_bytes());
    key.seal(KIND, "", &value)
}

fn read(file: &File, key: &Key) -> io::Result<Said> {
    let mut bytes = vec![0; value(key, Extent::default(), Place::default()).len()];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Said::Nothing),
        read => read?,
    }
    let Ok(value) = key.open(KIND, "", &bytes) else { return Ok(Said::Nothing) };
    let Ok(value) = <[u8; VALUE]>::try_from(value) else { return Ok(Said::Nothing) };
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&value[at * 8..at * 8 + 8]);
        u64::from_le_bytes(bytes)
    };
    let mut born = [0; 16];
    born.copy_from_slice(&value[VALUE - 16..]);
    let place = Place { inode: number(3), born: u128::from_le_bytes(born) };
    Ok(match place.is(Place::of(file)?) {
        _ if place == Place::default() => Said::Backup,
        true => Said::Extent(Extent { batch: number(0), journal: (number(1), number(2)) }),
        false => Said::Copied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_last_batch_and_a_copy_of_itself() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new([3; 32]);
        let (mut last, said) = Last::open(folder.path(), key.clone()).unwrap();
        assert_eq!(said, Said::Nothing);
        let extent = |batch| Extent { batch, journal: (2, batch * 100) };
        last.note(extent(7));
        last.note(extent(9));
        assert_eq!(look(folder.path(), &key).unwrap(), Said::Extent(extent(9)));
        assert_eq!(look(folder.path(), &Key::new([4; 32])).unwrap(), Said::Nothing);
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(look(folder.path(), &key).unwrap(), Said::Nothing, "bit {bit}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(look(folder.path(), &key).unwrap(), Said::Extent(extent(9)));
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
