//! What the log needs of a disk. The daemon's is a directory; tests and the simulation put a model in its place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::directory;

/// A segment is never followed by another below this length, in bytes.
pub const SHORTEST: u64 = 4 << 20;

/// A folder of files, one writer at a time.
pub trait Disk: Clone + Send + Sync + std::fmt::Debug + 'static {
    type File: Send + std::fmt::Debug;

    /// The whole of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    fn names(&self) -> io::Result<Vec<String>>;
    /// A new file; an earlier one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// A file that is there, to be written to.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    fn write(&self, file: &Self::File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes the file so long.
    fn cut(&self, file: &Self::File, length: u64) -> io::Result<()>;
    /// Returns when what was written to the file survives a power cut.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when the names of files survive a power cut.
    fn sync_names(&self) -> io::Result<()>;
    /// Whether so many bytes can be written.
    fn has_room(&self, bytes: usize) -> io::Result<()>;
    /// Does some work beside the caller's.
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;
    /// What people call a file.
    fn show(&self, name: &str) -> String;
    /// The length below which a segment is never followed by another, in bytes.
    fn shortest(&self) -> u64 {
        SHORTEST
    }
}

/// A directory.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    pub fn new(directory: &Path) -> Files {
        Files(directory.into())
    }
}

impl Disk for Files {
    type File = File;

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.0.join(name))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let name =
            |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        std::fs::read_dir(&self.0)?.map(name).collect()
    }

    fn create(&self, name: &str) -> io::Result<File> {
        directory::create(&self.0.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.0.join(name))
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        directory::remove(&self.0.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn has_room(&self, bytes: usize) -> io::Result<()> {
        directory::has_room(&self.0, bytes)
    }

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        crate::thread::start("snapshot", work)
    }

    fn show(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}
