//! A storm of `perfdhcp` against the real daemon, which is killed with `kill -9` in the middle of it,
//! twice. Every acknowledged lease must be in the state that the next one starts from, because its client
//! uses the address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::daemon::{Daemon, PATIENCE, VOLDEMORTCTL, detect};
use super::net::{Net, enter, has};

const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.0.0/16"
gateway = "10.0.0.254"
dynamic = "10.0.100.1-10.0.139.250"
lease   = "1h"
"#;

/// Acknowledgements seen between two deaths.
const ENOUGH: usize = 400;
const ACK: &[u8] = &[53, 1, 5];

/// The acknowledgements that the clients got, captured on their side of the link.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Acknowledged>>>);

/// Hardware address and address.
type Acknowledged = ([u8; 6], Ipv4Addr);

impl Seen {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Waits until this many acknowledgements more than `before` were seen.
    fn wait(&self, before: usize, more: usize) {
        let start = Instant::now();
        while self.count() < before + more {
            assert!(start.elapsed() < PATIENCE, "{} acknowledgements, {before} before", self.count());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads every frame on the client's interface until `stop`.
fn listen(namespace: &str, acknowledged: Seen, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let namespace = namespace.to_owned();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        enter(&namespace);
        let socket = frames();
        ready.send(()).unwrap();
        let mut frame = [0u8; 2048];
        while !stop.load(Ordering::Relaxed) {
            // SAFETY: the buffer is ours, and its length is given.
            let length = unsafe { libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
            let Ok(length) = usize::try_from(length) else { continue };
            if let Some(one) = acknowledgement(&frame[..length]) {
                acknowledged.0.lock().unwrap().push(one);
            }
        }
    });
    is_ready.recv().unwrap();
    thread
}

/// A socket that gets the frames of all interfaces here, with a short patience.
fn frames() -> OwnedFd {
    let protocol = i32::from((libc::ETH_P_IP as u16).to_be());
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: plain calls; the descriptor is owned at once, and the option has the size given.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, kind, protocol);
        assert!(socket >= 0, "a packet socket");
        let socket = OwnedFd::from_raw_fd(socket);
        let wait = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
        let size = size_of::<libc::timeval>() as libc::socklen_t;
        let options = (&raw const wait).cast();
        let set = libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, options, size);
        assert_eq!(set, 0);
        let room = 16 << 20;
        let size = size_of::<i32>() as libc::socklen_t;
        let options = (&raw const room).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, options, size);
        socket
    }
}

/// What a frame acknowledges, if it is a DHCP server's ACK.
fn acknowledgement(frame: &[u8]) -> Option<Acknowledged> {
    let ip = frame.get(14..)?;
    let udp = ip.get(usize::from(*ip.first()? & 15) * 4..)?;
    let from_server = ip.get(9) == Some(&17) && udp.get(..2)? == 67u16.to_be_bytes();
    let message = udp.get(8..).filter(|_| from_server)?;
    let options = message.get(240..).filter(|_| message[0] == 2)?;
    options.windows(ACK.len()).any(|three| three == ACK).then_some(())?;
    let address: [u8; 4] = message[16..20].try_into().ok()?;
    Some((message[28..34].try_into().ok()?, address.into()))
}

/// Address by address, as the daemon's API shows them: who has it, and in which state.
fn leases(net: &Net) -> BTreeMap<Ipv4Addr, (String, String)> {
    let text = net.server_output(&[VOLDEMORTCTL, "get", "leases", "-o", "json"]);
    let leases: Value = serde_json::from_str(&text).unwrap();
    let field = |lease: &Value, name: &str| lease[name].as_str().unwrap().to_owned();
    let row = |lease: &Value| {
        (field(lease, "address").parse().unwrap(), (field(lease, "mac"), field(lease, "state")))
    };
    let leased = leases.as_array().unwrap().iter().filter(|lease| lease["state"] != "fixed");
    leased.map(row).collect()
}

fn storm(seconds: &str) -> [&str; 13] {
    [
        "perfdhcp",
        "-4",
        "-l",
        "10.0.10.2",
        "-r",
        "600",
        "-R",
        "5000",
        "-p",
        seconds,
        "-W",
        "300000",
        "10.0.10.1",
    ]
}

#[test]
fn no_acknowledged_lease_is_lost_and_no_address_given_twice() {
    let Some(net) = Net::new().filter(|_| has("perfdhcp")) else { return };
    net.server_ip(&["address", "flush", "dev", "srv"]);
    net.server_ip(&["address", "add", "10.0.10.1/16", "dev", "srv"]);
    net.client_ip(&["address", "add", "10.0.10.2/16", "dev", "cli"]);
    let folder = tempfile::tempdir().unwrap();
    let config = detect(&net, folder.path());
    let root = folder.path().join("inventory");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("lab.toml"), MANIFEST).unwrap();
    let root = root.display().to_string();

    let (acknowledged, stop) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let listener = listen(&net.client, acknowledged.clone(), stop.clone());
    let mut daemon = Daemon::start(&net, &config, &root);
    let storm = net.run(&storm("8"));
    for _ in 0..2 {
        acknowledged.wait(acknowledged.count(), ENOUGH);
        daemon.murder();
        daemon = Daemon::start(&net, &config, &root);
    }
    acknowledged.wait(acknowledged.count(), ENOUGH);
    // It says how many were dropped by its exit code; those that died with the daemon were.
    let _ = storm.wait();
    stop.store(true, Ordering::Relaxed);
    listener.join().unwrap();

    let stored = leases(&net);
    let mut given: BTreeMap<Ipv4Addr, [u8; 6]> = BTreeMap::new();
    let mut kept: BTreeMap<[u8; 6], Ipv4Addr> = BTreeMap::new();
    for (mac, address) in acknowledged.0.lock().unwrap().iter() {
        let before = *given.entry(*address).or_insert(*mac);
        assert_eq!(before, *mac, "{address} was given to two machines");
        assert_eq!(*kept.entry(*mac).or_insert(*address), *address, "a machine was given another address");
        let text = mac.map(|byte| format!("{byte:02x}")).join(":");
        let found = stored.get(address);
        assert_eq!(found, Some(&(text, "bound".to_owned())), "{address} was acknowledged");
    }
    assert!(given.len() >= 3 * ENOUGH, "{} machines", given.len());
    println!("{} acknowledgements for {} machines", acknowledged.count(), given.len());
    assert_eq!(daemon.stop(), Some(0));
}
