//! DHCP messages of a card that has no address yet: packets to and from the card itself (packet(7)).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socket};

use crate::model::datagram::{datagram, packet};

const CLIENT: u16 = 68;
const SERVER: u16 = 67;

/// The packets of one card.
#[derive(Debug)]
pub(super) struct Packets {
    socket: OwnedFd,
    index: u32,
}

impl Packets {
    /// Listens at the card with this index.
    pub(super) fn open(index: u32) -> io::Result<Packets> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let packets =
            Packets { socket: socket(AddressFamily::Packet, SockType::Datagram, flags, None)?, index };
        let address = packets.everybody();
        // SAFETY: the address is whole and lives across the call, and its size is said right.
        let result = unsafe { libc::bind(packets.socket.as_raw_fd(), (&raw const address).cast(), SIZE) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(packets) }
    }

    /// Sends to all servers. `own` is the address in use, if any.
    pub(super) fn broadcast(&self, own: Option<Ipv4Addr>, payload: &[u8]) -> io::Result<()> {
        let source = SocketAddrV4::new(own.unwrap_or(Ipv4Addr::UNSPECIFIED), CLIENT);
        let packet = packet(source, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER), payload)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let address = self.everybody();
        // SAFETY: packet and address live across the call, and their sizes are said right.
        let sent = unsafe {
            let bytes = packet.as_ptr().cast();
            libc::sendto(self.socket.as_raw_fd(), bytes, packet.len(), 0, (&raw const address).cast(), SIZE)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// What a server sent to the client's port, if something waits.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            if let Some((source, destination, payload)) = datagram(&buffer[..length])
                && (source.port(), destination.port()) == (SERVER, CLIENT)
            {
                return Some(payload.to_vec());
            }
        }
        None
    }

    /// Everybody on the card's network, for IPv4.
    fn everybody(&self) -> libc::sockaddr_ll {
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_IP as u16).to_be(),
            sll_ifindex: self.index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [255, 255, 255, 255, 255, 255, 0, 0],
        }
    }
}

const SIZE: libc::socklen_t = std::mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
