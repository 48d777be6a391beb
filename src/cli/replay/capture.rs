//! Packet captures: classic pcap and pcapng, also compressed by gzip, of Ethernet (with VLAN tags), raw IP,
//! loopback and Linux's "any" interface. Other protocols than UDP and TCP over IPv4 or IPv6 are skipped;
//! fragments are reassembled; missing data is counted.

mod gzip;
mod ip;

use std::net::SocketAddr;

use crate::model::Mac;
use ip::Fragments;

/// One packet that may be for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Microseconds since 1970.
    pub at: u64,
    pub protocol: Protocol,
    /// The hardware address that sent the frame, if the capture has it.
    pub hardware: Option<Mac>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: Vec<u8>,
    /// Bytes at the end of the payload that the capture does not hold.
    pub missing: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

/// A parsed capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    pub packets: Vec<Packet>,
    /// What the file lacks, one sentence each.
    pub lacks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    #[error("this is no capture: it is neither pcap nor pcapng")]
    Unknown,
    #[error("the capture is damaged at byte {0}")]
    Damaged(usize),
    #[error(
        "packets of link type {0} can't be read; Ethernet (1), raw IP (12, 14, 101, 228, 229), loopback (0, 108) \
         and Linux's cooked ones (113, 276) can"
    )]
    Link(u32),
    #[error("the gzip data can't be read: {0}")]
    Gzip(&'static str),
}

/// The first two bytes of what gzip wrote (RFC 1952 section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Longest frame that is accepted: tcpdump's largest snapshot length.
const FRAME_MAX: usize = 256 << 10;

/// The packets of a capture. A truncated last packet is left out and reported: captures are copied while
/// tcpdump runs.
pub fn read(file: &[u8]) -> Result<Capture, CaptureError> {
    if file.starts_with(&GZIP) {
        let gzip::Unpacked { bytes, whole } = gzip::unpack(file).map_err(CaptureError::Gzip)?;
        let mut capture = read_plain(&bytes)?;
        if !whole {
            capture.lacks.push("the file ends before gzip's data does: it was cut off".into());
        }
        return Ok(capture);
    }
    read_plain(file)
}

