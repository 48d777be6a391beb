//! How the daemon begins and ends under a service manager, and what follows it.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect, eventually};
use super::net::{Net, has, within};
use super::services::{BACK, Host, LAB, PATIENT, offer};

/// The time that transfers have after SIGTERM, and some for everything else.
const LIMIT: Duration = Duration::from_secs(10 + 3);

/// Waits until the service manager has received this line.
fn heard(manager: &UnixDatagram, line: &str) {
    let (start, mut buffer) = (Instant::now(), [0; 4096]);
    while start.elapsed() < PATIENT {
        let Ok(length) = manager.recv(&mut buffer) else { continue };
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|heard| heard == line) {
            return;
        }
    }
    panic!("the service manager never heard {line}");
}

#[test]
fn a_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let Some(host) = Host::new() else { return };
    let path = host.folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let daemon = Daemon::managed(&host.net, &host.config, &host.root, &path);
    heard(&manager, "READY=1");
    for _ in 0..4 {
        let start = Instant::now();
        heard(&manager, "WATCHDOG=1");
        assert!(start.elapsed() < Duration::from_secs(1), "the watchdog's limit is over");
    }
    let ready = || host.net.server_output(&["curl", "-s", "http://127.0.0.1:12345/readyz"]);
    eventually("ready, without a token", ready, |text| text == "ready\n");
    host.ip("link set srv down");
    eventually("it says why not", ready, |text| text.contains("interface srv is down"));
    let health = host.net.server_output(&["curl", "-s", "http://127.0.0.1:12345/healthz"]);
    assert_eq!(health, "ok\n", "a daemon without its interface is healthy");
    heard(&manager, "WATCHDOG=1");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    daemon.signal(Signal::SIGTERM);
    heard(&manager, "STOPPING=1");
    assert_eq!(daemon.ended(), Some(0));
}

/// A download that stalls holds the end no longer than the limit; the successor has the ports at once.
#[test]
fn a_stalled_download_holds_the_end_to_its_limit_and_a_successor_serves() {
    let Some(host) = Host::new() else { return };
    std::fs::write(Path::new(&host.root).join("files/big"), vec![0; 40_000_000]).unwrap();
    let lab =
        LAB.replace("kernel = \"files/vmlinuz\"", "kernel = \"files/vmlinuz\"\ninitrd = [\"files/big\"]");
    std::fs::write(Path::new(&host.root).join("lab.toml"), lab).unwrap();
    let daemon = host.start();
    let stalled = within(&host.net.client, || {
        let mut stream = TcpStream::connect("10.0.10.1:80").unwrap();
        stream.write_all(b"GET /b/files/big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(stream.peek(&mut [0]).unwrap() > 0, "it is under way");
        stream
    });
    let start = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let mut last = start;
    while start.elapsed() < Duration::from_secs(8) {
        if offer(&host.net).is_some() {
            last = Instant::now();
        }
        assert!(last.elapsed() < BACK, "DHCP answers until the end: {:?}", start.elapsed());
    }
    assert_eq!(daemon.ended(), Some(0));
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    let successor = Daemon::with(&host.net, &host.config, &["--inventory", &host.root]);
    host.served(BACK, "after a restart");
    drop(stalled);
    assert_eq!(successor.stop(), Some(0));
}

/// A foreign server that answered at the first look has gone: one word makes this daemon serve.
#[test]
fn who_stepped_back_serves_again_when_ordered() {
    let Some(net) = Net::new().filter(|_| has("dnsmasq")) else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let folder = tempfile::tempdir().unwrap();
    let config = detect(&net, folder.path());
    let root = folder.path().join("inventory");
    std::fs::create_dir(&root).unwrap();
    let lab = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ndynamic = \"10.0.10.100-10.0.10.120\"\n";
    std::fs::write(root.join("lab.toml"), lab).unwrap();
    let other = net.run(&super::neighbours::DNSMASQ.split_whitespace().collect::<Vec<_>>());
    eventually("dnsmasq", || net.client_output(&["ss", "-H", "-lnu"]), |text| text.contains(":67"));
    let daemon = Daemon::start(&net, &config, &root.display().to_string());
    let status = || net.server_output(&[VOLDEMORTCTL, "get", "status"]);
    assert!(status().contains("DHCP mode listen"), "{}", status());
    drop(other);
    assert!(offer(&net).is_none(), "nobody has ordered it yet");
    net.server_output(&[VOLDEMORTCTL, "serve-dhcp", "srv"]);
    assert!(status().contains("DHCP mode server"), "{}", status());
    let start = Instant::now();
    while offer(&net).is_none() {
        assert!(start.elapsed() < PATIENT, "{}", status());
    }
    assert_eq!(daemon.stop(), Some(0));
}

/// The files in /run are removed: the socket and the token are made again, and connections stay.
#[test]
fn a_socket_of_the_api_that_was_removed_is_made_again() {
    let Some(host) = Host::new() else { return };
    let socket = host.folder.path().join("run/api.sock");
    let text = std::fs::read_to_string(&host.config).unwrap();
    let listens = format!("listen = [\"unix:{}\", \"127.0.0.1:12345\"]", socket.display());
    let is_other = |line: &&str| !line.trim_start_matches('#').starts_with("listen");
    let kept: Vec<&str> = text.lines().filter(is_other).collect();
    let text = kept.join("\n").replace("[api]", &format!("[api]\n{listens}"));
    assert!(text.contains(&listens), "{text}");
    std::fs::write(&host.config, text).unwrap();
    let daemon = host.start();
    let address = format!("--server=unix:{}", socket.display());
    let status = || host.net.server_output(&[VOLDEMORTCTL, &address, "get", "status"]);
    let connected = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    for _ in 0..2 {
        assert!(status().contains("api unix:"), "{}", status());
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(status(), "", "nobody finds it");
        eventually("it is made again", status, |text| text.contains("api unix:"));
    }
    let mut stream = &connected;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    connected.set_read_timeout(Some(PATIENT)).unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(daemon.stop(), Some(0));
    assert!(!socket.exists(), "it goes with the daemon");
}

/// ifupdown, keepalived and others give an address a label, as in `eth0:0`: it is still the interface's.
#[test]
fn an_address_with_a_label_is_served() {
    let Some(host) = Host::new() else { return };
    host.ip("address delete 10.0.10.1/24 dev srv");
    host.ip("address add 10.0.10.1/24 dev srv label srv:pxe");
    let found = host.net.server_output(&[VOLDEMORT, "config", "detect"]);
    assert!(found.contains("\ninterface = \"srv\"\n"), "{found}");
    let daemon = host.start();
    assert!(!host.status().contains("srv:pxe"), "{}", host.status());
    assert_eq!(daemon.stop(), Some(0));
}
