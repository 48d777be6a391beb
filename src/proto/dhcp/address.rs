//! Which client gets which address.
//!
//! * A machine of the manifests whose deployment has a fixed address gets that one, on the subnet of that
//!   address. No lease is written: the manifest is the record.
//! * If such a machine has several network cards, a lease records which card has the address: the one that
//!   asked first. Another card of the machine gets a dynamic address, or none. A card that boots from the
//!   network takes the address over from one that last confirmed its lease more than [`TAKEOVER`] ago: the
//!   message is from firmware, so the system that used the other card is gone. Either way no two cards hold
//!   the address at once.
//! * A fixed address never rests: that another host was found using it is told, and the machine gets it.
//! * Every other machine of the manifests (address "auto", no deployment, or on another subnet than its
//!   deployment's address) gets a dynamic address of the subnet it asks from.
//! * Machines in no manifest get one too where the subnet has a dynamic range, else no answer.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Link;
use super::boot_file::{self, Booter};
use super::client::Client;
use super::silence::Reason;
use super::wire::{LINK_SELECTION, MessageType, Request};
use crate::desired::{Deployment, Machine, Subnet};
use crate::model::{Mode, Span, Time};
use crate::state::lease::QUIET;
use crate::state::{LeaseState, State, Supply};

/// How long a card must have been silent before a netbooting sibling takes its fixed address.
pub const TAKEOVER: Span = QUIET;

/// A request, and what the state knows of its sender.
pub(super) struct Asker<'a> {
    pub request: &'a Request<'a>,
    pub client: Client,
    pub subnet: Arc<Subnet>,
    pub machine: Option<&'a Arc<Machine>>,
    pub deployment: Option<&'a Arc<Deployment>>,
}

/// What an asker has a right to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Right {
    /// Its manifest's address, without a lease.
    Fixed(Ipv4Addr),
    /// An address by lease.
    Lease(Supply),
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        state: &'a State,
        link: &Link,
        now: Time,
        request: &'a Request,
    ) -> Result<Asker<'a>, Reason> {
        let machine = state.identify(request.mac, request.identities());
        let deployment = machine.and_then(|machine| state.tenant(&machine.name));
        let first = subnet(state, link, request)?.clone();
        let subnet = match informed(link, request).is_some() {
            true => first,
            false => on_the_wire(state, link, now, request, deployment, first),
        };
        Ok(Asker { request, client: Client::of(request), subnet, machine, deployment })
    }

    /// The client as one that boots: from its tenancy's boot, else our agent. `None`: it is in no manifest, and is
    /// not looked at.
    pub(super) fn booter<'b>(&'b self, state: &'b State, now: Time) -> Option<Booter<'b>> {
        let mac = self.request.mac;
        let cpu = self.client.arch.map(|arch| arch.cpu);
        let agent = state.agent_boot(mac, || Some(&self.subnet), cpu);
        if self.machine.is_none() && agent.is_none() {
            return None;
        }
        let boot = match agent {
            Some(agent) => agent.boot,
            None => state.tenancy_boot(mac, self.deployment.map(|deployment| &**deployment)),
        };
        Some(Booter {
            client: &self.client,
            mac,
            machine: self.machine.map(|machine| &**machine),
            boot: boot.map(|boot| &**boot),
            experience: boot_file::experience(state, &self.client, mac, false, now),
        })
    }

    pub(super) fn right(&self, state: &State, link: &Link, now: Time) -> Result<Right, Reason> {
        if let (Some(machine), Some(deployment)) = (self.machine, self.deployment)
            && let Some(address) = deployment.address.filter(|address| self.subnet.contains(*address))
        {
            return self.fixed(state, link, now, machine, deployment, address);
        }
        self.dynamic(link)
    }

    fn dynamic(&self, link: &Link) -> Result<Right, Reason> {
        let subnet = self.subnet.clone();
        if !subnet.dynamic.is_empty() {
            return Ok(Right::Lease(Supply::Dynamic { subnet, server: link.server }));
        }
        let name = subnet.name.clone();
        Err(match (self.machine, self.deployment.map(|one| (one, one.address))) {
            (None, _) => Reason::UnknownMachine { subnet: name, origin: subnet.origin.clone() },
            (_, Some((deployment, Some(address)))) => Reason::Elsewhere {
                deployment: deployment.name.clone(),
                origin: deployment.origin.clone(),
                address,
                subnet: name,
            },
            (Some(machine), _) => Reason::NoAddress {
                machine: machine.name.clone(),
                subnet: name,
                origin: subnet.origin.clone(),
            },
        })
    }

    fn fixed(
        &self,
        state: &State,
        link: &Link,
        now: Time,
        machine: &Machine,
        deployment: &Deployment,
        address: Ipv4Addr,
    ) -> Result<Right, Reason> {
        if state.is_of_this_host(address.into()) || address == link.server {
            let (deployment, origin) = (deployment.name.clone(), deployment.origin.clone());
            return Err(Reason::OfThisHost { deployment, origin, address });
        }
        let mac = self.request.mac;
        let holder = state.leases().holder(address, now);
        let holder = holder.filter(|lease| lease.mac != mac && lease.state != LeaseState::Declined);
        let supply = |over| Supply::Fixed { subnet: self.subnet.clone(), address, over };
        let Some(holder) = holder else {
            let shared = machine.macs.len() > 1 || !machine.ids.is_empty();
            return Ok(if shared { Right::Lease(supply(None)) } else { Right::Fixed(address) });
        };
        if !state.is_card_of(holder.mac, machine) {
            return Err(Reason::InUse {
                deployment: deployment.name.clone(),
                origin: deployment.origin.clone(),
                address,
                holder: holder.mac,
                until: holder.expires,
            });
        }
        let confirmed = holder.expires - self.subnet.lease;
        let quiet = holder.state == LeaseState::Bound && now.since(confirmed).0 >= TAKEOVER.0;
        if quiet && self.client.boots() && self.request.kind == MessageType::Discover {
            return Ok(Right::Lease(supply(Some(holder.mac))));
        }
        let other = Reason::OtherCard { deployment: deployment.name.clone(), address, holder: holder.mac };
        if self.subnet.dynamic.is_empty() { Err(other) } else { self.dynamic(link) }
    }
}

