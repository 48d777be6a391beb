//! The server's half of RFC 8415: how each message is answered.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;

use super::refusal::{self, status};
use super::silence::Silence;
use super::wire::{Association, MessageType, Options, Request, code, encode};
use super::{CLIENT_PORT, Decision, Link, Reason, SERVER_PORT, client};
use crate::desired::{Deployment, Ipv6, Machine, Subnet};
use crate::model::{Mac, Mode, Span, Time};
use crate::proto::dhcp::address::TAKEOVER;
use crate::proto::dhcp::boot_file::{self, BootFile, Booter};
use crate::proto::dhcp::client::{Client, ClientKind};
use crate::state::event::Offered;
use crate::state::{Event, Lease6Action, Lease6Request, LeaseState, Stage, State};

pub(super) const ADVERTISE: u8 = 2;
pub(super) const REPLY: u8 = 7;
/// A client takes this server's offer at once (section 18.2.1).
const HIGHEST_PREFERENCE: u8 = 255;
/// UEFI's HTTP boot drops an answer without this in option 16 (EDK2).
const HTTP_CLASS: &[u8] = b"\0\0\x01\x57\0\x0aHTTPClient";

/// One message being answered.
pub(super) struct Case<'a> {
    state: &'a State,
    link: &'a Link,
    now: Time,
    pub(super) request: &'a Request<'a>,
    mac: Mac,
    client: Client,
    pub(super) subnet: Arc<Subnet>,
    pub(super) ipv6: Ipv6,
    pub(super) machine: Option<&'a Machine>,
    deployment: Option<&'a Deployment>,
}

/// Where a machine's address comes from. The rules are those of IPv4, see [`crate::proto::dhcp::address`].
enum Right {
    /// Its manifest's address, without a lease.
    Fixed(Ipv6Addr),
    /// The same for a machine with several cards: a lease records which one has it. `over` is the card that it may be
    /// taken from.
    Shared {
        address: Ipv6Addr,
        over: Option<Mac>,
    },
    Dynamic,
    /// It has a fixed one, which can't be given now; why, for the timeline.
    Taken(Reason),
}

pub(super) fn answer(state: &State, link: &Link, now: Time, request: &Request) -> Decision {
    let silence = |reason, mac, deployment: Option<&Deployment>| {
        let deployment = deployment.map(|deployment| deployment.name.clone());
        Decision::Silence(Silence { reason, mac, sender: link.source, deployment })
    };
    let mac = request.hardware(link.hardware, *link.source.ip());
    if let Err(reason) = ids(state, request) {
        return silence(reason, mac, None);
    }
    if link.unicast && request.hops.is_empty() {
        return refusal::unicast(state, link, now, request, mac);
    }
    let Some(mac) = mac else { return silence(Reason::NoHardware, None, None) };
    let place = request.link().unwrap_or(link.server);
    let Some((subnet, ipv6)) = find(state, place) else {
        return silence(Reason::UnknownNetwork(place), Some(mac), None);
    };
    let machine = state.machine(mac).map(|machine| &**machine);
    let deployment = state.deployment_of(mac).map(|deployment| &**deployment);
    let client = client::of(request);
    let case = Case { state, link, now, request, mac, client, subnet, ipv6, machine, deployment };
    let decision = match request.kind {
        MessageType::Solicit => case.solicit(),
        MessageType::Request | MessageType::Renew => case.lease(),
        MessageType::Rebind => case.rebind(),
        MessageType::Confirm => case.confirm(),
        MessageType::Release => case.give_back(|address| Lease6Action::Release { address }),
        MessageType::Decline => case.give_back(|address| Lease6Action::Decline { address }),
        MessageType::InformationRequest => case.inform(),
        other => Err(Reason::Unexpected(other)),
    };
    decision.unwrap_or_else(|reason| silence(reason, Some(mac), deployment))
}

