//! Looking for other DHCP servers: a DISCOVER from a machine that does not exist.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use dhcproto::v4::{self, Decodable, Decoder, DhcpOption, Encodable, MessageType, OptionCode};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, bind, socket};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::link::Interface;
use super::raw::{self, RawSender};
use crate::model::datagram;
use crate::proto::dhcp::{CLIENT_PORT, SERVER_PORT};

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it calls itself (option 54).
    pub server: Ipv4Addr,
    /// The address it offered; unspecified for a ProxyDHCP server.
    pub offered: Ipv4Addr,
    pub netmask: Option<Ipv4Addr>,
    pub router: Option<Ipv4Addr>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error(
        "can't look for other DHCP servers on {interface}: neither a raw socket (CAP_NET_RAW) nor UDP \
         port 68 (CAP_NET_BIND_SERVICE, and no DHCP client that holds it exclusively) can be opened: {source}"
    )]
    Closed { interface: String, source: io::Error },
    #[error("can't send a DHCPDISCOVER out of {interface}: {source}")]
    Send { interface: String, source: io::Error },
    #[error("can't receive on {interface}: {source}")]
    Receive { interface: String, source: io::Error },
}

/// Asks for an address on `interface` and lists the servers that offer one within `wait`, this host left
/// out. The DISCOVER is sent twice, half-way again, in case one is lost. No lease is taken: the offers are
/// never accepted. Needs 4 s for every kind of server to answer (dnsmasq pings for 3 s before it offers).
pub async fn probe(interface: &Interface, wait: Duration) -> Result<Vec<Foreign>, ProbeError> {
    let name = || interface.name.clone();
    let offers =
        OfferSocket::open(interface).map_err(|source| ProbeError::Closed { interface: name(), source })?;
    let random = random().map_err(|source| ProbeError::Send { interface: name(), source })?;
    let discover = discover(random);
    let start = Instant::now();
    let mut found = BTreeMap::new();
    for end in [start + wait / 2, start + wait] {
        let sent = offers.send(interface, &discover).await;
        sent.map_err(|source| ProbeError::Send { interface: name(), source })?;
        while let Ok(received) = timeout_at(end, offers.receive()).await {
            let datagram = received.map_err(|source| ProbeError::Receive { interface: name(), source })?;
            if let Some(foreign) = offer(&datagram, xid(random)).filter(|one| one.server != interface.address)
            {
                found.insert(foreign.server, foreign);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// Most bytes read of an answer.
const OFFER_MAX: u32 = 4096;

/// The socket that receives the offers: those to port 68 of any host, or of this host.
enum OfferSocket {
    Raw { sender: RawSender, socket: AsyncFd<OwnedFd> },
    Udp(UdpSocket),
}

impl OfferSocket {
    fn open(interface: &Interface) -> io::Result<OfferSocket> {
        match RawSender::open() {
            Ok(sender) => Ok(OfferSocket::Raw { sender, socket: packets(interface.index)? }),
            Err(_) => {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
                socket.set_nonblocking(true)?;
                socket.set_broadcast(true)?;
                socket.set_reuse_address(true)?;
                socket.bind_device(Some(interface.name.as_bytes()))?;
                socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
                Ok(OfferSocket::Udp(UdpSocket::from_std(socket.into())?))
            }
        }
    }

    async fn send(&self, interface: &Interface, discover: &[u8]) -> io::Result<()> {
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        match self {
            OfferSocket::Raw { sender, .. } => {
                let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
                sender.send(interface.index, [0xff; 6], nobody, everybody, discover)
            }
            OfferSocket::Udp(socket) => socket.send_to(discover, everybody).await.map(drop),
        }
    }

    /// The next datagram to port 68.
    async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; OFFER_MAX as usize];
        match self {
            OfferSocket::Raw { socket, .. } => loop {
                let mut ready = socket.readable().await?;
                let read = |fd: &AsyncFd<OwnedFd>| Ok(nix::unistd::read(fd.get_ref(), &mut buffer)?);
                let Ok(length) = ready.try_io(read) else { continue };
                let packet = datagram::datagram(&buffer[..length?]);
                if let Some((.., payload)) = packet.filter(|(_, to, _)| to.port() == CLIENT_PORT) {
                    return Ok(payload.to_vec());
                }
            },
            OfferSocket::Udp(socket) => {
                let length = socket.recv(&mut buffer).await?;
                buffer.truncate(length);
                Ok(buffer)
            }
        }
    }
}

/// A socket that gets all datagrams to port 68 on the interface. The kernel filters them, because machines
/// may be fetching at gigabits a second meanwhile.
fn packets(index: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthIp)?;
    raw::filter(&socket, &raw::udp_to(CLIENT_PORT, OFFER_MAX))?;
    bind(socket.as_raw_fd(), &raw::link_address(index, [0; 6]))?;
    // SAFETY: an OwnedFd stays open and the same for as long as it lives.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

fn random() -> io::Result<[u8; 10]> {
    let mut bytes = [0; 10];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn xid(random: [u8; 10]) -> u32 {
    u32::from_be_bytes([random[6], random[7], random[8], random[9]])
}

/// A DISCOVER of a locally administered hardware address that asks to be answered by broadcast.
/// It names PXE, so that ProxyDHCP servers answer too.
fn discover(random: [u8; 10]) -> Vec<u8> {
    let mac = [random[0] & 0xfc | 2, random[1], random[2], random[3], random[4], random[5]];
    let nowhere = Ipv4Addr::UNSPECIFIED;
    let mut message = v4::Message::new_with_id(xid(random), nowhere, nowhere, nowhere, nowhere, &mac);
    message.set_flags(v4::Flags::default().set_broadcast());
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    options.insert(DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003000".to_vec()));
    options.insert(DhcpOption::Unknown(v4::UnknownOption::new(OptionCode::from(93), vec![0, 7])));
    options.insert(DhcpOption::ParameterRequestList(vec![OptionCode::SubnetMask, OptionCode::Router]));
    let mut bytes = message.to_vec().expect("dhcproto can write these options");
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

fn offer(datagram: &[u8], xid: u32) -> Option<Foreign> {
    let message = v4::Message::decode(&mut Decoder::new(datagram)).ok()?;
    let options = message.opts();
    let ours = message.opcode() == v4::Opcode::BootReply && message.xid() == xid;
    if !ours || options.msg_type() != Some(MessageType::Offer) {
        return None;
    }
    let Some(DhcpOption::ServerIdentifier(server)) = options.get(OptionCode::ServerIdentifier) else {
        return None;
    };
    let netmask = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => Some(*mask),
        _ => None,
    };
    let router = match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => routers.first().copied(),
        _ => None,
    };
    Some(Foreign { server: *server, offered: message.yiaddr(), netmask, router })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::dhcp::Request;

    #[test]
    fn the_question_is_one_that_we_would_understand() {
        let random = [0xff, 1, 2, 3, 4, 5, 9, 9, 9, 9];
        let bytes = discover(random);
        let request = Request::decode(&bytes).unwrap();
        assert_eq!(request.kind, MessageType::Discover);
        assert_eq!(request.mac.octets(), [0xfe, 1, 2, 3, 4, 5]);
        assert!(request.header.flags().broadcast());
        assert_eq!(offer(&bytes, xid(random)), None, "no answer");
    }

    proptest::proptest! {
        #[test]
        fn no_answer_of_another_server_panics(
            options in proptest::collection::vec((0u8..130, proptest::collection::vec(0u8.., 0..9)), 0..12),
            noise: Vec<u8>,
        ) {
            let random = [2, 1, 2, 3, 4, 5, 9, 9, 9, 9];
            let mut bytes = discover(random)[..240].to_vec();
            bytes[0] = 2;
            bytes.extend([53, 1, 2]);
            for (code, value) in options {
                bytes.extend([&[code, value.len() as u8], &value[..]].concat());
            }
            bytes.extend(&noise);
            offer(&bytes, xid(random));
            offer(&noise, 0);
        }
    }
}
