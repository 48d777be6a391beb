//! Keeps the machine on the network: every card on, an address for each, one of them in use.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cards::{self, Card};
use super::console::say;
use super::packets::Packets;
use crate::agent::net::choice::{Candidate, choose};
use crate::agent::net::{Client, Heard, Lease};
use crate::model::Mac;

/// Time between two looks at the cards: cables are plugged, drivers come.
const LOOK: Duration = Duration::from_millis(500);
/// After this without a card, somebody has to know.
const NO_CARD: Duration = Duration::from_secs(20);
const RESOLVER: &str = "/etc/resolv.conf";

/// What other threads may know and ask.
#[derive(Debug, Default)]
pub(crate) struct Network {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The card in use and its lease.
    way: Option<(Mac, Lease)>,
    /// Cards by which the daemon was not reached, the latest last.
    failed: Vec<Mac>,
}

impl Network {
    /// Waits until a card is in use, for at most this long; whether there is one.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        let waiting = self.changed.wait_timeout_while(self.state(), longest, |state| state.way.is_none());
        waiting.unwrap_or_else(PoisonError::into_inner).0.way.is_some()
    }

    /// The card in use.
    pub(crate) fn card(&self) -> Option<Mac> {
        self.state().way.as_ref().map(|(mac, _)| *mac)
    }

    /// The daemon is not reached by the card in use: another one is tried, if there is one.
    pub(crate) fn failed(&self) {
        let mut state = self.state();
        if let Some((mac, _)) = state.way {
            state.failed.retain(|failed| *failed != mac);
            state.failed.push(mac);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A card that is switched on.
struct Station {
    card: Card,
    packets: Packets,
    client: Client,
    /// When it got the lease that it has.
    bound: Option<Duration>,
}

/// Works for ever.
pub(crate) fn watch(network: &Network, boot_card: Option<Mac>) {
    // The loopback interface has its address as soon as it is on.
    let _ = cards::switch_on("lo");
    let since = Instant::now();
    let mut stations: BTreeMap<Mac, Station> = BTreeMap::new();
    let mut said_none = false;
    let mut failed = BTreeSet::new();
    loop {
        look(&mut stations, &mut failed, since.elapsed());
        if stations.is_empty() && !said_none && since.elapsed() > NO_CARD {
            say("there is no network card that this kernel has a driver for (modules of the agent's boot)");
            said_none = true;
        }
        for station in stations.values_mut() {
            station.work(network, since.elapsed());
        }
        use_best(network, &stations, boot_card, since.elapsed());
        wait(&stations, since.elapsed());
    }
}

/// Switches new cards on, and forgets those that are gone. `failed` are cards of which somebody knows that they can't
/// be switched on.
fn look(stations: &mut BTreeMap<Mac, Station>, failed: &mut BTreeSet<u32>, now: Duration) {
    let found = cards::cards(Path::new("/sys"));
    stations.retain(|_, station| found.iter().any(|card| card.index == station.card.index));
    for card in found {
        if let Some(station) = stations.get_mut(&card.mac) {
            // Two cards with one address are one to every server.
            if station.card.index != card.index {
                continue;
            }
            let before = std::mem::replace(&mut station.card, card).carrier;
            let card = &station.card;
            if before != card.carrier {
                let cable = if card.carrier == Some(true) {
                    "has a link"
                } else {
                    "has no link: is a cable plugged in?"
                };
                say(&format!("card {} ({}) {cable}", card.name, card.mac));
            }
            continue;
        }
        let opened = cards::switch_on(&card.name).and_then(|()| Packets::open(card.index));
        match opened {
            Ok(packets) => {
                let client = Client::new(card.mac, dice(), now);
                stations.insert(card.mac, Station { card, packets, client, bound: None });
            }
            Err(error) if failed.insert(card.index) => {
                say(&format!("card {} ({}) can't be switched on: {error}", card.name, card.mac));
            }
            Err(_) => {}
        }
    }
}

impl Station {
    fn work(&mut self, network: &Network, now: Duration) {
        while let Some(payload) = self.packets.receive() {
            let heard = self.client.hear(&payload, now);
            self.heard(heard, network, now);
        }
        // Without a link nothing arrives anywhere, but an address that it had lasts.
        if self.card.carrier != Some(true) && self.client.lease().is_none() {
            return;
        }
        let own = self.client.lease().map(|lease| lease.address);
        let (message, heard) = self.client.next(now);
        let own = if heard.is_some() { None } else { own };
        self.heard(heard, network, now);
        if let Some(message) = message {
            // What is lost is sent again.
            let _ = self.packets.broadcast(own, &message);
        }
    }

    fn heard(&mut self, heard: Option<Heard>, network: &Network, now: Duration) {
        let card = &self.card;
        match heard {
            Some(Heard::Bound(lease)) if self.bound.is_none() => {
                let Lease { address, prefix, server, .. } = &lease;
                say(&format!(
                    "card {} ({}) has the address {address}/{prefix} from {server}",
                    card.name, card.mac
                ));
                self.bound = Some(now);
            }
            Some(Heard::Bound(_)) => {}
            Some(Heard::Lost) => {
                say(&format!("card {} ({}) has lost its address", card.name, card.mac));
                self.bound = None;
                let _ = cards::clear(&card.name);
                let mut state = network.state();
                if state.way.as_ref().is_some_and(|(mac, _)| *mac == card.mac) {
                    state.way = None;
                }
            }
            None => {}
        }
    }
}

/// Gives its address to the card that is to be used, and takes it from the one that was.
fn use_best(network: &Network, stations: &BTreeMap<Mac, Station>, boot_card: Option<Mac>, now: Duration) {
    let candidates: Vec<Candidate> = stations
        .values()
        .filter_map(|station| Some(Candidate { mac: station.card.mac, since: station.bound? }))
        .collect();
    let mut state = network.state();
    // Who works is not changed for another that has come later.
    let current = state.way.as_ref().map(|(mac, _)| *mac);
    let keeps = current.filter(|mac| stations.get(mac).is_some_and(|station| station.bound.is_some()));
    let best = match keeps {
        Some(mac) if state.failed.last() != Some(&mac) => Some(mac),
        _ => choose(&candidates, boot_card, &state.failed, now),
    };
    let Some(station) = best.and_then(|mac| stations.get(&mac)) else { return };
    let Some(lease) = station.client.lease() else { return };
    let way = (station.card.mac, lease.clone());
    if state.way.as_ref() == Some(&way) {
        return;
    }
    if let Some(before) = current.filter(|mac| *mac != way.0).and_then(|mac| stations.get(&mac)) {
        let _ = cards::clear(&before.card.name);
    }
    if let Err(error) = cards::set_lease(&station.card.name, lease) {
        say(&format!("card {} does not take its address: {error}", station.card.name));
    }
    write_resolver(lease);
    // A card that failed and is taken again gets its time again.
    state.failed.retain(|failed| *failed != way.0 || current == Some(way.0));
    state.way = Some(way);
    network.changed.notify_all();
}

fn write_resolver(lease: &Lease) {
    let lines: String = lease.name_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let _ = std::fs::create_dir_all("/etc");
    let _ = std::fs::write(RESOLVER, lines);
}

/// Until a packet comes, or a message or a look is due.
fn wait(stations: &BTreeMap<Mac, Station>, now: Duration) {
    let due = stations.values().map(|station| station.client.due().saturating_sub(now)).min();
    let longest = due.unwrap_or(LOOK).clamp(Duration::from_millis(10), LOOK);
    let mut descriptors: Vec<PollFd<'_>> =
        stations.values().map(|station| PollFd::new(station.packets.as_fd(), PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut descriptors, timeout);
}

/// A number that differs between machines and starts.
fn dice() -> u32 {
    use std::io::Read;
    let mut bytes = [0; 4];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        return std::process::id() ^ Instant::now().elapsed().subsec_nanos();
    }
    u32::from_ne_bytes(bytes)
}
