//! Writing an answer (RFC 2131 table 3), in the form that old relays and boot ROMs can read.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::ops::Range;

use super::wire::{HEADER, MessageType, Request, code};

/// Relays drop shorter messages: the BOOTP minimum.
const SHORTEST: usize = 300;
/// What Ethernet carries, whatever larger size a client names.
const MTU: usize = 1500;
/// IPv4 and UDP headers, which option 57 counts.
const HEADERS: usize = 28;
/// Bytes of the `file` field, its closing NUL among them.
const FILE_FIELD: usize = 128;

/// Options that may be left out if the answer gets too long, the first to go first: what the client can do
/// without, then what it knows itself. Option 67 is among them only while the `file` field has the same;
/// the relay's own option 82 goes last (RFC 3046 section 2.2).
const EXPENDABLE: [u8; 9] = [28, 15, 12, 59, 58, 66, 97, 61, 67];

/// The answer does not fit into what the client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer needs {needed} bytes, the client takes {limit}")]
pub struct TooLong {
    pub needed: usize,
    pub limit: usize,
}

/// Fields of the fixed part (RFC 2131 section 2).
mod field {
    use std::ops::Range;

    pub(super) const OPERATION: usize = 0;
    pub(super) const HOPS: usize = 3;
    pub(super) const SECONDS: Range<usize> = 8..10;
    pub(super) const FLAGS: usize = 10;
    pub(super) const CLIENT_ADDRESS: Range<usize> = 12..16;
    pub(super) const YOUR_ADDRESS: Range<usize> = 16..20;
    pub(super) const NEXT_SERVER: Range<usize> = 20..24;
    /// Server name and file.
    pub(super) const NAMES: Range<usize> = 44..236;
    pub(super) const FILE: usize = 108;
}

const BOOT_REPLY: u8 = 2;
const BROADCAST: u8 = 0x80;
const END: u8 = 255;

/// An answer in the making.
#[derive(Clone, Debug)]
pub struct Reply {
    fixed: [u8; HEADER],
    /// By ascending code; where each value lies in `values`.
    options: Vec<(u8, Range<usize>)>,
    values: Vec<u8>,
    relay: Option<Vec<u8>>,
    limit: usize,
    file_field: bool,
    /// What the inventory adds: the first to go if the answer gets too long.
    extra: Vec<u8>,
    /// The options that the client asks for (option 55), the most important first (RFC 2132 section 9.8).
    wishes: Vec<u8>,
}

impl Reply {
    /// An answer to `request`: the fields that are copied, message type, server identifier,
    /// and the options that are echoed (61 by RFC 6842, 82 by RFC 3046).
    pub fn new(request: &Request, kind: MessageType, server: Ipv4Addr) -> Reply {
        let mut fixed = *request.fixed;
        fixed[field::OPERATION] = BOOT_REPLY;
        fixed[field::HOPS] = 0;
        fixed[field::SECONDS].fill(0);
        fixed[field::CLIENT_ADDRESS.start..field::NEXT_SERVER.end].fill(0);
        fixed[field::NAMES].fill(0);
        let mut reply = Reply {
            fixed,
            options: Vec::with_capacity(20),
            values: Vec::with_capacity(256),
            relay: request.option(code::RELAY).map(<[u8]>::to_vec),
            limit: request.max_size().min(MTU) - HEADERS,
            file_field: false,
            extra: Vec::new(),
            wishes: Vec::new(),
        };
        reply.wishes.extend_from_slice(request.option(code::PARAMETERS).unwrap_or_default());
        reply.raw(code::MESSAGE_TYPE, &[kind.into()]).address(code::SERVER_ID, server);
        if let Some(id) = request.option(code::CLIENT_ID) {
            reply.raw(code::CLIENT_ID, id);
        }
        // Sent back, this option says "this is where your address is from" (RFC 3011), so only if that is
        // true.
        if let Some(subnet) = request.followed_selection() {
            reply.address(code::SUBNET_SELECTION, subnet);
        }
        reply
    }

    /// An option, in the place of one with its code.
    pub fn raw(&mut self, code: u8, value: &[u8]) -> &mut Reply {
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.put(code, start)
    }

    /// The option's value is what was written behind `start`.
    fn put(&mut self, code: u8, start: usize) -> &mut Reply {
        let value = start..self.values.len();
        match self.options.binary_search_by_key(&code, |(code, _)| *code) {
            Ok(at) => self.options[at].1 = value,
            Err(at) => self.options.insert(at, (code, value)),
        }
        self
    }

    pub fn address(&mut self, code: u8, address: Ipv4Addr) -> &mut Reply {
        self.raw(code, &address.octets())
    }

