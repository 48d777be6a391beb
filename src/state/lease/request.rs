//! Changes of the leases, as values: decided by the protocol, applied by the keeper.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;

use super::{Lease, LeaseState, Leases, OFFER_HOLD, QUARANTINE, Reserved};
use crate::desired::Subnet;
use crate::model::{Mac, Time};
use crate::state::State;

/// What a machine's message asks of the lease table.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRequest {
    pub mac: Mac,
    pub at: Time,
    pub client_id: Option<Bytes>,
    /// What the client calls itself, made printable.
    pub hostname: Option<String>,
    pub action: LeaseAction,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LeaseAction {
    /// Keep an address for an OFFER. Nothing to store.
    Offer { supply: Supply, requested: Option<Ipv4Addr> },
    /// Begin or renew the lease of this address. To be stored before the ACK leaves.
    Bind { supply: Supply, address: Ipv4Addr },
    /// The client releases its address, or takes another server's offer.
    Release { address: Ipv4Addr },
    /// The client found its address in use by another host.
    Decline { address: Ipv4Addr },
    /// Another host was seen using an address that is not leased: it is withheld, unless that host answers
    /// for too many ([`Leases::is_proxy`]), or the address is a fixed one.
    Conflict { address: Ipv4Addr },
}

/// Where an address comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Supply {
    /// Any dynamic address of the subnet but the daemon's own on that network.
    Dynamic { subnet: Arc<Subnet>, server: Ipv4Addr },
    /// The fixed address of a machine with several network cards; a lease records which card has it. `over`
    /// names a card of the same machine that it may be taken from.
    Fixed { subnet: Arc<Subnet>, address: Ipv4Addr, over: Option<Mac> },
}

