//! Clients behind a real relay, on a VLAN, and with and without the broadcast flag.

use std::process::Command;

use voldemort::state::Stage;

use super::dhcp::{Client, Daemon, PATIENCE, STRANGER};
use super::lab::{ip, mac};
use super::net::{Net, has};

/// Waits until an address is on an interface of a namespace.
fn wait_for_address(namespace: &str, interface: &str, address: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let words = ["-n", namespace, "-4", "-o", "address", "show", interface];
        let shown = Command::new("ip").args(words).output().unwrap().stdout;
        if String::from_utf8_lossy(&shown).contains(address) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{address} was not taken");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A third namespace behind the client's; gone with this value.
pub(super) struct Behind(pub String);

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

impl Behind {
    /// A machine `eth0` behind the client's namespace, which relays for it as 10.0.20.1.
    pub(crate) fn new(net: &Net) -> Behind {
        let behind = Behind(format!("{}-r", net.client));
        assert!(Command::new("ip").args(["netns", "add", &behind.0]).status().unwrap().success());
        net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
        net.client_ip(&["link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", &behind.0]);
        net.client_ip(&["address", "add", "10.0.20.1/24", "dev", "lan0"]);
        net.client_ip(&["link", "set", "lan0", "up"]);
        let words = ["-n", &behind.0, "link", "set", "eth0", "address", STRANGER, "up"];
        assert!(Command::new("ip").args(words).status().unwrap().success());
        net.server_ip(&["route", "add", "10.0.20.0/24", "via", "10.0.10.2"]);
        behind
    }
}

const RELAY: &str = "dnsmasq --no-daemon --port=0 --conf-file=/dev/null --dhcp-leasefile=/dev/null \
    --dhcp-relay=10.0.20.1,10.0.10.1";

/// RFC 2131 section 4.3.2: who comes back with an address of another network is refused, through the
/// relay and by broadcast, and then gets one of this network.
#[test]
fn a_client_that_moved_behind_a_relay_is_refused_and_starts_over() {
    let Some(net) = Net::new().filter(|_| has("dhclient") && has("dnsmasq")) else { return };
    let behind = Behind::new(&net);
    let daemon = Daemon::start(&net, 3600);
    let _relay = net.run(&RELAY.split_whitespace().collect::<Vec<_>>());
    let client = Client::new();
    let (script, leases, pid) = (client.path("script"), client.path("leases"), client.path("pid"));
    let end = "4 2037/01/01 00:00:00";
    let lease = format!(
        "lease {{ interface \"eth0\"; fixed-address 10.0.10.50; option subnet-mask 255.255.255.0; \
         option dhcp-lease-time 3600; option dhcp-server-identifier 10.0.10.1; \
         renew {end}; rebind {end}; expire {end}; }}\n"
    );
    std::fs::write(&leases, lease).unwrap();
    let words =
        ["ip", "netns", "exec", &behind.0, "dhclient", "-d", "-sf", &script, "-lf", &leases, "-pf", &pid];
    let _client = net.run(&[&words[..], &["eth0"]].concat());
    let refused = daemon.wait(Stage::Refused);
    assert!(refused.text.starts_with("refused 10.0.10.50: "), "{}", refused.text);
    assert_eq!(daemon.wait(Stage::Ack).address, Some(ip("10.0.20.100").into()));
    wait_for_address(&behind.0, "eth0", "10.0.20.100/24");
}

#[test]
fn a_client_behind_a_relay_gets_an_address_of_its_own_network() {
    let Some(net) = Net::new().filter(|_| has("udhcpc") && has("dnsmasq")) else { return };
    let behind = Behind::new(&net);
    let daemon = Daemon::start(&net, 3600);
    let _relay = net.run(&RELAY.split_whitespace().collect::<Vec<_>>());
    let client = Client::new();
    let script = client.path("script");
    let words = [
        "ip", "netns", "exec", &behind.0, "udhcpc", "-f", "-i", "eth0", "-t", "20", "-T", "1", "-s", &script,
    ];
    let _client = net.run(&words);
    assert_eq!(daemon.wait(Stage::Offer).address, Some(ip("10.0.20.100").into()));
    assert_eq!(daemon.wait(Stage::Ack).address, Some(ip("10.0.20.100").into()));
    wait_for_address(&behind.0, "eth0", "10.0.20.100/24");
}

/// Without the flag the answer goes to the hardware address in a frame of its own.
#[test]
fn the_broadcast_flag_decides_and_the_client_is_reached_either_way() {
    let Some(net) = Net::new().filter(|_| has("udhcpc")) else { return };
    net.client_mac(STRANGER);
    let daemon = Daemon::start(&net, 3600);
    let client = Client::new();
    let script = client.path("script");
    for flag in [&["-B"][..], &[]] {
        let running = net.run(&[&["udhcpc", "-f", "-i", "cli", "-q", "-s", &script], flag].concat());
        assert_eq!(daemon.wait(Stage::Ack).mac, Some(mac(STRANGER)));
        assert!(running.wait(), "{flag:?}");
        wait_for_address(&net.client, "cli", "10.0.10.100/24");
        net.client_ip(&["address", "flush", "dev", "cli"]);
    }
}

/// A VLAN's interface; where the kernel has none, a cable with such a name, which shows that the
/// name does no harm.
#[test]
fn a_vlan_is_served_like_a_card() {
    let Some(net) = Net::new().filter(|_| has("udhcpc")) else { return };
    let vlan = |namespace: &str, on: &str, name: &str| {
        let words = ["-n", namespace, "link", "add", "link", on, "name", name, "type", "vlan", "id", "5"];
        Command::new("ip").args(words).status().unwrap().success()
    };
    if !(vlan(&net.server, "srv", "srv.5") && vlan(&net.client, "cli", "cli.5")) {
        eprintln!("this kernel has no VLANs: tested with the name alone");
        net.server_ip(&[
            "link",
            "add",
            "srv.5",
            "type",
            "veth",
            "peer",
            "name",
            "cli.5",
            "netns",
            &net.client,
        ]);
    }
    net.server_ip(&["address", "flush", "dev", "srv"]);
    net.server_ip(&["address", "add", "10.0.10.1/24", "dev", "srv.5"]);
    net.server_ip(&["link", "set", "srv.5", "up"]);
    net.client_ip(&["link", "set", "cli.5", "address", STRANGER, "up"]);
    let daemon = Daemon::start_as(&net, 3600, "srv.5", None, || {});
    let client = Client::new();
    let script = client.path("script");
    let running = net.run(&["udhcpc", "-f", "-i", "cli.5", "-q", "-s", &script]);
    assert_eq!(daemon.wait(Stage::Ack).address, Some(ip("10.0.10.100").into()));
    assert!(running.wait());
    wait_for_address(&net.client, "cli.5", "10.0.10.100/24");
}
