//! The client of a request, and whether it is the machine whose state the answer would change.
//!
//! Only the machine itself starts its installation, gets its answers and ends its permission. It is
//! identified by the hardware address that the client's IP address has on the daemon's links, according to
//! the kernel's neighbour table; after that by the IP address. Where neither can identify it (another DHCP
//! server gives the addresses, and a router or address translation is in between), a script and a report
//! are still accepted; an answer file, which may hold secrets, only where `[safety] asker = "token"`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::desired::{Deployment, Machine, Proof};
use crate::model::{Mac, Mode};
use crate::state::State;

/// The client of a request, and how it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub address: IpAddr,
    /// The interface of a link-local address, by the kernel's number; 0 for others.
    pub scope: u32,
    pub transport: Transport,
    /// The daemon's address that it reached: the URLs that it gets use that address.
    pub at: Option<IpAddr>,
    pub link: Link,
    /// Only a range of the content is asked for (HTTP): such a request counts as no report.
    pub partial: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tftp,
    Http,
}

/// The neighbour table's entry for the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not read yet: where it matters, the answer is [`super::Answer::Identify`].
    Unread,
    /// It has no entry: a router or address translation is in between.
    Unknown,
    /// The hardware address that the client has on the daemon's link.
    Card(Mac),
}

/// How an asker is related to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The neighbour table has to be read first.
    Unread,
    /// The machine itself.
    Itself,
    /// Its identity is not proven, and can't be.
    Unproven,
    /// Something else: its address is not the machine's.
    Stranger,
    /// Another machine of the inventory.
    Other,
}

impl Asker {
    /// `own` is the daemon's address that it reached.
    pub fn new(address: impl Into<IpAddr>, own: Option<IpAddr>, transport: Transport) -> Asker {
        Asker { address: address.into(), scope: 0, transport, at: own, link: Link::Unknown, partial: false }
    }

    /// The client of a socket, whose hardware address is not known yet.
    pub fn connected(peer: SocketAddr, own: Option<IpAddr>, transport: Transport) -> Asker {
        let scope = match peer {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(peer) => peer.scope_id(),
        };
        Asker { scope, link: Link::Unread, ..Asker::new(peer.ip(), own, transport) }
    }

    /// The same, with the hardware address that the neighbour table has.
    pub fn on_card(self, card: Mac) -> Asker {
        Asker { link: Link::Card(card), ..self }
    }

    pub(super) fn address4(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// The known machine's card that the request comes from, by the neighbour table, else by the IP
    /// address.
    pub(super) fn card(&self, state: &State) -> Option<Mac> {
        match self.link {
            Link::Card(card) if state.machine(card).is_some() => Some(card),
            Link::Card(_) | Link::Unknown | Link::Unread => state.mac_at(self.address),
        }
    }

    /// How the asker is related to the machine of `deployment`.
    pub(super) fn standing(&self, state: &State, machine: &Machine, deployment: &Deployment) -> Standing {
        match self.link {
            Link::Unread => return Standing::Unread,
            Link::Card(card) if state.is_card_of(card, machine) => return Standing::Itself,
            Link::Card(card) if state.machine(card).is_some() => return Standing::Other,
            Link::Card(_) | Link::Unknown => {}
        }
        if has_address(state, machine, deployment, self.address) {
            return Standing::Itself;
        }
        let identified = state.server().gives_addresses && deployment.subnet.mode == Mode::Server;
        match self.link {
            _ if identified => Standing::Stranger,
            // The card is perhaps that of address translation.
            Link::Card(_) if state.desired().safety.asker == Proof::Token => Standing::Unproven,
            Link::Card(_) => Standing::Stranger,
            // The address is the one that the machine had last.
            Link::Unknown | Link::Unread if was_at(state, machine, self.address) => Standing::Itself,
            Link::Unknown | Link::Unread => Standing::Unproven,
        }
    }
}

impl Asker {
    /// How the asker is related to the machine with a card, whatever that is for and whether it is declared or not.
    pub fn standing_of_card(&self, state: &State, card: Mac) -> Standing {
        let own = state.machine_of_card(card);
        let is_own = |other: Mac| other == card || own.is_some() && state.machine_of_card(other) == own;
        match self.link {
            Link::Unread => return Standing::Unread,
            Link::Card(other) if is_own(other) => return Standing::Itself,
            Link::Card(other) if state.machine_of_card(other).is_some() => return Standing::Other,
            Link::Card(_) | Link::Unknown => {}
        }
        if state.mac_at(self.address).is_some_and(is_own) {
            return Standing::Itself;
        }
        let identified = state.server().gives_addresses
            && state.subnet_at(self.address).is_some_and(|subnet| subnet.mode == Mode::Server);
        match self.link {
            Link::Card(_) => Standing::Stranger,
            _ if identified => Standing::Stranger,
            Link::Unknown | Link::Unread => Standing::Unproven,
        }
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.link {
            Link::Card(card) => write!(f, "{} ({card})", self.address),
            Link::Unknown | Link::Unread => write!(f, "{}", self.address),
        }
    }
}

impl Standing {
    /// Whether the asker gets the script that starts an installation.
    pub fn may_start(self) -> bool {
        matches!(self, Standing::Itself | Standing::Unproven)
    }

    /// What a person can do about a machine that is mistaken for another.
    pub fn way_out(self) -> &'static str {
        match self {
            Standing::Unproven | Standing::Stranger => {
                "; if it is, list its cards under `mac`, or set `[safety] asker = \"token\"` where routers or \
                 address translation hide them"
            }
            Standing::Itself | Standing::Other | Standing::Unread => "",
        }
    }

    /// Whether an asker who knows the token of an answer file gets it.
    pub fn may_learn(self, proof: Proof) -> bool {
        match self {
            Standing::Itself => true,
            Standing::Unproven | Standing::Stranger => proof == Proof::Token,
            Standing::Other | Standing::Unread => false,
        }
    }
}

/// Whether an address is a machine's own: the one in its manifest, one that it leases, or one that a card
/// of it makes for itself.
fn has_address(state: &State, machine: &Machine, deployment: &Deployment, address: IpAddr) -> bool {
    let fixed = match address {
        IpAddr::V4(address) => deployment.address == Some(address),
        IpAddr::V6(address) => deployment.address6 == Some(address),
    };
    fixed || state.mac_at(address).is_some_and(|card| state.is_card_of(card, machine)) || {
        let leases = |card: &Mac| match address {
            IpAddr::V4(address) => state.leases().address_of(*card) == Some(address),
            IpAddr::V6(address) => state.leases6().of(*card).is_some_and(|lease| lease.address == address),
        };
        machine.macs.iter().any(leases)
    }
}

fn was_at(state: &State, machine: &Machine, address: IpAddr) -> bool {
    let seen = |card: &Mac| state.seen().get(card).and_then(|seen| seen.address);
    machine.macs.iter().any(|card| seen(card) == Some(address))
}
