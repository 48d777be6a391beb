//! Which requests are refused, and with which status (RFC 8415 sections 18.3 and 18.4).

use std::net::Ipv6Addr;

use super::server::{Case, REPLY, association, ids_of, lifetime};
use super::silence::Silence;
use super::wire::{Association, MessageType, Options, Request, code, encode};
use super::{CLIENT_PORT, Decision, Link, Reason};
use crate::desired::Subnet;
use crate::model::{Mac, Span, Time};
use crate::state::{Event, Stage, State};

/// Status codes (section 21.13).
pub(super) mod status {
    pub(crate) const SUCCESS: u16 = 0;
    pub(crate) const NO_ADDRESSES: u16 = 2;
    pub(crate) const NO_BINDING: u16 = 3;
    pub(crate) const NOT_ON_LINK: u16 = 4;
    pub(crate) const USE_MULTICAST: u16 = 5;
    pub(crate) const NO_PREFIX: u16 = 6;
}

/// A client may not send to the server's own address unless a server allowed it: the answer is UseMulticast
/// (sections 18.3.2 to 18.3.8) or none (section 18.4).
pub(super) fn unicast(
    state: &State,
    link: &Link,
    now: Time,
    request: &Request,
    mac: Option<Mac>,
) -> Decision {
    use MessageType::{Decline, Release, Renew, Request as Asking};
    let silence = |reason| Decision::Silence(Silence { reason, mac, sender: link.source, deployment: None });
    if !matches!(request.kind, Asking | Renew | Release | Decline) {
        return silence(Reason::Unicast);
    }
    let mut options = ids_of(state, request);
    options.status(status::USE_MULTICAST, "send to all servers of the link, ff02::1:2");
    let text = "refused with UseMulticast: it sent its DHCPv6 message to this server's own address";
    let event = Event { mac, ..Event::new(now, Stage::Refused, text) };
    match encode(request, REPLY, &options) {
        Ok(bytes) => Decision::Reply { bytes, port: CLIENT_PORT, events: vec![event] },
        Err(length) => silence(Reason::TooLong(length)),
    }
}

impl Case<'_> {
    /// Whether a REQUEST asks for an address that this link can't have (section 18.3.2).
    pub(super) fn is_of_another_link(&self, one: &Association) -> bool {
        let here = |address: &Ipv6Addr| self.ipv6.cidr.contains(*address);
        self.request.kind == MessageType::Request && !one.addresses.iter().all(here)
    }

    fn renews(&self) -> bool {
        matches!(self.request.kind, MessageType::Renew | MessageType::Rebind)
    }

    /// The status in an IA_NA that gets no address.
    pub(super) fn refuse(&self, one: &Association, why: &str, inner: &mut Options) {
        match self.is_of_another_link(one) {
            true => inner.status(status::NOT_ON_LINK, "another network"),
            false if self.renews() => inner.status(status::NO_BINDING, why),
            false => inner.status(status::NO_ADDRESSES, why),
        };
    }

    /// Ends the lifetime of addresses that the client must not use any longer (section 18.3.4).
    pub(super) fn end(&self, one: &Association, given: Option<Ipv6Addr>, inner: &mut Options) {
        for had in one.addresses.iter().filter(|had| self.renews() && Some(**had) != given) {
            inner.put(code::IA_ADDRESS, &lifetime(*had, Span(0)));
        }
    }

    /// Temporary addresses and prefixes are refused one by one (sections 18.3.2 and 18.3.4).
    pub(super) fn refuse_others(&self, options: &mut Options) {
        let fresh = matches!(self.request.kind, MessageType::Solicit | MessageType::Request);
        for (code, id) in self.request.others() {
            let mut inner = Options::default();
            match code {
                _ if !fresh => inner.status(status::NO_BINDING, "never given here"),
                code::IA_PD => inner.status(status::NO_PREFIX, "no prefixes are given here"),
                _ => inner.status(status::NO_ADDRESSES, "no temporary addresses are given here"),
            };
            match code {
                code::IA_PD => options.put(code, &association(id, Span(0), &inner)),
                _ => options.put(code, &[&id[..], inner.bytes()].concat()),
            };
        }
    }

    /// For a client that asks for no address, or for none that this link has: all other options.
    pub(super) fn without_address(&self, kind: u8) -> Result<Decision, Reason> {
        if self.machine.is_none() && self.ipv6.dynamic.is_empty() {
            return Err(self.unknown());
        }
        let mut options = self.ids();
        self.refuse_all("another network", &mut options)?;
        let (file, offered) = self.describe(&mut options);
        let named: Vec<Ipv6Addr> = self.associations()?.into_iter().flat_map(|one| one.addresses).collect();
        let event = match named.first() {
            Some(address) => {
                self.event(Stage::Refused, None, format!("refused {address}: it is of another network"))
            }
            None => self.event(Stage::Ack, None, format!("informed by DHCPv6: it asks for no address{file}")),
        };
        self.reply(kind, &options, Event { offered, ..event })
    }

    /// The answer when no address is left (sections 18.3.2 and 18.3.9).
    pub(super) fn exhausted(&self, kind: u8) -> Result<Decision, Reason> {
        let mut options = self.ids();
        self.refuse_all("every address is in use", &mut options)?;
        let Subnet { name, origin, .. } = &*self.subnet;
        let text = format!("refused: every dynamic IPv6 address of subnet {name} is in use ({origin})");
        self.reply(kind, &options, self.event(Stage::Refused, None, text))
    }

    /// The machine's own address can't be given now. The answer says so, so that the client does not ask
    /// again and again without a reason.
    pub(super) fn taken(&self, kind: u8, reason: &Reason) -> Result<Decision, Reason> {
        let mut options = self.ids();
        self.refuse_all("the machine's address is in use", &mut options)?;
        self.reply(kind, &options, self.event(Stage::Refused, None, format!("refused: {reason}")))
    }

    fn refuse_all(&self, why: &str, options: &mut Options) -> Result<(), Reason> {
        for one in self.associations()? {
            let mut inner = Options::default();
            self.refuse(&one, why, &mut inner);
            self.end(&one, None, &mut inner);
            options.put(code::IA_NA, &association(one.id, Span(0), &inner));
        }
        self.refuse_others(options);
        Ok(())
    }
}
