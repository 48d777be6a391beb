//! DHCP exchanges a second, side by side with Kea and dnsmasq, asked by Kea's own perfdhcp:
//! `cargo bench --bench dhcp [-- dynamic|reserved …]`.
//!
//! Each server runs alone, in a network namespace of its own; perfdhcp plays a relay in another.
//! The rate is the highest at which less than 1 % of the exchanges (DISCOVER, OFFER, REQUEST,
//! ACK) are lost. Processor time of the server per exchange says the same with less noise. All
//! servers keep leases on disk; only voldemort waits for the disk before it answers.
//! Needs root and the packages iproute2, kea-admin, kea-dhcp4-server and dnsmasq-base; a peer that
//! is not installed is left out, loudly.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Machines that take part; each comes back again and again.
const DYNAMIC_CLIENTS: usize = 50_000;
const RESERVED_CLIENTS: usize = 2_000;
/// perfdhcp counts its clients up from here.
const FIRST_MAC: u64 = 0x000c_0102_0304;
const SECONDS: u64 = 5;
const ROUNDS: usize = 3;

#[derive(Clone, Copy, PartialEq)]
enum Supply {
    Dynamic,
    Reserved,
}

#[derive(Clone, Copy)]
enum Server {
    Voldemort,
    Kea,
    Dnsmasq,
}

/// Exchanges a second, share of those lost, microseconds of the server's processor time each.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    lost: f64,
    cost: f64,
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let wanted = |name: &str| {
        let named = |word: &String| word == "dynamic" || word == "reserved";
        !words.iter().any(named) || words.iter().any(|word| word == name)
    };
    let network = Network::new();
    for (name, supply) in [("dynamic", Supply::Dynamic), ("reserved", Supply::Reserved)] {
        if wanted(name) {
            compare(&network, name, supply);
        }
    }
}

fn compare(network: &Network, name: &str, supply: Supply) {
    println!("{name} addresses: exchanges/s under 1 % loss, processor time each (medians of {ROUNDS})");
    let mut ours = None;
    for server in [Server::Voldemort, Server::Kea, Server::Dnsmasq] {
        let figures: Vec<Figure> = (0..ROUNDS).filter_map(|_| best(network, server, supply)).collect();
        if figures.is_empty() {
            println!("  {:<10} is not installed: NO COMPARISON", server.name());
            continue;
        }
        let median = |pick: fn(&Figure) -> f64| {
            let mut values: Vec<f64> = figures.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (rate, cost) = (median(|figure| figure.rate), median(|figure| figure.cost));
        let (our_rate, our_cost) = *ours.get_or_insert((rate, cost));
        println!(
            "  {:<10} {rate:>8.0}/s {cost:>7.1} us   ours is {:.2} x as fast, at {:.2} x the processor time",
            server.name(),
            our_rate / rate,
            our_cost / cost
        );
    }
}

/// The highest rate with less than 1 % lost: doubled until it fails, then halved in between.
fn best(network: &Network, server: Server, supply: Supply) -> Option<Figure> {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let mut running = Running::start(network, server, supply, folder.path())?;
    let (mut low, mut high) = (None, None);
    let mut rate = 1_000.0;
    for _ in 0..9 {
        let figure = running.storm(network, supply, rate);
        if figure.lost < 0.01 && figure.rate > 0.75 * rate {
            low = Some(figure);
            rate = high.map_or(rate * 2.0, |high: f64| f64::midpoint(rate, high));
        } else {
            high = Some(rate);
            rate = f64::midpoint(low.map_or(0.0, |low: Figure| low.rate), rate);
        }
    }
    running.stop();
    low
}

/// Two namespaces joined by a cable; gone when dropped.
struct Network {
    server: String,
    client: String,
}

impl Network {
    fn new() -> Network {
        let id = std::process::id();
        let (server, client) = (format!("dhcp-{id}-s"), format!("dhcp-{id}-c"));
        for line in [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add srv type veth peer cli netns {client}"),
            format!("-n {server} address add 10.0.0.1/16 dev srv"),
            format!("-n {server} link set srv up"),
            format!("-n {server} link set lo up"),
            format!("-n {client} address add 10.0.0.2/16 dev cli"),
            format!("-n {client} link set cli up"),
        ] {
            ip(&line);
        }
        Network { server, client }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.server));
        ip(&format!("netns delete {}", self.client));
    }
}

struct Running {
    child: Child,
    pid: u32,
}

impl Running {
    /// `None` when the server is not installed.
    fn start(network: &Network, server: Server, supply: Supply, folder: &Path) -> Option<Running> {
        let words = match server {
            Server::Voldemort => voldemort(folder, supply),
            Server::Kea => kea(folder, supply),
            Server::Dnsmasq => dnsmasq(folder, supply),
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network.server]).args(words);
        command.env("KEA_PIDFILE_DIR", folder).env("KEA_LOCKFILE_DIR", folder);
        let log = std::fs::File::create(folder.join("log")).expect("a log can be made");
        let errors = log.try_clone().expect("a file can be shared");
        let mut child = command.stdout(log).stderr(errors).stdin(Stdio::null()).spawn().ok()?;
        let pid = child.id();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if child.try_wait().ok().flatten().is_some() {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                eprintln!("{}: {log}", server.name());
                return None;
            }
            if perfdhcp(network, &["-n", "5", "-r", "5", "-p", "1", "-R", "5"]).rate > 0.0 {
                return Some(Running { child, pid });
            }
        }
        panic!("{} does not answer within a minute", server.name());
    }

    fn storm(&mut self, network: &Network, supply: Supply, rate: f64) -> Figure {
        let before = processor_time(self.pid);
        let clients = match supply {
            Supply::Dynamic => DYNAMIC_CLIENTS,
            Supply::Reserved => RESERVED_CLIENTS,
        };
        let (rate, clients) = (format!("{rate:.0}"), clients.to_string());
        let seconds = SECONDS.to_string();
        let started = Instant::now();
        let mut figure = perfdhcp(network, &["-r", &rate, "-R", &clients, "-p", &seconds]);
        let exchanges = figure.rate * started.elapsed().as_secs_f64();
        figure.cost = (processor_time(self.pid) - before) * 1e6 / exchanges.max(1.0);
        figure
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Server::Voldemort => "voldemort",
            Server::Kea => "kea",
            Server::Dnsmasq => "dnsmasq",
        }
    }
}