/// Whether the ids are there that such a message must and must not have (section 16).
fn ids(state: &State, request: &Request) -> Result<(), Reason> {
    let asks = [code::IA_NA, code::IA_TA, code::IA_PD].into_iter().find(|code| request.has(*code));
    if let (MessageType::InformationRequest, Some(code)) = (request.kind, asks) {
        return Err(super::WireError::Unfitting(code).into());
    }
    let ours = request.option(code::SERVER_ID).map(|id| id == state.duid());
    let has_client = request.has(code::CLIENT_ID);
    let right = match request.kind {
        MessageType::Solicit | MessageType::Rebind | MessageType::Confirm => ours.is_none() && has_client,
        MessageType::InformationRequest => ours.unwrap_or(true),
        MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline => {
            ours == Some(true) && has_client
        }
        other => return Err(Reason::Unexpected(other)),
    };
    let length = |code| super::WireError::Length { code, length: 0 };
    match (right, ours) {
        (true, _) => Ok(()),
        (false, Some(false)) => Err(Reason::OtherServer),
        (false, _) if !has_client => Err(length(code::CLIENT_ID).into()),
        (false, _) => Err(length(code::SERVER_ID).into()),
    }
}

/// Client and server id, which every answer begins with.
pub(super) fn ids_of(state: &State, request: &Request) -> Options {
    let mut options = Options::default();
    if let Some(id) = request.option(code::CLIENT_ID) {
        options.put(code::CLIENT_ID, id);
    }
    options.put(code::SERVER_ID, &state.duid());
    options
}

/// The daemon's mode on the subnet that a message comes from.
pub(super) fn mode(state: &State, link: &Link, request: &Request) -> Mode {
    find(state, request.link().unwrap_or(link.server)).map_or(Mode::Server, |(subnet, _)| subnet.mode)
}

/// The subnet whose IPv6 network holds an address; the longest prefix wins.
fn find(state: &State, address: Ipv6Addr) -> Option<(Arc<Subnet>, Ipv6)> {
    let all = state.desired().subnets.values();
    let holding = all.filter_map(|subnet| Some((subnet, subnet.ipv6.as_ref()?)));
    let holding = holding.filter(|(_, ipv6)| ipv6.cidr.contains(address));
    let (subnet, ipv6) = holding.max_by_key(|(_, ipv6)| ipv6.cidr.length())?;
    Some((subnet.clone(), ipv6.clone()))
}

