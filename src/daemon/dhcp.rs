//! DHCP on the wire: receives, lets [`proto::dhcp`](crate::proto::dhcp) decide, sends.
//!
//! One wildcard socket for each port: a socket bound to an address gets no broadcasts, and one
//! bound to a device misses what relays send to us by another interface. The packet's ancillary
//! data says where it came from; only the configured interfaces are answered, and whatever was
//! sent to our own addresses there.

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

use super::conflict::{Conflict, Conflicts};
use super::link::Interface;
use super::now;
use super::raw::RawSender;
use crate::model::{Mac, Time};
use crate::proto::dhcp::{
    BOOT_SERVER_PORT, CLIENT_PORT, Decision, Destination, Link, Mode, Reason, SERVER_PORT, Silence, handle,
};
use crate::table::{Event, LeaseAction, LeaseRequest, Stage, Supply, Table};

/// Largest datagram taken: relays add to a client's 1,500.
const LARGEST: usize = 4096;
/// Datagrams taken in one go before other tasks get their turn.
const HANDFUL: usize = 64;
/// Leases that may be on their way to the disk at once; what comes then is left to the client's
/// next try.
const PENDING: usize = 8192;
/// How often a message is decided again over a newer table before it is given up.
const ROUNDS: usize = 3;
/// Receive buffer: a boot storm's worth of messages.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The keeper, as far as DHCP needs it.
pub trait Lessor: Send + Sync + 'static {
    /// Makes leases durable and publishes the table that has them. It may find that one can't be
    /// had any more; the messages are decided again either way.
    fn lease(&self, requests: Vec<LeaseRequest>) -> impl Future<Output = Result<(), Busy>> + Send;

    /// Takes note of what happened. Must not block.
    fn note(&self, events: Vec<Event>);

    /// Counts a message that was left unanswered, by the word for its reason.
    fn silent(&self, _reason: &'static str) {}
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
    interfaces: Vec<Interface>,
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
    pub fn open(interfaces: Vec<Interface>, mode: Mode) -> Result<Sockets, BindError> {
        let numbers: &[u16] = match mode {
            Mode::Server | Mode::Proxy => &[SERVER_PORT, BOOT_SERVER_PORT],
            Mode::Listen => &[SERVER_PORT],
            Mode::Off => &[],
        };
        let mut ports = Vec::new();
        for number in numbers {
            ports.extend(Port::open(&interfaces, *number)?);
        }
        let raw = RawSender::open()
            .inspect_err(|error| tracing::warn!("answers are broadcast, no raw socket: {error}"))
            .ok();
        Ok(Sockets { interfaces, ports, raw })
    }
}

impl Port {
    /// One socket for all interfaces; one for each where another program has the port.
    fn open(interfaces: &[Interface], number: u16) -> Result<Vec<Port>, BindError> {
        let sockets = match bind(number, None) {
            // Another server may be bound to another device, as libvirt's is: then so can we.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let bound = |interface: &Interface| bind(number, Some(interface.name.as_bytes()));
                interfaces.iter().map(bound).collect::<io::Result<Vec<_>>>().inspect(|_| {
                    let names: Vec<&str> = interfaces.iter().map(|one| one.name.as_str()).collect();
                    tracing::warn!(
                        "UDP port {number} is shared with a program on another interface: \
                         relays must reach us through {}",
                        names.join(", ")
                    );
                })
            }
            result => result.map(|socket| vec![socket]),
        };
        let wrong = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(number),
            io::ErrorKind::PermissionDenied => BindError::Privilege(number),
            _ => BindError::Other { port: number, source },
        };
        let port = |socket: Socket| {
            let socket = UdpSocket::from_std(socket.into()).map_err(wrong)?;
            Ok(Port { number, socket })
        };
        sockets.map_err(wrong)?.into_iter().map(port).collect()
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

