//! How soon a daemon answers after its start, what memory it holds then, and how long a client
//! waits for a plan without changes, with 10, 1,000 and 10,000 deployments (100,000 when asked
//! for). Prints; judges nothing. Needs root and iproute2: it runs in two network
//! namespaces of its own.
//!
//! cargo bench --bench start [-- COUNT…]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Encodable, Encoder, Message, MessageType};

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![10, 1_000, 10_000] } else { counts };
    let (server, client) =
        (format!("start-{}-s", std::process::id()), format!("start-{}-c", std::process::id()));
    for line in [
        format!("netns add {server}"),
        format!("netns add {client}"),
        format!("-n {server} link add srv type veth peer cli netns {client}"),
        format!("-n {server} address add 10.0.0.1/8 dev srv"),
        format!("-n {server} link set srv up"),
        format!("-n {server} link set lo up"),
        format!("-n {client} address add 10.0.0.2/8 dev cli"),
        format!("-n {client} link set cli up"),
    ] {
        ip(&line);
    }
    println!("{:>12} {:>16} {:>16} {:>10}", "deployments", "first answer s", "no-op plan s", "RSS MB");
    for count in counts {
        measure(&server, &client, count);
    }
    ip(&format!("netns delete {server}"));
    ip(&format!("netns delete {client}"));
}

fn measure(server: &str, client: &str, count: usize) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    inventory(&folder.path().join("inventory"), count);
    let config = folder.path().join("voldemort.toml");
    let state = folder.path().join("state");
    let text =
        format!("[network]\ninterface = \"srv\"\naddress = \"10.0.0.1\"\n[state]\ndirectory = {state:?}\n");
    std::fs::write(&config, text).expect("the settings can be written");
    let socket = relay(client);
    let started = Instant::now();
    let mut daemon = start(server, &config, &folder.path().join("inventory"));
    let answered = ask(&socket, mac(count - 1), started);
    let memory = resident(daemon.id());
    let plan = Instant::now();
    let planned = Command::new("ip")
        .args(["netns", "exec", server, env!("CARGO_BIN_EXE_voldemort"), "plan"])
        .arg(folder.path().join("inventory"))
        .output();
    let plan = plan.elapsed();
    assert!(planned.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with("No changes")));
    println!("{count:>12} {:>16.3} {:>16.3} {:>10.1}", answered.as_secs_f64(), plan.as_secs_f64(), memory);
    let _ = daemon.kill();
    let _ = daemon.wait();
}

/// Ten deployments to a file, all with a full answer file.
fn inventory(root: &Path, count: usize) {
    std::fs::create_dir_all(root.join("files")).expect("the inventory can be made");
    for file in ["files/vmlinuz", "files/initrd"] {
        std::fs::write(root.join(file), "not a kernel").expect("a file can be written");
    }
    let head = "[subnet.lab]\ncidr = \"10.0.0.0/8\"\n[boot.debian]\nkernel = \"files/vmlinuz\"\n\
                initrd = [\"files/initrd\"]\ncmdline = [\"auto=true\", \"url={{ answers_url }}\"]\n\
                [profile.base]\nboot = \"debian\"\ntemplate = \"preseed\"\npackages = [\"openssh-server\"]\n";
    std::fs::write(root.join("base.toml"), head).expect("a manifest can be written");
    for first in (0..count).step_by(10) {
        let mut text = String::new();
        for number in first..(first + 10).min(count) {
            let (mac, address) = (mac(number), Ipv4Addr::from(0x0a00_0100 + number as u32));
            let _ = writeln!(
                text,
                "[deployment.m{number}]\nprofile = \"base\"\naddress = \"{address}\"\nmac = \"{}\"",
                mac.map(|octet| format!("{octet:02x}")).join(":")
            );
        }
        std::fs::write(root.join(format!("m{first}.toml")), text).expect("a manifest can be written");
    }
}

fn mac(number: usize) -> [u8; 6] {
    [0x52, 0x54, 0, (number >> 16) as u8, (number >> 8) as u8, number as u8]
}

/// A socket of a relay agent in the client's namespace.
fn relay(namespace: &str) -> UdpSocket {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).expect("the namespace exists");
    std::thread::spawn(move || {
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter namespaces");
        let socket = UdpSocket::bind("10.0.0.2:67").expect("port 67 is free there");
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a time-out can be set");
        socket
    })
    .join()
    .expect("the thread does not panic")
}

fn start(namespace: &str, config: &Path, inventory: &Path) -> Child {
    Command::new("ip")
        .args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_voldemort"), "start", "services", "--config"])
        .arg(config)
        .arg("--inventory")
        .arg(inventory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the daemon can be started")
}

/// Sends a DISCOVER every few milliseconds until an OFFER comes.
fn ask(socket: &UdpSocket, mac: [u8; 6], started: Instant) -> Duration {
    let any = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new(any, any, any, Ipv4Addr::new(10, 0, 0, 2), &mac);
    message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).expect("a DISCOVER can be encoded");
    let mut answer = [0; 1500];
    while started.elapsed() < Duration::from_secs(120) {
        // Until the daemon listens, the kernel may refuse.
        let _ = socket.send_to(&bytes, "10.0.0.1:67");
        if socket.recv(&mut answer).is_ok() {
            return started.elapsed();
        }
    }
    panic!("no answer within two minutes");
}

/// Megabytes of resident memory.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {arguments}");
}