impl Supply {
    pub fn subnet(&self) -> &Arc<Subnet> {
        match self {
            Supply::Dynamic { subnet, .. } | Supply::Fixed { subnet, .. } => subnet,
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaseOutcome {
    /// The address that is now held or bound; `None` when there is none to have.
    pub address: Option<Ipv4Addr>,
    /// Leases to store, each in the place of what was stored for its address.
    pub changed: Vec<Lease>,
}

impl Leases {
    /// Applies a request to this value. Nothing happens (and nothing is to be stored) when the address is
    /// no longer available.
    pub fn apply(&mut self, request: &LeaseRequest, reserved: Reserved) -> LeaseOutcome {
        self.expire(request.at);
        match &request.action {
            LeaseAction::Offer { supply, requested } => {
                let Some(address) = self.candidate(request, supply, *requested, reserved) else {
                    return LeaseOutcome::default();
                };
                let changed = self.displace(supply, request.at);
                self.hold(request.lease(address, LeaseState::Offered, request.at + OFFER_HOLD));
                LeaseOutcome { address: Some(address), changed }
            }
            LeaseAction::Bind { supply, address } => self.bind(request, supply, *address, reserved),
            LeaseAction::Release { address } => {
                let held = self.binding(request.mac).filter(|lease| lease.address == *address);
                match held.filter(|lease| lease.state == LeaseState::Bound) {
                    Some(lease) => self.replace(Lease {
                        state: LeaseState::Released,
                        expires: request.at.min(lease.expires),
                        ..(**lease).clone()
                    }),
                    None if self.offer(request.mac).is_some_and(|offer| offer.address == *address) => {
                        self.remove_offer(*address);
                        LeaseOutcome { address: Some(*address), changed: Vec::new() }
                    }
                    None => LeaseOutcome::default(),
                }
            }
            LeaseAction::Decline { address } => {
                if !self.has(request.mac, *address, request.at) {
                    return LeaseOutcome::default();
                }
                self.remove_offer(*address);
                self.replace(request.lease(*address, LeaseState::Declined, request.at + QUARANTINE))
            }
            LeaseAction::Conflict { address } => {
                let bound = self
                    .stored(*address)
                    .is_some_and(|lease| lease.state == LeaseState::Bound && lease.is_active(request.at));
                if bound || self.is_proxy(request.mac, request.at) {
                    return LeaseOutcome::default();
                }
                self.remove_offer(*address);
                self.replace(request.lease(*address, LeaseState::Declined, request.at + QUARANTINE))
            }
        }
    }

    /// Whether `address` is bound or offered to `mac`.
    pub fn has(&self, mac: Mac, address: Ipv4Addr, now: Time) -> bool {
        let of = |lease: &&Arc<Lease>| lease.address == address && lease.is_active(now);
        self.binding(mac).filter(of).or_else(|| self.offer(mac).filter(of)).is_some()
    }

    /// The address that an OFFER to `mac` would name.
    pub fn candidate(
        &self,
        request: &LeaseRequest,
        supply: &Supply,
        requested: Option<Ipv4Addr>,
        reserved: Reserved,
    ) -> Option<Ipv4Addr> {
        match supply {
            Supply::Dynamic { subnet, .. } => {
                self.choose(subnet, request.mac, requested, request.at, reserved)
            }
            Supply::Fixed { address, .. } => {
                self.can_bind(request.mac, supply, *address, request.at, reserved).then_some(*address)
            }
        }
    }

    /// Whether `mac` could be bound to `address` now.
    pub fn can_bind(
        &self,
        mac: Mac,
        supply: &Supply,
        address: Ipv4Addr,
        now: Time,
        reserved: Reserved,
    ) -> bool {
        match supply {
            Supply::Dynamic { subnet, .. } => self.is_usable(subnet, mac, address, now, reserved),
            Supply::Fixed { address: fixed, over, .. } => {
                let holder = self.holder(address, now);
                // That it rests, from when it was dynamic, does not count.
                let holder =
                    holder.filter(|lease| lease.state != LeaseState::Declined).map(|lease| lease.mac);
                address == *fixed && holder.is_none_or(|holder| holder == mac || Some(holder) == *over)
            }
        }
    }

    fn bind(
        &mut self,
        request: &LeaseRequest,
        supply: &Supply,
        address: Ipv4Addr,
        reserved: Reserved,
    ) -> LeaseOutcome {
        if !self.can_bind(request.mac, supply, address, request.at, reserved) {
            return LeaseOutcome::default();
        }
        let mut changed = self.displace(supply, request.at);
        let earlier = self.binding(request.mac).filter(|lease| lease.address != address).cloned();
        if let Some(earlier) = earlier {
            let state = LeaseState::Released;
            let expires = request.at.min(earlier.expires);
            changed.extend(self.replace(Lease { state, expires, ..(*earlier).clone() }).changed);
        }
        if let Some(offered) = self.offer(request.mac).map(|offer| offer.address) {
            self.remove_offer(offered);
        }
        self.remove_offer(address);
        let expires = request.at + supply.subnet().lease;
        changed.extend(self.replace(request.lease(address, LeaseState::Bound, expires)).changed);
        LeaseOutcome { address: Some(address), changed }
    }

    /// Ends the lease of the card that a fixed address is taken from.
    fn displace(&mut self, supply: &Supply, now: Time) -> Vec<Lease> {
        let Supply::Fixed { address, over: Some(over), .. } = supply else { return Vec::new() };
        let held = self.binding(*over).filter(|lease| lease.address == *address && lease.is_active(now));
        match held.cloned() {
            Some(lease) => {
                let gone = Lease { state: LeaseState::Released, expires: now, ..(*lease).clone() };
                self.replace(gone).changed
            }
            None => Vec::new(),
        }
    }

    pub(super) fn replace(&mut self, lease: Lease) -> LeaseOutcome {
        self.insert(lease.clone());
        LeaseOutcome { address: Some(lease.address), changed: vec![lease] }
    }
}

impl LeaseRequest {
    fn lease(&self, address: Ipv4Addr, state: LeaseState, expires: Time) -> Lease {
        Lease {
            address,
            mac: self.mac,
            client_id: self.client_id.clone(),
            hostname: self.hostname.clone(),
            state,
            expires,
        }
    }
}

impl State {
    /// Applies a lease request. The caller stores `changed` before it publishes the state.
    pub fn lease(&mut self, request: &LeaseRequest) -> LeaseOutcome {
        // As with a DECLINE: the manifests say who gets it, and there is no other to give.
        if let LeaseAction::Conflict { address } = &request.action
            && self.desired.fixed_at(*address).is_some()
        {
            return LeaseOutcome::default();
        }
        let mut leases = std::mem::take(&mut self.lasting.leases);
        let outcome = leases.apply(request, &|address, last| match &request.action {
            LeaseAction::Offer { supply, .. } | LeaseAction::Bind { supply, .. } => {
                self.is_reserved(supply, address, last)
            }
            LeaseAction::Release { .. } | LeaseAction::Decline { .. } | LeaseAction::Conflict { .. } => false,
        });
        self.lasting.leases = leases;
        outcome
    }

    /// Whether an address of `supply` is reserved: one of this host, the gateway's, a name server's, a
    /// fixed address of the manifests, or the one that a machine of the manifests (`last`) is to find
    /// again. Always false for a fixed supply, because its owner asks.
    pub fn is_reserved(&self, supply: &Supply, address: Ipv4Addr, last: Option<Mac>) -> bool {
        let Supply::Dynamic { subnet, server } = supply else { return false };
        address == *server
            || self.is_of_this_host(address.into())
            || subnet.gateway == Some(address)
            || subnet.dns.contains(&address)
            || self.desired.fixed_at(address).is_some()
            || last.and_then(|last| self.deployment_of(last)).is_some_and(|tenant| tenant.address.is_none())
    }
}

impl fmt::Display for LeaseAction {
    /// To follow "would have".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseAction::Offer { supply: Supply::Dynamic { subnet, .. }, .. } => {
                write!(f, "offered a dynamic address of subnet {}", subnet.name)
            }
            LeaseAction::Offer { supply: Supply::Fixed { address, .. }, .. } => {
                write!(f, "offered {address}")
            }
            LeaseAction::Bind { address, .. } => write!(f, "leased {address}"),
            LeaseAction::Release { address } => write!(f, "released {address}"),
            LeaseAction::Decline { address } | LeaseAction::Conflict { address } => {
                write!(f, "put {address} aside")
            }
        }
    }
}
