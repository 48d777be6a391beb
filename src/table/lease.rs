//! Address leases.

use std::net::Ipv4Addr;

use bytes::Bytes;

use crate::model::{Mac, Time};

/// One address in use, held for an offer, or resting after a DECLINE.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub mac: Mac,
    pub client_id: Option<Bytes>,
    pub hostname: Option<String>,
    pub state: LeaseState,
    pub expires: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Offered, not yet asked for; kept in memory only.
    Offered,
    /// Acknowledged, and stored before the ACK left.
    Bound,
    /// Given back; the binding is remembered.
    Released,
    /// Somebody else was seen using it.
    Declined,
}

/// All leases, by address and by machine.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    by_address: imbl::OrdMap<Ipv4Addr, Lease>,
    by_mac: imbl::HashMap<Mac, Ipv4Addr>,
}

impl Leases {
    /// The address that is offered or bound to `mac`.
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.by_mac.get(&mac).copied()
    }

    pub fn mac_at(&self, address: Ipv4Addr) -> Option<Mac> {
        self.by_address.get(&address).map(|lease| lease.mac)
    }
}