/// The address of a client that has one from elsewhere and asks with an INFORM for the parameters of the network
/// that it is in: `ciaddr` (RFC 2131 section 4.3.5), else where its datagram comes from, as Kea and ISC dhcpd
/// take it. A relay's address is not the client's.
pub(super) fn informed(link: &Link, request: &Request) -> Option<Ipv4Addr> {
    let own = Some(request.header.ciaddr()).filter(|own| !own.is_unspecified());
    let sender = Some(*link.source.ip());
    let sender = sender.filter(|own| !own.is_unspecified() && request.header.giaddr().is_unspecified());
    own.or(sender).filter(|_| request.kind == MessageType::Inform)
}

/// The subnet to serve from: the one that the relay names (RFC 3527), else that the relayed client selects
/// (RFC 3011), else that of a client that asks for parameters only, else that of the relay, else that of a
/// client that sends to the daemon's own address, else the network of the interface. The longest prefix
/// wins.
pub(super) fn subnet<'a>(
    state: &'a State,
    link: &Link,
    request: &Request,
) -> Result<&'a Arc<Subnet>, Reason> {
    let relay = request.header.giaddr();
    let client = request.header.ciaddr();
    let relayed = !relay.is_unspecified();
    let named = request.relay_address(LINK_SELECTION).or(request.followed_selection());
    let place = if let Some(named) = named.filter(|_| relayed) {
        named
    } else if let Some(informed) = informed(link, request) {
        informed
    } else if relayed {
        relay
    } else if !client.is_unspecified() && !link.broadcast && find(state, client).is_some() {
        client
    } else {
        link.server
    };
    find(state, place).ok_or(Reason::UnknownNetwork(place))
}

/// The daemon's mode on the subnet that a message comes from.
pub(super) fn mode(state: &State, link: &Link, request: &Request) -> Mode {
    subnet(state, link, request).map_or(Mode::Server, |subnet| subnet.mode)
}

/// Which of the subnets on one link is meant: that of the deployment's address, of the address that the
/// machine has, of the one it asks for, else the first that has an address left.
fn on_the_wire(
    state: &State,
    link: &Link,
    now: Time,
    request: &Request,
    deployment: Option<&Arc<Deployment>>,
    first: Arc<Subnet>,
) -> Arc<Subnet> {
    let others = state.desired().subnets.values().filter(|one| one.segment == first.segment);
    let others = others.filter(|one| one.name != first.name);
    let all: Vec<&Arc<Subnet>> = std::iter::once(&first).chain(others).collect();
    if all.len() == 1 {
        return first;
    }
    let fixed = deployment.and_then(|deployment| deployment.address);
    if let Some(subnet) = all.iter().find(|one| fixed.is_some_and(|fixed| one.contains(fixed))) {
        return Arc::clone(subnet);
    }
    let leases = state.leases();
    let current = Some(request.header.ciaddr()).filter(|current| !current.is_unspecified());
    let known = [leases.address_of(request.mac), current, request.requested_address()];
    for address in known.into_iter().flatten() {
        if let Some(subnet) = all.iter().find(|one| one.is_dynamic(address)) {
            return Arc::clone(subnet);
        }
    }
    let has_room = |one: &&&Arc<Subnet>| {
        let supply = Supply::Dynamic { subnet: Arc::clone(one), server: link.server };
        let reserved = |address, last| state.is_reserved(&supply, address, last);
        leases.choose(one, request.mac, None, now, &reserved).is_some()
    };
    Arc::clone(all.iter().find(has_room).unwrap_or(&&first))
}

pub(super) fn find(state: &State, address: Ipv4Addr) -> Option<&Arc<Subnet>> {
    let holding = state.desired().subnets.values().filter(|subnet| subnet.contains(address));
    holding.max_by_key(|subnet| subnet.cidr.map(|cidr| cidr.length()))
}
