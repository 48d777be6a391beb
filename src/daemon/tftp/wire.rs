//! The socket of one transfer: one of its own, or the one that listens.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, getsockopt, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tracing::debug;

use super::listener::Listener;
use crate::daemon::body::Body;
use crate::daemon::is_passing;
use crate::proto::tftp::{ErrorCode, Run, packet};

/// Bytes of the header in front of each block.
const HEADER: usize = 4;
/// Most bytes and blocks the kernel takes in one call.
const MAX_SEND: usize = 65_507;
const MAX_SEGMENTS: usize = 64;
/// Ethernet's, in bytes, where the kernel does not know better.
const USUAL_MTU: u16 = 1500;
/// Bytes that a header of IPv6 has more than one of IPv4.
const LONGER_HEADER: u16 = 20;

thread_local! {
    /// Blocks on their way into the kernel. One for each thread is enough, because nothing waits
    /// while it is in use; one for each of thousands of transfers would be a hundred megabytes.
    static BLOCKS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// A socket that sends nothing, and what it is bound to: the kernel says by it how long packets to a client may
    /// be. A new one for each transfer would cost as much as a block.
    static PROBE: RefCell<Option<(SocketAddr, UdpSocket)>> = const { RefCell::new(None) };
}

pub(super) struct Wire {
    via: Via,
    local: IpAddr,
    peer: SocketAddr,
    /// The kernel cuts one long send into blocks.
    segments: bool,
}

enum Via {
    /// Bound to the address the request was sent to, at a port of its own.
    ///
    /// It is not connected: packets from another port than the client's must be answered with
    /// error 5 (RFC 1350 section 4), which a connected socket would never see.
    ///
    /// It is watched for packets alone. Whoever takes a block out of his queue makes room in ours, and
    /// to be told of that is a second wake-up for each block.
    Own(AsyncFd<UdpSocket>),
    /// The listening socket, for networks where only its port gets through; its reader passes on what this
    /// client sends.
    Shared(Arc<Listener>, mpsc::Receiver<Vec<u8>>),
}

