//! Takes what a client sent with one system call, where asking again until there is nothing would
//! take two: one block at a time, that is a call in four.

use std::io::{self, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::wire::socket_address;

/// A packet that came right behind another, and its sender.
pub type Second = Option<(Vec<u8>, SocketAddr)>;

/// The next packet: its length in `buffer`, and its sender. `second` keeps what came with it for the
/// next call. Safe to cancel.
pub async fn receive(
    socket: &UdpSocket,
    second: &mut Second,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    if let Some((packet, from)) = second.take() {
        let length = packet.len().min(buffer.len());
        buffer[..length].copy_from_slice(&packet[..length]);
        return Ok((length, from));
    }
    // News of a closed port counts as an error, not as something to read.
    let news = Interest::READABLE | Interest::ERROR;
    loop {
        // `try_io` takes one interest only: with two it finds nothing ready, ever.
        let is_readable = socket.ready(news).await?.is_readable();
        let interest = if is_readable { Interest::READABLE } else { Interest::ERROR };
        let mut first = None;
        let taken = socket.try_io(interest, || {
            let (one, two) = receive_two(socket.as_raw_fd(), buffer)?;
            (first, *second) = (Some(one), two);
            // One and no more: tokio needs not ask the kernel whether there is another.
            if second.is_some() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match (first, taken) {
            (Some(first), _) => return Ok(first),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            (None, _) => {}
        }
    }
}

fn receive_two(socket: RawFd, buffer: &mut [u8]) -> io::Result<((usize, SocketAddr), Second)> {
    let mut behind = [0; 512];
    let mut slices = [IoSliceMut::new(buffer), IoSliceMut::new(&mut behind)];
    // SAFETY: all zeros are an address of no family, and headers that point to nothing.
    let (mut names, mut headers): ([libc::sockaddr_storage; 2], [libc::mmsghdr; 2]) = unsafe { zeroed() };
    for ((header, slice), name) in headers.iter_mut().zip(&mut slices).zip(&mut names) {
        header.msg_hdr.msg_iov = (&raw mut *slice).cast();
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    }
    // SAFETY: the headers point to what lives until the end of this function and is as long as they
    // say; an IoSliceMut is an iovec.
    let count =
        unsafe { libc::recvmmsg(socket, headers.as_mut_ptr(), 2, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let sender = |at: usize| {
        let length = headers[at].msg_hdr.msg_namelen;
        // SAFETY: the kernel wrote an address of this length.
        let name = unsafe { SockaddrStorage::from_raw((&raw const names[at]).cast(), Some(length)) };
        name.as_ref().and_then(socket_address).ok_or(io::ErrorKind::InvalidData)
    };
    let first = (headers[0].msg_len as usize, sender(0)?);
    let second = match count {
        2 => Some((behind[..headers[1].msg_len as usize].to_vec(), sender(1)?)),
        _ => None,
    };
    Ok((first, second))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn packets_come_one_by_one_in_their_order_however_many_wait() {
        let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let theirs = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (to, from) = (ours.local_addr().unwrap(), theirs.local_addr().unwrap());
        let (mut second, mut buffer, mut expected) = (None, [0; 512], 0u8);
        for waiting in [1, 2, 3, 1, 5] {
            (0..waiting).for_each(|more| drop(theirs.send_to(&[expected + more, 7], to).unwrap()));
            for _ in 0..waiting {
                let got = receive(&ours, &mut second, &mut buffer).await.unwrap();
                assert_eq!((got, buffer[0]), ((2, from), expected));
                expected += 1;
            }
            let more = receive(&ours, &mut second, &mut buffer);
            assert!(timeout(Duration::from_millis(1), more).await.is_err(), "nothing more was sent");
        }
    }
}
