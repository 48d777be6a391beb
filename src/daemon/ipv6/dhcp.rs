//! DHCPv6 on the wire: receives, lets [`proto::dhcp6`](crate::proto::dhcp6) decide, sends.
//!
//! Messages are taken from a packet socket: a UDP socket does not show which card sent a frame,
//! and that is who a machine is to us. The UDP socket beside it has the port and the multicast
//! groups, sends, and hands nothing up.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockType, bind, recvfrom, socket};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, watch};

use crate::daemon::dhcp::{Lessor, unanswered};
use crate::daemon::keeper::Keeper;
use crate::daemon::link::Interface;
use crate::daemon::raw::{Instruction, RETURN_NOTHING, filter, link_address_of, step};
use crate::daemon::{is_passing, now};
use crate::model::{Mac, Mode};
use crate::proto::converse::ROUNDS;
use crate::proto::dhcp6::{Decision, Link, Reason, SERVER_PORT, SERVERS, Silence, handle};
use crate::state::{Event, Lease6Request};

/// Largest packet taken.
const LARGEST: usize = 4096;
const IP_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
/// Leases that may be on their way to the disk at once.
const PENDING: usize = 4096;
/// All servers of a site (RFC 8415 section 7.1): the default destination of relays.
const SITE_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);

/// One interface being served.
pub struct Service {
    packets: AsyncFd<OwnedFd>,
    udp: Arc<Socket>,
    index: u32,
    server: Ipv6Addr,
    own: Vec<Ipv6Addr>,
    mode: watch::Receiver<Mode>,
    keeper: Keeper,
    pending: Arc<Semaphore>,
}

