//! Reading and writing DHCPv6 messages (RFC 8415 sections 8 and 21).
//!
//! The layout is the same throughout (code, length, value), so it is parsed here as a whole: client and
//! interface ids are echoed byte for byte, and an unknown option does no harm. dhcproto parses each option
//! by its type and rejects a whole message for one that it can't parse; the tests have it read what is
//! written here.

use std::net::Ipv6Addr;

use crate::model::Mac;

pub use dhcproto::v6::MessageType;

/// Option codes that are read or written here.
pub mod code {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_TA: u16 = 4;
    pub const IA_ADDRESS: u16 = 5;
    pub const WANTED: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const RELAYED: u16 = 9;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const USER_CLASS: u16 = 15;
    pub const VENDOR_CLASS: u16 = 16;
    pub const INTERFACE_ID: u16 = 18;
    pub const DNS: u16 = 23;
    pub const DOMAINS: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const BOOT_FILE: u16 = 59;
    pub const ARCHITECTURE: u16 = 61;
    /// RFC 6939.
    pub const LINK_LAYER: u16 = 79;
}

const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;
/// Relays a message may pass (RFC 3315; RFC 8415 has lowered it to 8).
const HOPS_MAX: usize = 32;
/// Ethernet among the hardware types of ARP.
const ETHERNET: [u8; 2] = [0, 1];
/// The datagram size that every link carries (RFC 8200 section 5) without the headers of IPv6 and UDP.
const LENGTH_MAX: usize = 1280 - 48;

/// Why a datagram is no DHCPv6 message that could be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{0} bytes are too few for a DHCPv6 message")]
    Short(usize),
    #[error("option {code} has the length {length}, but {left} are left")]
    Truncated { code: u16, length: usize, left: usize },
    #[error("option {code} has {length} bytes, which is no length for it")]
    Length { code: u16, length: usize },
    #[error("a relay's message has no message in it (option 9)")]
    Empty,
    #[error("option {0} may not be in such a message")]
    Unfitting(u16),
    #[error("it has passed more than {HOPS_MAX} relays")]
    Hops,
}

/// A client's message, with the relays it came by.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    pub kind: MessageType,
    pub transaction: [u8; 3],
    /// The relays that the message passed, the one next to the daemon first.
    pub hops: Vec<Hop<'a>>,
    options: Vec<(u16, &'a [u8])>,
}

/// What one relay added.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop<'a> {
    pub count: u8,
    /// An address of the link that the client is on; unspecified if the relay does not know.
    pub link: Ipv6Addr,
    /// The address that the relay got the message from.
    pub peer: Ipv6Addr,
    options: Vec<(u16, &'a [u8])>,
}

/// One IA_NA: the id that the client gave it and the addresses it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    pub id: [u8; 4],
    pub addresses: Vec<Ipv6Addr>,
}

impl<'a> Request<'a> {
    pub fn decode(datagram: &'a [u8]) -> Result<Request<'a>, WireError> {
        let mut hops = Vec::new();
        let mut message = datagram;
        while message.first() == Some(&RELAY_FORWARD) {
            if hops.len() == HOPS_MAX {
                return Err(WireError::Hops);
            }
            let hop = Hop::decode(message)?;
            message = find(&hop.options, code::RELAYED).ok_or(WireError::Empty)?;
            hops.push(hop);
        }
        let (&[kind, a, b, c], options) =
            message.split_first_chunk().ok_or(WireError::Short(message.len()))?;
        let request = Request { kind: kind.into(), transaction: [a, b, c], hops, options: scan(options)? };
        for (code, value) in &request.options {
            let least = match *code {
                code::CLIENT_ID | code::SERVER_ID => 3,
                code::IA_NA | code::IA_PD => 12,
                code::IA_TA => 4,
                _ => 0,
            };
            if value.len() < least || *code == code::CLIENT_ID && value.len() > 130 {
                return Err(WireError::Length { code: *code, length: value.len() });
            }
        }
        request.associations()?;
        Ok(request)
    }

    pub fn option(&self, code: u16) -> Option<&'a [u8]> {
        find(&self.options, code)
    }

    pub fn has(&self, code: u16) -> bool {
        self.option(code).is_some()
    }

    /// Whether option 6 asks for this one; everything is asked for when there is no list.
    pub fn wants(&self, code: u16) -> bool {
        self.option(code::WANTED)
            .is_none_or(|list| list.chunks_exact(2).any(|pair| pair == code.to_be_bytes()))
    }

