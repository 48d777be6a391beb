//! The bytes of one artefact, ready to be read at any place.
//!
//! Reads from the page cache take microseconds and are done on the spot; reads that would wait for a disk
//! are first done on a thread of their own, a stretch at a time, so that one slow disk delays nothing else.
//! A file server must be asked even for bytes in the page cache: such a thread reads them into memory.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::files::{FileError, Files, Handle, unchanged};
use super::reads::Reads;
use crate::model::content::FileId;
use crate::model::{Content, Extent};

/// How much is brought into the page cache at a time, in bytes.
const STRETCH: u64 = 2 << 20;
/// How much of a file server's file is fetched at a time, in bytes: each transfer has so much in memory.
pub const REMOTE: u64 = 128 << 10;
/// Files up to this length, in bytes, are held in memory while a client fetches them block by block: a
/// system call for each block would cost more than everything else.
const HELD: u64 = 2 << 20;

/// An artefact's bytes.
pub enum Body {
    Memory(Bytes),
    Disk(Disk),
}

/// Extents of an open file.
pub struct Disk {
    pub file: Arc<File>,
    /// Whether reads of what was prepared never wait. Otherwise only [`Disk::fetch`] may be used.
    pub is_local: bool,
    reads: Reads,
    path: Arc<Path>,
    id: FileId,
    extents: Arc<[Extent]>,
}

impl Body {
    pub async fn open(files: &Files, content: &Content) -> Result<Body, FileError> {
        match content {
            Content::Bytes(bytes) => Ok(Body::Memory(bytes.clone())),
            Content::File { path, id, extents } => {
                let Handle { file, is_local } = files.open(path, *id).await?;
                let (reads, path, extents) = (files.reads().clone(), Arc::clone(path), Arc::clone(extents));
                Ok(Body::Disk(Disk { file, is_local, reads, path, id: *id, extents }))
            }
        }
    }

    /// The same, to be sent block by block: what is short is in memory, once for all who fetch it.
    pub async fn held(files: &Files, content: &Content) -> io::Result<Body> {
        // Looked at in any case: what has changed is not served.
        let body = Body::open(files, content).await.map_err(io::Error::other)?;
        let Body::Disk(disk) = &body else { return Ok(body) };
        if content.len() > HELD {
            return Ok(body);
        }
        let parts = (Arc::clone(&disk.path), disk.id, Arc::clone(&disk.extents));
        if let Some(bytes) = files.held(&parts) {
            return Ok(Body::Memory(bytes));
        }
        let bytes = disk.whole(content.len()).await?;
        Ok(Body::Memory(files.hold(parts, bytes)))
    }

    /// All of the `length` bytes.
    pub async fn whole(&self, length: u64) -> io::Result<Bytes> {
        match self {
            Body::Memory(bytes) => Ok(bytes.clone()),
            Body::Disk(disk) => Ok(disk.whole(length).await?.into()),
        }
    }

    /// Fills all of `buffers` from `offset` on: from memory, or from a local disk that was prepared.
    pub fn read(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        match self {
            Body::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let mut rest = bytes.get(start..).unwrap_or_default();
                for buffer in buffers {
                    let (now, later) = rest.split_at_checked(buffer.len()).ok_or(END)?;
                    buffer.copy_from_slice(now);
                    rest = later;
                }
                Ok(())
            }
            Body::Disk(disk) => disk.read(offset, buffers),
        }
    }
}

const END: io::ErrorKind = io::ErrorKind::UnexpectedEof;