/// Serves until a socket fails. `modes` are what we are on each interface; they may change.
pub async fn run<L: Lessor>(
    sockets: Sockets,
    modes: Vec<watch::Receiver<Mode>>,
    tables: Arc<ArcSwap<Table>>,
    lessor: Arc<L>,
) -> io::Result<()> {
    let Sockets { interfaces, ports, raw } = sockets;
    let places = interfaces.into_iter().zip(modes).map(|(interface, mode)| {
        let conflicts = Conflicts::open(&interface)
            .inspect_err(|error| {
                tracing::warn!("addresses are offered without a look who uses them: {error}")
            })
            .ok();
        Place { interface, mode, conflicts }
    });
    let places: Arc<[Place]> = places.collect();
    let pending = Arc::new(Semaphore::new(PENDING));
    let mut tasks = tokio::task::JoinSet::new();
    let raw = Arc::new(raw);
    let mut looking = false;
    for port in ports {
        let service = Arc::new(Service {
            places: places.clone(),
            tables: tables.clone(),
            lessor: lessor.clone(),
            pending: pending.clone(),
            raw: raw.clone(),
            port,
        });
        if service.port.number == SERVER_PORT && !looking {
            looking = true;
            (0..places.len()).for_each(|place| drop(tasks.spawn(service.clone().conflicts(place))));
        }
        tasks.spawn(service.serve());
    }
    match tasks.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Ok(()),
    }
}

/// One network being served.
struct Place {
    interface: Interface,
    mode: watch::Receiver<Mode>,
    conflicts: Option<Conflicts>,
}

/// One port being served.
struct Service<L> {
    places: Arc<[Place]>,
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

/// Where an answer leaves.
#[derive(Clone, Copy)]
struct Exit {
    source: Ipv4Addr,
    /// The interface that the question came in by.
    index: u32,
    /// Which of the places it came to.
    place: usize,
}

/// A message whose answer waits for a lease.
struct Waiting {
    request: LeaseRequest,
    link: Link,
    datagram: Vec<u8>,
    exit: Exit,
    now: Time,
}

/// What a handful of datagrams came to that is not done yet.
#[derive(Default)]
struct Handful {
    waiting: Vec<Waiting>,
    events: Vec<Event>,
}

impl<L: Lessor> Service<L> {
    /// Takes what has arrived by handfuls: under load the keeper is asked once for many.
    async fn serve(self: Arc<Service<L>>) -> io::Result<()> {
        let mut buffer = vec![0; LARGEST];
        loop {
            let socket = &self.port.socket;
            socket.readable().await?;
            let mut handful = Handful::default();
            for _ in 0..HANDFUL {
                match socket.try_io(Interest::READABLE, || receive(socket.as_fd(), &mut buffer)) {
                    Ok(Some(received)) => self.take(&received, &buffer[..received.length], &mut handful),
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_passing(&error) => tracing::debug!("receiving DHCP: {error}"),
                    Err(error) => return Err(error),
                }
            }
            let Handful { waiting, events } = handful;
            self.lessor.note(events);
            self.lease(waiting);
            tokio::task::yield_now().await;
        }
    }

    fn take(&self, received: &Received, datagram: &[u8], handful: &mut Handful) {
        // What is sent to one of our addresses may come in by another interface.
        let by_index = self.places.iter().position(|place| received.index == place.interface.index);
        let by_address =
            || self.places.iter().position(|place| received.destination == place.interface.address);
        let Some(place) = by_index.or_else(by_address) else { return };
        let Place { interface, mode, conflicts: _ } = &self.places[place];
        let cidr = interface.cidr;
        let link = Link {
            server: interface.address,
            cidr,
            mode: *mode.borrow(),
            port: self.port.number,
            source: received.source,
            broadcast: received.destination.is_broadcast() || received.destination == cidr.broadcast(),
        };
        let exit = Exit { source: interface.address, index: received.index, place };
        let now = now();
        match handle(&self.tables.load(), &link, now, datagram) {
            Decision::Reply { bytes, to, events } => {
                self.send(&bytes, to, exit);
                handful.events.extend(events);
            }
            Decision::Silence(silence) => handful.events.push(self.silent(&silence, now)),
            Decision::NeedLease(request) => {
                let datagram = datagram.to_vec();
                handful.waiting.push(Waiting { request, link, datagram, exit, now });
            }
        }
    }

    /// Has the leases made in a task of its own, so that others are answered meanwhile and the
    /// keeper can write many at once.
    fn lease(self: &Arc<Service<L>>, waiting: Vec<Waiting>) {
        if waiting.is_empty() {
            return;
        }
        match self.pending.clone().try_acquire_many_owned(waiting.len() as u32) {
            Ok(permit) => {
                let service = self.clone();
                tokio::spawn(async move {
                    service.lease_and_answer(waiting).await;
                    drop(permit);
                });
            }
            Err(_) => self.lessor.note(waiting.iter().map(|one| self.busy(one)).collect()),
        }
    }

