//! DHCP messages of a client (RFC 2131, RFC 2132): the two that it sends, the three that it reads.

use std::net::Ipv4Addr;

use crate::model::Mac;

/// Where options begin: after the fixed part and the magic number (RFC 2131 section 2, RFC 2132 section 2).
const OPTIONS: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Shorter messages are dropped by old relays.
const SHORTEST: usize = 300;

mod code {
    pub(super) const PAD: u8 = 0;
    pub(super) const NETMASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const NAME_SERVERS: u8 = 6;
    pub(super) const WANTED_ADDRESS: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WISHES: u8 = 55;
    pub(super) const VENDOR_CLASS: u8 = 60;
    pub(super) const END: u8 = 255;
}

/// Option 60 of the agent, by which a capture or another server's log shows that it is our agent.
pub const VENDOR_CLASS: &[u8] = b"voldemort-agent";

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    /// 0 to 32.
    pub prefix: u8,
    pub router: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    /// Who gave it (option 54).
    pub server: Ipv4Addr,
    /// Seconds that it lasts; `u32::MAX` is for ever (RFC 2131 section 3.3).
    pub seconds: u32,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Offer(Lease),
    Ack(Lease),
    Nak,
}

/// What is the same in all messages of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub mac: Mac,
    pub transaction: u32,
    /// Since the exchange began.
    pub seconds: u16,
}

/// Asks all servers for an address.
pub fn discover(sender: Sender) -> Vec<u8> {
    message(sender, DISCOVER, Ipv4Addr::UNSPECIFIED, &[])
}

/// Takes the offered address from the server that offered it.
pub fn request(sender: Sender, offer: &Lease) -> Vec<u8> {
    let options = [(code::WANTED_ADDRESS, offer.address.octets()), (code::SERVER, offer.server.octets())];
    message(sender, REQUEST, Ipv4Addr::UNSPECIFIED, &options)
}

/// Asks any server for more time with an address in use (RFC 2131 section 4.3.2, REBINDING).
pub fn extend(sender: Sender, lease: &Lease) -> Vec<u8> {
    message(sender, REQUEST, lease.address, &[])
}

fn message(sender: Sender, kind: u8, own: Ipv4Addr, options: &[(u8, [u8; 4])]) -> Vec<u8> {
    let mut bytes = vec![0; OPTIONS];
    // A request, over Ethernet, with six bytes of hardware address.
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&sender.transaction.to_be_bytes());
    bytes[8..10].copy_from_slice(&sender.seconds.to_be_bytes());
    // The kernel has no address yet: servers and relays that can must not send to the offered one.
    bytes[10] = if own.is_unspecified() { 0x80 } else { 0 };
    bytes[12..16].copy_from_slice(&own.octets());
    bytes[28..34].copy_from_slice(&sender.mac.octets());
    bytes[OPTIONS - 4..].copy_from_slice(&MAGIC);
    let mut put = |code: u8, value: &[u8]| {
        bytes.extend([code, value.len() as u8]);
        bytes.extend_from_slice(value);
    };
    put(code::KIND, &[kind]);
    for (code, value) in options {
        put(*code, value);
    }
    put(code::VENDOR_CLASS, VENDOR_CLASS);
    put(code::WISHES, &[code::NETMASK, code::ROUTER, code::NAME_SERVERS, code::LEASE, code::SERVER]);
    bytes.push(code::END);
    bytes.resize(bytes.len().max(SHORTEST), code::PAD);
    bytes
}

/// Reads an answer to this sender; `None` if it is somebody else's, damaged, or gives no address (a ProxyDHCP
/// server's).
pub fn answer(bytes: &[u8], sender: Sender) -> Option<Answer> {
    let head = bytes.get(..OPTIONS)?;
    let is_ours = head[0] == 2
        && head[4..8] == sender.transaction.to_be_bytes()
        && head[28..34] == sender.mac.octets()
        && head[OPTIONS - 4..] == MAGIC;
    if !is_ours {
        return None;
    }
    let kind = *option(bytes, code::KIND)?.first()?;
    if kind == NAK {
        return Some(Answer::Nak);
    }
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&head[16..20]).ok()?);
    if address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback() {
        return None;
    }
    let lease = Lease {
        address,
        prefix: option(bytes, code::NETMASK).and_then(addresses).map_or(24, prefix),
        router: option(bytes, code::ROUTER).and_then(addresses).and_then(|routers| routers.first().copied()),
        name_servers: option(bytes, code::NAME_SERVERS).and_then(addresses).unwrap_or_default(),
        server: *option(bytes, code::SERVER).and_then(addresses)?.first()?,
        seconds: option(bytes, code::LEASE)
            .and_then(|value| value.try_into().ok())
            .map_or(u32::MAX, u32::from_be_bytes),
    };
    match kind {
        OFFER => Some(Answer::Offer(lease)),
        ACK => Some(Answer::Ack(lease)),
        _ => None,
    }
}

