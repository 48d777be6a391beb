//! Reads the bytes that an entry of an image or a directory stands for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::media::{Entry, MediaError, identity, regular};
use crate::model::Extent;

/// A reader over the extents of a file, from the first byte to the last.
pub(super) struct Stretch {
    file: File,
    extents: Arc<[Extent]>,
    /// Which extent is read, and how many of its bytes have been.
    at: usize,
    done: u64,
}

impl Stretch {
    /// # Errors
    /// As those of [`regular::open`], and when another file has taken the place of the one that was found.
    pub(super) fn open(entry: &Entry) -> Result<Stretch, MediaError> {
        let (file, metadata) = regular::open(&entry.path)?;
        if !entry.id.is_kept_by(&identity::of(&metadata)) {
            let why = "it was changed while it was read".to_owned();
            return Err(MediaError::Io { path: entry.path.to_path_buf(), why });
        }
        Ok(Stretch { file, extents: entry.extents.clone(), at: 0, done: 0 })
    }
}

impl Read for Stretch {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(extent) = self.extents.get(self.at) {
            let left = extent.length.saturating_sub(self.done);
            if left == 0 {
                (self.at, self.done) = (self.at + 1, 0);
                continue;
            }
            let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.file.read_at(&mut into[..most], extent.offset.saturating_add(self.done))?;
            self.done += read as u64;
            return Ok(read);
        }
        Ok(0)
    }
}