    /// Option 61, all of it.
    pub fn architectures(&self) -> impl Iterator<Item = u16> {
        let list = self.option(code::ARCHITECTURE).unwrap_or_default();
        list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// The IA_NAs in their order.
    pub fn associations(&self) -> Result<Vec<Association>, WireError> {
        let all = self.options.iter().filter(|(code, _)| *code == code::IA_NA);
        all.map(|(_, value)| {
            let wrong = |code, value: &[u8]| WireError::Length { code, length: value.len() };
            let (id, rest) = value.split_first_chunk().ok_or(wrong(code::IA_NA, value))?;
            let times = rest.get(8..).ok_or(wrong(code::IA_NA, value))?;
            let inner = scan(times)?;
            let named = inner.iter().filter(|(code, _)| *code == code::IA_ADDRESS);
            let addresses = named.map(|(code, value)| match value.first_chunk::<16>() {
                Some(address) if value.len() >= 24 => Ok(Ipv6Addr::from(*address)),
                _ => Err(wrong(*code, value)),
            });
            Ok(Association { id: *id, addresses: addresses.collect::<Result<_, _>>()? })
        })
        .collect()
    }

    /// Requested and never given here, temporary addresses (IA_TA) and prefixes (IA_PD): the code and the
    /// id that the client gave it.
    pub fn others(&self) -> impl Iterator<Item = (u16, [u8; 4])> {
        let others = self.options.iter().filter(|(code, _)| matches!(*code, code::IA_TA | code::IA_PD));
        others.filter_map(|(code, value)| Some((*code, *value.first_chunk()?)))
    }

    /// The address of the client's link that a relay names, the one nearest to the client.
    pub fn link(&self) -> Option<Ipv6Addr> {
        self.hops.iter().rev().map(|hop| hop.link).find(|link| !link.is_unspecified())
    }

    /// The hardware address that this comes from, by the most reliable source there is: the one that the
    /// relay next to the client saw (option 79) or that sent the frame (`frame`); else the one that the
    /// client's link-local address is made of; else the one in its DUID, which may belong to another of its
    /// cards, or to the machine it was cloned from. A less reliable source never overrides a more reliable
    /// one.
    pub fn hardware(&self, frame: Option<Mac>, source: Ipv6Addr) -> Option<Mac> {
        let relay = self.hops.last();
        let seen = match relay {
            Some(relay) => find(&relay.options, code::LINK_LAYER).and_then(ethernet),
            None => frame,
        };
        let duid = self.option(code::CLIENT_ID).and_then(|duid| match duid {
            // DUID-LLT has a time between type and address, DUID-LL has not.
            [0, 1, hardware @ .., _, _, _, _, _, _] if hardware.len() == 6 && hardware[..2] == ETHERNET => {
                mac(&duid[8..])
            }
            [0, 3, rest @ ..] => ethernet(rest),
            _ => None,
        });
        let peer = relay.map_or(source, |relay| relay.peer);
        let own = crate::model::net6::mac_in(peer).filter(|_| peer.is_unicast_link_local());
        seen.or(own).or(duid)
    }
}

impl<'a> Hop<'a> {
    fn decode(message: &'a [u8]) -> Result<Hop<'a>, WireError> {
        let short = WireError::Short(message.len());
        let (fixed, options) = message.split_first_chunk::<34>().ok_or(short)?;
        let address = |at: usize| {
            let bytes: [u8; 16] = std::array::from_fn(|byte| fixed[at + byte]);
            Ipv6Addr::from(bytes)
        };
        Ok(Hop { count: fixed[1], link: address(2), peer: address(18), options: scan(options)? })
    }
}

/// Hardware type and address, of Ethernet.
fn ethernet(value: &[u8]) -> Option<Mac> {
    mac(value.strip_prefix(&ETHERNET)?)
}

fn mac(octets: &[u8]) -> Option<Mac> {
    Mac::new(octets.try_into().ok()?).ok()
}

fn find<'a>(options: &[(u16, &'a [u8])], code: u16) -> Option<&'a [u8]> {
    options.iter().find(|(one, _)| *one == code).map(|(_, value)| *value)
}

fn scan(mut area: &[u8]) -> Result<Vec<(u16, &[u8])>, WireError> {
    let mut options = Vec::new();
    while !area.is_empty() {
        let (&[a, b, c, d], rest) = area.split_first_chunk().ok_or(WireError::Short(area.len()))?;
        let (code, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
        let truncated = WireError::Truncated { code, length, left: rest.len() };
        let (value, rest) = rest.split_at_checked(length).ok_or(truncated)?;
        options.push((code, value));
        area = rest;
    }
    Ok(options)
}

/// Length-prefixed strings, as user and vendor class hold them; what is readable counts.
pub(super) fn strings(mut area: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&[high, low], rest) = area.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        area = rest;
        Some(value)
    })
}

/// Options being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Vec<u8>);

impl Options {
    /// Adds an option. A value that is too long for the length field makes the message too long to be sent.
    pub fn put(&mut self, code: u16, value: &[u8]) -> &mut Options {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&code.to_be_bytes());
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// A status code (section 21.13) and a text for people.
    pub fn status(&mut self, code: u16, text: &str) -> &mut Options {
        self.put(code::STATUS, &[&code.to_be_bytes(), text.as_bytes()].concat())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An answer to `request`, wrapped for each relay it goes back by; else its length.
pub fn encode(request: &Request, kind: u8, options: &Options) -> Result<Vec<u8>, usize> {
    let mut message = [&[kind], &request.transaction[..], options.bytes()].concat();
    if message.len() > LENGTH_MAX {
        return Err(message.len());
    }
    for hop in request.hops.iter().rev() {
        let mut inner = Options::default();
        if let Some(id) = find(&hop.options, code::INTERFACE_ID) {
            inner.put(code::INTERFACE_ID, id);
        }
        inner.put(code::RELAYED, &message);
        let head = [&[RELAY_REPLY, hop.count], &hop.link.octets()[..], &hop.peer.octets()].concat();
        message = [&head, inner.bytes()].concat();
    }
    if message.len() > usize::from(u16::MAX) { Err(message.len()) } else { Ok(message) }
}
