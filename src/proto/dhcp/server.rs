//! The server's half of RFC 2131: how each message is answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use bytes::Bytes;

use super::address::{Asker, Right, informed};
use super::boot_file::{self, BootFile, Manner};
use super::draft::Draft;
use super::reply::Reply;
use super::silence::Silence;
use super::wire::{MessageType, Request, code};
use super::{CLIENT_PORT, Decision, Destination, Link, Reason};
use crate::desired::dhcp_options::{Route, pack};
use crate::model::{Cidr, Span, Time};
use crate::proto::tree;
use crate::state::event::Offered;
use crate::state::lease::OFFER_HOLD;
use crate::state::{Duty, Event, LeaseAction, LeaseRequest, LeaseState, Stage, State, Supply};

/// Sub-option of 82: the address that the relay asks to be used as server identifier (RFC 5107).
const SERVER_ID_OVERRIDE: u8 = 11;

/// Clients that ask for less than this get it, in seconds.
const LEASE_LEAST: u32 = 60;

/// One message being answered.
pub(super) struct Case<'a> {
    pub(super) state: &'a State,
    pub(super) link: &'a Link,
    pub(super) now: Time,
    pub(super) request: &'a Request<'a>,
}

/// What a REQUEST asks for, by its fields alone (RFC 2131 section 4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It accepts an offer.
    Selecting,
    /// The client restarted and asks for its address again.
    InitReboot,
    /// The client runs and asks this server to extend its lease.
    Renewing,
    /// The client runs and asks any server to extend its lease.
    Rebinding,
    /// It names no address: a broken client.
    Nothing,
}

pub(super) fn answer(state: &State, link: &Link, now: Time, request: &Request) -> Decision {
    let case = Case { state, link, now, request };
    if let Some(other) = request.server_id().filter(|id| !case.is_ours(*id)) {
        return match case.offer_not_taken() {
            Some(address) => Decision::NeedLease(case.lease(LeaseAction::Release { address }), None),
            None => case.silence(Reason::OtherServer(other)),
        };
    }
    let decision = match request.kind {
        MessageType::Discover => case.discover(),
        MessageType::Request => case.request(),
        MessageType::Decline => case.decline(),
        MessageType::Release => case.release(),
        MessageType::Inform => case.inform(),
        other => Err(Reason::Unexpected(other)),
    };
    decision.unwrap_or_else(|reason| case.silence(reason))
}

