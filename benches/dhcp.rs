//! DHCP exchanges a second, side by side with Kea and dnsmasq:
//! `cargo bench --bench dhcp [-- new|returning|reserved|overload] [voldemort|kea|dnsmasq] …`.
//!
//! Each server runs alone, in a network namespace of its own; the clients' side is in another and
//! plays a relay. An exchange is DISCOVER, OFFER, REQUEST, ACK. Two loads are put on:
//!
//! * Kea's own `perfdhcp` at fixed rates: the highest at which less than 1 % of the exchanges are
//!   lost in most of three runs. perfdhcp has the same processors as the server and needs much of them itself:
//!   how busy both were is printed beside the rate, and what was the limit just beyond it.
//! * A lean one ([`crowd`]) that keeps so many exchanges open at any time and takes messages by
//!   batches: what the server can do when the asking costs little.
//!
//! Beside the rates stand the latencies of whole exchanges (p50, p99), at a low rate and at half of what
//! perfdhcp could put on, from the lean load paced evenly.
//!
//! Processor time of the server per exchange says the same with less noise. All servers keep
//! leases on disk; only voldemort waits for the disk before it answers. In `new` every exchange is
//! of a machine never seen before, in `returning` of one that has a lease, in `reserved` of one
//! with an address of its own in the configuration; `overload` asks for three times what the server
//! can do and counts what still comes through.
//! Needs root and the packages iproute2, kea-admin, kea-dhcp4-server and dnsmasq-base; a peer that
//! is not installed is left out, loudly.

#[path = "dhcp/crowd.rs"]
mod crowd;
#[path = "dhcp/network.rs"]
mod network;
#[path = "dhcp/peer.rs"]
mod peer;
#[path = "dhcp/perfdhcp.rs"]
mod perfdhcp;

use std::time::Duration;

use network::{Figure, Network};
use peer::{Running, Server, Supply};
use perfdhcp::{SECONDS, Storm};

/// Machines that come back again and again.
const RETURNING: u32 = 10_000;
/// Exchanges open at once on the lean load.
const OPEN: usize = 2048;
/// Exchanges a second at which no client waits for another.
const LOW: f64 = 200.0;

#[derive(Clone, Copy, PartialEq)]
enum Case {
    New,
    Returning,
    Reserved,
    Overload,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |names: &[&str], name: &str| {
        let named = |word: &String| names.contains(&word.as_str());
        !words.iter().any(named) || words.iter().any(|word| word == name)
    };
    let cases = ["new", "returning", "reserved", "overload"];
    let network = Network::new();
    for (name, case) in cases.into_iter().zip([Case::New, Case::Returning, Case::Reserved, Case::Overload]) {
        if wanted(&cases, name) {
            println!("{name}");
            let servers = Server::ALL.into_iter();
            let servers = servers.filter(|server| wanted(&["voldemort", "kea", "dnsmasq"], server.name()));
            compare(&network, case, servers);
        }
    }
}

fn compare(network: &Network, case: Case, servers: impl Iterator<Item = Server>) {
    let mut ours: Option<(Figure, Figure)> = None;
    for server in servers {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let supply = if case == Case::Reserved { Supply::Reserved } else { Supply::Dynamic };
        let Some(running) = Running::start(network, server, supply, folder.path()) else {
            println!("  {:<10} is not installed: NO COMPARISON", server.name());
            continue;
        };
        let mut storm = Storm::new(network, &running, clients(case));
        if case == Case::Returning {
            storm.introduce();
        }
        if case == Case::Overload {
            overload(server, &mut storm);
            continue;
        }
        let (best, limit) = storm.best();
        print(server, "perfdhcp", &best, ours.map(|(ours, _)| ours));
        println!("  {:<10} {limit}; {:.2} ms on average at this rate", "", best.mean);
        let lean = crowd::run(network, &running, clients(case), OPEN, Duration::from_secs(SECONDS));
        print(server, "lean", &lean, ours.map(|(_, ours)| ours));
        for (number, (load, rate)) in [("low", LOW), ("half", best.rate / 2.0)].into_iter().enumerate() {
            let time = Duration::from_secs(SECONDS);
            let delays = crowd::paced(network, clients(case), number as u32, rate, time);
            println!("  {:<10} {load:<8} {rate:>7.0}/s {delays}", "");
        }
        if server == Server::Voldemort {
            ours = Some((best, lean));
        }
    }
}

/// How many machines take part; `None` when each comes but once.
fn clients(case: Case) -> Option<u32> {
    match case {
        Case::New | Case::Overload => None,
        Case::Returning => Some(RETURNING),
        Case::Reserved => Some(peer::RESERVED),
    }
}

fn print(server: Server, load: &str, figure: &Figure, ours: Option<Figure>) {
    let Figure { rate, lost, server: busy, asking, .. } = *figure;
    let (name, cost, lost) = (server.name(), figure.cost(), lost * 100.0);
    print!(
        "  {name:<10} {load:<8} {rate:>7.0}/s {lost:>5.2} % lost, {cost:>6.1} us each; \
         busy: server {busy:.2}, load {asking:.2}"
    );
    match ours {
        Some(ours) => {
            println!("; ours is {:.2} x as fast, at {:.2} x the time", ours.rate / rate, ours.cost() / cost)
        }
        None => println!(),
    }
}

/// Three times the possible: what comes through must be no less than at the limit.
fn overload(server: Server, storm: &mut Storm) {
    let (best, _) = storm.best();
    print(server, "limit", &best, None);
    for factor in [1.5, 3.0] {
        let figure = storm.run(best.rate * factor);
        print(server, &format!("x {factor}"), &figure, None);
    }
}
