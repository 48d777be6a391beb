//! The load that Kea's own perfdhcp puts on.

use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::peer::Running;
use super::{Figure, LOST_MAX, Network, SECONDS};

/// Where the first machine's hardware address is counted from.
pub const FIRST_MAC: u64 = 0x000c_0102_0304;
/// Rates tried between the last that went well and the first that did not.
const HALVINGS: usize = 3;

/// perfdhcp against one server.
pub struct Storm<'a> {
    network: &'a Network,
    running: &'a Running,
    clients: Option<u32>,
    /// The first hardware address that nobody had yet.
    next: u64,
}

impl<'a> Storm<'a> {
    pub fn new(network: &'a Network, running: &'a Running, clients: Option<u32>) -> Storm<'a> {
        Storm { network, running, clients, next: FIRST_MAC }
    }

    /// Has every machine get its first lease.
    pub fn introduce(&self) {
        let clients = self.clients.unwrap_or(0).to_string();
        // The slowest peer leases a few hundred a second; who is left out comes in later.
        for rate in ["2000", "2000"] {
            perfdhcp(self.network, &["-r", rate, "-R", &clients, "-n", &clients, "-p", "10"]);
        }
    }

    /// The highest rate with hardly anything lost: doubled until it fails, then halved in between.
    /// Says what the limit was, if not the server.
    pub fn best(&mut self) -> (Figure, Option<String>) {
        let (mut best, mut low, mut high) = (Figure::default(), 0.0, None);
        let mut rate = 2_000.0;
        let mut halvings = 0;
        let mut worst = Figure::default();
        while halvings < HALVINGS {
            let figure = self.run(rate);
            if figure.lost < LOST_MAX && figure.rate > 0.9 * rate {
                (best, low) = (figure, rate);
            } else {
                (worst, high) = (figure, Some(rate));
            }
            halvings += usize::from(high.is_some() && low > 0.0 || rate < 10.0);
            rate = high.map_or(rate * 2.0, |high: f64| f64::midpoint(low, high));
        }
        let idle = 2.0 - worst.server - worst.asking;
        let note = (worst.asking > worst.server && worst.server < 0.9).then(|| {
            format!(
                "perfdhcp was the limit: beyond, it was {:.2} busy, the server {:.2}, \
                              nobody {:.2}",
                worst.asking,
                worst.server,
                idle.max(0.0)
            )
        });
        (best, note)
    }

    /// So many exchanges are begun a second.
    pub fn run(&mut self, rate: f64) -> Figure {
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
        let (done, lost) = perfdhcp(self.network, &words);
        // It waits at the end, when nobody does anything.
        let wall = started.elapsed().as_secs_f64().min(SECONDS as f64);
        let server = (self.running.processor_time() - before.0) / wall;
        Figure { rate: done / wall, lost, server, asking: (children() - before.1) / wall }
    }
}

/// Exchanges that came to their end, and the share that was lost.
pub fn perfdhcp(network: &Network, words: &[&str]) -> (f64, f64) {
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
    let lost = after("drops ratio:").into_iter().map(|percent| percent / 100.0).sum();
    // DISCOVER and OFFER come first. Its own rate counts the time in which it only waits.
    (after("received packets:").last().copied().unwrap_or(0.0), lost)
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
