//! A file that lies in memory and nowhere else, to be served like any other.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use crate::media::Entry;
use crate::model::Extent;
use crate::model::content::FileId;

/// An empty file in memory, to be written.
pub(super) fn create(name: &str) -> io::Result<File> {
    let name = CString::new(name.replace('\0', ""))?;
    Ok(File::from(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?))
}

/// A file in memory that nobody can change any more. It is there for as long as this value is.
#[derive(Debug)]
pub(super) struct Held {
    _file: File,
    entry: Entry,
}

impl Held {
    /// Seals what was written. `digest` are the hexadecimal digits of its SHA-256, which the file is known by.
    pub(super) fn seal(file: File, digest: &str) -> io::Result<Held> {
        let size = file.metadata()?.len();
        let sealed = TimeSpec::new((FileId::SEAL / 1_000_000_000) as i64, 0);
        futimens(&file, &sealed, &sealed)?;
        let seals =
            SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let short = digest.get(..40).unwrap_or_default();
        let id = FileId::of_content(short, size).ok_or_else(|| io::Error::other("no digest"))?;
        let path: Arc<Path> = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())).into();
        Ok(Held {
            _file: file,
            entry: Entry { path, id, extents: [Extent { offset: 0, length: size }].into() },
        })
    }

    /// What it is served from.
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether anything else refers to it: a revision that is served, or an answer on its way.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.entry.path) > 1
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::media::initrd::stretch::Stretch;

    #[test]
    fn it_is_read_by_its_path_and_gone_with_its_value() {
        let mut file = create("x").unwrap();
        file.write_all(b"content").unwrap();
        let held = Held::seal(file, &"a1".repeat(32)).unwrap();
        let entry = held.entry().clone();
        assert!(held.is_in_use());
        let mut read = String::new();
        Stretch::open(&entry).unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "content");
        assert!(
            std::fs::OpenOptions::new()
                .write(true)
                .open(&entry.path)
                .and_then(|mut file| file.write_all(b"x"))
                .is_err()
        );
        drop(held);
        assert!(Stretch::open(&entry).is_err());
    }
}
