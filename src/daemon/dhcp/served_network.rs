//! One served network, and the search for hosts that use addresses on offer there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use super::{Busy, Lessor};
use crate::daemon::conflict::{Conflict, Conflicts};
use crate::daemon::link::{Followed, Interface};
use crate::daemon::now;
use crate::model::{Mac, Name, Time};
use crate::proto::dhcp::Mode;
use crate::state::{Event, LeaseAction, LeaseRequest, Stage, State};

/// A network that DHCP is served on.
pub(super) struct ServedNetwork {
    network: Followed,
    /// The interface as this thread knows it; `None` while it is not there.
    pub(super) interface: Option<Interface>,
    pub(super) mode: watch::Receiver<Mode>,
    prober: Prober,
}

/// What looks for addresses in use. It is absent for as long as it can't probe, and nothing waits for it.
pub type Prober = Arc<ArcSwapOption<Conflicts>>;

impl ServedNetwork {
    pub(super) fn new(network: Followed, mode: watch::Receiver<Mode>, prober: Prober) -> ServedNetwork {
        let interface = network.now().ok();
        ServedNetwork { network, interface, mode, prober }
    }

    /// Takes over changes of the interface.
    pub(super) fn catch_up(&mut self) {
        if let Some(presence) = self.network.news() {
            self.interface = presence.ok();
        }
    }

    /// Asks by ARP whether another host uses the address that is now on offer to `mac`, if it is not the
    /// one that the machine had before.
    pub(super) fn probe(&self, state: &State, mac: Mac, address: Ipv4Addr, now: Instant) {
        let (prober, Some(interface)) = (self.prober.load(), &self.interface) else { return };
        let Some(conflicts) = &*prober else { return };
        let is_former = || state.leases().binding(mac).is_some_and(|lease| lease.address == address);
        if interface.cidr.contains(address) && !is_former() {
            conflicts.ask(address, mac, now);
        }
    }
}

/// Withholds dynamic addresses that other hosts were found to use, on one network, until the check fails. It is
/// auxiliary: DHCP works without it. `opened` is called when it works.
pub async fn conflicts<L: Lessor>(
    interface: &Interface,
    prober: &Prober,
    published: &ArcSwap<State>,
    lessor: &L,
    opened: impl Fn(),
) -> Result<(), String> {
    let conflicts = Conflicts::open(interface)
        .map_err(|error| format!("addresses are offered without a check whether they are in use: {error}"))?;
    let conflicts = Arc::new(conflicts);
    prober.store(Some(conflicts.clone()));
    opened();
    let mut proxies = BTreeSet::new();
    loop {
        let found = conflicts.next().await.map_err(|error| {
            prober.store(None);
            error.to_string()
        })?;
        let state = published.load();
        match meaning(&state, found, now()) {
            Meaning::Proxy if proxies.insert(found.used_by) => {
                report_proxy_arp(found.used_by, &interface.name, lessor);
            }
            Meaning::Proxy => {}
            Meaning::Fixed(deployment) => report_fixed(found, deployment, lessor),
            Meaning::Dynamic => withhold(found, lessor),
        }
    }
}

/// What it means that another host uses an address.
#[derive(Debug, PartialEq)]
enum Meaning<'a> {
    /// Nothing: it answers for whatever it is asked.
    Proxy,
    /// The address is the fixed one of this deployment.
    Fixed(&'a Name),
    Dynamic,
}

fn meaning(state: &State, found: Conflict, now: Time) -> Meaning<'_> {
    if state.leases().is_proxy(found.used_by, now) {
        return Meaning::Proxy;
    }
    state.desired().fixed_at(found.address).map_or(Meaning::Dynamic, Meaning::Fixed)
}

/// Says that the answers of a card count no more.
fn report_proxy_arp<L: Lessor>(card: Mac, interface: &str, lessor: &L) {
    let text = format!(
        "{card} on {interface} answers for many addresses, like a router with proxy ARP: its answers \
         are ignored from now on, and addresses are leased without a check; switch proxy ARP off there"
    );
    tracing::warn!("{text}");
    let event = Event::new(now(), Stage::Daemon, text);
    lessor.note(vec![Event { mac: Some(card), ..event }]);
}

/// A fixed address is given nevertheless, as after a DECLINE: there is no other.
fn report_fixed<L: Lessor>(found: Conflict, deployment: &Name, lessor: &L) {
    let Conflict { address, offered_to, used_by } = found;
    let text = format!(
        "{address}, the fixed address of deployment {deployment}, offered to {offered_to}, is used by {used_by}: \
         find out why"
    );
    report(found, text, Some(deployment), lessor);
}

fn report<L: Lessor>(found: Conflict, text: String, deployment: Option<&Name>, lessor: &L) {
    tracing::warn!("{text}");
    let address = Some(found.address.into());
    let event = Event::new(now(), Stage::Daemon, text);
    lessor.note(vec![Event { address, deployment: deployment.cloned(), ..event }]);
}

fn withhold<L: Lessor>(found: Conflict, lessor: &L) {
    let Conflict { address, offered_to, used_by } = found;
    let text = format!(
        "{address}, offered to {offered_to}, is used by {used_by}, who has no lease of it: \
         the address rests for 24 hours"
    );
    report(found, text, None, lessor);
    let action = LeaseAction::Conflict { address };
    let request = LeaseRequest { mac: used_by, at: now(), client_id: None, hostname: None, action };
    lessor.lease(vec![request], move |outcome| {
        if let Err(Busy) = outcome {
            tracing::warn!("{address} does not rest: the keeper is busy");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{self, Media, Options};
    use crate::manifest;
    use crate::media::Shelf;
    use crate::state::Server;

    #[test]
    fn whoever_answers_for_every_address_has_no_fixed_one() {
        let text = r#"
            [subnet.lab]
            cidr = "10.0.10.0/24"
            dynamic = "10.0.10.100-10.0.10.199"
            [boot.b]
            kernel = "k"
            [deployment.web]
            mac = "52:54:00:00:00:01"
            address = "10.0.10.11"
            boot = "b"
        "#;
        let (documents, _) = manifest::parse(&[("lab.toml".into(), text.into())].into());
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let desired = desired::resolve(&documents, &Shelf::new(Vec::new(), None), &options).0;
        let mut state = State::new(Server::stand_in([10, 0, 10, 1].into())).with_desired(desired);
        let mac = |number| Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap();
        let found = |last, used_by| {
            let address = Ipv4Addr::new(10, 0, 10, last);
            Conflict { address, offered_to: mac(1), used_by }
        };
        let (router, web): (Mac, Name) = (mac(77), "web".parse().unwrap());
        assert_eq!(meaning(&state, found(11, router), Time(5)), Meaning::Fixed(&web));
        assert_eq!(meaning(&state, found(100, router), Time(5)), Meaning::Dynamic);
        for last in 100..103 {
            let action = LeaseAction::Conflict { address: found(last, router).address };
            let request = LeaseRequest { mac: router, at: Time(1), client_id: None, hostname: None, action };
            assert_eq!(state.lease(&request).changed.len(), 1);
        }
        assert_eq!(meaning(&state, found(11, router), Time(5)), Meaning::Proxy);
        assert_eq!(meaning(&state, found(11, mac(78)), Time(5)), Meaning::Fixed(&web));
    }
}