impl Disk {
    /// The stretches of the file that hold `length` bytes of the content from `offset` on.
    pub fn pieces(&self, offset: u64, length: u64) -> impl Iterator<Item = Extent> + '_ {
        pieces(&self.extents, offset, length)
    }

    /// All of the `length` bytes.
    async fn whole(&self, length: u64) -> io::Result<Vec<u8>> {
        if !self.is_local {
            return self.fetch(0, length).await;
        }
        let mut ready = 0;
        while ready < length {
            let end = self.prepare(ready).await?;
            ready = if end > ready { end } else { return Err(END.into()) };
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.read(0, &mut [IoSliceMut::new(&mut bytes)])?;
        // Others will be sent these: none may be of another state.
        unchanged(&self.file, &self.path, self.id).map_err(io::Error::other)?;
        Ok(bytes)
    }

    /// `length` bytes from `offset` on, if they lie side by side in the page cache.
    pub fn at_hand(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        let piece = self.pieces(offset, length).next().filter(|piece| piece.length == length)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        let read = read_without_waiting(&self.file, piece.offset, &mut bytes).ok()?;
        (read == bytes.len()).then_some(bytes)
    }

    fn read(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let mut pieces = self.pieces(offset, length as u64);
        match (pieces.next(), pieces.next()) {
            (Some(piece), None) if piece.length == length as u64 => {
                let at = i64::try_from(piece.offset).map_err(|_| END)?;
                if nix::sys::uio::preadv(&*self.file, buffers, at)? == length {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.read_piecewise(offset, buffers)
    }

    /// For reads across extents, or that came back short.
    fn read_piecewise(&self, mut offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        for buffer in buffers {
            let mut filled = 0;
            for piece in self.pieces(offset, buffer.len() as u64) {
                let end = filled + usize::try_from(piece.length).map_err(|_| END)?;
                self.file.read_exact_at(&mut buffer[filled..end], piece.offset)?;
                filled = end;
            }
            if filled < buffer.len() {
                return Err(END.into());
            }
            offset += filled as u64;
        }
        Ok(())
    }

    /// Brings a stretch of the content into the page cache and makes sure the file is still the
    /// same. Returns the end of the stretch: until there, reads need no further care.
    pub async fn prepare(&self, offset: u64) -> io::Result<u64> {
        unchanged(&self.file, &self.path, self.id).map_err(io::Error::other)?;
        let mut end = offset;
        for piece in self.pieces(offset, STRETCH) {
            end += piece.length;
            if !cached(&self.file, piece) {
                let file = Arc::clone(&self.file);
                self.reads.run(self.id.device, &self.path, move || touch(&file, piece)).await?;
            }
        }
        Ok(end)
    }

    /// Reads `length` bytes of the content from `offset` on, or as many as there are, but at least one; none of a
    /// file that has changed.
    pub async fn fetch(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let pieces: Vec<Extent> = self.pieces(offset, length).collect();
        if pieces.is_empty() && length > 0 {
            return Err(END.into());
        }
        let (file, path, id) = (Arc::clone(&self.file), Arc::clone(&self.path), self.id);
        let work = move || {
            let total: u64 = pieces.iter().map(|piece| piece.length).sum();
            let mut bytes = vec![0; usize::try_from(total).map_err(io::Error::other)?];
            let mut rest = &mut bytes[..];
            for piece in pieces {
                let (now, later) = rest.split_at_mut(usize::try_from(piece.length).map_err(|_| END)?);
                file.read_exact_at(now, piece.offset)?;
                rest = later;
            }
            unchanged(&file, &path, id).map_err(io::Error::other)?;
            Ok(bytes)
        };
        self.reads.run(self.id.device, &self.path, work).await
    }
}

fn pieces(extents: &[Extent], offset: u64, length: u64) -> impl Iterator<Item = Extent> + '_ {
    let (mut skip, mut left) = (offset, length);
    extents.iter().filter_map(move |extent| {
        let before = skip.min(extent.length);
        skip -= before;
        let length = (extent.length - before).min(left);
        left -= length;
        (length > 0).then_some(Extent { offset: extent.offset + before, length })
    })
}

/// Whether both ends of `piece` lie in the page cache. A file system that cannot say counts as
/// one that has to fetch.
fn cached(file: &File, piece: Extent) -> bool {
    let last = piece.offset + piece.length.saturating_sub(1);
    [piece.offset, last].into_iter().all(|at| read_without_waiting(file, at, &mut [0]).is_ok())
}

/// How many bytes of `into` could be filled from `at` on.
fn read_without_waiting(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
    let buffer = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let at = i64::try_from(at).map_err(|_| END)?;
    // SAFETY: one buffer of the given length, which outlives the call.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &buffer, 1, at, libc::RWF_NOWAIT) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Reads `piece` for the sake of the page cache.
fn touch(file: &File, piece: Extent) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    let mut at = piece.offset;
    let end = piece.offset + piece.length;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(&mut buffer[..wanted], at)? {
            0 => return Err(END.into()),
            read => at += read as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::identity::of as identity;

    const fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn a_stretch_of_the_content_is_found_in_the_file() {
        let extents = [extent(100, 10), extent(50, 0), extent(0, 20)];
        let found = |offset, length| pieces(&extents, offset, length).collect::<Vec<_>>();
        assert_eq!(found(0, 30), [extent(100, 10), extent(0, 20)]);
        assert_eq!(found(5, 10), [extent(105, 5), extent(0, 5)]);
        assert_eq!(found(10, 3), [extent(0, 3)]);
        assert_eq!(found(29, 99), [extent(19, 1)]);
        assert_eq!(found(30, 1), []);
        assert_eq!(found(0, 0), []);
    }

    #[tokio::test]
    async fn bytes_come_from_the_right_place() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = Arc::from(folder.path().join("image"));
        let bytes: Vec<u8> = (0..=255).collect();
        std::fs::write(&path, &bytes).unwrap();
        let content = Content::File {
            id: identity(&std::fs::metadata(&path).unwrap()),
            path: Arc::clone(&path),
            extents: Arc::new([extent(200, 10), extent(20, 10)]),
        };
        let body = Body::open(&Files::new(), &content).await.unwrap();
        for body in [body, Body::Memory([&bytes[200..210], &bytes[20..30]].concat().into())] {
            let (mut head, mut tail) = ([0; 7], [0; 6]);
            body.read(2, &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)]).unwrap();
            assert_eq!((head, tail), ([202, 203, 204, 205, 206, 207, 208], [209, 20, 21, 22, 23, 24]));
            let mut beyond = [0; 11];
            assert!(body.read(10, &mut [IoSliceMut::new(&mut beyond)]).is_err());
            if let Body::Disk(disk) = body {
                // Not everything that holds a page cache can say so.
                assert!(disk.at_hand(2, 8).is_none_or(|bytes| bytes == (202..210).collect::<Vec<u8>>()));
                assert_eq!(disk.at_hand(2, 9), None, "two extents");
                assert_eq!(disk.at_hand(19, 2), None, "beyond the end");
                assert_eq!(disk.prepare(4).await.unwrap(), 20);
                std::fs::write(&path, "other").unwrap();
                assert!(disk.prepare(4).await.is_err());
            }
        }
    }

    #[tokio::test]
    async fn what_is_fetched_block_by_block_is_held_once_and_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = Arc::from(folder.path().join("x"));
        std::fs::write(&path, "first").unwrap();
        let id = identity(&std::fs::metadata(&path).unwrap());
        let part = |offset, length| Content::File {
            path: Arc::clone(&path),
            id,
            extents: Arc::new([Extent { offset, length }]),
        };
        let bytes = |body| match body {
            Body::Memory(bytes) => bytes,
            Body::Disk(_) => panic!("not held"),
        };
        let files = Files::new();
        let first = bytes(Body::held(&files, &part(0, 5)).await.unwrap());
        let second = bytes(Body::held(&files, &part(0, 5)).await.unwrap());
        assert_eq!((&first[..], first.as_ptr()), (&b"first"[..], second.as_ptr()));
        assert_eq!(&bytes(Body::held(&files, &part(1, 3)).await.unwrap())[..], b"irs");
        drop((first, second));
        assert!(files.held(&(Arc::clone(&path), id, Arc::new([Extent { offset: 0, length: 5 }]))).is_none());
        std::fs::write(&path, "second!").unwrap();
        assert!(Body::held(&files, &part(0, 5)).await.is_err(), "it has changed");
    }
}
