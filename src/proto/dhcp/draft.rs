//! Answers written before their lease is made. Decoding a message and writing its answer costs more than
//! making a lease, so it is done once, and the address is inserted when it is known.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::{Decision, Destination};
use crate::state::Event;

/// Where `yiaddr` stands in a message (RFC 2131 section 2).
const YOUR_ADDRESS: std::ops::Range<usize> = 16..20;

/// An OFFER or ACK that lacks nothing but its address.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub(super) bytes: Vec<u8>,
    pub(super) to: Destination,
    /// Its text is what follows the address.
    pub(super) event: Event,
    /// What is done with the address, for people: "offered", "gave".
    pub(super) verb: &'static str,
}

impl Draft {
    /// The answer, once `address` is the client's.
    pub fn give(self, address: Ipv4Addr) -> Decision {
        let Draft { mut bytes, mut to, mut event, verb } = self;
        bytes[YOUR_ADDRESS].copy_from_slice(&address.octets());
        if let Destination::Raw { address: to, .. } = &mut to {
            *to = address;
        }
        event.address = Some(IpAddr::V4(address));
        let mut text = String::with_capacity(verb.len() + event.text.len() + 17);
        // Writing to a text can't fail.
        let _ = write!(text, "{verb} {address} ");
        text.push_str(&event.text);
        event.text = text.into();
        Decision::Reply { bytes, to, events: vec![event] }
    }
}