    async fn lease_and_answer(&self, mut waiting: Vec<Waiting>) {
        let mut events = Vec::new();
        for _ in 0..ROUNDS {
            let table = self.tables.load_full();
            let fresh: Vec<bool> = waiting.iter().map(|one| fresh(&table, &one.request)).collect();
            let requests = waiting.iter().map(|one| one.request.clone()).collect();
            if waiting.is_empty() || self.lessor.lease(requests).await.is_err() {
                break;
            }
            let table = self.tables.load_full();
            let mut again = Vec::new();
            for (one, fresh) in waiting.into_iter().zip(fresh) {
                if fresh {
                    self.look(&table, one.request.mac, one.exit.place);
                }
                match handle(&table, &one.link, one.now, &one.datagram) {
                    Decision::Reply { bytes, to, events: told } => {
                        self.send(&bytes, to, one.exit);
                        events.extend(told);
                    }
                    Decision::Silence(silence) => events.push(self.silent(&silence, one.now)),
                    Decision::NeedLease(request) => again.push(Waiting { request, ..one }),
                }
            }
            waiting = again;
        }
        events.extend(waiting.iter().map(|one| self.busy(one)));
        self.lessor.note(events);
    }

    fn busy(&self, waiting: &Waiting) -> Event {
        let Waiting { request, link, now, .. } = waiting;
        let mac = Some(request.mac);
        let busy = Silence { reason: Reason::Busy, mac, sender: link.source, deployment: None };
        self.silent(&busy, *now)
    }

    /// Asks the wire whether somebody else uses the address that is now on offer to `mac`.
    fn look(&self, table: &Table, mac: Mac, place: usize) {
        let Place { interface, conflicts, .. } = &self.places[place];
        let Some(offer) = table.leases.offer(mac).filter(|offer| interface.cidr.contains(offer.address))
        else {
            return;
        };
        if let Some(conflicts) = conflicts {
            conflicts.ask(offer.address, mac);
        }
    }

    /// Puts addresses aside that somebody was found to use.
    async fn conflicts(self: Arc<Service<L>>, place: usize) -> io::Result<()> {
        let Some(conflicts) = &self.places[place].conflicts else { return std::future::pending().await };
        loop {
            let Conflict { address, offered_to, used_by } = conflicts.next().await?;
            let text = format!(
                "{address}, offered to {offered_to}, is used by {used_by}, who has no lease of it: \
                 the address rests for 24 hours"
            );
            tracing::warn!("{text}");
            let event = Event { address: Some(address.into()), ..Event::new(now(), Stage::Daemon, text) };
            self.lessor.note(vec![event]);
            let action = LeaseAction::Conflict { address };
            let request = LeaseRequest { mac: used_by, at: now(), client_id: None, hostname: None, action };
            let _ = self.lessor.lease(vec![request]).await;
        }
    }

    fn send(&self, bytes: &[u8], to: Destination, exit: Exit) {
        if let Err(error) = self.try_send(bytes, to, exit) {
            tracing::warn!("can't send a DHCP answer to {to}: {error}");
        }
    }

    fn try_send(&self, bytes: &[u8], to: Destination, exit: Exit) -> io::Result<()> {
        let index = exit.index;
        let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
        let (to, index) = match to {
            Destination::Relay(relay) => (SocketAddrV4::new(relay, SERVER_PORT), 0),
            Destination::Unicast(client) => (client, 0),
            Destination::Broadcast => (broadcast, index),
            Destination::Raw { mac, address } => match &*self.raw {
                Some(raw) => {
                    let source = SocketAddrV4::new(exit.source, self.port.number);
                    let client = SocketAddrV4::new(address, CLIENT_PORT);
                    return raw.send(index, mac.octets(), source, client, bytes);
                }
                None => (broadcast, index),
            },
        };
        send(self.port.socket.as_fd(), bytes, exit.source, to, index)
    }

    /// Counts a message that is left unanswered.
    fn silent(&self, silence: &Silence, now: Time) -> Event {
        tracing::debug!("{silence}");
        self.lessor.silent(silence.reason.label());
        silence.event(now)
    }
}

/// Whether this will offer an address that the machine did not have before.
fn fresh(table: &Table, request: &LeaseRequest) -> bool {
    let LeaseAction::Offer { supply: supply @ Supply::Dynamic { .. }, requested } = &request.action else {
        return false;
    };
    let reserved = |address, last| table.is_reserved(supply, address, last);
    let next = table.leases.candidate(request, supply, *requested, &reserved);
    next != table.leases.binding(request.mac).map(|lease| lease.address)
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