    pub fn addresses(&mut self, code: u8, addresses: &[Ipv4Addr]) -> &mut Reply {
        let start = self.values.len();
        self.values.extend(addresses.iter().flat_map(Ipv4Addr::octets));
        self.put(code, start)
    }

    pub fn number(&mut self, code: u8, number: u32) -> &mut Reply {
        self.raw(code, &number.to_be_bytes())
    }

    /// An option that the inventory adds.
    pub fn extra(&mut self, code: u8, value: &[u8]) -> &mut Reply {
        self.extra.push(code);
        self.raw(code, value)
    }

    pub fn has(&self, code: u8) -> bool {
        self.options.iter().any(|(own, _)| *own == code)
    }

    pub fn client_address(&mut self, address: Ipv4Addr) -> &mut Reply {
        self.fixed[field::CLIENT_ADDRESS].copy_from_slice(&address.octets());
        self
    }

    pub fn your_address(&mut self, address: Ipv4Addr) -> &mut Reply {
        self.fixed[field::YOUR_ADDRESS].copy_from_slice(&address.octets());
        self
    }

    /// The next server: `siaddr` and option 66, which end in NUL for ROMs that read a C string.
    pub fn next_server(&mut self, address: Ipv4Addr) -> &mut Reply {
        self.fixed[field::NEXT_SERVER].copy_from_slice(&address.octets());
        let start = self.values.len();
        // Writing to memory can't fail.
        let _ = write!(self.values, "{address}\0");
        self.put(code::TFTP_SERVER, start)
    }

    /// The boot file in the `file` field, if it fits there with its NUL, and in option 67. The option ends
    /// in NUL for names (boot ROMs read past its end), not for URLs (RFC 7230 has no such character).
    pub fn file(&mut self, name: &str, is_url: bool) -> &mut Reply {
        self.file_field = name.len() < FILE_FIELD;
        if self.file_field {
            let own = &mut self.fixed[field::FILE..field::FILE + FILE_FIELD];
            own.fill(0);
            own[..name.len()].copy_from_slice(name.as_bytes());
        }
        let start = self.values.len();
        self.values.extend_from_slice(name.as_bytes());
        self.values.extend((!is_url).then_some(0));
        self.put(code::BOOT_FILE, start)
    }

    /// Asks the relay, or the daemon, to broadcast the answer.
    pub fn broadcast(&mut self) -> &mut Reply {
        self.fixed[field::FLAGS] |= BROADCAST;
        self
    }

    /// The datagram.
    pub fn encode(mut self) -> Result<Vec<u8>, TooLong> {
        let needed = self.length();
        if needed <= self.limit {
            return Ok(self.write());
        }
        let mut extra = std::mem::take(&mut self.extra);
        let wishes = std::mem::take(&mut self.wishes);
        extra.sort_by_key(|code| wishes.iter().position(|wish| wish == code));
        let usual = EXPENDABLE.into_iter().filter(|code| *code != code::BOOT_FILE || self.file_field);
        let mut expendable: Vec<u8> = extra.into_iter().rev().chain(usual).rev().collect();
        loop {
            let needed = self.length();
            if needed <= self.limit {
                return Ok(self.write());
            }
            match expendable.pop() {
                Some(code) => self.options.retain(|(own, _)| *own != code),
                None if self.relay.take().is_some() => {}
                None => return Err(TooLong { needed, limit: self.limit }),
            }
        }
    }

    /// Bytes of the datagram, as far as they say something.
    fn length(&self) -> usize {
        let parts = |length: usize, most: usize| length + 2 * length.div_ceil(most);
        let options = self.options.iter().map(|(code, value)| parts(value.len(), most(*code)));
        let relay = self.relay.as_ref().map_or(0, |relay| parts(relay.len(), LONGEST).max(2));
        HEADER + options.sum::<usize>() + relay + 1
    }

    /// The options by ascending code, the relay's behind them byte for byte, END, and zeros where it is short. A value
    /// that is too long for one option is split (RFC 3396 section 6).
    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length().max(SHORTEST));
        bytes.extend_from_slice(&self.fixed);
        let mut part = |code: u8, part: &[u8]| {
            bytes.extend_from_slice(&[code, part.len() as u8]);
            bytes.extend_from_slice(part);
        };
        for (code, value) in &self.options {
            self.values[value.clone()].chunks(most(*code)).for_each(|value| part(*code, value));
        }
        if let Some(relay) = &self.relay {
            // An empty one is echoed too.
            let whole = relay.is_empty().then_some(&relay[..]);
            relay.chunks(LONGEST).chain(whole).for_each(|value| part(code::RELAY, value));
        }
        bytes.push(END);
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        bytes
    }
}

/// Longest value of one option.
const LONGEST: usize = 255;

/// The same; of a list of addresses, whole ones.
fn most(code: u8) -> usize {
    if matches!(code, code::ROUTER | code::DNS) { LONGEST - LONGEST % 4 } else { LONGEST }
}

