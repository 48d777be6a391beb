//! Reading a client's datagram (RFC 2131, RFC 2132, RFC 3396).
//!
//! The fixed header is read by dhcproto. The options are scanned here: dhcproto stops silently at the first
//! option it cannot parse, reads only one architecture of option 93, takes option 82 apart, and does not
//! follow option 52 (overload). Raw values are kept by code; accessors read the ones that decisions need.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::{self, Decodable, Decoder, HType, Opcode};

use crate::model::mac::MacError;
use crate::model::printable::is_printable;
use crate::model::{Identity, Mac};

pub use dhcproto::v4::MessageType;

/// Length of a message up to and with the magic cookie.
pub(super) const HEADER: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
// The two options without a length.
const PAD: u8 = 0;
const END: u8 = 255;

/// Sub-option of option 82: the link of the client, if it is not that of the relay (RFC 3527).
pub(super) const LINK_SELECTION: u8 = 5;

/// Option codes that are read or written here.
pub(super) mod code {
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTER: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN: u8 = 15;
    pub(crate) const BROADCAST: u8 = 28;
    pub(crate) const VENDOR: u8 = 43;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_ID: u8 = 54;
    pub(crate) const PARAMETERS: u8 = 55;
    pub(crate) const MESSAGE: u8 = 56;
    pub(crate) const MAX_SIZE: u8 = 57;
    pub(crate) const RENEWAL: u8 = 58;
    pub(crate) const REBINDING: u8 = 59;
    pub(crate) const CLASS: u8 = 60;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const TFTP_SERVER: u8 = 66;
    pub(crate) const BOOT_FILE: u8 = 67;
    pub(crate) const USER_CLASS: u8 = 77;
    pub(crate) const RELAY: u8 = 82;
    pub(crate) const ARCHITECTURE: u8 = 93;
    pub(crate) const MACHINE_ID: u8 = 97;
    pub(crate) const IPV6_ONLY: u8 = 108;
    pub(crate) const SUBNET_SELECTION: u8 = 118;
    pub(crate) const ROUTES: u8 = 121;
    pub(crate) const IPXE: u8 = 175;
    pub(crate) const CONFIG_FILE: u8 = 209;
    pub(crate) const MICROSOFT_ROUTES: u8 = 249;
    /// Of Proxmox's installer: the URL of its answers.
    pub(crate) const ANSWERS_URL: u8 = 250;
}

/// Why a datagram is no DHCP message that could be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{0} bytes are too few for a DHCP message (240)")]
    Short(usize),
    #[error("operation {0} is not that of a client (1)")]
    Operation(u8),
    #[error("hardware type {kind} with addresses of {length} bytes is not Ethernet (1, 6)")]
    Hardware { kind: u8, length: u8 },
    #[error("bad client hardware address: {0}")]
    Mac(#[from] MacError),
    #[error("the magic cookie is {0:02x?}, not that of DHCP (RFC 2131 section 3)")]
    Cookie([u8; 4]),
    #[error("option {code} in the {area} has the length {length}, but {left} are left")]
    Truncated { code: u8, area: &'static str, length: usize, left: usize },
    #[error("option {code} has {length} bytes instead of {expected}")]
    Length { code: u8, length: usize, expected: usize },
    #[error("option 52 is {0}, not 1, 2 or 3")]
    Overload(u8),
    #[error("there is no message type (option 53): a BOOTP client, which is not served")]
    NoMessageType,
}

/// A client's message.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// The fixed part, without options, server name and file.
    pub header: v4::Message,
    /// The same as it came.
    pub(super) fixed: &'a [u8; HEADER],
    pub kind: MessageType,
    pub mac: Mac,
    /// Option values by code, repeated options joined.
    options: BTreeMap<u8, Cow<'a, [u8]>>,
}

impl<'a> Request<'a> {
    /// Reads a datagram. A missing END option and anything after it are tolerated, as all
    /// servers do; an option that runs over the end of its area is not.
    pub fn decode(datagram: &'a [u8]) -> Result<Request<'a>, WireError> {
        let short = WireError::Short(datagram.len());
        let (fixed, area) = datagram.split_first_chunk::<HEADER>().ok_or(short.clone())?;
        let mut header = v4::Message::decode(&mut Decoder::new(&fixed[..])).map_err(|_| short)?;
        header.clear_sname();
        header.clear_fname();
        if header.opcode() != Opcode::BootRequest {
            return Err(WireError::Operation(fixed[0]));
        }
        if !matches!(header.htype(), HType::Eth | HType::IEEE802) || header.hlen() != 6 {
            return Err(WireError::Hardware { kind: fixed[1], length: fixed[2] });
        }
        let cookie = [fixed[236], fixed[237], fixed[238], fixed[239]];
        if cookie != COOKIE {
            return Err(WireError::Cookie(cookie));
        }
        let mac = Mac::new([fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33]])?;
        let options = read_options(fixed, area)?;
        let kind = match fixed_length(&options, code::MESSAGE_TYPE)? {
            Some([kind]) => MessageType::from(kind),
            None => return Err(WireError::NoMessageType),
        };
        fixed_length::<4>(&options, code::REQUESTED_ADDRESS)?;
        fixed_length::<4>(&options, code::SERVER_ID)?;
        fixed_length::<2>(&options, code::MAX_SIZE)?;
        Ok(Request { header, fixed, kind, mac, options })
    }

