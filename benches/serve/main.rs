//! TFTP, HTTP and whole boots, side by side with the servers people use:
//! `cargo bench --bench serve [-- stream storm image http https boots agents] [tftpd-hpa atftpd dnsmasq async-tftp]`.
//!
//! The daemon runs as an operator starts it, with an inventory and an image; the
//! peers (tftpd-hpa, atftpd, dnsmasq, nginx, and the crate async-tftp) run beside it in its network namespace, the clients in
//! another one. Servers take turns at the same client, figures are medians, only the ratios mean
//! anything. Processor time of the server says the same with less noise.
//!
//! Needs root and the packages iproute2, genisoimage, tftpd-hpa, dnsmasq-base, nginx-light, wrk,
//! tftp-hpa, atftp, curl and openssl. atftpd, which can't be installed beside tftpd-hpa, is taken from the
//! package's archive. What is not there is left out, loudly.

mod agents;
mod boots;
mod http;
mod lab;
mod peers;
mod tftp;

use lab::{Figure, Lab, Server};

const ROUNDS: usize = 3;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [peers::ASYNC_TFTP, address, root] = *words.iter().map(String::as_str).collect::<Vec<_>>() {
        return peers::serve_async_tftp(address, root);
    }
    let cases = ["stream", "storm", "image", "http", "https", "boots", "agents"];
    let all = !words.iter().any(|word| cases.contains(&word.as_str()));
    let wanted = |name: &str| all || words.iter().any(|word| word == name);
    let lab = Lab::new();
    if ["stream", "storm", "image", "http", "https"].into_iter().any(wanted) {
        lab.furnish(boots::LOADER, tftp::MACHINES);
        let daemon = lab.daemon();
        for (name, run) in [
            ("stream", tftp::stream as fn(&Lab, &Server)),
            ("storm", tftp::storm),
            ("image", http::image),
            ("http", http::plain),
            ("https", http::tls),
        ] {
            if wanted(name) {
                run(&lab, &daemon);
            }
        }
    }
    if wanted("boots") {
        lab.furnish(boots::LOADER, boots::MACHINES);
        std::fs::remove_dir_all(lab.path("state")).ok();
        boots::run(&lab.daemon());
    }
    if wanted("agents") {
        lab.describe(agents::MANIFEST, agents::SETTINGS);
        agents::run(&lab.daemon());
    }
}

/// A server and how it is measured.
struct Entrant<'a> {
    name: &'a str,
    measure: Box<dyn FnMut() -> Figure + 'a>,
}

/// Runs the servers in turns, voldemort's first; prints the medians, and voldemort's against the best.
fn compare(what: &str, unit: &str, target: f64, entrants: Vec<Entrant<'_>>) {
    println!("{what} (target {target} x the best)");
    let mut entrants = entrants;
    let mut figures = vec![Vec::new(); entrants.len()];
    for _ in 0..ROUNDS {
        for (entrant, figures) in entrants.iter_mut().zip(&mut figures) {
            figures.push((entrant.measure)());
        }
    }
    let medians: Vec<Figure> = figures.iter().map(|figures| median(figures)).collect();
    for (entrant, figure) in entrants.iter().zip(&medians) {
        let Figure { rate, cost, memory } = figure;
        println!("  {:<11}{rate:>11.0} {unit}/s {cost:>9.1} us each {memory:>7.1} MB", entrant.name);
    }
    let best = medians.iter().skip(1).map(|figure| figure.rate).fold(0.0, f64::max);
    match medians.first() {
        Some(ours) if best > 0.0 => {
            let (ratio, verdict) =
                (ours.rate / best, if ours.rate >= target * best { "reached" } else { "NOT REACHED" });
            println!("  ratio {ratio:.2}, {verdict}");
        }
        _ => println!("  NO COMPARISON: no peer is installed"),
    }
}

fn median(figures: &[Figure]) -> Figure {
    let middle = |pick: fn(&Figure) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figure {
        rate: middle(|figure| figure.rate),
        cost: middle(|figure| figure.cost),
        memory: middle(|figure| figure.memory),
    }
}
