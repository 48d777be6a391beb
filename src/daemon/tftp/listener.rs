//! The socket requests arrive at. It learns at which of the host's addresses each was sent, because
//! clients drop a reply that comes from another one.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Longest request read, in bytes; RFC 2347 allows 512.
const MAX_REQUEST: usize = 1500;
/// Wanted room for requests that wait, in bytes: a rack that powers on asks all at once.
const RECEIVE_BUFFER: usize = 4 << 20;

pub struct Listener {
    socket: UdpSocket,
}

/// A datagram, where it came from and where it was sent to.
pub struct Received {
    pub datagram: Vec<u8>,
    pub peer: SocketAddrV4,
    pub local: Ipv4Addr,
}

impl Listener {
    pub fn bind(address: SocketAddrV4) -> io::Result<Listener> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        socket.bind(&address.into())?;
        Ok(Listener { socket: UdpSocket::from_std(socket.into())? })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddrV4> {
        match self.socket.local_addr()? {
            std::net::SocketAddr::V4(address) => Ok(address),
            std::net::SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The next datagram. Safe to cancel.
    pub async fn receive(&self) -> io::Result<Received> {
        self.socket.async_io(Interest::READABLE, || receive(&self.socket)).await
    }
}

impl Listener {
    /// Sends `bytes` from `local`, at once or not at all; with `segment`, as packets of so many bytes
    /// each but the last.
    pub fn try_send(
        &self,
        local: Ipv4Addr,
        peer: SocketAddrV4,
        bytes: &[u8],
        segment: Option<u16>,
    ) -> io::Result<()> {
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(local).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let mut control = vec![ControlMessage::Ipv4PacketInfo(&source)];
        control.extend(segment.as_ref().map(ControlMessage::UdpGsoSegments));
        let send = || {
            let (peer, parts) = (SockaddrIn::from(peer), [IoSlice::new(bytes)]);
            let sent =
                sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&peer));
            Ok(sent.map(drop)?)
        };
        self.socket.try_io(Interest::WRITABLE, send)
    }

    /// Waits until the kernel may have room for what [`Listener::try_send`] could not send.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }
}

fn receive(socket: &UdpSocket) -> io::Result<Received> {
    let mut buffer = [0; MAX_REQUEST];
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let length = message.bytes;
    let peer = message.address.map(SocketAddrV4::from).ok_or(io::ErrorKind::InvalidData)?;
    // For a broadcast this is the address of the interface it came in by.
    let local = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)))
        }
        _ => None,
    });
    let local = local.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Received { datagram: buffer[..length].to_vec(), peer, local })
}
