//! Writing replies. Each write may wait for the client as long as it makes progress.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::sendfile::sendfile;
use socket2::SockRef;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::connections::Slot;
use super::stream::Stream;
use crate::daemon::body::{Body, Disk, REMOTE};
use crate::daemon::time_limit::within;
use crate::model::Extent;
use crate::proto::http::range::Stretch;

/// Most bytes for one call to the kernel.
const MAX_CHUNK: u64 = 2 << 20;
/// Read and written at a time under TLS, or where the file system knows no sendfile, in bytes.
const COPY: usize = 64 * 1024;

/// Up to so many bytes, copying them costs less than a call of its own for the head.
const SMALL: u64 = 32 * 1024;

/// From so many bytes on, packets wait until they are full.
const CORKED: u64 = 128 * 1024;

/// Most bytes of a long reply that wait in the kernel for a client that takes none. With half of it an image costs
/// a tenth more processor time: each time that the kernel has room again there is less of it.
const UNSENT: libc::c_int = 2 << 20;

/// How a client is waited for.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a> {
    /// Longest wait for it to make progress.
    pub patience: Duration,
    /// Where its progress is seen.
    pub slot: &'a Slot,
}

/// Writes all of `bytes`.
pub(super) async fn write_all(stream: &mut Stream, bytes: &[u8], pace: Pace<'_>) -> io::Result<()> {
    match stream {
        Stream::Plain(stream) => write_parts(stream, bytes, &[], 0, pace, &mut 0).await,
        Stream::Tls(stream) => {
            encrypt(stream, bytes, &[], pace, &mut 0).await?;
            progress(pace, stream.flush()).await
        }
    }
}

/// Writes `head`, then the stretch of `body`; `sent` counts the body's bytes as they go.
pub(super) async fn send(
    stream: &mut Stream,
    head: &[u8],
    body: &Body,
    stretch: Stretch,
    pace: Pace<'_>,
    sent: &mut u64,
) -> io::Result<()> {
    match (stream, body) {
        (Stream::Plain(stream), Body::Memory(bytes)) => {
            if stretch.length >= CORKED {
                limit_unsent(stream)?;
            }
            write_parts(stream, head, part(bytes, stretch), 0, pace, sent).await
        }
        (Stream::Plain(stream), Body::Disk(disk)) => {
            if stretch.length <= SMALL
                && disk.is_local
                && let Some(bytes) = disk.at_hand(stretch.offset, stretch.length)
            {
                return write_parts(stream, head, &bytes, 0, pace, sent).await;
            }
            let more = if stretch.length > 0 { libc::MSG_MORE } else { 0 };
            write_parts(stream, head, &[], more, pace, &mut 0).await?;
            let long = stretch.length >= CORKED;
            if long {
                limit_unsent(stream)?;
                cork(stream, true)?;
            }
            send_disk(stream, disk, stretch, pace, sent).await?;
            if long { cork(stream, false) } else { Ok(()) }
        }
        (Stream::Tls(stream), body) => {
            match body {
                Body::Memory(bytes) => encrypt(stream, head, part(bytes, stretch), pace, sent).await?,
                Body::Disk(disk) => encrypt_disk(stream, head, (body, disk), stretch, pace, sent).await?,
            }
            progress(pace, stream.flush()).await
        }
    }
}

fn part(bytes: &[u8], stretch: Stretch) -> &[u8] {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    &bytes[place(stretch.offset)..place(stretch.offset + stretch.length)]
}

type Tls = TlsStream<TcpStream>;

