//! UDP datagrams inside IPv4 packets, for sockets at which the kernel writes no such headers.

use std::net::{Ipv4Addr, SocketAddrV4};

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Of IP's protocol field.
pub const UDP: u8 = 17;

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
