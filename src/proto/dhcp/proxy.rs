//! ProxyDHCP (PXE 2.1 section 2.2.3): boot files beside another DHCP server, and the boot server on port
//! 4011 that some firmware asks afterwards.

use std::net::{IpAddr, Ipv4Addr};

use super::address::subnet;
use super::boot_file::{self, BootFile, Booter, Manner};
use super::client::Client;
use super::reply::Reply;
use super::silence::Silence;
use super::wire::{MessageType, Request, code, sub_options};
use super::{Decision, Destination, Link, Reason};
use crate::model::Time;
use crate::state::{Event, Stage, State};

/// PXE's boot item (option 43.71): a request that names one wants it back.
const BOOT_ITEM: u8 = 71;

/// A DISCOVER on port 67, which the DHCP server answers at the same time.
pub(super) fn offer(state: &State, link: &Link, now: Time, request: &Request) -> Decision {
    match request.kind {
        MessageType::Discover => answer(state, link, now, request, MessageType::Offer),
        _ => silence(state, link, request, Reason::NotTheProxys),
    }
}

/// A REQUEST (or INFORM) on port 4011 from a client that has its address. iPXE sends from port 68, EDK2
/// from 4011: the answer goes to the port that the message came from.
pub(super) fn boot_server(state: &State, link: &Link, now: Time, request: &Request) -> Decision {
    if !matches!(request.kind, MessageType::Request | MessageType::Inform) {
        return silence(state, link, request, Reason::Unexpected(request.kind));
    }
    let foreign = request.server_id().filter(|id| *id != link.server && !state.server().is_own(*id));
    match foreign {
        Some(other) => silence(state, link, request, Reason::OtherServer(other)),
        None => answer(state, link, now, request, MessageType::Ack),
    }
}

fn answer(state: &State, link: &Link, now: Time, request: &Request, kind: MessageType) -> Decision {
    let client = Client::of(request);
    if !client.boots() {
        return silence(state, link, request, Reason::NotABoot);
    }
    let machine = state.identify(request.mac, request.identities());
    let place = || subnet(state, link, request).ok().map(|subnet| &**subnet);
    let cpu = client.arch.map(|arch| arch.cpu);
    let agent = state.agent_boot(request.mac, place, cpu);
    if machine.is_none() && agent.is_none() {
        return silence(state, link, request, Reason::NoMachine);
    }
    let deployment = machine.and_then(|machine| state.tenant(&machine.name));
    let boot = match agent {
        Some(agent) => agent.boot,
        None => state.tenancy_boot(request.mac, deployment.map(|one| &**one)),
    };
    let booter = Booter {
        client: &client,
        mac: request.mac,
        machine: machine.map(|machine| &**machine),
        boot: boot.map(|boot| &**boot),
        experience: boot_file::experience(state, &client, request.mac, false, now),
    };
    let server = link.server;
    let (file, own) = BootFile::of(&booter, state.server(), server);
    if let BootFile::Missing(what) = file {
        return silence(state, link, request, Reason::NothingToBoot(what));
    }
    let mut reply = Reply::new(request, kind, link.server);
    boot_file::write(&mut reply, &file, Manner::Proxy, &client, request, server);
    let current = request.header.ciaddr();
    let to = match kind {
        MessageType::Offer => destination(request),
        _ => {
            reply.client_address(current);
            echo_boot_item(&mut reply, request);
            Destination::Unicast(link.source)
        }
    };
    let stage = if kind == MessageType::Offer { Stage::Offer } else { Stage::Ack };
    let event = Event {
        at: now,
        stage,
        mac: Some(request.mac),
        address: Some(current).filter(|current| !current.is_unspecified()).map(IpAddr::V4),
        deployment: deployment.map(|deployment| deployment.name.clone()),
        arch: client.arch,
        ipxe: Some(client.is_ipxe()),
        offered: boot_file::offered(&client, false, own),
        text: match deployment {
            Some(one) => format!("as proxy (deployment {}, {}){}", one.name, one.origin, file.text()).into(),
            None => format!("as proxy{}", file.text()).into(),
        },
    };
    match reply.encode() {
        Ok(bytes) => Decision::Reply { bytes, to, events: vec![event] },
        Err(error) => silence(state, link, request, error.into()),
    }
}

/// The client has no address, and a unicast frame is no use: the offer names no address.
fn destination(request: &Request) -> Destination {
    let relay: Ipv4Addr = request.header.giaddr();
    if relay.is_unspecified() { Destination::Broadcast } else { Destination::Relay(relay) }
}

fn echo_boot_item(reply: &mut Reply, request: &Request) {
    let vendor = request.option(code::VENDOR).unwrap_or_default();
    if let Some((_, item)) = sub_options(vendor).find(|(code, value)| *code == BOOT_ITEM && value.len() == 4)
    {
        let mut value = vec![BOOT_ITEM, 4];
        value.extend_from_slice(item);
        value.push(255);
        reply.raw(code::VENDOR, &value);
    }
}

fn silence(state: &State, link: &Link, request: &Request, reason: Reason) -> Decision {
    let deployment = state.deployment_of(request.mac).map(|one| one.name.clone());
    Decision::Silence(Silence { reason, mac: Some(request.mac), sender: link.source, deployment })
}
