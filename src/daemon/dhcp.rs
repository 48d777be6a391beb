//! DHCP on the wire: receives, lets [`proto::dhcp`](crate::proto::dhcp) decide, sends.
//!
//! One wildcard socket for each port: a socket bound to an address gets no broadcasts, and one
//! bound to a device misses what relays send to us by another interface. The packet's ancillary
//! data says where it came from; only the configured interface is answered, and whatever was
//! sent to our own address there.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use arc_swap::ArcSwap;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};

use super::link::Interface;
use super::now;
use super::raw::RawSender;
use crate::model::Time;
use crate::proto::dhcp::{
    BOOT_SERVER_PORT, CLIENT_PORT, Decision, Destination, Link, Mode, Reason, SERVER_PORT, Silence, handle,
};
use crate::table::{Event, LeaseRequest, Table};

/// Largest datagram taken: relays add to a client's 1,500.
const LARGEST: usize = 4096;
/// Datagrams taken in one go before other tasks get their turn.
const BATCH: usize = 64;
/// Leases that may be on their way to the disk at once; what comes then is left to the client's
/// next try.
const PENDING: usize = 8192;
/// How often a message is decided again over a newer table before it is given up.
const ROUNDS: usize = 3;
/// Receive buffer: a boot storm's worth of messages.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The keeper, as far as DHCP needs it.
pub trait Lessor: Send + Sync + 'static {
    /// Makes a lease durable and publishes the table that has it. It may find that the lease
    /// can't be had any more; the message is decided again either way.
    fn lease(&self, request: LeaseRequest) -> impl Future<Output = Result<(), Busy>> + Send;

    /// Takes note of what happened. Must not block.
    fn note(&self, event: Event);
}

/// The keeper has more to do than it can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keeper is busy")]
pub struct Busy;

/// Why a port can't be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "UDP port {0} is in use by another program: find it with `ss -lunp 'sport = :{0}'` and stop it, \
         or set mode = \"off\" in [dhcp]"
    )]
    InUse(u16),
    #[error(
        "UDP port {0} needs privilege: run as root or give the program \
         CAP_NET_BIND_SERVICE, CAP_NET_RAW and CAP_NET_ADMIN"
    )]
    Privilege(u16),
    #[error("can't listen on UDP port {port}: {source}")]
    Other { port: u16, source: io::Error },
}

/// The open ports.
#[derive(Debug)]
pub struct Sockets {
    interface: Interface,
    ports: Vec<Port>,
    raw: Option<RawSender>,
}

#[derive(Debug)]
struct Port {
    number: u16,
    socket: UdpSocket,
}

impl Sockets {
    /// Opens port 67, and 4011 where boot files are given. Must be called inside the runtime.
    pub fn open(interface: Interface, mode: Mode) -> Result<Sockets, BindError> {
        let numbers: &[u16] = match mode {
            Mode::Server | Mode::Proxy => &[SERVER_PORT, BOOT_SERVER_PORT],
            Mode::Listen => &[SERVER_PORT],
            Mode::Off => &[],
        };
        let open = |number: &u16| Port::open(&interface, *number);
        let ports = numbers.iter().map(open).collect::<Result<_, _>>()?;
        let raw = RawSender::open()
            .inspect_err(|error| tracing::warn!("answers are broadcast, no raw socket: {error}"))
            .ok();
        Ok(Sockets { interface, ports, raw })
    }
}

impl Port {
    fn open(interface: &Interface, number: u16) -> Result<Port, BindError> {
        let device = Some(interface.name.as_bytes());
        let socket = match bind(number, None) {
            // Another server may be bound to another device, as libvirt's is: then so can we.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(number, device).inspect(|_| {
                tracing::warn!(
                    "UDP port {number} is shared with a program on another interface: \
                     relays must reach us through {}",
                    interface.name
                );
            }),
            result => result,
        };
        let socket = socket.and_then(|socket| UdpSocket::from_std(socket.into())).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse(number),
                io::ErrorKind::PermissionDenied => BindError::Privilege(number),
                _ => BindError::Other { port: number, source },
            }
        })?;
        Ok(Port { number, socket })
    }
}

fn bind(port: u16, device: Option<&[u8]>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_broadcast(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    if device.is_some() {
        socket.bind_device(device)?;
    }
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    Ok(socket)
}

/// Serves until a socket fails. `mode` is what we are on the interface; it may change.
pub async fn run<L: Lessor>(
    sockets: Sockets,
    mode: watch::Receiver<Mode>,
    tables: Arc<ArcSwap<Table>>,
    lessor: Arc<L>,
) -> io::Result<()> {
    let Sockets { interface, ports, raw } = sockets;
    let pending = Arc::new(Semaphore::new(PENDING));
    let mut tasks = tokio::task::JoinSet::new();
    let raw = Arc::new(raw);
    for port in ports {
        let service = Arc::new(Service {
            interface: interface.clone(),
            mode: mode.clone(),
            tables: tables.clone(),
            lessor: lessor.clone(),
            pending: pending.clone(),
            raw: raw.clone(),
            port,
        });
        tasks.spawn(service.serve());
    }
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Ok(()),
    }
}

