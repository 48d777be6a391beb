//! UDP datagrams to a hardware address: the way to a client that has no address yet and so
//! can't answer ARP (RFC 2131 section 4.1). Needs CAP_NET_RAW.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

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

/// An IPv4 packet with a UDP datagram; `None` if it would be longer than IP can say.
pub fn packet(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Option<Vec<u8>> {
    let total = u16::try_from(IP_HEADER + UDP_HEADER + payload.len()).ok()?;
    let length = total - IP_HEADER as u16;
    let mut packet = Vec::with_capacity(usize::from(total));
    packet.extend_from_slice(&[0x45, 0]);
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
    packet.extend_from_slice(&source.ip().octets());
    packet.extend_from_slice(&destination.ip().octets());
    let header = !sum(0, &packet);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    packet.extend_from_slice(&source.port().to_be_bytes());
    packet.extend_from_slice(&destination.port().to_be_bytes());
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    let pseudo = u32::from(UDP) + u32::from(length);
    let checksum = match !sum(pseudo, &packet[12..]) {
        0 => 0xffff,
        checksum => checksum,
    };
    packet[26..28].copy_from_slice(&checksum.to_be_bytes());
    Some(packet)
}

/// The UDP datagram in an IPv4 packet: source, destination, payload.
pub fn datagram(packet: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4, &[u8])> {
    let header = usize::from(packet.first()? & 15) * 4;
    let (ip, udp) =
        packet.split_at_checked(header).filter(|(ip, _)| ip.len() >= IP_HEADER && ip[9] == UDP)?;
    let (head, _) = udp.split_at_checked(UDP_HEADER)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let payload = udp.get(UDP_HEADER..usize::from(word(4)))?;
    Some((SocketAddrV4::new(address(12), word(0)), SocketAddrV4::new(address(16), word(2)), payload))
}

/// Ones' complement sum of RFC 1071.
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut total = words.fold(start, |total, word| total + word);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_whole_and_their_sums_are_right() {
        let source: SocketAddrV4 = "10.0.0.1:67".parse().unwrap();
        let destination: SocketAddrV4 = "10.0.0.2:68".parse().unwrap();
        for payload in [&b"odd"[..], b"even", b""] {
            let packet = packet(source, destination, payload).unwrap();
            assert_eq!(sum(0, &packet[..20]), 0xffff);
            assert_eq!(sum(17 + u32::from(8 + payload.len() as u16), &packet[12..]), 0xffff);
            assert_eq!(datagram(&packet), Some((source, destination, payload)));
            assert_eq!(datagram(&packet[..packet.len() - 1]), None);
        }
        assert_eq!(packet(source, destination, &[0; 65_508]), None);
    }

    #[test]
    fn the_sum_is_that_of_rfc_1071() {
        assert_eq!(sum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    proptest::proptest! {
        #[test]
        fn no_packet_is_read_beyond_its_end(
            mut noise: Vec<u8>,
            flips: Vec<(proptest::sample::Index, u8)>,
            payload: Vec<u8>,
        ) {
            let (source, destination) = (SocketAddrV4::new([10, 0, 0, 1].into(), 67), SocketAddrV4::new([10, 0, 0, 2].into(), 68));
            let mut bent = packet(source, destination, &payload).unwrap();
            bent.append(&mut noise.clone());
            assert_eq!(datagram(&bent), Some((source, destination, &payload[..])), "what follows is no part of it");
            flips.iter().for_each(|(at, byte)| bent[at.index(28)] = *byte);
            noise.truncate(64);
            for bytes in [&bent, &noise] {
                assert!(datagram(bytes).is_none_or(|(_, _, payload)| payload.len() + 28 <= bytes.len()));
            }
        }
    }
}