fn read_plain(file: &[u8]) -> Result<Capture, CaptureError> {
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

/// What is gathered while a file is read.
#[derive(Default)]
struct Reader {
    packets: Vec<Packet>,
    fragments: Fragments,
    /// Frames that the capture cut, and the length to which it did.
    cut: usize,
    kept: usize,
    /// The first link type that can't be read.
    strange: Option<u32>,
    /// Frames of a type that can be read.
    known: usize,
    /// Where the file ends inside a record.
    torn: Option<usize>,
}

impl Reader {
    /// Takes a frame of which `length` bytes were on the wire, its check sequence of `fcs` bytes among
    /// them.
    fn take(&mut self, link: u32, frame: &[u8], length: usize, fcs: usize, at: u64) {
        if !is_known(link) {
            self.strange.get_or_insert(link);
            return;
        }
        self.known += 1;
        if frame.len() < length {
            self.cut += 1;
            self.kept = self.kept.max(frame.len());
        }
        let whole = length.saturating_sub(fcs).min(frame.len());
        let frame = if frame.len() >= length { &frame[..whole] } else { frame };
        self.packets.extend(packet(link, frame, at, &mut self.fragments));
    }

    fn done(self) -> Result<Capture, CaptureError> {
        if let (Some(link), 0) = (self.strange, self.known) {
            return Err(CaptureError::Link(link));
        }
        let mut lacks = Vec::new();
        if self.cut > 0 {
            let packets = match self.cut {
                1 => "1 packet was".to_owned(),
                many => format!("{many} packets were"),
            };
            lacks.push(format!(
                "{packets} cut to at most {} bytes by the program that captured it: capture whole packets with \
                 tcpdump -s 0",
                self.kept
            ));
        }
        match self.fragments.unfinished() {
            0 => {}
            count => lacks.push(format!("fragmented packets of which parts are missing: {count}")),
        }
        if let Some(link) = self.strange {
            lacks.push(format!("some packets are of link type {link}, which can't be read"));
        }
        if let Some(at) = self.torn {
            lacks.push(format!(
                "the file ends inside a packet (at byte {at}), which is left out: it was cut off, or is still being \
                 written"
            ));
        }
        Ok(Capture { packets: self.packets, lacks })
    }
}

fn word(bytes: &[u8], at: usize, swapped: bool) -> Option<u32> {
    let word: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if swapped { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

/// `parts`: fractions of a microsecond that time stamps count.
fn classic(file: &[u8], swapped: bool, parts: u64) -> Result<Capture, CaptureError> {
    let field = word(file, 20, swapped).ok_or(CaptureError::Damaged(0))?;
    // The link type has 16 bits; above it a flag says that the topmost four count the words of the
    // frames' check sequences.
    let link = field & 0xffff;
    let fcs = if field & 0x0400_0000 != 0 { (field >> 28) as usize * 2 } else { 0 };
    let mut reader = Reader::default();
    let mut at = 24;
    while at < file.len() {
        let (Some(seconds), Some(fraction), Some(kept), Some(length)) = (
            word(file, at, swapped),
            word(file, at + 4, swapped),
            word(file, at + 8, swapped),
            word(file, at + 12, swapped),
        ) else {
            reader.torn = Some(file.len());
            break;
        };
        let (kept, length, begin) = (kept as usize, length as usize, at + 16);
        if kept > FRAME_MAX {
            return Err(CaptureError::Damaged(at));
        }
        let Some(frame) = file.get(begin..begin + kept) else {
            reader.torn = Some(file.len());
            break;
        };
        let time = u64::from(seconds) * 1_000_000 + u64::from(fraction) / parts;
        reader.take(link, frame, length, fcs, time);
        at = begin + kept;
    }
    if !is_known(link) {
        return Err(CaptureError::Link(link));
    }
    reader.done()
}

/// One interface of a pcapng section.
struct Interface {
    link: u32,
    /// How many time units make a second.
    units: u64,
    /// Bytes of the check sequence behind each frame.
    fcs: usize,
    /// Most bytes kept of a frame; 0: all.
    kept: usize,
}

fn blocks(file: &[u8]) -> Result<Capture, CaptureError> {
    let mut reader = Reader::default();
    let mut interfaces: Vec<Interface> = Vec::new();
    let (mut at, mut swapped) = (0, false);
    while at < file.len() {
        let Some(kind) = word(file, at, swapped) else {
            reader.torn = Some(file.len());
            break;
        };
        if kind == 0x0a0d_0d0a {
            swapped = word(file, at + 8, false) == Some(0x4d3c_2b1a);
            interfaces.clear();
        }
        let Some(length) = word(file, at + 4, swapped).map(|length| length as usize) else {
            reader.torn = Some(file.len());
            break;
        };
        if length < 12 || length % 4 != 0 {
            return Err(CaptureError::Damaged(at));
        }
        let Some(body) = file.get(at + 8..at + length - 4).filter(|_| at + length <= file.len()) else {
            reader.torn = Some(file.len());
            break;
        };
        block(kind, body, swapped, &mut interfaces, &mut reader).ok_or(CaptureError::Damaged(at))?;
        at += length;
    }
    reader.done()
}

/// `None` for a damaged block.
fn block(
    kind: u32,
    body: &[u8],
    swapped: bool,
    interfaces: &mut Vec<Interface>,
    reader: &mut Reader,
) -> Option<()> {
    match kind {
        1 => interfaces.push(interface(body, swapped)?),
        // Enhanced packets, and what came before them (2), which has 16 bits for the interface.
        2 | 6 => {
            let head = word(body, 0, swapped)?;
            let number = match (kind, swapped) {
                (6, _) => head,
                (_, true) => head >> 16,
                (_, false) => head & 0xffff,
            };
            let interface = interfaces.get(number as usize)?;
            let stamp = u64::from(word(body, 4, swapped)?) << 32 | u64::from(word(body, 8, swapped)?);
            let micros = u128::from(stamp) * 1_000_000 / u128::from(interface.units);
            let (kept, length) = (word(body, 12, swapped)? as usize, word(body, 16, swapped)? as usize);
            let frame = body.get(20..20 + kept)?;
            reader.take(interface.link, frame, length, interface.fcs, u64::try_from(micros).ok()?);
        }
        // A simple packet: of the first interface, and as long as that keeps them.
        3 => {
            let interface = interfaces.first()?;
            let length = word(body, 0, swapped)? as usize;
            let kept = if interface.kept == 0 { length } else { length.min(interface.kept) };
            let data = body.get(4..)?;
            reader.take(interface.link, data.get(..kept).unwrap_or(data), length, interface.fcs, 0);
        }
        _ => {}
    }
    Some(())
}

fn interface(body: &[u8], swapped: bool) -> Option<Interface> {
    let head = word(body, 0, swapped)?;
    let link = if swapped { head >> 16 } else { head & 0xffff };
    let kept = word(body, 4, swapped)? as usize;
    let (mut units, mut fcs) = (1_000_000, 0);
    let mut at = 8;
    // Options are a code and a length of 16 bits each; 9 is if_tsresol, 13 if_fcslen (in bits).
    while let Some(head) = word(body, at, swapped) {
        let (code, length) = if swapped { (head >> 16, head & 0xffff) } else { (head & 0xffff, head >> 16) };
        match code {
            0 => break,
            9 => {
                let resolution = *body.get(at + 4)?;
                units = match resolution & 0x80 {
                    0 => 10u64.checked_pow(u32::from(resolution))?,
                    _ => 1u64.checked_shl(u32::from(resolution & 0x7f))?,
                };
            }
            13 => fcs = usize::from(*body.get(at + 4)?) / 8,
            _ => {}
        }
        at += 4 + (length as usize).div_ceil(4) * 4;
    }
    Some(Interface { link, units: units.max(1), fcs, kept })
}

fn is_known(link: u32) -> bool {
    matches!(link, 0 | 1 | 12 | 14 | 101 | 108 | 113 | 228 | 229 | 276)
}

/// Types of what a frame carries.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

fn packet(link: u32, frame: &[u8], at: u64, fragments: &mut Fragments) -> Option<Packet> {
    let card = |at: usize| Mac::new(frame.get(at..at + 6)?.try_into().ok()?).ok();
    let version = |packet: &[u8]| Some(if packet.first()? >> 4 == 6 { IPV6 } else { IPV4 });
    let (begin, kind, hardware) = match link {
        1 => {
            let mut at = 12;
            while matches!(short(frame, at)?, 0x8100 | 0x88a8 | 0x9100) {
                at += 4;
            }
            (at + 2, short(frame, at)?, card(6))
        }
        113 => (16, short(frame, 14)?, card(6)),
        276 => (20, short(frame, 0)?, card(12)),
        // Loopback: four bytes of address family, numbered otherwise on each system.
        0 | 108 => (4, version(frame.get(4..)?)?, None),
        _ => (0, version(frame)?, None),
    };
    let network = ip::read(kind, frame.get(begin..)?)?;
    let network = fragments.whole(network)?;
    let body = &*network.body;
    let (protocol, skip, length) = match network.protocol {
        17 => (Protocol::Udp, 8, usize::from(short(body, 4)?)),
        6 => (Protocol::Tcp, usize::from(*body.get(12)? >> 4) * 4, 0),
        _ => return None,
    };
    // A UDP datagram may be shorter than its packet; 0 is for more than 64 KiB.
    let end = if length >= 8 { length.min(body.len()) } else { body.len() };
    let missing = network.missing.max(length.saturating_sub(body.len()));
    Some(Packet {
        at,
        protocol,
        hardware,
        source: SocketAddr::new(network.source, short(body, 0)?),
        destination: SocketAddr::new(network.destination, short(body, 2)?),
        payload: body.get(skip..end)?.to_vec(),
        missing,
    })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests;
