//! The load that Kea's own perfdhcp puts on.

use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::peer::Running;
use super::{Figure, Network};

pub(crate) const SECONDS: u64 = 2;
pub(crate) const LOST_MAX: f64 = 0.01;
/// Where the first machine's hardware address is counted from.
pub(crate) const FIRST_MAC: u64 = 0x000c_0102_0304;
/// Rates tried between the last that went well and the first that did not.
const HALVINGS: usize = 3;
/// How often a rate is tried at most. One run in which the machine was busy with something else says nothing
/// about the server: a rate holds if most of its runs are good.
const TRIES: usize = 3;
/// The share of the wanted rate at which perfdhcp must have begun exchanges: below it, it was too slow itself.
const ASKED_MIN: f64 = 0.95;
/// From how many processors (of two) on nothing was left for anybody.
const FULL: f64 = 1.8;

/// perfdhcp against one server.
pub(crate) struct Storm<'a> {
    network: &'a Network,
    running: &'a Running,
    clients: Option<u32>,
    /// The first hardware address that was not used yet.
    next: u64,
}

impl<'a> Storm<'a> {
    pub(crate) fn new(network: &'a Network, running: &'a Running, clients: Option<u32>) -> Storm<'a> {
        Storm { network, running, clients, next: FIRST_MAC }
    }

    /// Has every machine get its first lease.
    pub(crate) fn introduce(&self) {
        let clients = self.clients.unwrap_or(0).to_string();
        // The slowest server leases a few hundred a second; clients that got no lease come again later.
        for rate in ["2000", "2000"] {
            perfdhcp(self.network, &["-r", rate, "-R", &clients, "-n", &clients, "-p", "10"]);
        }
    }

    /// The highest rate that holds: doubled until one fails, then halved in between. Says what the limit was.
    pub(crate) fn best(&mut self) -> (Figure, String) {
        let (mut best, mut low, mut high) = (Figure::default(), 0.0, None);
        let mut rate = 2_000.0;
        let mut halvings = 0;
        let mut beyond = Figure::default();
        while halvings < HALVINGS {
            let (holds, figure) = self.try_rate(rate);
            if holds {
                (best, low) = (figure, rate);
            } else {
                (beyond, high) = (figure, Some(rate));
            }
            halvings += usize::from(high.is_some() && low > 0.0 || rate < 10.0);
            rate = high.map_or(rate * 2.0, |high: f64| f64::midpoint(low, high));
        }
        (best, limit(&beyond))
    }

    /// Whether most runs at a rate are good; and the median run of those that decided it.
    fn try_rate(&mut self, rate: f64) -> (bool, Figure) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        while good.len() <= TRIES / 2 && bad.len() <= TRIES / 2 {
            let figure = self.run(rate);
            let holds = figure.lost < LOST_MAX && figure.rate > 0.9 * rate;
            if holds { &mut good } else { &mut bad }.push(figure);
        }
        let holds = good.len() > bad.len();
        let mut runs = if holds { good } else { bad };
        runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        (holds, runs[runs.len() / 2])
    }

    /// So many exchanges are begun a second.
    pub(crate) fn run(&mut self, rate: f64) -> Figure {
        let clients = self.clients.map_or(1 << 24, |clients| clients);
        let (rate_word, clients) = (format!("{rate:.0}"), clients.to_string());
        let seconds = SECONDS.to_string();
        let mac = mac(self.next);
        if self.clients.is_none() {
            self.next += (rate * SECONDS as f64 * 1.5) as u64 + 10;
        }
        let before = (self.running.processor_time(), children());
        let started = Instant::now();
        let words = ["-r", &rate_word, "-R", &clients, "-p", &seconds, "-b", &mac];
        let PerfdhcpResult { done, lost, asked, mean } = perfdhcp(self.network, &words);
        // It waits at the end, when nothing happens.
        let wall = started.elapsed().as_secs_f64().min(SECONDS as f64);
        let server = (self.running.processor_time() - before.0) / wall;
        let asking = (children() - before.1) / wall;
        Figure { rate: done / wall, lost, server, asking, asked: asked / wall / rate, mean }
    }
}

/// What was in the way at the first rate that did not hold.
fn limit(beyond: &Figure) -> String {
    let Figure { server, asking, asked, lost, .. } = *beyond;
    let who = if asked < ASKED_MIN {
        "perfdhcp could not ask faster"
    } else if server + asking > FULL {
        "both processors were full"
    } else if server > 0.9 {
        "the server's processor was full"
    } else {
        "the server let messages wait too long, with processor time to spare"
    };
    format!(
        "limit: {who} (just beyond: asked {:.0} % of the rate, {:.1} % lost, server {server:.2} busy, perfdhcp \
         {asking:.2})",
        asked * 100.0,
        lost * 100.0
    )
}

/// The results of a perfdhcp run.
#[derive(Default)]
pub(crate) struct PerfdhcpResult {
    /// Exchanges that came to their end, and the share that was lost.
    pub done: f64,
    pub lost: f64,
    /// Exchanges that were begun.
    pub asked: f64,
    /// Milliseconds from DISCOVER to OFFER and from REQUEST to ACK on average, together.
    pub mean: f64,
}

pub(crate) fn perfdhcp(network: &Network, words: &[&str]) -> PerfdhcpResult {
    let output = Command::new("ip")
        .args(["netns", "exec", &network.client, "perfdhcp", "-4", "-l", "cli", "-W", "300000"])
        .args(words)
        .arg("10.0.0.1")
        .output()
        .expect("perfdhcp is installed (package kea-admin)");
    let text = String::from_utf8_lossy(&output.stdout);
    let after = |key: &str| {
        text.match_indices(key)
            .filter_map(|(at, _)| text[at + key.len()..].split_whitespace().next()?.parse::<f64>().ok())
            .collect::<Vec<f64>>()
    };
    // DISCOVER and OFFER come first. Its own rate counts the time in which it only waits.
    PerfdhcpResult {
        done: after("received packets:").last().copied().unwrap_or(0.0),
        lost: after("drops ratio:").into_iter().map(|percent| percent / 100.0).sum(),
        asked: after("sent packets:").first().copied().unwrap_or(0.0),
        mean: after("avg delay:").into_iter().sum(),
    }
}

fn mac(number: u64) -> String {
    let octets = number.to_be_bytes();
    let octets: Vec<String> = octets[2..].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("mac={}", octets.join(":"))
}

/// Seconds of processor time that programs which have ended used.
fn children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage can be asked for");
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}
