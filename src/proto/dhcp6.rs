//! DHCPv6 decisions (RFC 8415, RFC 5970 for boot files), and router advertisements ([`advert`]).
//!
//! As with IPv4 a datagram and the state go in, a decision comes out, and an answer that needs a new lease
//! comes in two steps. The differences: the boot file is one URL (option 59) for TFTP as for HTTP, there is
//! no ProxyDHCP, and answers always go back to where the message came from.
//!
//! A machine is identified by its hardware address here too. DHCPv6 does not carry it: see
//! [`wire::Request::hardware`].

pub mod advert;
mod client;
mod refusal;
mod server;
pub mod silence;
pub mod wire;

use std::net::{Ipv6Addr, SocketAddrV6};

use crate::model::{Mac, Mode, Time};
use crate::state::{Event, Lease6Request, State};

pub use silence::{Reason, Silence};
pub use wire::{Request, WireError};

/// The port of servers and relays, and that of clients (RFC 8415 section 7.2).
pub const SERVER_PORT: u16 = 547;
pub const CLIENT_PORT: u16 = 546;
/// All relay agents and servers of a link (section 7.1).
pub const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// How a datagram reached the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The daemon's address in a network of the inventory, on the interface it came in by: where machines
    /// reach TFTP and HTTP.
    pub server: Ipv6Addr,
    pub mode: Mode,
    pub source: SocketAddrV6,
    /// Sent to the daemon's own address, not to a group of servers: only relays may.
    pub unicast: bool,
    /// The hardware address that sent the frame: the client's, or a relay's.
    pub hardware: Option<Mac>,
}

/// What to do about a datagram.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Back to where it came from, to the port of clients, or of relays if it was relayed.
    Reply {
        bytes: Vec<u8>,
        port: u16,
        events: Vec<Event>,
    },
    /// Make this durable, then decide again.
    NeedLease(Lease6Request),
    Silence(Silence),
}

/// Decides about one datagram.
pub fn handle(state: &State, link: &Link, now: Time, datagram: &[u8]) -> Decision {
    let silence =
        |reason, mac| Decision::Silence(Silence { reason, mac, sender: link.source, deployment: None });
    let request = match Request::decode(datagram) {
        Ok(request) => request,
        Err(error) => return silence(Reason::Malformed(error), None),
    };
    let mode = link.mode.max(server::mode(state, link, &request));
    let decision = server::answer(state, link, now, &request);
    match (mode, decision) {
        (Mode::Server, decision) => decision,
        (_, quiet @ Decision::Silence(_)) => quiet,
        (Mode::Off, _) => silence(Reason::Off, None),
        // IPv6 has no ProxyDHCP.
        (Mode::Proxy | Mode::Listen, Decision::Reply { events, .. }) => {
            let mac = events.iter().find_map(|event| event.mac);
            let would: Vec<String> = events.into_iter().map(|event| event.text.into()).collect();
            silence(Reason::Listening(would.join("; ")), mac)
        }
        (Mode::Proxy | Mode::Listen, Decision::NeedLease(lease)) => {
            silence(Reason::Listening("leased an address".into()), Some(lease.mac))
        }
    }
}
