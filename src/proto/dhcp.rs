//! DHCPv4 and ProxyDHCP decisions (RFC 2131, PXE 2.1, UEFI HTTP boot).
//!
//! A datagram and the state go in, a decision comes out. An answer that needs a new lease comes in two
//! steps: the decision names the lease and drafts the answer, the keeper makes the lease durable, and the
//! draft is sent with the leased address. Without a draft the same datagram is decided again over the new
//! state, with the same result.
//!
//! A machine is identified by its hardware address, whatever client id the stage of its boot sends. For the
//! address it gets see [`address`], for the boot file [`boot_file`].

pub mod address;
pub mod boot_file;
pub mod client;
mod draft;
mod proxy;
pub mod quirk;
mod refusal;
pub mod reply;
mod server;
pub mod silence;
pub mod wire;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

pub use crate::model::Mode;
use crate::model::{Cidr, Mac, Time};
use crate::state::{Event, LeaseRequest, State};

pub use draft::Draft;
pub use silence::{Reason, Silence};
pub use wire::Request;

/// The port of DHCP servers and relays, and the one of PXE boot servers.
pub const SERVER_PORT: u16 = 67;
pub const BOOT_SERVER_PORT: u16 = 4011;
pub const CLIENT_PORT: u16 = 68;

/// How a datagram reached the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The daemon's address on this network: the server identifier of the answers.
    pub server: Ipv4Addr,
    /// The network of the interface.
    pub cidr: Cidr,
    pub mode: Mode,
    /// The port it was sent to: 67 or 4011.
    pub port: u16,
    pub source: SocketAddrV4,
    /// Sent to a broadcast address, not to the daemon's own.
    pub broadcast: bool,
}

/// What to do about a datagram.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Reply {
        bytes: Vec<u8>,
        to: Destination,
        events: Vec<Event>,
    },
    /// Make this durable. The draft is the answer once it is; without one, or if the lease could not be
    /// made, decide again.
    NeedLease(LeaseRequest, Option<Box<Draft>>),
    Silence(Silence),
}

/// Where an answer goes (RFC 2131 section 4.1). It leaves from the port it was asked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The relay agent's port 67.
    Relay(Ipv4Addr),
    Unicast(SocketAddrV4),
    /// Port 68 of a client that has no address yet and asked not to be broadcast to: a frame
    /// to its hardware address. To be broadcast where that can't be done.
    Raw {
        mac: Mac,
        address: Ipv4Addr,
    },
    /// 255.255.255.255 port 68 on the interface that the message came in by.
    Broadcast,
}

/// Decides about one datagram.
pub fn handle(state: &State, link: &Link, now: Time, datagram: &[u8]) -> Decision {
    let silence =
        |reason, mac| Decision::Silence(Silence { reason, mac, sender: link.source, deployment: None });
    if link.mode == Mode::Off {
        return silence(Reason::Off, None);
    }
    let request = match Request::decode(datagram) {
        Ok(request) => request,
        Err(error) => return silence(Reason::Malformed(error), None),
    };
    // The mode of a subnet may restrict that of its interface, never widen it.
    let link = &Link { mode: link.mode.max(address::mode(state, link, &request)), ..*link };
    if link.port == BOOT_SERVER_PORT && link.mode < Mode::Listen {
        return proxy::boot_server(state, link, now, &request);
    }
    match link.mode {
        Mode::Server => server::answer(state, link, now, &request),
        Mode::Proxy => proxy::offer(state, link, now, &request),
        Mode::Off => silence(Reason::Off, Some(request.mac)),
        Mode::Listen => match server::answer(state, link, now, &request) {
            Decision::Reply { events, .. } => {
                let would: Vec<String> = events.into_iter().map(|event| event.text.into()).collect();
                silence(Reason::Listening(would.join("; ")), Some(request.mac))
            }
            Decision::NeedLease(lease, _) => {
                silence(Reason::Listening(lease.action.to_string()), Some(request.mac))
            }
            quiet @ Decision::Silence(_) => quiet,
        },
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Relay(relay) => write!(f, "relay {relay}"),
            Destination::Unicast(address) => write!(f, "{address}"),
            Destination::Raw { mac, address } => write!(f, "{address} at {mac}"),
            Destination::Broadcast => f.write_str("broadcast"),
        }
    }
}
