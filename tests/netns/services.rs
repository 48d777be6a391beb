//! What may happen to a host under a running daemon: interfaces go down, come back, are made anew, get
//! other addresses. Within two seconds of their return they are served again, by every protocol, and the
//! status is right at each moment.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::lab::mac;
use super::message::{Answer, Message};
use super::net::{Net, has, within};

/// From the moment that an interface is there until it is served again.
pub(crate) const BACK: Duration = Duration::from_secs(2);
const STRANGER: &str = "52:54:00:00:00:99";
pub(crate) const LAB: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
dynamic = "10.0.10.100-10.0.10.120"
ipv6 = { cidr = "fd00:10::/64", dynamic = "fd00:10::1000-fd00:10::1fff", ra = "managed" }

[boot.b]
kernel = "files/vmlinuz"

[deployment.d]
mac = "52:54:00:00:00:01"
address = "10.0.10.30"
boot = "b"
"#;

pub(crate) struct Host {
    pub net: Net,
    pub folder: tempfile::TempDir,
    pub config: PathBuf,
    pub root: String,
}

impl Host {
    pub(crate) fn new() -> Option<Host> {
        let net = Net::new().filter(|_| has("curl"))?;
        net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
        net.client_ip(&["address", "add", "fd00:10::2/64", "dev", "cli", "nodad"]);
        net.server_ip(&["address", "add", "fd00:10::1/64", "dev", "srv", "nodad"]);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("inventory");
        std::fs::create_dir_all(root.join("files")).unwrap();
        std::fs::write(root.join("files/vmlinuz"), vec![b'k'; 100_000]).unwrap();
        std::fs::write(root.join("lab.toml"), LAB).unwrap();
        let config = detect(&net, folder.path());
        Some(Host { config, root: root.display().to_string(), net, folder })
    }

    pub(crate) fn start(&self) -> Daemon {
        let daemon = Daemon::start(&self.net, &self.config, &self.root);
        self.served(PATIENT, "at the start");
        self.served6(PATIENT, "at the start");
        daemon
    }

    pub(crate) fn status(&self) -> String {
        self.net.server_output(&[VOLDEMORTCTL, "get", "status"])
    }

    pub(crate) fn ip(&self, words: &str) {
        self.net.server_ip(&words.split(' ').collect::<Vec<_>>());
    }

    /// DHCPv4, TFTP and HTTP on the first network, within a time.
    pub(crate) fn served(&self, limit: Duration, what: &str) {
        self.by(limit, what, "DHCP", || offer(&self.net).is_some());
        self.by(limit, what, "HTTP", || self.fetch("http://10.0.10.1/b/files/vmlinuz"));
        self.by(limit, what, "TFTP", || self.fetch("tftp://10.0.10.1/b/files/vmlinuz"));
        eventually(
            what,
            || self.status(),
            |status| status.contains("dhcp srv") && !status.contains("waiting      dhcp srv"),
        );
    }

    /// HTTP and TFTP by IPv6, and the port of DHCPv6.
    fn served6(&self, limit: Duration, what: &str) {
        self.by(limit, what, "HTTP by IPv6", || self.fetch("http://[fd00:10::1]/b/files/vmlinuz"));
        self.by(limit, what, "TFTP by IPv6", || self.fetch("tftp://[fd00:10::1]/b/files/vmlinuz"));
        self.by(limit, what, "DHCPv6", || advertised(&self.net));
    }

    fn by(&self, limit: Duration, what: &str, protocol: &str, mut served: impl FnMut() -> bool) {
        let start = Instant::now();
        while !served() {
            assert!(
                start.elapsed() < limit + Duration::from_millis(600),
                "{what}: no {protocol}\n{}",
                self.status()
            );
        }
    }

    fn fetch(&self, url: &str) -> bool {
        let size = ["curl", "-g", "-s", "-m", "1", "-o", "/dev/null", "-w", "%{size_download}", url];
        self.net.client_output(&size) == "100000"
    }

    /// Status and events say that the network waits, and why.
    pub(crate) fn waits(&self, why: &str) {
        eventually(
            "it waits",
            || self.status(),
            |status| {
                status
                    .lines()
                    .any(|line| line.starts_with("waiting      dhcp srv since") && line.contains(why))
            },
        );
        eventually(
            "it says so",
            || self.net.server_output(&[VOLDEMORTCTL, "events"]),
            |events| events.lines().any(|line| line.contains("dhcp srv waits: ") && line.contains(why)),
        );
    }

