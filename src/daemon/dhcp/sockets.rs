//! The ports that DHCP is served on.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::daemon::link::Followed;
use crate::daemon::raw::RawSender;
use crate::proto::dhcp::{BOOT_SERVER_PORT, Mode, SERVER_PORT};

/// Receive buffer: a boot storm's worth of messages.
const RECEIVE_BUFFER: usize = 4 << 20;

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
    pub(super) networks: Vec<Followed>,
    /// Whether each interface has a socket of its own, which is gone with the interface.
    pub(super) by_device: bool,
    pub(super) ports: Vec<Port>,
    pub(super) raw: Option<RawSender>,
}

#[derive(Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    pub(super) socket: Socket,
}

impl Sockets {
    /// Opens port 67, and 4011 where boot files are given.
    pub fn open(networks: Vec<Followed>, mode: Mode) -> Result<Sockets, BindError> {
        let numbers: &[u16] = match mode {
            Mode::Server | Mode::Proxy => &[SERVER_PORT, BOOT_SERVER_PORT],
            Mode::Listen => &[SERVER_PORT],
            Mode::Off => &[],
        };
        let mut networks = networks;
        // Changes from here on are seen by the services.
        networks.iter_mut().for_each(|network| drop(network.news()));
        let mut ports = Vec::new();
        let mut by_device = false;
        for number in numbers {
            let (sockets, shared) = Port::open(&networks, *number)?;
            by_device |= shared;
            ports.extend(sockets);
        }
        let raw = RawSender::open()
            .inspect_err(|error| tracing::warn!("answers are broadcast, no raw socket: {error}"))
            .ok();
        Ok(Sockets { networks, by_device, ports, raw })
    }
}

impl Port {
    /// One socket for all interfaces; one for each that is there where another program has the port, and
    /// whether that is so.
    fn open(networks: &[Followed], number: u16) -> Result<(Vec<Port>, bool), BindError> {
        let mut by_device = false;
        let sockets = match bind(number, None) {
            // Another server may be bound to another device, as libvirt's is: then this socket can be, too.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                by_device = true;
                let present = networks.iter().filter(|network| network.now().is_ok());
                let names: Vec<&str> = present.map(|network| &*network.name).collect();
                let bound = |name: &&str| bind(number, Some(name.as_bytes()));
                names.iter().map(bound).collect::<io::Result<Vec<_>>>().inspect(|_| {
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
        let sockets = sockets.map_err(wrong)?.into_iter();
        Ok((sockets.map(|socket| Port { number, socket }).collect(), by_device))
    }
}

fn bind(port: u16, device: Option<&[u8]>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_broadcast(true)?;
    // The host's limit is a tenth of it; who may bind this port mostly may go beyond.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    if device.is_some() {
        socket.bind_device(device)?;
    }
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    Ok(socket)
}
