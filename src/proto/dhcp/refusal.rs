//! Which requests are refused, with what text, and where the NAK is sent (RFC 2131 sections 4.1 and 4.3.2).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::address::{self, Asker};
use super::reply::Reply;
use super::server::{Case, Wish};
use super::wire::{MessageType, code};
use super::{CLIENT_PORT, Decision, Destination, Reason};
use crate::state::{Event, Stage};

impl Case<'_> {
    /// A REQUEST from a network where its sender gets no address, for `reason`. If the address that it
    /// requests is one that it has from this daemon, it is refused, so that the client starts over at once
    /// (RFC 2131 section 4.3.2); else another server may know it.
    pub(super) fn astray(
        &self,
        asker: Option<&Asker>,
        wish: Wish,
        wanted: Ipv4Addr,
        reason: Reason,
    ) -> Result<Decision, Reason> {
        let leases = self.state.leases();
        let (leased, offered) = (leases.binding(self.request.mac), leases.offer(self.request.mac));
        let from_here = leased.into_iter().chain(offered).any(|lease| lease.address == wanted)
            || self.fixed_owner(wanted).is_some();
        let elsewhere = asker.is_none_or(|asker| !asker.subnet.contains(wanted));
        let over = match wish {
            Wish::Selecting | Wish::InitReboot => true,
            // The client runs: its address lasts until its lease ends, as long as it is where the address
            // was given.
            Wish::Renewing | Wish::Rebinding => elsewhere,
            Wish::Nothing => false,
        };
        if !from_here || !over {
            return Err(reason);
        }
        self.nak(asker, wish, wanted, &reason.to_string())
    }

    /// A NAK when the daemon knows that the request is wrong, silence when it knows nothing: another server
    /// may. `right` is the address that the sender should have.
    pub(super) fn refuse(
        &self,
        asker: &Asker,
        wish: Wish,
        wanted: Ipv4Addr,
        right: Option<Ipv4Addr>,
    ) -> Result<Decision, Reason> {
        let holder =
            self.state.leases().holder(wanted, self.now).filter(|lease| lease.mac != self.request.mac);
        let promised = self.state.desired().fixed_at(wanted);
        let local = asker.subnet.contains(wanted);
        let ours = local || address::find(self.state, wanted).is_some();
        let why = match (holder, promised, right) {
            (Some(holder), ..) => format!("it is held by {}", holder.mac),
            (_, Some(owner), _) if asker.deployment.is_none_or(|own| own.name != *owner) => {
                format!("it is the address of deployment {owner}")
            }
            (.., Some(right)) => format!("{right} is the sender's"),
            _ if wish == Wish::Nothing => "no address was named".into(),
            _ if !local => format!("it does not belong to subnet {}", asker.subnet.name),
            _ if wish == Wish::Selecting => "it can't be had".into(),
            _ => return Err(Reason::NoRecord(wanted)),
        };
        let may = match wish {
            Wish::Selecting | Wish::Nothing => true,
            Wish::InitReboot => ours || asker.machine.is_some(),
            Wish::Renewing | Wish::Rebinding => ours,
        };
        if !may {
            return Err(Reason::NotOurNetwork(wanted));
        }
        self.nak(Some(asker), wish, wanted, &why)
    }

    /// `asker` is `None` where the network that the message comes from is not known.
    fn nak(
        &self,
        asker: Option<&Asker>,
        wish: Wish,
        wanted: Ipv4Addr,
        why: &str,
    ) -> Result<Decision, Reason> {
        let own = asker.map_or(self.link.server, |asker| self.own_address(asker));
        let mut reply = Reply::new(self.request, MessageType::Nak, self.server_id(own));
        reply.raw(code::MESSAGE, shortened(format!("{wanted}: {why}")).as_bytes());
        let relay = self.request.header.giaddr();
        let current = self.request.header.ciaddr();
        let to = if !relay.is_unspecified() {
            reply.broadcast();
            Destination::Relay(relay)
        } else if wish == Wish::Renewing && !self.link.cidr.contains(current) {
            // A relayed client renews without its relay: it is on no link of the daemon.
            Destination::Unicast(SocketAddrV4::new(current, CLIENT_PORT))
        } else {
            Destination::Broadcast
        };
        let deployment = match asker {
            Some(asker) => asker.deployment,
            None => self.state.deployment_of(self.request.mac),
        };
        let event = Event {
            mac: Some(self.request.mac),
            deployment: deployment.map(|deployment| deployment.name.clone()),
            arch: asker.and_then(|asker| asker.client.arch),
            ipxe: asker.filter(|asker| asker.client.boots()).map(|asker| asker.client.is_ipxe()),
            ..Event::new(self.now, Stage::Refused, format!("refused {wanted}: {why}"))
        };
        Ok(Decision::Reply { bytes: reply.encode()?, to, events: vec![event] })
    }
}

/// A text that one option can hold (RFC 2132 section 2).
fn shortened(mut text: String) -> String {
    const LONGEST: usize = 255;
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}
