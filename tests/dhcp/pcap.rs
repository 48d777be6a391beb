//! Classic pcap files of Ethernet, as tcpdump writes them: the UDP datagrams in them.

use std::net::{Ipv4Addr, SocketAddrV4};

pub(crate) struct Datagram {
    /// Milliseconds since the first frame of the file.
    pub at: u64,
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    pub payload: Vec<u8>,
}

pub(crate) fn read(file: &[u8]) -> Vec<Datagram> {
    assert_eq!(file[..4], 0xa1b2c3d4u32.to_le_bytes(), "little-endian pcap in microseconds");
    assert_eq!(word(file, 20), 1, "Ethernet");
    let mut datagrams = Vec::new();
    let (mut at, mut start) = (24, None);
    while at < file.len() {
        let now = u64::from(word(file, at)) * 1000 + u64::from(word(file, at + 4)) / 1000;
        let length = word(file, at + 8) as usize;
        let frame = &file[at + 16..at + 16 + length];
        at += 16 + length;
        let first = *start.get_or_insert(now);
        datagrams.extend(udp(frame, now - first));
    }
    datagrams
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn udp(frame: &[u8], at: u64) -> Option<Datagram> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let header = usize::from(ip[0] & 15) * 4;
    let udp = ip.get(header..).filter(|udp| ip[9] == 17 && udp.len() >= 8)?;
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    Some(Datagram {
        at,
        source: SocketAddrV4::new(address(12), port(0)),
        destination: SocketAddrV4::new(address(16), port(2)),
        payload: udp[8..usize::from(port(4)).min(udp.len())].to_vec(),
    })
}
