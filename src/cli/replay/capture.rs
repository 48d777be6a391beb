//! Packet captures: classic pcap and pcapng, of Ethernet (with VLAN tags), raw IP and Linux's
//! "any" interface. What is not UDP or TCP over IPv4 or IPv6 is passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::Mac;

/// One packet that may say something to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Microseconds since 1970.
    pub at: u64,
    pub protocol: Protocol,
    /// The card that sent the frame, where the capture tells.
    pub hardware: Option<Mac>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    #[error("this is no capture: pcap and pcapng begin otherwise")]
    Unknown,
    #[error("the capture is damaged at byte {0}")]
    Damaged(usize),
    #[error(
        "packets of link type {0} can't be read; Ethernet (1), raw IP (101, 228) and Linux's \
         cooked ones (113, 276) can"
    )]
    Link(u32),
}

/// The packets of a capture. A last packet that was cut off is left out: captures are copied
/// while tcpdump runs.
pub fn read(file: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    let start: [u8; 4] =
        file.get(..4).and_then(|bytes| bytes.try_into().ok()).ok_or(CaptureError::Unknown)?;
    match u32::from_le_bytes(start) {
        0xa1b2_c3d4 => classic(file, false, 1),
        0xa1b2_3c4d => classic(file, false, 1000),
        0xd4c3_b2a1 => classic(file, true, 1),
        0x4d3c_b2a1 => classic(file, true, 1000),
        0x0a0d_0d0a => blocks(file),
        _ => Err(CaptureError::Unknown),
    }
}

