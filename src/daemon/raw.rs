//! UDP datagrams to a hardware address: the way to a client that has no address yet and so
//! can't answer ARP (RFC 2131 section 4.1). Needs CAP_NET_RAW.

use std::io;
use std::mem::size_of;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};

use crate::model::datagram::{UDP, packet};

/// A socket that only sends: the kernel writes the Ethernet header, this module those of IP and UDP.
#[derive(Debug)]
pub struct RawSender {
    socket: OwnedFd,
}

impl RawSender {
    /// Fails with `PermissionDenied` without CAP_NET_RAW.
    pub fn open() -> io::Result<RawSender> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Protocol 0: nothing is ever received.
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        Ok(RawSender { socket })
    }

    /// Sends `payload` out of the interface with this index to the card with this address.
    pub fn send(
        &self,
        index: u32,
        hardware: [u8; 6],
        source: SocketAddrV4,
        destination: SocketAddrV4,
        payload: &[u8],
    ) -> io::Result<()> {
        let packet = packet(source, destination, payload)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "longer than an IP packet"))?;
        sendto(self.socket.as_raw_fd(), &packet, &link_address(index, hardware), MsgFlags::empty())?;
        Ok(())
    }
}

impl AsFd for RawSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

pub(super) fn link_address(index: u32, hardware: [u8; 6]) -> LinkAddr {
    link_address_of(index, hardware, libc::ETH_P_IP as u16)
}

/// The same for another protocol than IPv4.
pub(crate) fn link_address_of(index: u32, hardware: [u8; 6], protocol: u16) -> LinkAddr {
    let raw = link_address_raw(index, hardware, protocol);
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `raw` is a whole sockaddr_ll with its family set, and outlives the call, which
    // copies it.
    unsafe { LinkAddr::from_raw((&raw const raw).cast(), Some(length)) }
        .expect("a sockaddr_ll is a link address")
}

/// The same as the kernel takes it.
pub(super) fn link_address_raw(index: u32, hardware: [u8; 6], protocol: u16) -> libc::sockaddr_ll {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&hardware);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    }
}

/// A step of a program that says which packets a socket gets (classic BPF).
pub(crate) type Instruction = libc::sock_filter;

pub(crate) const RETURN_NOTHING: Instruction = step(0x06, 0, 0, 0);

/// Code, steps to skip if true and if not, operand: as `linux/bpf_common.h` names them.
pub(crate) const fn step(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Whole UDP datagrams over IPv4 to `port`, of which `longest` bytes are kept.
pub(super) const fn udp_to(port: u16, longest: u32) -> [Instruction; 9] {
    [
        step(0x30, 0, 0, 9),
        step(0x15, 0, 6, UDP as u32),
        step(0x28, 0, 0, 6),
        step(0x45, 4, 0, 0x1fff),
        step(0xb1, 0, 0, 0),
        step(0x48, 0, 0, 2),
        step(0x15, 0, 1, port as u32),
        step(0x06, 0, 0, longest),
        RETURN_NOTHING,
    ]
}

/// Lets only those packets through to the socket that the program returns.
pub(crate) fn filter(socket: &impl AsRawFd, program: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the kernel copies the program, which outlives the call and is as long as said.
    let done = unsafe {
        let value = (&raw const program).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