/// Writes two texts, in one record if they fit; `sent` counts the second.
async fn encrypt(
    stream: &mut Tls,
    mut head: &[u8],
    mut body: &[u8],
    pace: Pace<'_>,
    sent: &mut u64,
) -> io::Result<()> {
    while !head.is_empty() || !body.is_empty() {
        let parts = [IoSlice::new(head), IoSlice::new(body)];
        let written = progress(pace, stream.write_vectored(&parts)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *sent += advance(&mut head, &mut body, written);
    }
    Ok(())
}

async fn encrypt_disk(
    stream: &mut Tls,
    mut head: &[u8],
    (body, disk): (&Body, &Disk),
    stretch: Stretch,
    pace: Pace<'_>,
    sent: &mut u64,
) -> io::Result<()> {
    let end = stretch.offset + stretch.length;
    let (mut at, mut prepared) = (stretch.offset, stretch.offset);
    let mut buffer = vec![0; COPY];
    while at < end {
        if !disk.is_local {
            let bytes = disk.fetch(at, REMOTE.min(end - at)).await?;
            encrypt(stream, std::mem::take(&mut head), &bytes, pace, sent).await?;
            at += bytes.len() as u64;
            continue;
        }
        if prepared <= at {
            prepared = disk.prepare(at).await?.min(end);
        }
        let length = usize::try_from(prepared - at).unwrap_or(usize::MAX).min(COPY);
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        body.read(at, &mut [IoSliceMut::new(&mut buffer[..length])])?;
        encrypt(stream, std::mem::take(&mut head), &buffer[..length], pace, sent).await?;
        at += length as u64;
    }
    encrypt(stream, head, &[], pace, sent).await
}

/// Drops what was written of two texts; how many bytes of the second that was.
fn advance(head: &mut &[u8], body: &mut &[u8], written: usize) -> u64 {
    let of_head = written.min(head.len());
    let of_body = written - of_head;
    *head = &head[of_head..];
    *body = &body[of_body..];
    of_body as u64
}

/// Writes two texts as one; `sent` counts the second.
async fn write_parts(
    stream: &TcpStream,
    mut head: &[u8],
    mut body: &[u8],
    flags: libc::c_int,
    pace: Pace<'_>,
    sent: &mut u64,
) -> io::Result<()> {
    while !head.is_empty() || !body.is_empty() {
        let parts = [IoSlice::new(head), IoSlice::new(body)];
        let write = || SockRef::from(stream).send_vectored_with_flags(&parts, flags);
        let written = progress(pace, stream.async_io(Interest::WRITABLE, write)).await?;
        *sent += advance(&mut head, &mut body, written);
    }
    Ok(())
}

/// Sends no packet that is not full, until it is taken off. Without it, every call to the kernel ends in
/// one, which the client acknowledges on its own: a third of the throughput.
fn cork(stream: &TcpStream, on: bool) -> io::Result<()> {
    set(stream, libc::TCP_CORK, libc::c_int::from(on))
}

/// The kernel takes no more bytes of a reply while so many wait to be sent (tcp(7)): thousands of clients
/// that take nothing would fill its memory.
fn limit_unsent(stream: &TcpStream) -> io::Result<()> {
    set(stream, libc::TCP_NOTSENT_LOWAT, UNSENT)
}

fn set(stream: &TcpStream, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value outlives the call and has the given length.
    let done = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, option, value, length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

async fn send_disk(
    stream: &TcpStream,
    disk: &Disk,
    stretch: Stretch,
    pace: Pace<'_>,
    sent: &mut u64,
) -> io::Result<()> {
    let end = stretch.offset + stretch.length;
    let mut at = stretch.offset;
    while at < end && !disk.is_local {
        let bytes = disk.fetch(at, REMOTE.min(end - at)).await?;
        write_parts(stream, &[], &bytes, 0, pace, sent).await?;
        at += bytes.len() as u64;
    }
    while at < end {
        let prepared = disk.prepare(at).await?.min(end);
        if prepared <= at {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for piece in disk.pieces(at, prepared - at) {
            send_piece(stream, &disk.file, piece, pace, sent).await?;
        }
        at = prepared;
    }
    Ok(())
}

async fn send_piece(
    stream: &TcpStream,
    file: &File,
    piece: Extent,
    pace: Pace<'_>,
    sent: &mut u64,
) -> io::Result<()> {
    let mut left = piece;
    while left.length > 0 {
        let chunk = usize::try_from(left.length.min(MAX_CHUNK)).map_err(io::Error::other)?;
        let mut offset = i64::try_from(left.offset).map_err(io::Error::other)?;
        let call = || match sendfile(stream, file, Some(&mut offset), chunk) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno.into()),
        };
        let length = match progress(pace, stream.async_io(Interest::WRITABLE, call)).await? {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(length) => {
                *sent += length as u64;
                length
            }
            None => copy(stream, file, left, pace, sent).await?,
        };
        left.offset += length as u64;
        left.length -= length as u64;
    }
    Ok(())
}

/// Sends the beginning of `piece` through this process's memory; returns how much that was.
async fn copy(
    stream: &TcpStream,
    file: &File,
    piece: Extent,
    pace: Pace<'_>,
    sent: &mut u64,
) -> io::Result<usize> {
    let length = usize::try_from(piece.length).unwrap_or(usize::MAX).min(COPY);
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, piece.offset)?;
    write_parts(stream, &[], &buffer, 0, pace, sent).await?;
    Ok(length)
}

async fn progress<T>(pace: Pace<'_>, write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match within(pace.patience, write).await {
        Ok(written) => {
            pace.slot.progress();
            written
        }
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client accepts no more bytes")),
    }
}
