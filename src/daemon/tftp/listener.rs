//! The socket requests arrive at. It learns at which of the host's addresses each was sent, because
//! clients drop a reply that comes from another one.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::wire;
use crate::daemon::bind_early;

/// Longest request read, in bytes; RFC 2347 allows 512.
const MAX_REQUEST: usize = 1500;
/// Wanted room for requests that wait, in bytes: a rack that powers on asks all at once.
const RECEIVE_BUFFER: usize = 4 << 20;

pub(super) struct Listener {
    socket: UdpSocket,
}

/// A datagram, where it came from and where it was sent to.
pub(super) struct Received {
    pub datagram: Vec<u8>,
    pub peer: SocketAddr,
    pub local: IpAddr,
}

impl Listener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        bind_early(&socket, address)?;
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => {
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        }
        socket.bind(&address.into())?;
        Ok(Listener { socket: UdpSocket::from_std(socket.into())? })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next datagram. Safe to cancel.
    pub(super) async fn receive(&self) -> io::Result<Received> {
        self.socket.async_io(Interest::READABLE, || receive(&self.socket)).await
    }
}

impl Listener {
    /// Sends `bytes` from `local`, at once or not at all; with `segment`, as packets of so many bytes
    /// each but the last.
    pub(super) fn try_send(
        &self,
        local: IpAddr,
        peer: SocketAddr,
        bytes: &[u8],
        segment: Option<u16>,
    ) -> io::Result<()> {
        let source4 = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: local4(local).to_bits().to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let source6 = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: local6(local).octets() },
            ipi6_ifindex: 0,
        };
        let mut control = vec![match local {
            IpAddr::V4(_) => ControlMessage::Ipv4PacketInfo(&source4),
            IpAddr::V6(_) => ControlMessage::Ipv6PacketInfo(&source6),
        }];
        control.extend(segment.as_ref().map(ControlMessage::UdpGsoSegments));
        let send = || {
            let (peer, parts) = (SockaddrStorage::from(peer), [IoSlice::new(bytes)]);
            let sent =
                sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&peer));
            Ok(sent.map(drop)?)
        };
        self.socket.try_io(Interest::WRITABLE, send)
    }

    /// Waits until the kernel may have room for what [`Listener::try_send`] could not send.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }
}

fn local4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn local6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
        IpAddr::V6(address) => address,
    }
}

fn receive(socket: &UdpSocket) -> io::Result<Received> {
    let mut buffer = [0; MAX_REQUEST];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let length = message.bytes;
    let peer =
        message.address.and_then(|from| wire::socket_address(&from)).ok_or(io::ErrorKind::InvalidData)?;
    // For a broadcast this is the address of the interface it came in by.
    let local = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
        _ => None,
    });
    let local = local.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Received { datagram: buffer[..length].to_vec(), peer, local })
}