fn word(bytes: &[u8], at: usize, swapped: bool) -> Option<u32> {
    let word: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if swapped { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

/// `parts`: fractions of a microsecond that time stamps count.
fn classic(file: &[u8], swapped: bool, parts: u64) -> Result<Vec<Packet>, CaptureError> {
    let link = word(file, 20, swapped).ok_or(CaptureError::Damaged(0))? & 0x0fff_ffff;
    known(link)?;
    let mut packets = Vec::new();
    let mut at = 24;
    while let (Some(seconds), Some(fraction), Some(length)) =
        (word(file, at, swapped), word(file, at + 4, swapped), word(file, at + 8, swapped))
    {
        let begin = at + 16;
        let Some(frame) = file.get(begin..begin + length as usize) else { break };
        packets.extend(packet(link, frame, u64::from(seconds) * 1_000_000 + u64::from(fraction) / parts));
        at = begin + length as usize;
    }
    Ok(packets)
}

/// One interface of a pcapng section: its link type, and how many time units make a second.
struct Interface {
    link: u32,
    units: u64,
}

fn blocks(file: &[u8]) -> Result<Vec<Packet>, CaptureError> {
    let mut packets = Vec::new();
    let mut interfaces: Vec<Interface> = Vec::new();
    let (mut at, mut swapped) = (0, false);
    while let Some(kind) = word(file, at, swapped) {
        if kind == 0x0a0d_0d0a {
            swapped = word(file, at + 8, false) == Some(0x4d3c_2b1a);
            interfaces.clear();
        }
        let Some(length) = word(file, at + 4, swapped).map(|length| length as usize) else { break };
        if length < 12 || length % 4 != 0 {
            return Err(CaptureError::Damaged(at));
        }
        let Some(body) = file.get(at + 8..at + length - 4) else { break };
        match kind {
            1 => interfaces.push(interface(body, swapped).ok_or(CaptureError::Damaged(at))?),
            6 => packets.extend(enhanced(body, swapped, &interfaces).ok_or(CaptureError::Damaged(at))?),
            3 => {
                let link = interfaces.first().ok_or(CaptureError::Damaged(at))?.link;
                known(link)?;
                packets.extend(packet(link, body.get(4..).unwrap_or_default(), 0));
            }
            _ => {}
        }
        if let Some(interface) = interfaces.last() {
            known(interface.link)?;
        }
        at += length;
    }
    Ok(packets)
}

fn interface(body: &[u8], swapped: bool) -> Option<Interface> {
    let head = word(body, 0, swapped)?;
    let link = if swapped { head >> 16 } else { head & 0xffff };
    let mut units = 1_000_000;
    let mut at = 8;
    // Options are a code and a length of 16 bits each; 9 is if_tsresol.
    while let Some(head) = word(body, at, swapped) {
        let (code, length) = if swapped { (head >> 16, head & 0xffff) } else { (head & 0xffff, head >> 16) };
        if code == 0 {
            break;
        }
        if code == 9 {
            let resolution = *body.get(at + 4)?;
            units = match resolution & 0x80 {
                0 => 10u64.checked_pow(u32::from(resolution))?,
                _ => 1u64.checked_shl(u32::from(resolution & 0x7f))?,
            };
        }
        at += 4 + (length as usize).div_ceil(4) * 4;
    }
    Some(Interface { link, units: units.max(1) })
}

/// `None` for a damaged block, `Some(None)` for a packet that is passed over.
fn enhanced(body: &[u8], swapped: bool, interfaces: &[Interface]) -> Option<Option<Packet>> {
    let interface = interfaces.get(word(body, 0, swapped)? as usize)?;
    let stamp = u64::from(word(body, 4, swapped)?) << 32 | u64::from(word(body, 8, swapped)?);
    let micros = u128::from(stamp) * 1_000_000 / u128::from(interface.units);
    let length = word(body, 12, swapped)? as usize;
    let frame = body.get(20..20 + length)?;
    Some(packet(interface.link, frame, u64::try_from(micros).ok()?))
}

fn known(link: u32) -> Result<(), CaptureError> {
    match link {
        1 | 101 | 113 | 228 | 276 => Ok(()),
        other => Err(CaptureError::Link(other)),
    }
}

fn packet(link: u32, frame: &[u8], at: u64) -> Option<Packet> {
    let card = |at: usize| Mac::new(frame.get(at..at + 6)?.try_into().ok()?).ok();
    let (begin, kind, hardware) = match link {
        1 => {
            let mut at = 12;
            while matches!(short(frame, at)?, 0x8100 | 0x88a8) {
                at += 4;
            }
            (at + 2, short(frame, at)?, card(6))
        }
        113 => (16, short(frame, 14)?, card(6)),
        276 => (20, short(frame, 0)?, card(12)),
        _ => (0, if frame.first()? >> 4 == 6 { IPV6 } else { IPV4 }, None),
    };
    let packet = frame.get(begin..)?;
    let Network { source, destination, protocol, body } = match kind {
        IPV4 => ipv4(packet)?,
        IPV6 => ipv6(packet)?,
        _ => return None,
    };
    let (protocol, skip) = match protocol {
        17 => (Protocol::Udp, 8),
        6 => (Protocol::Tcp, usize::from(*body.get(12)? >> 4) * 4),
        _ => return None,
    };
    Some(Packet {
        at,
        protocol,
        hardware,
        source: SocketAddr::new(source, short(body, 0)?),
        destination: SocketAddr::new(destination, short(body, 2)?),
        payload: body.get(skip..)?.to_vec(),
    })
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A packet without its own header.
struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    body: &'a [u8],
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn ipv4(packet: &[u8]) -> Option<Network<'_>> {
    let first = *packet.first()?;
    let header = usize::from(first & 15) * 4;
    // Later fragments have no ports.
    if first >> 4 != 4 || header < 20 || short(packet, 6)? & 0x1fff != 0 {
        return None;
    }
    let total = usize::from(short(packet, 2)?);
    // Some cards report packets that they cut themselves with length 0.
    let packet = if total == 0 { packet } else { packet.get(..total).unwrap_or(packet) };
    let address = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(octets)))
    };
    let (source, destination) = (address(12)?, address(16)?);
    Some(Network { source, destination, protocol: *packet.get(9)?, body: packet.get(header..)? })
}