impl Case<'_> {
    fn discover(&self) -> Result<Decision, Reason> {
        let asker = self.asker()?;
        let supply = match asker.right(self.state, self.link, self.now)? {
            Right::Fixed(address) => {
                return self.give(&asker, MessageType::Offer, address, asker.subnet.lease);
            }
            Right::Lease(supply) => supply,
        };
        if let Some(address) = self.ready(&supply) {
            let time = self.running(address, &supply).unwrap_or(asker.subnet.lease);
            return self.give(&asker, MessageType::Offer, address, time);
        }
        let requested = self.request.requested_address();
        let lease = self.lease(LeaseAction::Offer { supply: supply.clone(), requested });
        let reserved = |address, last| self.state.is_reserved(&supply, address, last);
        match self.state.leases().candidate(&lease, &supply, requested, &reserved) {
            Some(address) => {
                let draft = self.draft(&asker, MessageType::Offer, address, asker.subnet.lease)?;
                Ok(Decision::NeedLease(lease, Some(Box::new(draft))))
            }
            None => Err(Reason::Exhausted {
                subnet: asker.subnet.name.clone(),
                origin: asker.subnet.origin.clone(),
            }),
        }
    }

    /// The address that can be offered as the state stands: one on offer to this machine that
    /// is held long enough for the REQUEST to come (EDK2 takes up to 8 s), or its running lease.
    fn ready(&self, supply: &Supply) -> Option<Ipv4Addr> {
        let leases = self.state.leases();
        let patience = Span(OFFER_HOLD.0 / 4);
        let offer = leases.offer(self.request.mac).filter(|offer| offer.expires >= self.now + patience);
        let bound = leases.binding(self.request.mac);
        let bound = bound.filter(|lease| lease.state == LeaseState::Bound && lease.is_active(self.now));
        offer
            .into_iter()
            .chain(bound)
            .map(|lease| lease.address)
            .find(|address| self.can_bind(supply, *address))
    }

    /// The address on offer to the sender of a REQUEST that takes another server's.
    fn offer_not_taken(&self) -> Option<Ipv4Addr> {
        let leases = self.state.leases();
        let offer = leases.offer(self.request.mac).filter(|_| self.request.kind == MessageType::Request)?;
        let bound = leases.binding(self.request.mac).filter(|lease| lease.address == offer.address);
        bound.is_none_or(|lease| lease.state != LeaseState::Bound).then_some(offer.address)
    }

    fn request(&self) -> Result<Decision, Reason> {
        let (wish, wanted) = self.wish();
        let asker = match self.asker() {
            Ok(asker) => asker,
            Err(reason) => return self.astray(None, wish, wanted, reason),
        };
        match asker.right(self.state, self.link, self.now) {
            Ok(Right::Fixed(address)) if wanted == address => {
                self.give(&asker, MessageType::Ack, address, asker.subnet.lease)
            }
            Ok(Right::Fixed(address)) => self.refuse(&asker, wish, wanted, Some(address)),
            Ok(Right::Lease(supply)) => self.request_lease(&asker, supply, wish, wanted),
            Err(reason) => self.astray(Some(&asker), wish, wanted, reason),
        }
    }

    fn request_lease(
        &self,
        asker: &Asker,
        supply: Supply,
        wish: Wish,
        wanted: Ipv4Addr,
    ) -> Result<Decision, Reason> {
        let own = self.state.leases().binding(self.request.mac).map(|lease| lease.address);
        let entitled = wish == Wish::Selecting || own == Some(wanted);
        if !entitled || !self.can_bind(&supply, wanted) {
            return self.refuse(asker, wish, wanted, own.filter(|own| self.can_bind(&supply, *own)));
        }
        if let Some(time) = self.running(wanted, &supply) {
            return self.give(asker, MessageType::Ack, wanted, time);
        }
        let draft = self.draft(asker, MessageType::Ack, wanted, supply.subnet().lease)?;
        let lease = self.lease(LeaseAction::Bind { supply, address: wanted });
        Ok(Decision::NeedLease(lease, Some(Box::new(draft))))
    }

    /// What is left of the sender's lease of `address`, if that is most of a whole one: then it
    /// is confirmed as it stands. The three to five exchanges of one boot write one lease.
    fn running(&self, address: Ipv4Addr, supply: &Supply) -> Option<Span> {
        let whole = supply.subnet().lease;
        let lease = self.state.leases().binding(self.request.mac)?;
        let left = lease.expires.since(self.now);
        let most = left.0 > whole.0 - whole.0 / 8;
        (lease.address == address && lease.state == LeaseState::Bound && most).then_some(left.min(whole))
    }

    fn wish(&self) -> (Wish, Ipv4Addr) {
        let current = self.request.header.ciaddr();
        let relayed = !self.request.header.giaddr().is_unspecified();
        match (self.request.server_id(), self.request.requested_address()) {
            (Some(_), Some(wanted)) => (Wish::Selecting, wanted),
            (None, Some(wanted)) if current.is_unspecified() => (Wish::InitReboot, wanted),
            _ if current.is_unspecified() => (Wish::Nothing, current),
            _ if self.link.broadcast || relayed => (Wish::Rebinding, current),
            _ => (Wish::Renewing, current),
        }
    }

    fn decline(&self) -> Result<Decision, Reason> {
        let mac = self.request.mac;
        let address = self.request.requested_address().ok_or(Reason::NoAddressNamed)?;
        if let Some(deployment) = self.fixed_owner(address) {
            let (deployment, origin) = (deployment.name.clone(), deployment.origin.clone());
            return Err(Reason::DeclinedFixed { address, deployment, origin });
        }
        if self.state.leases().has(mac, address, self.now) {
            return Ok(Decision::NeedLease(self.lease(LeaseAction::Decline { address }), None));
        }
        let stored = self.state.leases().stored(address);
        let done = stored.is_some_and(|lease| lease.mac == mac && lease.state == LeaseState::Declined);
        Err(if done { Reason::Declined(address) } else { Reason::NotIts(address) })
    }

    fn release(&self) -> Result<Decision, Reason> {
        let address = self.request.header.ciaddr();
        let lease = self.state.leases().binding(self.request.mac).filter(|lease| lease.address == address);
        match lease.map(|lease| lease.state) {
            Some(LeaseState::Bound) => {
                Ok(Decision::NeedLease(self.lease(LeaseAction::Release { address }), None))
            }
            Some(_) => Err(Reason::Released(address)),
            None if self.fixed_owner(address).is_some() => Err(Reason::ReleasedFixed(address)),
            None => Err(Reason::NotIts(address)),
        }
    }

    /// Parameters for a client that has its address from elsewhere: no lease time, no address.
    fn inform(&self) -> Result<Decision, Reason> {
        let asker = self.asker()?;
        if asker.machine.is_none() && asker.subnet.dynamic.is_empty() {
            let (subnet, origin) = (asker.subnet.name.clone(), asker.subnet.origin.clone());
            return Err(Reason::UnknownMachine { subnet, origin });
        }
        // Who does not say where it is can't be reached: a broadcast would go to everybody.
        let address = informed(self.link, self.request).ok_or(Reason::NotReachable)?;
        let mut reply = self.reply(&asker, MessageType::Ack);
        reply.client_address(self.request.header.ciaddr());
        let (file, offered) = self.boot(&asker, &mut reply);
        let relay = self.request.header.giaddr();
        let to = if !relay.is_unspecified() {
            Destination::Relay(relay)
        } else if asker.subnet.cidr.is_some_and(|cidr| cidr.is_host(address)) {
            Destination::Unicast(SocketAddrV4::new(address, CLIENT_PORT))
        } else {
            Destination::Broadcast
        };
        let event =
            self.event(&asker, Stage::Ack, Some(address), format!("informed {address}{}", file.text()));
        let event = Event { offered, ..event };
        Ok(Decision::Reply { bytes: reply.encode()?, to, events: vec![event] })
    }

    /// An OFFER or ACK of `address` for `time`.
    fn give(
        &self,
        asker: &Asker,
        kind: MessageType,
        address: Ipv4Addr,
        time: Span,
    ) -> Result<Decision, Reason> {
        Ok(self.draft(asker, kind, address, time)?.give(address))
    }

    /// The same, with an address that may still change.
    fn draft(
        &self,
        asker: &Asker,
        kind: MessageType,
        address: Ipv4Addr,
        time: Span,
    ) -> Result<Draft, Reason> {
        let mut reply = self.reply(asker, kind);
        let current = self.request.header.ciaddr();
        let whole = u32::try_from(time.as_seconds()).unwrap_or(u32::MAX);
        // A client may ask for less. The answer says so; the address is kept for it the whole time.
        let asked = self.request.lease_time().map(|asked| asked.max(LEASE_LEAST));
        let seconds = asked.map_or(whole, |asked| asked.min(whole));
        reply.your_address(address).number(code::LEASE_TIME, seconds);
        for (code, seconds) in [(code::RENEWAL, seconds / 2), (code::REBINDING, seconds - seconds / 8)] {
            if self.request.wants(code) {
                reply.number(code, seconds);
            }
        }
        let (stage, verb) = match kind {
            MessageType::Offer => (Stage::Offer, "offered"),
            _ => {
                reply.client_address(current);
                (Stage::Ack, "gave")
            }
        };
        let (file, offered) = self.boot(asker, &mut reply);
        let text = format!("({}){}", self.source(asker, address), file.text());
        let relay = self.request.header.giaddr();
        let to = if !relay.is_unspecified() {
            Destination::Relay(relay)
        } else if !current.is_unspecified() {
            Destination::Unicast(SocketAddrV4::new(current, CLIENT_PORT))
        } else if self.request.header.flags().broadcast() {
            Destination::Broadcast
        } else {
            Destination::Raw { mac: self.request.mac, address }
        };
        let event = Event { offered, ..self.event(asker, stage, Some(address), text) };
        Ok(Draft { bytes: reply.encode()?, to, event, verb })
    }

    /// Network parameters: mask and router always, the rest as asked (option 55).
    fn reply(&self, asker: &Asker, kind: MessageType) -> Reply {
        let subnet = &asker.subnet;
        let mut reply = Reply::new(self.request, kind, self.server_id(self.own_address(asker)));
        if let Some(cidr) = subnet.cidr {
            reply.address(code::SUBNET_MASK, cidr.netmask());
        }
        if let Some(gateway) = subnet.gateway {
            reply.address(code::ROUTER, gateway);
        }
        if !subnet.dns.is_empty() {
            reply.addresses(code::DNS, &subnet.dns);
        }
        if let Some(deployment) = asker.deployment.filter(|_| self.request.wants(code::HOST_NAME)) {
            let given = deployment.values.get("hostname").map(ToString::to_string);
            reply.raw(code::HOST_NAME, given.as_deref().unwrap_or(deployment.name.as_str()).as_bytes());
        }
        if self.request.wants(code::DOMAIN)
            && let Some(domain) = subnet.domain_of(asker.deployment.map(|deployment| &**deployment))
        {
            reply.raw(code::DOMAIN, domain.as_bytes());
        }
        let broadcast = subnet.cidr.and_then(|cidr| cidr.broadcast());
        if let Some(broadcast) = broadcast.filter(|_| self.request.wants(code::BROADCAST)) {
            reply.address(code::BROADCAST, broadcast);
        }
        self.add_options(asker, &mut reply);
        if let Some(url) = self.answers_url(asker).filter(|_| !reply.has(code::ANSWERS_URL)) {
            reply.extra(code::ANSWERS_URL, url.as_bytes());
        }
        reply
    }

    /// What an installer asks for that learns the URL of its answers this way.
    fn answers_url(&self, asker: &Asker) -> Option<String> {
        let asks = self.request.option(code::PARAMETERS)?.contains(&code::ANSWERS_URL);
        let deployment = asker.deployment.filter(|deployment| {
            let template = deployment.template.as_ref();
            asks && template.is_some_and(|template| template.kind.installer().by_dhcp)
        })?;
        matches!(self.state.duty(deployment), Duty::Install { .. }).then(|| {
            let own = self.own_address(asker).into();
            tree::answers_url(self.state, deployment, self.request.mac, Some(own))
        })
    }

    /// What the inventory adds: the subnet's options, over them the machine's, over them those
    /// of the deployment and its profiles. Only what is asked for is sent (option 55).
    fn add_options(&self, asker: &Asker, reply: &mut Reply) {
        let mut options = asker.subnet.options.clone();
        if let Some(machine) = asker.machine {
            machine.options.over(&mut options);
        }
        if let Some(deployment) = asker.deployment {
            deployment.options.over(&mut options);
        }
        // Firmware that gets the preference for IPv6 drops its IPv4 address in the middle of a boot (RFC
        // 8925).
        let fits = |code: u8| code != code::IPV6_ONLY || !asker.client.boots();
        for (code, value) in &options.values {
            if self.request.wants(*code) && fits(*code) {
                reply.extra(*code, value);
            }
        }
        let Some(routes) = options.routes.filter(|routes| !routes.is_empty()) else { return };
        let mut routes = routes.to_vec();
        // A client that gets routes this way ignores option 3 (RFC 3442).
        if let Some(via) = asker.subnet.gateway.filter(|_| routes.iter().all(|one| one.to.length() > 0)) {
            routes.push(Route { to: Cidr::around(Ipv4Addr::UNSPECIFIED, 0), via });
        }
        for code in [code::ROUTES, code::MICROSOFT_ROUTES] {
            if self.request.wants(code) {
                reply.extra(code, &pack(&routes));
            }
        }
    }

    /// Adds the boot file, if it is a machine of the manifests that asks to boot, or one that our agent is to look at.
    fn boot(&self, asker: &Asker, reply: &mut Reply) -> (BootFile, Option<Offered>) {
        let server = self.own_address(asker);
        let booter = if asker.client.boots() { asker.booter(self.state, self.now) } else { None };
        let mut own = None;
        let file = match booter {
            Some(booter) => {
                let (file, program) = BootFile::of(&booter, self.state.server(), server);
                own = program;
                file
            }
            None => BootFile::of_unknown(self.state, &asker.client, self.request.mac, &asker.subnet),
        };
        boot_file::write(reply, &file, Manner::Whole, &asker.client, self.request, server);
        (file, boot_file::offered(&asker.client, false, own))
    }

    /// The manifest line that an address comes from, for people.
    fn source(&self, asker: &Asker, address: Ipv4Addr) -> String {
        let subnet = &asker.subnet;
        match (asker.deployment, asker.machine) {
            (Some(deployment), _) if deployment.address == Some(address) => {
                format!("deployment {}, {}", deployment.name, deployment.origin)
            }
            (Some(deployment), _) => format!(
                "deployment {}, {}; dynamic in subnet {}, {}",
                deployment.name, deployment.origin, subnet.name, subnet.origin
            ),
            (None, Some(machine)) => format!(
                "machine {}, {}; dynamic in subnet {}, {}",
                machine.name, machine.origin, subnet.name, subnet.origin
            ),
            (None, None) => format!("unknown machine; dynamic in subnet {}, {}", subnet.name, subnet.origin),
        }
    }

    fn event(&self, asker: &Asker, stage: Stage, address: Option<Ipv4Addr>, text: String) -> Event {
        Event {
            at: self.now,
            stage,
            mac: Some(self.request.mac),
            address: address.map(IpAddr::V4),
            deployment: asker.deployment.map(|deployment| deployment.name.clone()),
            arch: asker.client.arch,
            ipxe: asker.client.boots().then_some(asker.client.is_ipxe()),
            offered: None,
            text: text.into(),
        }
    }

    fn asker(&self) -> Result<Asker<'_>, Reason> {
        Asker::new(self.state, self.link, self.now, self.request)
    }

    /// The sender's deployment, if `address` is its fixed address.
    pub(super) fn fixed_owner(&self, address: Ipv4Addr) -> Option<&crate::desired::Deployment> {
        let deployment = self.state.deployment_of(self.request.mac)?;
        (deployment.address == Some(address)).then_some(&**deployment)
    }

    fn can_bind(&self, supply: &Supply, address: Ipv4Addr) -> bool {
        let reserved = |address, last| self.state.is_reserved(supply, address, last);
        self.state.leases().can_bind(self.request.mac, supply, address, self.now, &reserved)
    }

    fn lease(&self, action: LeaseAction) -> LeaseRequest {
        LeaseRequest {
            mac: self.request.mac,
            at: self.now,
            client_id: self.request.option(code::CLIENT_ID).map(Bytes::copy_from_slice),
            hostname: self.request.host_name(),
            action,
        }
    }

    fn is_ours(&self, server: Ipv4Addr) -> bool {
        server == self.link.server
            || self.state.server().is_own(server)
            || server == self.server_id(self.link.server)
    }

    /// The daemon's address for the sender: the server identifier, the next server and the URLs of one
    /// answer are the same.
    pub(super) fn own_address(&self, asker: &Asker) -> Ipv4Addr {
        self.state.server().address_toward(&asker.subnet, self.link.server)
    }

    /// Option 54 of an answer: `own`, unless the relay asks for its own address there (RFC 5107).
    pub(super) fn server_id(&self, own: Ipv4Addr) -> Ipv4Addr {
        let relayed = !self.request.header.giaddr().is_unspecified();
        self.request.relay_address(SERVER_ID_OVERRIDE).filter(|_| relayed).unwrap_or(own)
    }

    fn silence(&self, reason: Reason) -> Decision {
        let deployment = self.state.deployment_of(self.request.mac).map(|one| one.name.clone());
        let (mac, sender) = (Some(self.request.mac), self.link.source);
        Decision::Silence(Silence { reason, mac, sender, deployment })
    }
}