/// The first option of this code. `sname` and `file` are not looked at: nothing that is asked for here is moved there.
fn option(bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = bytes.get(OPTIONS..)?;
    loop {
        match rest {
            [code::PAD, more @ ..] => rest = more,
            [code::END, ..] | [] | [_] => return None,
            [code, length, more @ ..] => {
                let value = more.get(..usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                rest = &more[value.len()..];
            }
        }
    }
}

/// One or more addresses.
fn addresses(value: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let (whole, rest) = value.as_chunks::<4>();
    (rest.is_empty() && !whole.is_empty())
        .then(|| whole.iter().map(|octets| Ipv4Addr::from(*octets)).collect())
}

fn prefix(netmask: Vec<Ipv4Addr>) -> u8 {
    netmask.first().map_or(0, |mask| mask.to_bits().leading_ones() as u8)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn sender() -> Sender {
        Sender { mac: "52:54:00:aa:00:01".parse().unwrap(), transaction: 7, seconds: 0 }
    }

    /// An answer as a server writes it.
    pub(crate) fn reply(to: Sender, kind: u8, address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = message(to, kind, Ipv4Addr::UNSPECIFIED, &[]);
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&address);
        bytes.truncate(OPTIONS);
        bytes.extend([code::KIND, 1, kind]);
        for (code, value) in options {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend_from_slice(value);
        }
        bytes.push(code::END);
        bytes
    }

    pub(crate) const GIVEN: [(u8, &[u8]); 4] = [
        (1, &[255, 255, 254, 0]),
        (3, &[10, 0, 0, 1, 10, 0, 0, 2]),
        (51, &[0, 0, 14, 16]),
        (54, &[10, 0, 0, 1]),
    ];

    #[test]
    fn another_implementation_reads_what_is_sent() {
        use dhcproto::v4::{Decodable, Decoder, DhcpOption, Message, MessageType, OptionCode};
        let offer = match answer(&reply(sender(), OFFER, [10, 0, 0, 50], &GIVEN), sender()) {
            Some(Answer::Offer(offer)) => offer,
            other => panic!("{other:?}"),
        };
        let read = |bytes: &[u8]| Message::decode(&mut Decoder::new(bytes)).unwrap();
        let first = read(&discover(sender()));
        assert_eq!(
            first.opts().get(OptionCode::MessageType),
            Some(&DhcpOption::MessageType(MessageType::Discover))
        );
        assert_eq!(first.chaddr(), sender().mac.octets());
        assert!(first.flags().broadcast());
        let second = read(&request(sender(), &offer));
        assert_eq!(
            second.opts().get(OptionCode::RequestedIpAddress),
            Some(&DhcpOption::RequestedIpAddress([10, 0, 0, 50].into()))
        );
        assert_eq!(
            second.opts().get(OptionCode::ServerIdentifier),
            Some(&DhcpOption::ServerIdentifier([10, 0, 0, 1].into()))
        );
        let third = read(&extend(sender(), &offer));
        assert_eq!(third.ciaddr(), Ipv4Addr::new(10, 0, 0, 50));
        assert!(!third.flags().broadcast() && third.opts().get(OptionCode::ServerIdentifier).is_none());
        assert!(discover(sender()).len() >= SHORTEST);
    }

    #[test]
    fn answers_are_read() {
        let lease = Lease {
            address: [10, 0, 0, 50].into(),
            prefix: 23,
            router: Some([10, 0, 0, 1].into()),
            name_servers: vec![],
            server: [10, 0, 0, 1].into(),
            seconds: 3600,
        };
        let ack = reply(sender(), ACK, [10, 0, 0, 50], &GIVEN);
        assert_eq!(answer(&ack, sender()), Some(Answer::Ack(lease)));
        assert_eq!(answer(&reply(sender(), NAK, [0; 4], &[]), sender()), Some(Answer::Nak));
        // A ProxyDHCP server's, one to another card, one of an earlier exchange, our own request.
        assert_eq!(answer(&reply(sender(), OFFER, [0; 4], &GIVEN), sender()), None);
        let other = Sender { mac: "52:54:00:aa:00:02".parse().unwrap(), ..sender() };
        assert_eq!(answer(&ack, other), None);
        assert_eq!(answer(&ack, Sender { transaction: 8, ..sender() }), None);
        assert_eq!(answer(&discover(sender()), sender()), None);
        // Without who gives it, it can't be taken.
        assert_eq!(answer(&reply(sender(), OFFER, [10, 0, 0, 50], &GIVEN[..3]), sender()), None);
    }

    proptest::proptest! {
        #[test]
        fn damaged_answers_are_harmless(flips: Vec<(proptest::sample::Index, u8)>, cut: proptest::sample::Index) {
            let mut bytes = reply(sender(), ACK, [10, 0, 0, 50], &GIVEN);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            answer(&bytes, sender());
        }
    }
}