/// Extension headers are passed over with the packet: no boot client sends any.
fn ipv6(packet: &[u8]) -> Option<Network<'_>> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let length = usize::from(short(packet, 4)?);
    let body = packet.get(40..)?;
    let address = |at: usize| {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let (source, destination) = (address(8)?, address(24)?);
    Some(Network { source, destination, protocol: *packet.get(6)?, body: body.get(..length).unwrap_or(body) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::raw;

    fn ip(payload: &[u8]) -> Vec<u8> {
        raw::packet("10.0.0.2:68".parse().unwrap(), "10.0.0.1:67".parse().unwrap(), payload).unwrap()
    }

    fn classic_file(link: u32, frame: &[u8]) -> Vec<u8> {
        let mut file = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        file.extend([2, 0, 4, 0]);
        file.extend([0; 8]);
        file.extend(65535u32.to_le_bytes());
        file.extend(link.to_le_bytes());
        for number in [7, 5, frame.len() as u32, frame.len() as u32] {
            file.extend(u32::to_le_bytes(number));
        }
        file.extend(frame);
        file
    }

    fn pcapng(link: u16, frame: &[u8]) -> Vec<u8> {
        let block = |kind: u32, body: &[u8]| {
            let length = (12 + body.len().div_ceil(4) * 4) as u32;
            let mut block = [kind.to_be_bytes(), length.to_be_bytes()].concat();
            block.extend(body);
            block.resize(length as usize - 4, 0);
            block.extend(length.to_be_bytes());
            block
        };
        let section =
            block(0x0a0d_0d0a, &[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        let mut interface = link.to_be_bytes().to_vec();
        interface.extend([0, 0, 0, 0, 255, 255, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0]);
        let mut enhanced = [0, 0, 0, 0].to_vec();
        enhanced.extend(7_000_005_000u64.to_be_bytes());
        enhanced.extend((frame.len() as u32).to_be_bytes().repeat(2));
        enhanced.extend(frame);
        [section, block(1, &interface), block(6, &enhanced)].concat()
    }

    #[test]
    fn every_kind_of_capture_says_the_same() {
        let ip = ip(b"hello");
        let ethernet = [&[0; 12][..], &[8, 0], &ip].concat();
        let vlan = [&[0; 12][..], &[0x81, 0, 0, 20, 8, 0], &ip].concat();
        let cooked = [&[0; 14][..], &[8, 0], &ip].concat();
        let cooked2 = [&[8, 0][..], &[0; 18], &ip].concat();
        for (link, frame) in
            [(1, &ethernet), (1, &vlan), (101, &ip), (228, &ip), (113, &cooked), (276, &cooked2)]
        {
            for file in [classic_file(link, frame), pcapng(link as u16, frame)] {
                let packets = read(&file).unwrap();
                assert_eq!(packets.len(), 1, "link type {link}");
                assert_eq!((packets[0].at, packets[0].payload.as_slice()), (7_000_005, &b"hello"[..]));
                assert_eq!(packets[0].destination.port(), 67);
            }
        }
    }

    #[test]
    fn packets_of_ipv6_tell_their_card() {
        let mut ip = vec![0x60, 0, 0, 0, 0, 13, 17, 1];
        ip.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        ip.extend("ff02::1:2".parse::<Ipv6Addr>().unwrap().octets());
        ip.extend([2, 34, 2, 35, 0, 13, 0, 0]);
        ip.extend(b"hello, and a trailer");
        let frame = [&[0x33, 0x33, 0, 1, 0, 2, 0x52, 0x54, 0, 0, 0, 1, 0x86, 0xdd][..], &ip].concat();
        let packets = read(&classic_file(1, &frame)).unwrap();
        let packet = &packets[0];
        assert_eq!(packet.hardware.unwrap().to_string(), "52:54:00:00:00:01");
        assert_eq!(packet.source, "[fe80::1]:546".parse().unwrap());
        assert_eq!(packet.destination, "[ff02::1:2]:547".parse().unwrap());
        assert_eq!(packet.payload, b"hello");
        assert_eq!(read(&classic_file(101, &ip)).unwrap()[0].payload, b"hello");
    }

    #[test]
    fn what_is_none_is_said_and_nothing_breaks() {
        assert_eq!(read(b""), Err(CaptureError::Unknown));
        assert_eq!(read(b"#!ipxe\n"), Err(CaptureError::Unknown));
        let ethernet = [&[0; 12][..], &[8, 0], &ip(b"hello")].concat();
        assert_eq!(read(&classic_file(147, &ethernet)), Err(CaptureError::Link(147)));
        for file in [classic_file(1, &ethernet), pcapng(1, &ethernet)] {
            for length in 0..file.len() {
                let _ = read(&file[..length]);
            }
            for at in 0..file.len() {
                let mut damaged = file.clone();
                damaged[at] ^= 0xff;
                let _ = read(&damaged);
            }
        }
    }
}