#[cfg(test)]
mod tests {
    use dhcproto::v4::{self, DhcpOption, Opcode, OptionCode};

    use super::super::wire::tests::{datagram, decode, option};
    use super::*;

    fn read(bytes: &[u8]) -> v4::Message {
        use dhcproto::v4::{Decodable, Decoder};
        v4::Message::decode(&mut Decoder::new(bytes)).unwrap()
    }

    #[test]
    fn copies_echoes_and_pads() {
        let id = [0xff, 1, 2, 3];
        let relay = [1, 2, b'a', b'b', 250, 1, 7];
        let bytes = datagram(&[option(53, &[1]), option(61, &id), option(82, &relay)].concat());
        let request = decode(&bytes);
        let mut reply = Reply::new(&request, MessageType::Offer, Ipv4Addr::new(10, 0, 0, 1));
        reply.next_server(Ipv4Addr::new(10, 0, 0, 1)).file("undionly.kpxe", false);
        let sent = reply.encode().unwrap();
        assert!(sent.len() >= 300);
        let end = sent.iter().rposition(|byte| *byte == 255).unwrap();
        assert_eq!(&sent[end - 9..end], [&[82, 7][..], &relay].concat(), "82 as it came, last");
        assert_eq!(&sent[108..122], b"undionly.kpxe\0");
        let message = read(&sent);
        assert_eq!(message.opcode(), Opcode::BootReply);
        assert_eq!((message.xid(), message.hops(), message.secs()), (0x01020304, 0, 0));
        let file = message.opts().get(OptionCode::BootfileName);
        assert_eq!(file, Some(&DhcpOption::BootfileName(b"undionly.kpxe\0".to_vec())));
        let server = message.opts().get(OptionCode::TFTPServerName);
        assert_eq!(server, Some(&DhcpOption::TFTPServerName(b"10.0.0.1\0".to_vec())));
    }

    #[test]
    fn a_long_url_is_in_option_67_alone() {
        let bytes = datagram(&option(53, &[1]));
        let mut reply = Reply::new(&decode(&bytes), MessageType::Offer, Ipv4Addr::LOCALHOST);
        let url = format!("http://10.0.0.1/{}", "x".repeat(150));
        reply.file(&url, true);
        let sent = reply.encode().unwrap();
        assert!(sent[108..236].iter().all(|byte| *byte == 0));
        let file = read(&sent).opts().get(OptionCode::BootfileName).cloned();
        assert_eq!(file, Some(DhcpOption::BootfileName(url.into_bytes())));
    }

    #[test]
    fn what_does_not_fit_goes_in_order_and_never_silently_the_essence() {
        let bytes = datagram(&[option(53, &[1]), option(82, &[7; 250])].concat());
        let request = decode(&bytes);
        let mut reply = Reply::new(&request, MessageType::Offer, Ipv4Addr::LOCALHOST);
        reply.file("snponly.efi", false).raw(code::DOMAIN, &[b'd'; 60]);
        let sent = reply.clone().encode().unwrap();
        assert!(sent.len() <= 548, "{}", sent.len());
        assert!(read(&sent).opts().get(OptionCode::DomainName).is_none());
        assert!(sent.windows(20).any(|window| window == [7; 20]), "82 stays");
        reply.raw(224, &[1; 255]);
        let sent = reply.clone().encode().unwrap();
        assert!(!sent.windows(20).any(|window| window == [7; 20]), "82 goes last");
        reply.raw(225, &[1; 255]);
        assert_eq!(reply.encode(), Err(TooLong { needed: 240 + 3 + 6 + 257 * 2 + 1, limit: 548 }));
    }

    #[test]
    fn a_value_is_put_in_the_place_of_another_and_split_where_it_is_long() {
        let bytes = datagram(&[option(53, &[1]), option(57, &1500u16.to_be_bytes())].concat());
        let mut reply = Reply::new(&decode(&bytes), MessageType::Offer, Ipv4Addr::LOCALHOST);
        reply.raw(224, b"first").raw(225, &[]).addresses(code::DNS, &[Ipv4Addr::LOCALHOST; 70]);
        reply.raw(224, &[7; 300]).number(code::LEASE_TIME, 600);
        let sent = reply.encode().unwrap();
        let mut read: Vec<(u8, usize)> = Vec::new();
        let mut rest = &sent[HEADER..];
        while let [code, length, more @ ..] = rest
            && *code != END
        {
            read.push((*code, usize::from(*length)));
            rest = &more[usize::from(*length)..];
        }
        assert_eq!(read, [(6, 252), (6, 28), (51, 4), (53, 1), (54, 4), (224, 255), (224, 45)]);
    }
}
