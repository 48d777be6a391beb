//! Why a message was not answered.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::reply::TooLong;
use super::wire::{MessageType, WireError};
use crate::model::{Mac, Name, Origin, Time};
use crate::state::{Event, Stage};

/// An unanswered message: the reason and whose message it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    pub reason: Reason,
    /// `None` when the message could not be read that far.
    pub mac: Option<Mac>,
    pub sender: SocketAddrV4,
    pub deployment: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    #[error("DHCP is switched off")]
    Off,
    #[error("listening only; would have {0}")]
    Listening(String),
    #[error("{0}")]
    Malformed(#[from] WireError),
    #[error("a {} is no message of a client", name(.0))]
    Unexpected(MessageType),
    #[error("the message is for DHCP server {0}")]
    OtherServer(Ipv4Addr),
    #[error("it asks from {0}, which is in no subnet of the inventory")]
    UnknownNetwork(Ipv4Addr),
    #[error("it is in no manifest, and subnet {subnet} ({origin}) has no dynamic range")]
    UnknownMachine { subnet: Name, origin: Origin },
    #[error(
        "machine {machine} has no fixed address in subnet {subnet}, which has no dynamic range ({origin})"
    )]
    NoAddress { machine: Name, subnet: Name, origin: Origin },
    #[error(
        "deployment {deployment} ({origin}) has {address}, which is not in subnet {subnet}, where it asks from"
    )]
    Elsewhere { deployment: Name, origin: Origin, address: Ipv4Addr, subnet: Name },
    #[error("{address} of deployment {deployment} ({origin}) is still leased to {holder} until {until}")]
    InUse { deployment: Name, origin: Origin, address: Ipv4Addr, holder: Mac, until: Time },
    #[error("{address} of deployment {deployment} ({origin}) is an address of this server's own host")]
    OfThisHost { deployment: Name, origin: Origin, address: Ipv4Addr },
    #[error("{address} of deployment {deployment} is in use by the machine's other card {holder}")]
    OtherCard { deployment: Name, address: Ipv4Addr, holder: Mac },
    #[error("every dynamic address of subnet {subnet} is in use ({origin})")]
    Exhausted { subnet: Name, origin: Origin },
    #[error("it asks for {0} again, which this server has no record of")]
    NoRecord(Ipv4Addr),
    #[error("it asks for {0}, which belongs to a network that this server does not serve")]
    NotOurNetwork(Ipv4Addr),
    #[error("it gave back {0}")]
    Released(Ipv4Addr),
    #[error("it gave back {0}, which stays its fixed address")]
    ReleasedFixed(Ipv4Addr),
    #[error("it found {0} in use by another host; the address is not leased for 24 hours")]
    Declined(Ipv4Addr),
    #[error(
        "it found its fixed address {address} in use by another host: find out which one has it (deployment {deployment}, {origin})"
    )]
    DeclinedFixed { address: Ipv4Addr, deployment: Name, origin: Origin },
    #[error("it gives back or declines {0}, which it does not have")]
    NotIts(Ipv4Addr),
    #[error("it declines without saying which address (option 50)")]
    NoAddressNamed,
    #[error("it asks for parameters alone (INFORM) and says no address of its own (ciaddr)")]
    NotReachable,
    #[error("as ProxyDHCP only network boots are answered, and this is none")]
    NotABoot,
    #[error("as ProxyDHCP this daemon leaves addresses to the DHCP server")]
    NotTheProxys,
    #[error("there is nothing to boot for it: {0}")]
    NothingToBoot(String),
    #[error("it is in no manifest, so there is nothing to boot for it")]
    NoMachine,
    #[error("{0}")]
    TooLong(#[from] TooLong),
    #[error("too many leases are being written")]
    Busy,
}

impl Reason {
    /// The reason in one word, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Reason::Off => "off",
            Reason::Listening(_) => "listening",
            Reason::Malformed(_) => "malformed",
            Reason::Unexpected(_) => "unexpected",
            Reason::OtherServer(_) => "other-server",
            Reason::UnknownNetwork(_) => "unknown-network",
            Reason::UnknownMachine { .. } | Reason::NoMachine => "unknown-machine",
            Reason::NoAddress { .. } => "no-address",
            Reason::Elsewhere { .. } => "elsewhere",
            Reason::InUse { .. } | Reason::OtherCard { .. } | Reason::OfThisHost { .. } => "in-use",
            Reason::Exhausted { .. } => "exhausted",
            Reason::NoRecord(_) => "no-record",
            Reason::NotOurNetwork(_) => "not-our-network",
            Reason::Released(_) | Reason::ReleasedFixed(_) => "released",
            Reason::Declined(_) | Reason::DeclinedFixed { .. } => "declined",
            Reason::NotIts(_) | Reason::NoAddressNamed => "not-its",
            Reason::NotReachable => "not-reachable",
            Reason::NotABoot | Reason::NotTheProxys => "proxy",
            Reason::NothingToBoot(_) => "nothing-to-boot",
            Reason::TooLong(_) => "too-long",
            Reason::Busy => "busy",
        }
    }
}

impl Silence {
    /// For the timeline.
    pub fn event(&self, at: Time) -> Event {
        let (mac, deployment) = (self.mac, self.deployment.clone());
        Event { mac, deployment, ..Event::new(at, Stage::Silence, self.reason.to_string()) }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mac {
            Some(mac) => write!(f, "no answer to {mac} ({}): {}", self.sender, self.reason),
            None => write!(f, "no answer to {}: {}", self.sender, self.reason),
        }
    }
}

/// A message type as RFC 2131 writes it.
pub fn name(kind: &MessageType) -> String {
    match kind {
        MessageType::Discover => "DISCOVER".into(),
        MessageType::Offer => "OFFER".into(),
        MessageType::Request => "REQUEST".into(),
        MessageType::Decline => "DECLINE".into(),
        MessageType::Ack => "ACK".into(),
        MessageType::Nak => "NAK".into(),
        MessageType::Release => "RELEASE".into(),
        MessageType::Inform => "INFORM".into(),
        other => format!("message of type {}", u8::from(*other)),
    }
}