impl Case<'_> {
    fn solicit(&self) -> Result<Decision, Reason> {
        if self.request.has(code::RAPID_COMMIT) {
            return self.lease();
        }
        if self.home()?.is_none() {
            return self.without_address(ADVERTISE);
        }
        match self.right()? {
            Right::Fixed(address) | Right::Shared { address, .. } => {
                self.give(ADVERTISE, address, self.subnet.lease)
            }
            Right::Dynamic => match self.choose() {
                Some(address) => self.give(ADVERTISE, address, self.subnet.lease),
                None => self.exhausted(ADVERTISE),
            },
            Right::Taken(reason) => self.taken(ADVERTISE, &reason),
        }
    }

    /// A REPLY with the machine's address, stored before.
    fn lease(&self) -> Result<Decision, Reason> {
        if self.home()?.is_none() {
            return self.without_address(REPLY);
        }
        // Only an address that is given is committed at once (section 18.3.1).
        let refusal = if self.request.kind == MessageType::Solicit { ADVERTISE } else { REPLY };
        let (chosen, over) = match self.right()? {
            Right::Fixed(address) => return self.give(REPLY, address, self.subnet.lease),
            Right::Taken(reason) => return self.taken(refusal, &reason),
            Right::Shared { address, over } => (Some(address), over),
            Right::Dynamic => (self.choose(), None),
        };
        let Some(address) = chosen else {
            return self.exhausted(refusal);
        };
        if let Some(left) = self.running(address) {
            return self.give(REPLY, address, left);
        }
        let action = Lease6Action::Bind { subnet: self.subnet.clone(), address, over };
        Ok(Decision::NeedLease(self.ask(action)))
    }

    /// REBIND goes to every server: only one that knows the client answers.
    fn rebind(&self) -> Result<Decision, Reason> {
        if self.home()?.is_none() {
            return Err(Reason::NoRecord);
        }
        match self.right()? {
            Right::Dynamic if self.state.leases6().of(self.mac).is_none() => Err(Reason::NoRecord),
            _ => self.lease(),
        }
    }

    /// What is left of the machine's lease of `address`, if that is most of a whole one: the
    /// exchanges of one boot write one lease.
    fn running(&self, address: Ipv6Addr) -> Option<Span> {
        let lease = self.state.leases6().of(self.mac)?;
        let whole = self.subnet.lease;
        let left = lease.expires.since(self.now);
        let most = left.0 > whole.0 - whole.0 / 8;
        let running = lease.address == address && lease.state == LeaseState::Bound && most;
        running.then_some(left.min(whole))
    }

    /// Whether the client is still on the link that its addresses are from (section 18.3.3).
    fn confirm(&self) -> Result<Decision, Reason> {
        self.right()?;
        let named: Vec<Ipv6Addr> = self.associations()?.into_iter().flat_map(|one| one.addresses).collect();
        if named.is_empty() {
            return Err(Reason::NoAddressNamed);
        }
        let mut options = self.ids();
        let (text, event) = if named.iter().all(|address| self.ipv6.cidr.contains(*address)) {
            options.status(status::SUCCESS, "");
            ("confirmed", Stage::Ack)
        } else {
            options.status(status::NOT_ON_LINK, "another network");
            ("refused, being of another network,", Stage::Refused)
        };
        let named: Vec<String> = named.iter().map(Ipv6Addr::to_string).collect();
        self.reply(REPLY, &options, self.event(event, None, format!("{text} {}", named.join(", "))))
    }

    /// RELEASE and DECLINE are confirmed when done. A fixed address never rests.
    fn give_back(&self, action: impl Fn(Ipv6Addr) -> Lease6Action) -> Result<Decision, Reason> {
        let associations = self.associations()?;
        let named = || associations.iter().flat_map(|one| &one.addresses);
        let fixed = self.deployment.and_then(|deployment| deployment.address6);
        if let Some(address) = named().copied().find(|address| self.state.has6(self.mac, *address)) {
            let is_fixed = Some(address) == fixed;
            let action = if is_fixed { Lease6Action::Release { address } } else { action(address) };
            return Ok(Decision::NeedLease(self.ask(action)));
        }
        let known = |address: &Ipv6Addr| {
            Some(*address) == fixed
                || self.state.leases6().at(*address).is_some_and(|one| one.mac == self.mac)
        };
        let mut options = self.ids();
        options.status(status::SUCCESS, "");
        let nobodys = fixed.is_none() && self.state.leases6().of(self.mac).is_none();
        let strange = |one: &&Association| nobodys || !one.addresses.iter().all(known);
        for one in associations.iter().filter(strange) {
            let mut inner = Options::default();
            inner.status(status::NO_BINDING, "not the sender's");
            options.put(code::IA_NA, &association(one.id, Span(0), &inner));
        }
        self.refuse_others(&mut options);
        let addresses: Vec<String> = named().map(Ipv6Addr::to_string).collect();
        let addresses = addresses.join(", ");
        let event = match self.request.kind {
            MessageType::Decline => self.event(
                Stage::Refused,
                None,
                format!("found {addresses} in use by somebody else: find out who has it"),
            ),
            _ => self.event(Stage::Ack, None, format!("gave back {addresses}")),
        };
        self.reply(REPLY, &options, event)
    }

    /// Everything but an address, for clients that have one.
    fn inform(&self) -> Result<Decision, Reason> {
        if self.machine.is_none() && self.ipv6.dynamic.is_empty() {
            return Err(self.unknown());
        }
        let mut options = self.ids();
        let (file, offered) = self.describe(&mut options);
        let event = self.event(Stage::Ack, None, format!("informed by DHCPv6{file}"));
        self.reply(REPLY, &options, Event { offered, ..event })
    }

    /// The machine's address as the manifests say, or why it gets none.
    fn right(&self) -> Result<Right, Reason> {
        let (name, origin) = (self.subnet.name.clone(), self.subnet.origin.clone());
        let fixed = self.deployment.and_then(|deployment| Some((deployment, deployment.address6?)));
        match (fixed, self.machine) {
            (Some((deployment, address)), Some(machine)) => self.fixed(machine, deployment, address),
            _ if !self.ipv6.dynamic.is_empty() => Ok(Right::Dynamic),
            (_, Some(machine)) => {
                Err(Reason::NoAddress { machine: machine.name.clone(), subnet: name, origin })
            }
            (_, None) => Err(self.unknown()),
        }
    }

    fn fixed(&self, machine: &Machine, deployment: &Deployment, address: Ipv6Addr) -> Result<Right, Reason> {
        let (name, origin) = (deployment.name.clone(), deployment.origin.clone());
        if !self.ipv6.cidr.contains(address) {
            let subnet = self.subnet.name.clone();
            return Err(Reason::Elsewhere { deployment: name, origin, address, subnet });
        }
        if self.state.is_of_this_host(address.into()) || address == self.link.server {
            return Ok(Right::Taken(Reason::OfThisHost { deployment: name, origin, address }));
        }
        let holder = self.state.leases6().at(address).filter(|lease| lease.is_active(self.now));
        // A fixed address never rests, as in IPv4.
        let other = holder.filter(|lease| lease.state != LeaseState::Declined && lease.mac != self.mac);
        let is_shared = machine.macs.len() > 1 || !machine.ids.is_empty();
        Ok(match other.map(|lease| (lease.mac, lease.expires)) {
            None if is_shared => Right::Shared { address, over: None },
            None => Right::Fixed(address),
            Some((holder, until)) if !self.state.is_card_of(holder, machine) => {
                Right::Taken(Reason::InUse { deployment: name, origin, address, holder, until })
            }
            Some((holder, until)) if self.takes_over(until) => Right::Shared { address, over: Some(holder) },
            Some(_) if !self.ipv6.dynamic.is_empty() => Right::Dynamic,
            Some((holder, _)) => Right::Taken(Reason::OtherCard { deployment: name, address, holder }),
        })
    }

    /// Whether firmware asks, and the machine's other card, whose lease ends at `until`, was silent for so long that the
    /// system that used it is gone. A REQUEST takes it, because an ADVERTISE reserves nothing.
    fn takes_over(&self, until: Time) -> bool {
        let begins = matches!(self.request.kind, MessageType::Solicit | MessageType::Request);
        let confirmed = until - self.subnet.lease;
        begins && self.client.boots() && self.now.since(confirmed).0 >= TAKEOVER.0
    }

    pub(super) fn unknown(&self) -> Reason {
        Reason::UnknownMachine { subnet: self.subnet.name.clone(), origin: self.subnet.origin.clone() }
    }

    fn choose(&self) -> Option<Ipv6Addr> {
        self.state.choose6(&self.ipv6, self.mac, self.link.server, self.now)
    }

    fn ask(&self, action: Lease6Action) -> Lease6Request {
        let duid = Bytes::copy_from_slice(self.request.option(code::CLIENT_ID).unwrap_or_default());
        Lease6Request { mac: self.mac, duid, at: self.now, action }
    }

    pub(super) fn associations(&self) -> Result<Vec<Association>, Reason> {
        Ok(self.request.associations()?)
    }

    /// An ADVERTISE or REPLY with an address.
    fn give(&self, kind: u8, address: Ipv6Addr, time: Span) -> Result<Decision, Reason> {
        let mut options = self.ids();
        if kind == ADVERTISE && self.machine.is_some() {
            options.put(code::PREFERENCE, &[HIGHEST_PREFERENCE]);
        }
        if kind == REPLY && self.request.kind == MessageType::Solicit {
            options.put(code::RAPID_COMMIT, &[]);
        }
        let home = self.home()?;
        for (index, one) in self.associations()?.iter().enumerate() {
            let mut inner = Options::default();
            let mut whole = Span(0);
            if Some(index) == home {
                inner.put(code::IA_ADDRESS, &lifetime(address, time));
                whole = time;
            } else {
                self.refuse(one, "a machine has one address", &mut inner);
            }
            self.end(one, (Some(index) == home).then_some(address), &mut inner);
            options.put(code::IA_NA, &association(one.id, whole, &inner));
        }
        self.refuse_others(&mut options);
        let (file, offered) = self.describe(&mut options);
        let (stage, verb) = if kind == ADVERTISE { (Stage::Offer, "offered") } else { (Stage::Ack, "gave") };
        let text = format!("{verb} {address} ({}){file}", self.source(address));
        self.reply(kind, &options, Event { offered, ..self.event(stage, Some(address), text) })
    }

    /// The IA_NA that the machine's address goes into: the first that does not come from another
    /// network.
    fn home(&self) -> Result<Option<usize>, Reason> {
        Ok(self.associations()?.iter().position(|one| !self.is_of_another_link(one)))
    }

    pub(super) fn ids(&self) -> Options {
        ids_of(self.state, self.request)
    }

    /// Network parameters, and the boot file of a machine of the manifests or one that our agent is to look at; returns
    /// the latter for the timeline.
    pub(super) fn describe(&self, options: &mut Options) -> (String, Option<Offered>) {
        let Ipv6 { dns, .. } = &self.ipv6;
        if !dns.is_empty() && self.request.wants(code::DNS) {
            let servers: Vec<u8> = dns.iter().flat_map(|server| server.octets()).collect();
            options.put(code::DNS, &servers);
        }
        if self.request.wants(code::DOMAINS)
            && let Some(name) = self.subnet.domain_of(self.deployment).as_deref().and_then(labels)
        {
            options.put(code::DOMAINS, &name);
        }
        let cpu = self.client.arch.map(|arch| arch.cpu);
        let agent = self.state.agent_boot(self.mac, || Some(&self.subnet), cpu);
        if self.machine.is_none() && agent.is_none() {
            let file = BootFile::of_unknown(self.state, &self.client, self.mac, &self.subnet);
            return (file.text(), None);
        }
        let boot = match agent {
            Some(agent) => agent.boot,
            None => self.state.tenancy_boot(self.mac, self.deployment),
        };
        let booter = Booter {
            client: &self.client,
            mac: self.mac,
            machine: self.machine,
            boot: boot.map(|boot| &**boot),
            experience: boot_file::experience(self.state, &self.client, self.mac, true, self.now),
        };
        let (file, own) = BootFile::of(&booter, self.state.server(), self.link.server);
        let file = match file {
            BootFile::Name(name) => BootFile::Url(format!("tftp://[{}]/{name}", self.link.server)),
            other => other,
        };
        if let BootFile::Url(url) = &file {
            options.put(code::BOOT_FILE, url.as_bytes());
            if self.client.kind == ClientKind::Http {
                options.put(code::VENDOR_CLASS, HTTP_CLASS);
            }
        }
        (file.text(), boot_file::offered(&self.client, true, own))
    }

    /// The manifest line that an address comes from, for people.
    fn source(&self, address: Ipv6Addr) -> String {
        let subnet = &self.subnet;
        match (self.deployment, self.machine) {
            (Some(deployment), _) if deployment.address6.is_some_and(|own| own != address) => format!(
                "deployment {}, {}; dynamic in subnet {}, {}",
                deployment.name, deployment.origin, subnet.name, subnet.origin
            ),
            (Some(deployment), _) => format!("deployment {}, {}", deployment.name, deployment.origin),
            (None, Some(machine)) => format!(
                "machine {}, {}; dynamic in subnet {}, {}",
                machine.name, machine.origin, subnet.name, subnet.origin
            ),
            (None, None) => format!("unknown machine; dynamic in subnet {}, {}", subnet.name, subnet.origin),
        }
    }

    pub(super) fn event(&self, stage: Stage, address: Option<Ipv6Addr>, text: String) -> Event {
        Event {
            at: self.now,
            stage,
            mac: Some(self.mac),
            address: address.map(IpAddr::V6),
            deployment: self.deployment.map(|deployment| deployment.name.clone()),
            arch: self.client.arch,
            ipxe: self.client.boots().then_some(self.client.is_ipxe()),
            offered: None,
            text: text.into(),
        }
    }

    pub(super) fn reply(&self, kind: u8, options: &Options, event: Event) -> Result<Decision, Reason> {
        let bytes = encode(self.request, kind, options).map_err(Reason::TooLong)?;
        let port = if self.request.hops.is_empty() { CLIENT_PORT } else { SERVER_PORT };
        Ok(Decision::Reply { bytes, port, events: vec![event] })
    }
}

fn seconds(time: Span) -> u32 {
    u32::try_from(time.as_seconds()).unwrap_or(u32::MAX)
}

/// An IA_NA: renewal after half of the time, rebinding after four fifths (section 21.4).
pub(super) fn association(id: [u8; 4], time: Span, inner: &Options) -> Vec<u8> {
    let (renew, rebind) = (seconds(time) / 2, seconds(time) / 5 * 4);
    [&id[..], &renew.to_be_bytes(), &rebind.to_be_bytes(), inner.bytes()].concat()
}

/// An address with its preferred and its valid lifetime, which are the same here.
pub(super) fn lifetime(address: Ipv6Addr, time: Span) -> Vec<u8> {
    let seconds = seconds(time).to_be_bytes();
    [&address.octets()[..], &seconds, &seconds].concat()
}

/// A domain in the form of RFC 1035 section 3.1; `None` if it is none.
fn labels(domain: &str) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    for label in domain.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        name.push(length);
        name.extend_from_slice(label.as_bytes());
    }
    name.push(0);
    Some(name)
}
