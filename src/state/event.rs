//! What machines did, as the timeline shows it.

use std::net::IpAddr;

pub use crate::model::Stage;
use crate::model::{BootWay, ClientArch, Line, Mac, Name, Time};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Time,
    pub stage: Stage,
    pub mac: Option<Mac>,
    pub address: Option<IpAddr>,
    pub deployment: Option<Name>,
    pub arch: Option<ClientArch>,
    /// Whether iPXE sent the message, where DHCP shows it.
    pub ipxe: Option<bool>,
    /// The boot program that firmware was offered, where the daemon chose it. It is not stored with the event.
    pub offered: Option<Offered>,
    /// One printable line for people: what was given, or why not. Names and texts in it come off the wire.
    pub text: Line,
}

/// A boot program of the daemon's own choice, and the way by which firmware is to fetch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    pub way: BootWay,
    pub program: &'static str,
}

impl Event {
    /// An event that concerns no machine.
    pub fn new(at: Time, stage: Stage, text: impl Into<Line>) -> Event {
        Event {
            at,
            stage,
            mac: None,
            address: None,
            deployment: None,
            arch: None,
            ipxe: None,
            offered: None,
            text: text.into(),
        }
    }
}
