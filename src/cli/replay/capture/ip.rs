//! IPv4 and IPv6 packets without their own headers, reassembled from fragments.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{IPV4, IPV6, short};

/// Most fragmented packets that are kept at once.
const OPEN_MAX: usize = 1024;
/// The largest packet (RFC 791 section 3.1).
const LARGEST: usize = 0xffff;

/// A packet without its own header.
pub(super) struct Network<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub body: Cow<'a, [u8]>,
    /// Bytes at its end that the capture does not hold.
    pub missing: usize,
    fragment: Option<Fragment>,
}

/// Which part of a packet this is.
#[derive(Clone, Copy)]
struct Fragment {
    id: u32,
    offset: usize,
    more: bool,
}

/// What distinguishes the fragments of one packet from others (RFC 791 section 3.2, RFC 8200 section 4.5).
type Key = (IpAddr, IpAddr, u32, u8);

/// Fragments that wait for the rest of their packets.
#[derive(Default)]
pub(super) struct Fragments {
    open: BTreeMap<Key, Parts>,
    /// Packets that were dropped.
    lost: usize,
}

#[derive(Default)]
struct Parts {
    by_offset: BTreeMap<usize, Vec<u8>>,
    /// How long the whole is, once its last part is there.
    length: Option<usize>,
}

impl Fragments {
    /// The packet itself, or the one that this was the last missing part of.
    pub(super) fn whole<'a>(&mut self, network: Network<'a>) -> Option<Network<'a>> {
        let Some(Fragment { id, offset, more }) = network.fragment else { return Some(network) };
        let Network { source, destination, protocol, ref body, missing, .. } = network;
        if self.open.len() >= OPEN_MAX {
            self.lost += self.open.len();
            self.open.clear();
        }
        let key = (source, destination, id, protocol);
        let parts = self.open.entry(key).or_default();
        // Of a part that the capture cut there is nothing to put together.
        if missing == 0 && offset + body.len() <= LARGEST {
            if !more {
                parts.length = Some(offset + body.len());
            }
            parts.by_offset.entry(offset).or_insert_with(|| body.to_vec());
        }
        let body = parts.together()?;
        self.open.remove(&key);
        Some(Network { body: Cow::Owned(body), fragment: None, ..network })
    }

    /// Packets of which parts are missing.
    pub(super) fn unfinished(&self) -> usize {
        self.open.len() + self.lost
    }
}

impl Parts {
    fn together(&self) -> Option<Vec<u8>> {
        let length = self.length?;
        let mut whole = Vec::new();
        for (offset, part) in &self.by_offset {
            // Parts may overlap, but leave no gap.
            let new = part.get(whole.len().checked_sub(*offset)?..);
            whole.extend_from_slice(new.unwrap_or_default());
        }
        (whole.len() >= length).then(|| {
            whole.truncate(length);
            whole
        })
    }
}

/// The packet of a frame of type `kind`; `None` for what is no IP.
pub(super) fn read(kind: u16, packet: &[u8]) -> Option<Network<'_>> {
    match kind {
        IPV4 => ipv4(packet),
        IPV6 => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Network<'_>> {
    let first = *packet.first()?;
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    let (total, flags) = (usize::from(short(packet, 2)?), short(packet, 6)?);
    let missing = total.saturating_sub(packet.len());
    // Some cards report packets that they cut themselves with length 0.
    let packet = if total == 0 { packet } else { packet.get(..total).unwrap_or(packet) };
    let address = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(octets)))
    };
    let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let id = u32::from(short(packet, 4)?);
    let fragment = (offset > 0 || more).then_some(Fragment { id, offset, more });
    let (source, destination) = (address(12)?, address(16)?);
    let body = Cow::Borrowed(packet.get(header..)?);
    Some(Network { source, destination, protocol: *packet.get(9)?, body, missing, fragment })
}

/// Extension headers (RFC 8200 section 4) are passed over, but for the one of a fragment.
fn ipv6(packet: &[u8]) -> Option<Network<'_>> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let length = usize::from(short(packet, 4)?);
    let body = packet.get(40..)?;
    let missing = length.saturating_sub(body.len());
    let mut body = body.get(..length).unwrap_or(body);
    let address = |at: usize| {
        let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let (source, destination) = (address(8)?, address(24)?);
    let mut protocol = *packet.get(6)?;
    let mut fragment = None;
    loop {
        let next = *match protocol {
            // Hop by hop, routing, destination options: their length in eights of bytes after the first.
            0 | 43 | 60 => {
                let next = body.first()?;
                body = body.get((usize::from(*body.get(1)?) + 1) * 8..)?;
                next
            }
            44 => {
                let (next, place) = (body.first()?, short(body, 2)?);
                let id = u32::from(short(body, 4)?) << 16 | u32::from(short(body, 6)?);
                let (offset, more) = (usize::from(place & 0xfff8), place & 1 == 1);
                fragment = (offset > 0 || more).then_some(Fragment { id, offset, more });
                body = body.get(8..)?;
                // What follows in a later fragment is no header.
                if offset > 0 {
                    protocol = *next;
                    break;
                }
                next
            }
            _ => break,
        };
        protocol = next;
    }
    Some(Network { source, destination, protocol, body: Cow::Borrowed(body), missing, fragment })
}