    /// The value of an option, as it came.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(|value| &**value)
    }

    /// Option 50.
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.address(code::REQUESTED_ADDRESS)
    }

    /// Option 54.
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.address(code::SERVER_ID)
    }

    /// Option 51: the lease time that the client asks for, in seconds.
    pub fn lease_time(&self) -> Option<u32> {
        <[u8; 4]>::try_from(self.option(code::LEASE_TIME)?).ok().map(u32::from_be_bytes)
    }

    /// Option 118 (RFC 3011).
    pub fn subnet_selection(&self) -> Option<Ipv4Addr> {
        self.address(code::SUBNET_SELECTION)
    }

    /// Option 118 where it counts: a relayed client may name the subnet it wants, unless the relay itself
    /// does (RFC 3527).
    pub fn followed_selection(&self) -> Option<Ipv4Addr> {
        let relayed = !self.header.giaddr().is_unspecified();
        self.subnet_selection().filter(|_| relayed && self.relay_address(LINK_SELECTION).is_none())
    }

    /// Option 57: the largest IP datagram the client takes, never below RFC 2131's 576.
    pub fn max_size(&self) -> usize {
        match self.option(code::MAX_SIZE) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])).max(576),
            _ => 576,
        }
    }

    /// Option 93, all of it (RFC 4578 allows a list).
    pub fn architectures(&self) -> impl Iterator<Item = u16> {
        let list = self.option(code::ARCHITECTURE).unwrap_or_default();
        list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// Whether option 55 asks for this option; everything is asked for when there is no list.
    pub fn wants(&self, code: u8) -> bool {
        self.option(code::PARAMETERS).is_none_or(|list| list.contains(&code))
    }

    /// Option 97, if it has the form of RFC 4578: type 0 and a 16-byte UUID.
    pub fn machine_id(&self) -> Option<&[u8]> {
        self.option(code::MACHINE_ID).filter(|id| id.len() == 17 && id[0] == 0)
    }

    /// The identities that the sender shows beside its hardware address: client id, then UUID. Those that
    /// board makers put into every board are left out.
    pub fn identities(&self) -> impl Iterator<Item = Identity> {
        let client_id = self.option(code::CLIENT_ID).map(|id| Identity::ClientId(id.into()));
        let uuid = self.machine_id().and_then(|id| <[u8; 16]>::try_from(&id[1..]).ok());
        let all = client_id.into_iter().chain(uuid.into_iter().flat_map(Identity::on_wire));
        all.filter(|identity| !identity.is_junk())
    }

    /// Option 12, printable and short; for people only.
    pub fn host_name(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.option(code::HOST_NAME)?);
        let shown: String =
            text.trim_end_matches('\0').chars().filter(|c| is_printable(*c)).take(64).collect();
        Some(shown).filter(|shown| !shown.is_empty())
    }

    /// A sub-option of option 82 (RFC 3046).
    pub fn relay_option(&self, wanted: u8) -> Option<&[u8]> {
        sub_options(self.option(code::RELAY)?).find(|(code, _)| *code == wanted).map(|(_, value)| value)
    }

    /// A sub-option of 82 that is an address: 5 link selection (RFC 3527), 11 server identifier
    /// override (RFC 5107).
    pub fn relay_address(&self, wanted: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.relay_option(wanted)?).ok().map(Ipv4Addr::from)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(Ipv4Addr::from)
    }
}

/// Sub-options in code-length-value form, up to the first that does not fit. Used for options 82, 43 and
/// 175, which are hints: whatever is readable of them counts.
pub(super) fn sub_options(mut area: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [code, length, rest @ ..] = area else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        area = rest;
        Some((*code, value))
    })
}

/// All options: the options area, then `file`, then `sname` if option 52 says that they hold some; values
/// of repeated codes are joined in that order (RFC 3396 section 7).
fn read_options<'a>(
    fixed: &'a [u8; HEADER],
    area: &'a [u8],
) -> Result<BTreeMap<u8, Cow<'a, [u8]>>, WireError> {
    let mut options = BTreeMap::new();
    scan(area, "options", &mut options)?;
    if let Some([overload]) = fixed_length(&options, code::OVERLOAD)? {
        if !(1..=3).contains(&overload) {
            return Err(WireError::Overload(overload));
        }
        if overload & 1 == 1 {
            scan(&fixed[108..236], "file field", &mut options)?;
        }
        if overload & 2 == 2 {
            scan(&fixed[44..108], "sname field", &mut options)?;
        }
    }
    Ok(options)
}

fn scan<'a>(
    mut area: &'a [u8],
    name: &'static str,
    options: &mut BTreeMap<u8, Cow<'a, [u8]>>,
) -> Result<(), WireError> {
    while let Some((&code, rest)) = area.split_first() {
        match code {
            PAD => area = rest,
            END => break,
            _ => {
                let truncated = |length, left| WireError::Truncated { code, area: name, length, left };
                let (&length, rest) = rest.split_first().ok_or(truncated(1, 0))?;
                let length = usize::from(length);
                let (value, rest) = rest.split_at_checked(length).ok_or(truncated(length, rest.len()))?;
                options
                    .entry(code)
                    .and_modify(|earlier: &mut Cow<[u8]>| earlier.to_mut().extend_from_slice(value))
                    .or_insert(Cow::Borrowed(value));
                area = rest;
            }
        }
    }
    Ok(())
}

fn fixed_length<const N: usize>(
    options: &BTreeMap<u8, Cow<'_, [u8]>>,
    code: u8,
) -> Result<Option<[u8; N]>, WireError> {
    let Some(value) = options.get(&code) else { return Ok(None) };
    let wrong = WireError::Length { code, length: value.len(), expected: N };
    <[u8; N]>::try_from(&**value).map(Some).map_err(|_| wrong)
}

#[cfg(test)]
pub(super) mod tests;
