//! The servers that are compared, each with the same network and its leases on disk.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Network;
use super::perfdhcp::{FIRST_MAC, perfdhcp};

/// Machines with an address of their own.
pub(crate) const RESERVED: u32 = 2_000;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Supply {
    Dynamic,
    Reserved,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Server {
    Voldemort,
    Kea,
    Dnsmasq,
}

impl Server {
    pub(crate) const ALL: [Server; 3] = [Server::Voldemort, Server::Kea, Server::Dnsmasq];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Voldemort => "voldemort",
            Server::Kea => "kea",
            Server::Dnsmasq => "dnsmasq",
        }
    }
}

/// A server that answers; ended when dropped.
pub(crate) struct Running {
    pub child: Child,
}

impl Running {
    /// `None` when the server is not installed.
    pub(crate) fn start(network: &Network, server: Server, supply: Supply, folder: &Path) -> Option<Running> {
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
        let child = command.stdout(log).stderr(errors).stdin(Stdio::null()).spawn().ok()?;
        let mut running = Running { child };
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(60) {
            if running.child.try_wait().ok().flatten().is_some() {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                eprintln!("{}: {log}", server.name());
                return None;
            }
            if perfdhcp(network, &["-n", "5", "-r", "5", "-p", "1", "-R", "5"]).done > 0.0 {
                return Some(running);
            }
        }
        panic!("{} does not answer within a minute", server.name());
    }

    /// Seconds of processor time that the server has used.
    pub(crate) fn processor_time(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The machines that perfdhcp plays, with an address each.
fn reserved() -> impl Iterator<Item = (String, Ipv4Addr)> {
    (0..u64::from(RESERVED)).map(|number| {
        let octets = (FIRST_MAC + number).to_be_bytes();
        let mac: Vec<String> = octets[2..].iter().map(|octet| format!("{octet:02x}")).collect();
        (mac.join(":"), Ipv4Addr::from(0x0a00_8000 + number as u32))
    })
}

fn voldemort(folder: &Path, supply: Supply) -> Vec<String> {
    let inventory = folder.join("inventory");
    std::fs::create_dir_all(inventory.join("files")).expect("the inventory can be made");
    std::fs::write(inventory.join("files/vmlinuz"), "not a kernel").expect("a file can be written");
    let mut text = "[subnet.lab]\ncidr = \"10.0.0.0/8\"\ngateway = \"10.0.0.1\"\nlease = \"1h\"\n".to_owned();
    match supply {
        Supply::Dynamic => text += "dynamic = \"10.64.0.0-10.79.255.255\"\n",
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
    words(&[env!("CARGO_BIN_EXE_voldemort"), "start", "services", "--new-site", "--config", &config])
}

fn kea(folder: &Path, supply: Supply) -> Vec<String> {
    let supply = match supply {
        Supply::Dynamic => "\"pools\": [ { \"pool\": \"10.64.0.0-10.79.255.255\" } ]".to_owned(),
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
        \"subnet4\": [ {{ \"id\": 1, \"subnet\": \"10.0.0.0/8\", {supply},
        \"option-data\": [ {{ \"name\": \"routers\", \"data\": \"10.0.0.1\" }} ] }} ] }} }}"
    );
    words(&["kea-dhcp4", "-c", &write(folder, "kea.json", &settings)])
}

fn dnsmasq(folder: &Path, supply: Supply) -> Vec<String> {
    let mut settings = format!(
        "port=0\ninterface=srv\nuser=root\nno-ping\nquiet-dhcp\ndhcp-lease-max=1000000\n\
         dhcp-option=option:router,10.0.0.1\ndhcp-leasefile={}\n",
        folder.join("leases").display()
    );
    match supply {
        Supply::Dynamic => settings += "dhcp-range=10.64.0.0,10.79.255.255,255.0.0.0,1h\n",
        Supply::Reserved => {
            settings += "dhcp-range=10.0.0.0,static,255.0.0.0,1h\n";
            for (mac, address) in reserved() {
                let _ = writeln!(settings, "dhcp-host={mac},{address}");
            }
        }
    }
    let file = write(folder, "dnsmasq.conf", &settings);
    words(&["dnsmasq", "--keep-in-foreground", &format!("--conf-file={file}"), "--pid-file="])
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).expect("the settings can be written");
    path.to_str().expect("temporary directories have plain names").to_owned()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