fn perfdhcp(network: &Network, words: &[&str]) -> Figure {
    let output = Command::new("ip")
        .args(["netns", "exec", &network.client, "perfdhcp", "-4", "-l", "cli", "-W", "500000"])
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
    Figure { rate: after("Rate:").first().copied().unwrap_or(0.0), lost, cost: 0.0 }
}

/// The machines that perfdhcp plays, with an address each.
fn reserved() -> impl Iterator<Item = (String, Ipv4Addr)> {
    (0..RESERVED_CLIENTS as u64).map(|number| {
        let octets = (FIRST_MAC + number).to_be_bytes();
        let mac: Vec<String> = octets[2..].iter().map(|octet| format!("{octet:02x}")).collect();
        (mac.join(":"), Ipv4Addr::from(0x0a00_8000 + number as u32))
    })
}

fn voldemort(folder: &Path, supply: Supply) -> Vec<String> {
    let inventory = folder.join("inventory");
    std::fs::create_dir_all(inventory.join("files")).expect("the inventory can be made");
    std::fs::write(inventory.join("files/vmlinuz"), "not a kernel").expect("a file can be written");
    let mut text =
        "[subnet.lab]\ncidr = \"10.0.0.0/16\"\ngateway = \"10.0.0.1\"\nlease = \"1h\"\n".to_owned();
    match supply {
        Supply::Dynamic => text += "dynamic = \"10.0.1.0-10.0.250.255\"\n",
        Supply::Reserved => {
            text += "[boot.linux]\nkernel = \"files/vmlinuz\"\n";
            for (number, (mac, address)) in reserved().enumerate() {
                let _ = writeln!(
                    text,
                    "[deployment.m{number}]\nmac = \"{mac}\"\naddress = \"{address}\"\nboot = \"linux\""
                );
            }
        }
    }
    std::fs::write(inventory.join("lab.toml"), text).expect("a manifest can be written");
    std::fs::create_dir(folder.join("state")).expect("a directory can be made");
    let settings = format!(
        "[network]\ninterface = \"srv\"\naddress = \"10.0.0.1\"\n[inventory]\ndirectory = {inventory:?}\n\
         [state]\ndirectory = {:?}\n",
        folder.join("state")
    );
    let config = write(folder, "voldemort.toml", &settings);
    words(&[env!("CARGO_BIN_EXE_voldemort"), "start", "services", "--config", &config])
}

fn kea(folder: &Path, supply: Supply) -> Vec<String> {
    let supply = match supply {
        Supply::Dynamic => "\"pools\": [ { \"pool\": \"10.0.1.0-10.0.250.255\" } ]".to_owned(),
        Supply::Reserved => {
            let host =
                |(mac, address)| format!("{{ \"hw-address\": \"{mac}\", \"ip-address\": \"{address}\" }}");
            format!("\"reservations\": [ {} ]", reserved().map(host).collect::<Vec<_>>().join(", "))
        }
    };
    let leases = folder.join("leases.csv");
    let settings = format!(
        "{{ \"Dhcp4\": {{ \"interfaces-config\": {{ \"interfaces\": [ \"srv\" ] }},
        \"lease-database\": {{ \"type\": \"memfile\", \"persist\": true, \"name\": {leases:?} }},
        \"valid-lifetime\": 3600, \"loggers\": [ {{ \"name\": \"kea-dhcp4\", \"severity\": \"WARN\",
        \"output_options\": [ {{ \"output\": \"stderr\" }} ] }} ],
        \"subnet4\": [ {{ \"id\": 1, \"subnet\": \"10.0.0.0/16\", {supply},
        \"option-data\": [ {{ \"name\": \"routers\", \"data\": \"10.0.0.1\" }} ] }} ] }} }}"
    );
    words(&["kea-dhcp4", "-c", &write(folder, "kea.json", &settings)])
}

fn dnsmasq(folder: &Path, supply: Supply) -> Vec<String> {
    let mut settings = format!(
        "port=0\ninterface=srv\nuser=root\nno-ping\nquiet-dhcp\ndhcp-lease-max=100000\n\
         dhcp-option=option:router,10.0.0.1\ndhcp-leasefile={}\n",
        folder.join("leases").display()
    );
    match supply {
        Supply::Dynamic => settings += "dhcp-range=10.0.1.0,10.0.250.255,255.255.0.0,1h\n",
        Supply::Reserved => {
            settings += "dhcp-range=10.0.0.0,static,255.255.0.0,1h\n";
            for (mac, address) in reserved() {
                let _ = writeln!(settings, "dhcp-host={mac},{address}");
            }
        }
    }
    let file = write(folder, "dnsmasq.conf", &settings);
    words(&["dnsmasq", "--keep-in-foreground", "--conf-file", &file, "--pid-file="])
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).expect("the settings can be written");
    path.to_str().expect("temporary directories have plain names").to_owned()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Seconds of processor time that a process has used.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {arguments}");
}