impl Wire {
    pub(super) fn open(local: IpAddr, peer: SocketAddr) -> io::Result<Wire> {
        let socket = UdpSocket::bind(from(local, peer))?;
        socket.set_nonblocking(true)?;
        // Without it, an unconnected socket gets no error when the client's port is closed.
        match local {
            IpAddr::V4(_) => {
                setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
                may_be_cut(&socket, false)?;
            }
            IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        let socket = watched(socket, Interest::READABLE | Interest::ERROR)?;
        Ok(Wire { via: Via::Own(socket), local, peer, segments: false })
    }

    pub(super) fn share(
        listener: Arc<Listener>,
        inbox: mpsc::Receiver<Vec<u8>>,
        local: IpAddr,
        peer: SocketAddr,
    ) -> Wire {
        Wire { via: Via::Shared(listener, inbox), local, peer, segments: false }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn local(&self) -> IpAddr {
        self.local
    }

    /// Longest packet that reaches the client in one piece, as far as the kernel knows, in bytes.
    pub(super) fn mtu(&self) -> u16 {
        let mtu = path_mtu(from(self.local, self.peer), self.peer)
            .map_or(USUAL_MTU, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
        // The header of IPv6 is that much longer, and the blocks are counted for IPv4's.
        if self.local.is_ipv6() { mtu.saturating_sub(LONGER_HEADER) } else { mtu }
    }

    /// Lets the kernel cut long sends into blocks, if it can: one call for a window.
    pub(super) fn expect_windows(&mut self) {
        self.segments = true;
    }

    /// The next packet from the client; its length in `buffer`. Safe to cancel.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let received = match &mut self.via {
                Via::Own(socket) => {
                    // News of a closed port counts as an error, not as something to read.
                    let interest = Interest::READABLE | Interest::ERROR;
                    socket.async_io(interest, |socket| socket.recv_from(buffer)).await
                }
                Via::Shared(_, inbox) => {
                    let packet = inbox.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
                    let length = packet.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&packet[..length]);
                    return Ok(length);
                }
            };
            match received {
                Ok((length, from)) if from == self.peer => return Ok(length),
                Ok((_, from)) => self.reject(from, buffer),
                // A router could not forward the packet: it is repeated after a time-out.
                Err(error) if is_too_long(&error) => {
                    if let Via::Own(socket) = &self.via {
                        let _ = may_be_cut(socket, true);
                    }
                }
                Err(error) => self.survive(error)?,
            }
        }
    }

    /// Waits for the next packet: the client has had its turn. A packet that came together with the last
    /// one stays where [`Wire::missed`] finds it.
    pub(super) fn wait(&self) {
        if let Via::Own(socket) = &self.via {
            let _ = socket
                .try_io(Interest::READABLE, |_| io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// A packet from the client that no wake-up announced; returns its length in `buffer`.
    pub(super) fn missed(&self, buffer: &mut [u8]) -> Option<usize> {
        let Via::Own(socket) = &self.via else { return None };
        let (length, from) = socket.get_ref().recv_from(buffer).ok()?;
        if from == self.peer {
            return Some(length);
        }
        self.reject(from, buffer);
        None
    }

    /// Sends one packet.
    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        loop {
            match self.try_send(packet, None) {
                Ok(()) => return Ok(()),
                Err(error) if is_lost(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => self.survive(error)?,
            }
        }
    }

    /// One packet, or several if `segment` says how long each is.
    fn try_send(&self, bytes: &[u8], segment: Option<u16>) -> io::Result<()> {
        match &self.via {
            Via::Own(socket) => {
                let socket = socket.get_ref();
                let send = || match segment {
                    None => socket.send_to(bytes, self.peer).map(drop),
                    Some(segment) => send_segments(socket, bytes, segment, self.peer),
                };
                match send() {
                    // The way has become narrower than the packet.
                    Err(error) if is_too_long(&error) && may_be_cut(socket, true).is_ok() => send(),
                    sent => sent,
                }
            }
            Via::Shared(listener, _) => listener.try_send(self.local, self.peer, bytes, segment),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match &self.via {
            Via::Own(socket) => {
                let socket = watched(socket.get_ref().try_clone()?, Interest::WRITABLE)?;
                socket.writable().await.map(drop)
            }
            Via::Shared(listener, _) => listener.writable().await,
        }
    }

    /// Ends the transfer with an error, without waiting.
    pub(super) fn refuse(&self, code: ErrorCode, text: &str) {
        self.send_error(self.peer, code, text);
    }

    fn send_error(&self, to: SocketAddr, code: ErrorCode, text: &str) {
        let packet = packet::error(code, text);
        let sent = match &self.via {
            Via::Own(socket) => socket.get_ref().send_to(&packet, to).map(drop),
            Via::Shared(listener, _) => listener.try_send(self.local, to, &packet, None),
        };
        if let Err(error) = sent {
            debug!(%to, %error, "TFTP: an error packet could not be sent");
        }
    }

    /// Sends every block of `run`, of `block` bytes each but the last.
    pub(super) async fn send_blocks(&mut self, body: &Body, run: Run, block: u16) -> io::Result<()> {
        let mut rest = run;
        while rest.count > 0 {
            match self.try_send_blocks(body, rest, block) {
                Ok(sent) => rest = after(rest, sent, block),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => self.survive(error)?,
            }
        }
        Ok(())
    }

    /// Sends as many blocks as go in one step; at least one, or an error.
    fn try_send_blocks(&mut self, body: &Body, run: Run, block: u16) -> io::Result<u16> {
        let stride = usize::from(block) + HEADER;
        let count = usize::from(run.count).min(MAX_SEND / stride).clamp(1, MAX_SEGMENTS);
        BLOCKS.with_borrow_mut(|bytes| {
            bytes.resize(count * HEADER + run.length.min(count * usize::from(block)), 0);
            lay_out(bytes, body, run, stride)?;
            if self.segments && count > 1 {
                match self.try_send(bytes, Some(block + HEADER as u16)) {
                    Ok(()) => return Ok(count as u16),
                    Err(error) if is_lost(&error) => return Ok(count as u16),
                    Err(error) if !cannot_segment(&error) => return Err(error),
                    Err(_) => self.segments = false,
                }
            }
            self.send_singly(bytes, stride)
        })
    }

    fn send_singly(&self, bytes: &[u8], stride: usize) -> io::Result<u16> {
        let mut sent = 0;
        for packet in bytes.chunks(stride) {
            match self.try_send(packet, None) {
                Ok(()) => sent += 1,
                Err(error) if is_lost(&error) => sent += 1,
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Answers a packet from a port that has no part in this transfer with an error. Errors are never
    /// answered, or two servers could go on for ever.
    fn reject(&self, from: SocketAddr, buffer: &[u8]) {
        if buffer.starts_with(&[0, 5]) {
            return;
        }
        debug!(peer = %self.peer, %from, "TFTP: a packet from a stranger to the transfer");
        self.send_error(from, ErrorCode::UnknownTransfer, "unknown transfer");
    }

    /// Passes on errors that end the transfer. A closed port counts only if it is the client's: it
    /// may also be that of a stranger we rejected. An interface that is down, or a way that is gone for a
    /// moment, ends nothing: time-outs see to those who never come back.
    fn survive(&self, error: io::Error) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused if !self.peer_is_gone() => Ok(()),
            io::ErrorKind::ConnectionRefused => Err(error),
            _ if is_passing(&error) => Ok(()),
            _ => Err(error),
        }
    }

    /// Reads all the kernel has kept about packets that did not arrive.
    fn peer_is_gone(&self) -> bool {
        let Via::Own(socket) = &self.via else { return false };
        let mut gone = false;
        let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
        let mut packet = [0; 64];
        loop {
            let mut slices = [IoSliceMut::new(&mut packet)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let message =
                recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags);
            let Ok(message) = message else { return gone };
            let to_peer = message.address.as_ref().and_then(socket_address) == Some(self.peer);
            let refused = message.cmsgs().into_iter().flatten().any(|control| {
                matches!(control, ControlMessageOwned::Ipv4RecvErr(error, _)
                    | ControlMessageOwned::Ipv6RecvErr(error, _)
                    if error.ee_errno == libc::ECONNREFUSED as u32)
            });
            gone |= to_peer && refused;
        }
    }
}

/// Whether routers, and the kernel, may cut what leaves by an IPv4 socket. What may not be cut needs no
/// number of its own (RFC 6864), and drawing those is a twentieth of what a block costs.
fn may_be_cut(socket: &impl AsRawFd, may: bool) -> io::Result<()> {
    let value: libc::c_int = if may { libc::IP_PMTUDISC_WANT } else { libc::IP_PMTUDISC_DO };
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value outlives the call and has the given length.
    let done = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value, length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Of the path from `local`, whose port is 0, to `peer`, in bytes, as far as the kernel knows.
fn path_mtu(local: SocketAddr, peer: SocketAddr) -> io::Result<i32> {
    PROBE.with_borrow_mut(|kept| {
        let socket = match kept.take() {
            Some((at, socket)) if at == local => socket,
            _ => UdpSocket::bind(local)?,
        };
        socket.connect(peer)?;
        let mtu = match local {
            SocketAddr::V4(_) => getsockopt(&socket, sockopt::IpMtu)?,
            SocketAddr::V6(_) => mtu_of_ipv6(&socket)?,
        };
        // After an error the next transfer begins with a new one.
        *kept = Some((local, socket));
        Ok(mtu)
    })
}

/// The path's, of a connected socket.
fn mtu_of_ipv6(socket: &UdpSocket) -> io::Result<i32> {
    let mut mtu: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to values that outlive the call and have the given lengths.
    let done = unsafe {
        let value = (&raw mut mtu).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU, value, &raw mut length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(mtu) }
}

/// Any port of `local`; a link-local address is one on the client's link.
fn from(local: IpAddr, peer: SocketAddr) -> SocketAddr {
    match (local, peer) {
        (IpAddr::V6(local), SocketAddr::V6(peer)) => SocketAddrV6::new(local, 0, 0, peer.scope_id()).into(),
        (local, _) => SocketAddr::new(local, 0),
    }
}

/// The address that the kernel reported.
pub(super) fn socket_address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|from| SocketAddr::V4((*from).into()));
    v4.or_else(|| from.as_sockaddr_in6().map(|from| SocketAddr::V6((*from).into())))
}

fn watched(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: the descriptor is the socket's own and stays open until the socket is dropped, which
    // `AsyncFd` does only after it has stopped to watch it.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

/// Said with each send, not once to the socket: an offer or an error is never to be cut.
fn send_segments(socket: &UdpSocket, bytes: &[u8], segment: u16, peer: SocketAddr) -> io::Result<()> {
    let (peer, parts) = (SockaddrStorage::from(peer), [IoSlice::new(bytes)]);
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let sent = sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&peer));
    Ok(sent.map(drop)?)
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Headers and data, packet after packet.
fn lay_out(bytes: &mut [u8], body: &Body, run: Run, stride: usize) -> io::Result<()> {
    let mut slices = Vec::with_capacity(MAX_SEGMENTS);
    for (packet, number) in bytes.chunks_mut(stride).zip(run.first..) {
        let (header, data) = packet.split_at_mut(HEADER);
        header.copy_from_slice(&packet::data_header(number));
        slices.push(IoSliceMut::new(data));
    }
    body.read(run.offset, &mut slices)
}

/// What is left of a run after its first blocks.
fn after(run: Run, sent: u16, block: u16) -> Run {
    let bytes = (usize::from(sent) * usize::from(block)).min(run.length);
    Run {
        first: run.first + u64::from(sent),
        count: run.count - sent,
        offset: run.offset + bytes as u64,
        length: run.length - bytes,
    }
}

/// The packet counts as lost on the way and is repeated after a time-out. A firewall that drops it gives
/// EPERM. A closed port, and a full queue, are other matters.
fn is_lost(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    let is_other = matches!(error.kind(), ConnectionRefused | Interrupted | WouldBlock);
    !is_other && (is_passing(error) || error.raw_os_error() == Some(libc::EPERM))
}

/// The interface, or a tunnel on the way, does not cut.
fn cannot_segment(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}