impl Service {
    /// Needs CAP_NET_RAW and a tokio runtime. `own` are all addresses of the interface, `server` the one of
    /// them that machines get.
    pub fn open(
        interface: &Interface,
        server: Ipv6Addr,
        own: Vec<Ipv6Addr>,
        mode: watch::Receiver<Mode>,
        keeper: Keeper,
    ) -> io::Result<Service> {
        let udp = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        filter(&udp, &[RETURN_NOTHING])?;
        udp.set_nonblocking(true)?;
        udp.set_only_v6(true)?;
        udp.bind_device(Some(interface.name.as_bytes()))?;
        udp.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT, 0, 0).into())?;
        for group in [SERVERS, SITE_SERVERS] {
            udp.join_multicast_v6(&group, interface.index)?;
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Bound to a protocol only when the filter is there.
        let packets = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        filter(&packets, &to_port(SERVER_PORT))?;
        bind(packets.as_raw_fd(), &link_address_of(interface.index, [0; 6], libc::ETH_P_IPV6 as u16))?;
        // SAFETY: an OwnedFd stays open and the same for as long as it lives.
        let packets = unsafe { AsyncFd::register(packets) }?;
        Ok(Service {
            packets,
            udp: Arc::new(udp),
            index: interface.index,
            server,
            own,
            mode,
            keeper,
            pending: Arc::new(Semaphore::new(PENDING)),
        })
    }

    /// Serves until the socket fails.
    pub async fn run(self) -> io::Result<()> {
        let service = Arc::new(self);
        let mut buffer = vec![0; LARGEST];
        loop {
            let mut ready = service.packets.readable().await?;
            let received =
                ready.try_io(|packets| Ok(recvfrom::<LinkAddr>(packets.get_ref().as_raw_fd(), &mut buffer)?));
            match received {
                Ok(Ok((length, from))) => service.take(&buffer[..length], from),
                // The interface went down; it may come back.
                Ok(Err(error)) if is_passing(&error) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn take(self: &Arc<Service>, packet: &[u8], from: Option<LinkAddr>) {
        let Some((source, destination, datagram)) = datagram(packet) else { return };
        // A frame to this host may be one that it only forwards.
        let unicast = self.own.contains(&destination);
        if !unicast && ![SERVERS, SITE_SERVERS].contains(&destination) {
            return;
        }
        let hardware = from.and_then(|from| from.addr()).and_then(|octets| Mac::new(octets).ok());
        let source = SocketAddrV6::new(source, 0, 0, self.index);
        let link = Link { server: self.server, mode: *self.mode.borrow(), source, unicast, hardware };
        match handle(&self.keeper.state(), &link, now(), datagram) {
            Decision::Reply { bytes, port, events } => self.answer(&bytes, source, port, events),
            Decision::Silence(silence) => self.note(&silence),
            Decision::NeedLease(request) => self.lease(request, link, datagram),
        }
    }

    /// Has the lease made in a task of its own, so that the keeper can write many at once.
    fn lease(self: &Arc<Service>, request: Lease6Request, link: Link, datagram: &[u8]) {
        let busy =
            Silence { reason: Reason::Busy, mac: Some(request.mac), sender: link.source, deployment: None };
        let Ok(permit) = self.pending.clone().try_acquire_owned() else {
            return self.note(&busy);
        };
        let (service, datagram) = (self.clone(), datagram.to_vec());
        tokio::spawn(async move {
            let _permit = permit;
            let mut request = request;
            for _ in 0..ROUNDS {
                let at = request.at;
                if service.keeper.lease6(request).await.is_err() {
                    break;
                }
                match handle(&service.keeper.state(), &link, at, &datagram) {
                    Decision::Reply { bytes, port, events } => {
                        return service.answer(&bytes, link.source, port, events);
                    }
                    Decision::Silence(silence) => return service.note(&silence),
                    Decision::NeedLease(again) => request = again,
                }
            }
            service.note(&busy);
        });
    }

    fn answer(&self, bytes: &[u8], to: SocketAddrV6, port: u16, events: Vec<Event>) {
        let to = SocketAddrV6::new(*to.ip(), port, 0, to.scope_id());
        let sent = self.udp.send_to(bytes, &to.into());
        if let Err(error) = &sent {
            tracing::warn!("can't send a DHCPv6 answer to {to}: {error}");
        }
        // What did not leave was not offered.
        let happened = |event| match &sent {
            Ok(_) => event,
            Err(error) => unanswered(event, error),
        };
        self.keeper.note_all(events.into_iter().map(happened).collect());
    }

    fn note(&self, silence: &Silence) {
        tracing::debug!("{silence}");
        Lessor::silent(&self.keeper, silence.reason.label());
        self.keeper.note(silence.event(now()));
    }
}

/// The UDP datagram in an IPv6 packet without extension headers: source, destination, payload. Its
/// checksum is not looked at: between two namespaces of one host it is never made, and on a wire
/// the frame has its own.
fn datagram(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr, &[u8])> {
    let (ip, udp) = packet.split_at_checked(IP_HEADER)?;
    if ip[0] >> 4 != 6 || ip[6] != UDP {
        return None;
    }
    let address = |at: usize| {
        let bytes: [u8; 16] = std::array::from_fn(|byte| ip[at + byte]);
        Ipv6Addr::from(bytes)
    };
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    Some((address(8), address(24), udp.get(UDP_HEADER..length)?))
}

/// Passes UDP datagrams to a port, in the language of BPF: load a byte, compare, load two, compare.
fn to_port(port: u16) -> [Instruction; 6] {
    [
        step(0x30, 0, 0, 6),
        step(0x15, 0, 3, UDP.into()),
        step(0x28, 0, 0, (IP_HEADER + 2) as u32),
        step(0x15, 0, 1, port.into()),
        step(0x06, 0, 0, LARGEST as u32),
        RETURN_NOTHING,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_taken_out_of_packets() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 12, 17, 1];
        packet.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        packet.extend_from_slice(&SERVERS.octets());
        packet.extend_from_slice(&[2, 0x22, 2, 0x23, 0, 12, 0, 0, 1, 2, 3, 4, 9]);
        assert_eq!(datagram(&packet), Some((Ipv6Addr::LOCALHOST, SERVERS, &[1, 2, 3, 4][..])));
        for length in 0..52 {
            assert_eq!(datagram(&packet[..length]), None, "{length}");
        }
    }
}