/// One port being served.
struct Service<L> {
    interface: Interface,
    mode: watch::Receiver<Mode>,
    tables: Arc<ArcSwap<Table>>,
    lessor: Arc<L>,
    pending: Arc<Semaphore>,
    raw: Arc<Option<RawSender>>,
    port: Port,
}

/// A datagram with where it came from.
struct Received {
    length: usize,
    source: SocketAddrV4,
    destination: Ipv4Addr,
    index: u32,
}

impl<L: Lessor> Service<L> {
    async fn serve(self: Arc<Service<L>>) -> io::Result<()> {
        let mut buffer = vec![0; LARGEST];
        loop {
            let socket = &self.port.socket;
            socket.readable().await?;
            for _ in 0..BATCH {
                match socket.try_io(Interest::READABLE, || receive(socket.as_fd(), &mut buffer)) {
                    Ok(Some(received)) => self.take(&received, &buffer[..received.length]),
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_passing(&error) => tracing::debug!("receiving DHCP: {error}"),
                    Err(error) => return Err(error),
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn take(self: &Arc<Service<L>>, received: &Received, datagram: &[u8]) {
        let ours = received.index == self.interface.index || received.destination == self.interface.address;
        if !ours {
            return;
        }
        let cidr = self.interface.cidr;
        let link = Link {
            server: self.interface.address,
            cidr,
            mode: *self.mode.borrow(),
            port: self.port.number,
            source: received.source,
            broadcast: received.destination.is_broadcast() || received.destination == cidr.broadcast(),
        };
        let now = now();
        match handle(&self.tables.load(), &link, now, datagram) {
            Decision::Reply { bytes, to, events } => self.answer(&bytes, to, events, received.index),
            Decision::Silence(silence) => self.note(&silence, now),
            Decision::NeedLease(request) => self.lease(request, link, datagram, received.index, now),
        }
    }

    /// Has the lease made in a task of its own, so that others are answered meanwhile and the
    /// keeper can write many at once.
    fn lease(
        self: &Arc<Service<L>>,
        request: LeaseRequest,
        link: Link,
        datagram: &[u8],
        index: u32,
        now: Time,
    ) {
        let busy =
            Silence { reason: Reason::Busy, mac: Some(request.mac), sender: link.source, deployment: None };
        let Ok(permit) = self.pending.clone().try_acquire_owned() else {
            return self.note(&busy, now);
        };
        let service = self.clone();
        let datagram = datagram.to_vec();
        tokio::spawn(async move {
            let _permit = permit;
            let mut request = request;
            for _ in 0..ROUNDS {
                if service.lessor.lease(request).await.is_err() {
                    break;
                }
                let decision = handle(&service.tables.load(), &link, now, &datagram);
                match decision {
                    Decision::Reply { bytes, to, events } => {
                        return service.answer(&bytes, to, events, index);
                    }
                    Decision::Silence(silence) => return service.note(&silence, now),
                    Decision::NeedLease(again) => request = again,
                }
            }
            service.note(&busy, now);
        });
    }

    fn answer(&self, bytes: &[u8], to: Destination, events: Vec<Event>, index: u32) {
        if let Err(error) = self.send(bytes, to, index) {
            tracing::warn!("can't send a DHCP answer to {to}: {error}");
        }
        for event in events {
            self.lessor.note(event);
        }
    }

    fn send(&self, bytes: &[u8], to: Destination, index: u32) -> io::Result<()> {
        let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        let (to, index) = match to {
            Destination::Relay(relay) => (SocketAddrV4::new(relay, SERVER_PORT), 0),
            Destination::Unicast(client) => (client, 0),
            Destination::Broadcast => (broadcast, index),
            Destination::Raw { mac, address } => match &*self.raw {
                Some(raw) => {
                    let source = SocketAddrV4::new(self.interface.address, self.port.number);
                    let client = SocketAddrV4::new(address, CLIENT_PORT);
                    return raw.send(index, mac.octets(), source, client, bytes);
                }
                None => (broadcast, index),
            },
        };
        send(self.port.socket.as_fd(), bytes, self.interface.address, to, index)
    }

    fn note(&self, silence: &Silence, now: Time) {
        tracing::debug!("{silence}");
        self.lessor.note(silence.event(now));
    }
}

fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let info = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    let (Some(source), Some(info)) = (message.address, info) else { return Ok(None) };
    Ok(Some(Received {
        length: message.bytes,
        source: SocketAddrV4::new(source.ip(), source.port()),
        destination: Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)),
        index: info.ipi_ifindex as u32,
    }))
}

/// Sends from `source`; out of the interface with this index, or (0) where the route leads.
fn send(socket: BorrowedFd, bytes: &[u8], source: Ipv4Addr, to: SocketAddrV4, index: u32) -> io::Result<()> {
    let info = libc::in_pktinfo {
        ipi_ifindex: index as i32,
        ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    let to = SockaddrIn::from(to);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::MSG_DONTWAIT, Some(&to))?;
    Ok(())
}

/// Errors that say something of one packet or moment, not of the socket.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable
    )
}