    fn cable(&self) {
        self.ip(&format!("link add srv type veth peer cli netns {}", self.net.client));
        self.net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
        self.net.client_ip(&["link", "set", "cli", "up"]);
        self.net.client_ip(&["address", "add", "fd00:10::2/64", "dev", "cli", "nodad"]);
    }
}

pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// The answer to a DISCOVER, if one comes soon.
pub(crate) fn offer(net: &Net) -> Option<Answer> {
    within(&net.client, || {
        let client = std::net::UdpSocket::bind("0.0.0.0:68").ok()?;
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.send_to(&Message::discover(mac(STRANGER)).broadcast().bytes(), "10.0.10.255:67").ok()?;
        let mut buffer = [0; 2000];
        let (length, _) = client.recv_from(&mut buffer).ok()?;
        Some(Answer::read(&buffer[..length]))
    })
}

/// Whether a SOLICIT is answered soon.
fn advertised(net: &Net) -> bool {
    within(&net.client, || {
        let Ok(client) = std::net::UdpSocket::bind("[::]:546") else { return false };
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let index = nix::net::if_::if_nametoindex("cli").unwrap_or_default();
        // SOLICIT, a client's DUID of the link-layer kind, and one IA_NA (RFC 8415).
        let mut solicit = vec![1, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, 0x99];
        solicit.extend([0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let everybody = std::net::SocketAddrV6::new("ff02::1:2".parse().unwrap(), 547, 0, index);
        if client.send_to(&solicit, everybody).is_err() {
            return false;
        }
        let mut buffer = [0; 2000];
        client.recv_from(&mut buffer).is_ok_and(|(length, _)| length > 4 && buffer[0] == 2)
    })
}

/// An ARP request for the daemon's address: the first frame after an interface came back.
fn arp(net: &Net) {
    net.client_ip(&["neighbour", "flush", "dev", "cli"]);
    within(&net.client, || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let _ = socket.send_to(b"x", "10.0.10.1:9");
    });
}

#[test]
fn an_interface_goes_down_and_up_is_made_anew_and_renamed() {
    let Some(host) = Host::new() else { return };
    let daemon = host.start();
    for round in 0..3 {
        host.ip("link set srv down");
        host.waits("interface srv is down");
        host.ip("link set srv up");
        arp(&host.net);
        host.served(BACK, &format!("down and up, round {round}"));
    }
    // Down and up take the addresses of IPv6 away; their owner gives them back.
    host.ip("address add fd00:10::1/64 dev srv nodad");
    host.served6(BACK, "down and up");

    host.ip("link delete srv");
    host.waits("there is no network interface srv");
    host.cable();
    host.waits("has no IPv4 address");
    host.ip("address add 10.0.10.1/24 dev srv");
    host.ip("address add fd00:10::1/64 dev srv nodad");
    host.ip("link set srv up");
    host.served(BACK, "made anew");
    host.served6(BACK, "made anew");

    host.ip("link set srv down");
    host.ip("link set srv name other");
    host.ip("link set other up");
    host.waits("there is no network interface srv");
    assert!(offer(&host.net).is_none(), "an interface is its name and its address");
    host.ip("link set other down");
    host.ip("link set other name srv");
    host.ip("link set srv up");
    host.served(BACK, "renamed and back");
    assert_eq!(daemon.stop(), Some(0));
}

/// The host's own rules hold the answers back while every socket is fine: the status says so until one leaves.
#[test]
fn answers_that_the_host_holds_back_are_a_condition() {
    let Some(host) = Host::new() else { return };
    let daemon = host.start();
    let ask = || {
        within(&host.net.client, || {
            let relay = std::net::UdpSocket::bind("10.0.10.2:67").unwrap();
            relay.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let discover = Message::discover(mac(STRANGER)).relay("10.0.10.2");
            relay.send_to(&discover.bytes(), "10.0.10.1:67").unwrap();
            relay.recv_from(&mut [0; 2000]).is_ok()
        })
    };
    let asked = || {
        ask();
        host.status()
    };
    host.ip("rule add to 10.0.10.2 ipproto udp prohibit");
    let held = "DHCP answers can't be sent: Permission denied";
    eventually("it is said", asked, |status| status.contains(held));
    host.ip("rule delete to 10.0.10.2 ipproto udp prohibit");
    eventually("it is over", asked, |status| !status.contains(held));
    assert!(ask());
    assert_eq!(daemon.stop(), Some(0));
}

/// Firmware asks again after a while: its transfer continues where it was.
#[test]
fn a_transfer_goes_on_after_an_interface_went_down_and_up() {
    let Some(host) = Host::new() else { return };
    let daemon = host.start();
    let size = std::thread::scope(|scope| {
        let (rest, client) = (Duration::from_millis(8), host.net.client.clone());
        let load =
            move || within(&client, move || super::restart::loaded("10.0.10.2", "b/files/vmlinuz", rest));
        let transfer = scope.spawn(load);
        std::thread::sleep(Duration::from_millis(500));
        host.ip("link set srv down");
        std::thread::sleep(Duration::from_millis(1500));
        host.ip("link set srv up");
        assert!(!transfer.is_finished(), "it was under way");
        transfer.join().unwrap()
    });
    assert_eq!(size, Some(100_000));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn no_other_address_is_taken_and_what_was_not_sent_was_not_offered() {
    let Some(host) = Host::new() else { return };
    let daemon = host.start();
    host.ip("address add 10.0.10.9/25 dev srv");
    host.served(BACK, "a second address");
    let offers = || host.net.server_output(&[VOLDEMORTCTL, "events"]).matches(" offer").count();
    host.ip("address delete 10.0.10.1/24 dev srv");
    host.waits("does not have the address 10.0.10.1; it has 10.0.10.9");
    let before = offers();
    assert!(offer(&host.net).is_none(), "another address is served");
    assert_eq!(offers(), before, "what is not sent is not offered");
    host.ip("address add 10.0.10.1/24 dev srv");
    host.served(BACK, "addressed again");
    host.ip("link set srv mtu 1400");
    host.served(BACK, "another MTU");

    host.ip("address add fd00:10::5/64 dev srv nodad");
    host.served6(BACK, "a second address of IPv6");
    host.ip("address delete fd00:10::1/64 dev srv");
    eventually(
        "IPv6 waits",
        || host.status(),
        |status| {
            status.contains("waiting      ipv6 srv since")
                && status.contains("the address fd00:10::1 of subnet lab is gone from srv")
        },
    );
    assert!(!host.fetch("http://[fd00:10::5]/b/files/vmlinuz"), "no other address is taken");
    host.ip("address add fd00:10::1/64 dev srv nodad");
    host.served6(BACK, "the address of IPv6 came back");
    eventually("it is over", || host.status(), |status| !status.contains("ipv6 srv"));
    assert_eq!(daemon.stop(), Some(0));
}

/// A bridge, a VLAN and a bond, each deleted and made again, as netplan and ifupdown do.
#[test]
fn bridges_vlans_and_bonds_are_made_anew() {
    for kind in ["bridge", "vlan", "bond"] {
        let Some(host) = Host::new() else { return };
        let probe = match kind {
            "vlan" => "ip link add link srv name probe type vlan id 9",
            "bond" => "ip link add probe type bond",
            _ => "ip link add probe type bridge",
        };
        if !host.net.run_beside(&probe.split(' ').collect::<Vec<_>>()).wait() {
            eprintln!("SKIPPED: this kernel has no {kind}");
            continue;
        }
        host.ip("link delete probe");
        host.ip("address flush dev srv");
        host.ip("link set srv down");
        host.ip("link set srv name port");
        host.ip("link set port up");
        if kind == "vlan" {
            host.net.client_ip(&["link", "set", "cli", "name", "trunk"]);
            host.net.client_ip(&["link", "set", "trunk", "up"]);
            for words in [
                "link add link trunk name cli type vlan id 7",
                "link set cli up",
                "address add 10.0.10.2/24 dev cli",
                "address add fd00:10::2/64 dev cli nodad",
            ] {
                host.net.client_ip(&words.split(' ').collect::<Vec<_>>());
            }
            host.net.client_ip(&["address", "delete", "10.0.10.2/24", "dev", "trunk"]);
            host.net.client_ip(&["address", "flush", "dev", "trunk"]);
        }
        let make = || {
            match kind {
                "bridge" => {
                    host.ip("link add srv type bridge");
                    host.ip("link set port master srv");
                }
                "vlan" => host.ip("link add link port name srv type vlan id 7"),
                _ => {
                    host.ip("link set port down");
                    host.ip("link add srv type bond mode active-backup miimon 50");
                    host.ip("link set port master srv");
                }
            }
            host.ip("link set srv up");
            host.ip("address add 10.0.10.1/24 dev srv");
            host.ip("address add fd00:10::1/64 dev srv nodad");
        };
        make();
        let daemon = host.start();
        host.ip("link delete srv");
        host.waits("there is no network interface srv");
        if kind == "bond" {
            host.ip("link set port up");
        }
        make();
        // A bond's carrier comes with its first look at the port.
        host.served(BACK + Duration::from_millis(200), kind);
        host.served6(BACK, kind);
        assert_eq!(daemon.stop(), Some(0), "{kind}");
    }
}

#[test]
fn an_interface_may_come_late_and_one_network_of_two_may_stay_away() {
    let Some(host) = Host::new() else { return };
    let text = std::fs::read_to_string(&host.config).unwrap();
    let second = "[[network]]\ninterface = \"far\"\naddress = \"10.0.20.1\"\n\n";
    let both = text.replace("[network]", "[[network]]");
    let at = both.find("[dhcp]").unwrap();
    std::fs::write(&host.config, format!("{}{second}{}", &both[..at], &both[at..])).unwrap();
    let far = "[subnet.far]\ncidr = \"10.0.20.0/24\"\ndynamic = \"10.0.20.100-10.0.20.120\"\n";
    std::fs::write(Path::new(&host.root).join("far.toml"), far).unwrap();
    host.ip("link set srv down");
    host.ip("address delete 10.0.10.1/24 dev srv");
    let daemon = Daemon::start(&host.net, &host.config, &host.root);
    host.waits("has no IPv4 address");
    let ready = || host.net.server_output(&["curl", "-s", "http://127.0.0.1:12345/readyz"]);
    let said = ready();
    assert!(said.contains("dhcp far is waiting: there is no network interface far"), "{said}");
    host.ip("address add 10.0.10.1/24 dev srv");
    host.ip("link set srv up");
    host.ip("address add fd00:10::1/64 dev srv nodad");
    // Nothing is answered before the first look for other servers, which takes most of a second.
    host.served(BACK, "late");
    host.served6(BACK, "late");
    assert!(ready().contains("dhcp far is waiting"), "{}", ready());
    let health = host.net.server_output(&["curl", "-s", "http://127.0.0.1:12345/healthz"]);
    assert_eq!(health, "ok\n");
    host.ip("link add far type bridge");
    host.ip("address add 10.0.20.1/24 dev far");
    host.ip("link set far up");
    eventually("both", ready, |text| text == "ready\n");
    host.ip("link delete far");
    host.served(BACK, "the other one is gone");
    assert_eq!(daemon.stop(), Some(0));
    drop(host.folder);
}

/// Half a request and an idle connection are no transfer under way.
#[test]
fn a_stop_waits_for_transfers_alone_and_a_second_one_for_nothing() {
    let Some(host) = Host::new() else { return };
    std::fs::write(Path::new(&host.root).join("files/big"), vec![0; 40_000_000]).unwrap();
    let lab =
        LAB.replace("kernel = \"files/vmlinuz\"", "kernel = \"files/vmlinuz\"\ninitrd = [\"files/big\"]");
    std::fs::write(Path::new(&host.root).join("lab.toml"), lab).unwrap();
    let daemon = host.start();
    let connect = || {
        use std::io::Write;
        let mut stream = within(&host.net.client, || std::net::TcpStream::connect("10.0.10.1:80").unwrap());
        stream.write_all(b"GET /files/vmlinuz HTTP/1.1\r\nHost").unwrap();
        stream
    };
    let half = connect();
    let start = Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "half a request is waited for: {:?}", start.elapsed());
    drop(half);

    let daemon = host.start();
    let stalled = within(&host.net.client, || {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect("10.0.10.1:80").unwrap();
        stream.write_all(b"GET /b/files/big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    });
    host.served(BACK, "beside a stalled download");
    daemon.signal(Signal::SIGTERM);
    // While the transfer may end, all requests are served.
    host.served(BACK, "while it stops");
    let start = Instant::now();
    assert_eq!(daemon.stop(), Some(1), "the second signal");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    drop(stalled);
}
