//! Why a DHCPv6 message was not answered.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV6};

use super::wire::{MessageType, WireError};
use crate::model::{Mac, Name, Origin, Time};
use crate::state::{Event, Stage};

/// An unanswered message: the reason and whose message it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    pub reason: Reason,
    pub mac: Option<Mac>,
    pub sender: SocketAddrV6,
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
    #[error("a {0:?} is no message of a client")]
    Unexpected(MessageType),
    #[error("the message is for another DHCPv6 server")]
    OtherServer,
    #[error("it was sent to this server's own address instead of ff02::1:2 (RFC 8415 section 18.4)")]
    Unicast,
    #[error("its hardware address is unknown: neither its DUID nor the relay (option 79) has it")]
    NoHardware,
    #[error("it asks from {0}, which is in the `ipv6` of no subnet of the inventory")]
    UnknownNetwork(Ipv6Addr),
    #[error("it is in no manifest, and `ipv6` of subnet {subnet} ({origin}) has no dynamic range")]
    UnknownMachine { subnet: Name, origin: Origin },
    #[error(
        "machine {machine} has no `address6`, and `ipv6` of subnet {subnet} ({origin}) has no dynamic range"
    )]
    NoAddress { machine: Name, subnet: Name, origin: Origin },
    #[error(
        "deployment {deployment} ({origin}) has {address}, which is not in subnet {subnet}, where it asks from"
    )]
    Elsewhere { deployment: Name, origin: Origin, address: Ipv6Addr, subnet: Name },
    #[error("{address} of deployment {deployment} ({origin}) is still leased to {holder} until {until}")]
    InUse { deployment: Name, origin: Origin, address: Ipv6Addr, holder: Mac, until: Time },
    #[error("{address} of deployment {deployment} ({origin}) is an address of this server's own host")]
    OfThisHost { deployment: Name, origin: Origin, address: Ipv6Addr },
    #[error("{address} of deployment {deployment} is in use by the machine's other card {holder}")]
    OtherCard { deployment: Name, address: Ipv6Addr, holder: Mac },
    #[error("it renews addresses that this server has no record of")]
    NoRecord,
    #[error("it names no address")]
    NoAddressNamed,
    #[error("the answer would have {0} bytes, more than every link carries")]
    TooLong(usize),
    #[error("too many leases are being written")]
    Busy,
}

impl Reason {
    /// The reason in one word, for metrics: as in IPv4 where the meaning is the same.
    pub fn label(&self) -> &'static str {
        match self {
            Reason::Off => "off",
            Reason::Listening(_) => "listening",
            Reason::Malformed(_) => "malformed",
            Reason::Unexpected(_) => "unexpected",
            Reason::OtherServer => "other-server",
            Reason::Unicast => "unicast",
            Reason::NoHardware => "no-hardware-address",
            Reason::UnknownNetwork(_) => "unknown-network",
            Reason::UnknownMachine { .. } => "unknown-machine",
            Reason::NoAddress { .. } | Reason::NoAddressNamed => "no-address",
            Reason::Elsewhere { .. } => "elsewhere",
            Reason::InUse { .. } | Reason::OtherCard { .. } | Reason::OfThisHost { .. } => "in-use",
            Reason::NoRecord => "no-record",
            Reason::TooLong(_) => "too-long",
            Reason::Busy => "busy",
        }
    }
}

impl Silence {
    /// For the timeline.
    pub fn event(&self, at: Time) -> Event {
        let text = format!("DHCPv6: {}", self.reason);
        Event { mac: self.mac, deployment: self.deployment.clone(), ..Event::new(at, Stage::Silence, text) }
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
