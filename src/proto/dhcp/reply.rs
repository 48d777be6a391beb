//! Writing an answer (RFC 2131 table 3), in the form that old relays and boot ROMs can read.

use std::net::Ipv4Addr;

use dhcproto::v4::{self, DhcpOption, Encodable, Opcode, OptionCode, UnknownOption};

use super::wire::{MessageType, Request, code};

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

/// An answer in the making.
#[derive(Clone, Debug)]
pub struct Reply {
    message: v4::Message,
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
        let mut message = request.header.clone();
        message.set_opcode(Opcode::BootReply).set_hops(0).set_secs(0);
        message.set_ciaddr(Ipv4Addr::UNSPECIFIED).set_yiaddr(Ipv4Addr::UNSPECIFIED);
        message.set_siaddr(Ipv4Addr::UNSPECIFIED);
        let mut reply = Reply {
            message,
            relay: request.option(code::RELAY).map(<[u8]>::to_vec),
            limit: request.max_size().min(MTU) - HEADERS,
            file_field: false,
            extra: Vec::new(),
            wishes: Vec::new(),
        };
        reply.wishes.extend_from_slice(request.option(code::PARAMETERS).unwrap_or_default());
        reply.option(DhcpOption::MessageType(kind));
        reply.option(DhcpOption::ServerIdentifier(server));
        if let Some(id) = request.option(code::CLIENT_ID) {
            reply.option(DhcpOption::ClientIdentifier(id.to_vec()));
        }
        // Sent back, this option says "this is where your address is from" (RFC 3011), so only if that is
        // true.
        if let Some(subnet) = request.followed_selection() {
            reply.raw(code::SUBNET_SELECTION, &subnet.octets());
        }
        reply
    }

    pub fn option(&mut self, option: DhcpOption) -> &mut Reply {
        self.message.opts_mut().insert(option);
        self
    }

    /// An option that dhcproto has no type for.
    pub fn raw(&mut self, code: u8, value: &[u8]) -> &mut Reply {
        self.option(DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value.to_vec())))
    }

    /// An option that the inventory adds.
    pub fn extra(&mut self, code: u8, value: &[u8]) -> &mut Reply {
        self.extra.push(code);
        self.raw(code, value)
    }

    pub fn has(&self, code: u8) -> bool {
        self.message.opts().get(OptionCode::from(code)).is_some()
    }

    pub fn client_address(&mut self, address: Ipv4Addr) -> &mut Reply {
        self.message.set_ciaddr(address);
        self
    }

    pub fn your_address(&mut self, address: Ipv4Addr) -> &mut Reply {
        self.message.set_yiaddr(address);
        self
    }

    /// The next server: `siaddr` and option 66, which end in NUL for ROMs that read a C string.
    pub fn next_server(&mut self, address: Ipv4Addr) -> &mut Reply {
        self.message.set_siaddr(address);
        self.option(DhcpOption::TFTPServerName(format!("{address}\0").into_bytes()))
    }

    /// The boot file in the `file` field, if it fits there with its NUL, and in option 67. The option ends
    /// in NUL for names (boot ROMs read past its end), not for URLs (RFC 7230 has no such character).
    pub fn file(&mut self, name: &str, is_url: bool) -> &mut Reply {
        self.file_field = name.len() < FILE_FIELD;
        if self.file_field {
            self.message.set_fname(name.as_bytes());
        }
        let end = if is_url { "" } else { "\0" };
        self.option(DhcpOption::BootfileName(format!("{name}{end}").into_bytes()))
    }

    /// Asks the relay, or the daemon, to broadcast the answer.
    pub fn broadcast(&mut self) -> &mut Reply {
        let flags = self.message.flags().set_broadcast();
        self.message.set_flags(flags);
        self
    }

    /// The datagram.
    pub fn encode(mut self) -> Result<Vec<u8>, TooLong> {
        let mut extra = std::mem::take(&mut self.extra);
        let wishes = std::mem::take(&mut self.wishes);
        extra.sort_by_key(|code| wishes.iter().position(|wish| wish == code));
        let usual = EXPENDABLE.into_iter().filter(|code| *code != 67 || self.file_field);
        let mut expendable = extra.into_iter().rev().chain(usual);
        loop {
            let bytes = write(&self.message, self.relay.as_deref());
            if bytes.len() <= self.limit {
                return Ok(bytes);
            }
            let needed = bytes.len();
            match expendable.next() {
                Some(code) => drop(self.message.opts_mut().remove(OptionCode::from(code))),
                None if self.relay.take().is_some() => {}
                None => return Err(TooLong { needed, limit: self.limit }),
            }
        }
    }
}

/// dhcproto writes the options by ascending code and END; the relay's option goes between, byte
/// for byte, and zeros follow.
fn write(message: &v4::Message, relay: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = message.to_vec().expect("dhcproto can write what Reply lets in");
    if let Some(relay) = relay {
        bytes.pop();
        // An empty one is echoed too.
        for part in relay.chunks(255).chain(relay.is_empty().then_some(relay)) {
            bytes.extend_from_slice(&[code::RELAY, part.len() as u8]);
            bytes.extend_from_slice(part);
        }
        bytes.push(255);
    }
    if bytes.len() < SHORTEST {
        bytes.resize(SHORTEST, 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
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
        reply.file("snponly.efi", false).option(DhcpOption::DomainName("d".repeat(60)));
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
}
