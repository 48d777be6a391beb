//! TFTP: one stream, the clients people run, a thousand machines at once.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::lab::{DAEMON, LOADER, Lab, STREAM, Server, address};
use super::{Entrant, compare, peers};

const BLOCK: usize = 1468;
/// How many fetch at once.
pub(crate) const MACHINES: u32 = 1_000;
const OURS: SocketAddrV4 = SocketAddrV4::new(DAEMON, 69);
/// A client that got no further for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn stream(lab: &Lab, daemon: &Server) {
    let peers = peers::tftp(lab);
    for (window, target) in [(1, 1.0), (16, 5.0)] {
        let mut entrants = vec![entrant("voldemort", daemon, move || one(OURS, "debian/stream", window))];
        for peer in &peers {
            let at = peer.at;
            entrants.push(entrant(peer.name, &peer.server, move || one(at, "stream", window)));
        }
        compare(&format!("TFTP, one stream, block {BLOCK}, window {window}"), "MB", target, entrants);
    }
    for client in [Client::Hpa, Client::Atftp, Client::Curl] {
        let mut entrants = vec![entrant("voldemort", daemon, move || client.fetch(OURS, "debian/loader"))];
        for peer in &peers {
            let at = peer.at;
            entrants.push(entrant(peer.name, &peer.server, move || client.fetch(at, "loader")));
        }
        compare(&format!("TFTP, {} fetches 1 MiB", client.name()), "MB", 1.0, entrants);
    }
}

pub(crate) fn storm(lab: &Lab, daemon: &Server) {
    let peers = peers::tftp(lab);
    for window in [1, 4] {
        let mut entrants = vec![entrant("voldemort", daemon, move || many(OURS, "debian/loader", window))];
        for peer in &peers {
            let at = peer.at;
            entrants.push(entrant(peer.name, &peer.server, move || many(at, "loader", window)));
        }
        compare(
            &format!("TFTP, {MACHINES} machines fetch 1 MiB at once, window {window}"),
            "MB",
            1.0,
            entrants,
        );
    }
}

fn entrant<'a>(name: &'a str, server: &'a Server, work: impl Fn() -> f64 + 'a) -> Entrant<'a> {
    Entrant { name, measure: Box::new(move || server.measure(&work)) }
}

fn read_request(name: &str, window: u16) -> Vec<u8> {
    let mut request = format!("\0\u{1}{name}\0octet\0blksize\0{BLOCK}\0");
    if window > 1 {
        request += &format!("windowsize\0{window}\0");
    }
    request.into_bytes()
}

/// Asks; returns the socket, connected to the transfer's port, and the first answer.
pub(crate) fn request(
    from: Option<Ipv4Addr>,
    server: SocketAddrV4,
    name: &str,
    window: u16,
) -> (UdpSocket, Vec<u8>) {
    let socket = UdpSocket::bind((from.unwrap_or(Ipv4Addr::UNSPECIFIED), 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let _ = socket.send_to(&read_request(name, window), server);
    let mut buffer = vec![0; 2000];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            socket.connect(from).expect("connected");
            buffer.truncate(length);
            (socket, buffer)
        }
        Err(_) => (socket, Vec::new()),
    }
}

/// What a client has got so far, and what it says next.
struct Fetch {
    window: u64,
    blocks: u64,
    bytes: u64,
    over: bool,
}

impl Fetch {
    /// A server that does not know windows gives none.
    fn new(offer: &[u8], window: u16) -> Fetch {
        let granted = offer.windows(10).any(|bytes| bytes == b"windowsize");
        Fetch { window: if granted { window.into() } else { 1 }, blocks: 0, bytes: 0, over: false }
    }

    fn ack(&self) -> [u8; 4] {
        let [high, low] = (self.blocks as u16).to_be_bytes();
        [0, 4, high, low]
    }

    /// Whether to acknowledge now.
    fn take(&mut self, packet: &[u8]) -> bool {
        if packet.len() < 4
            || packet[..2] != [0, 3]
            || packet[2..4] != ((self.blocks + 1) as u16).to_be_bytes()
        {
            return true;
        }
        self.blocks += 1;
        self.bytes += packet.len() as u64 - 4;
        self.over = packet.len() < 4 + BLOCK;
        self.over || self.blocks.is_multiple_of(self.window)
    }
}

/// Megabytes of one transfer.
fn one(server: SocketAddrV4, name: &str, window: u16) -> f64 {
    let (socket, offer) = request(None, server, name, window);
    let mut fetch = Fetch::new(&offer, window);
    let mut buffer = [0; 2000];
    let _ = socket.send(&fetch.ack());
    while !fetch.over {
        let length = socket.recv(&mut buffer).unwrap_or(0);
        if fetch.take(&buffer[..length]) {
            let _ = socket.send(&fetch.ack());
        }
    }
    assert_eq!(fetch.bytes, STREAM);
    fetch.bytes as f64 / 1e6
}

/// Megabytes that all machines got together; says how many got nothing.
fn many(server: SocketAddrV4, name: &'static str, window: u16) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let started = Instant::now();
    let got = runtime.block_on(async {
        let mut clients = JoinSet::new();
        for machine in 0..MACHINES {
            clients.spawn(machine_fetches(machine, server, name, window));
        }
        clients.join_all().await
    });
    let failed = got.iter().filter(|bytes| **bytes != LOADER).count();
    if failed > 0 {
        println!("  {server}: {failed} of {MACHINES} FAILED in {:.1} s", started.elapsed().as_secs_f64());
    }
    got.iter().sum::<u64>() as f64 / 1e6
}

async fn machine_fetches(machine: u32, server: SocketAddrV4, name: &str, window: u16) -> u64 {
    let socket = tokio::net::UdpSocket::bind((address(machine), 0)).await.expect("a port");
    fetch(&socket, server, name, window).await.unwrap_or(0)
}

/// The whole file, acknowledged as firmware does; `None` if the server falls silent or refuses.
pub(crate) async fn fetch(
    socket: &tokio::net::UdpSocket,
    server: SocketAddrV4,
    name: &str,
    window: u16,
) -> Option<u64> {
    let started = Instant::now();
    let mut buffer = [0; 2000];
    let asked = read_request(name, window);
    let (length, from) = loop {
        socket.send_to(&asked, server).await.ok()?;
        match timeout(Duration::from_secs(1), socket.recv_from(&mut buffer)).await {
            Ok(received) => break received.ok()?,
            Err(_) if started.elapsed() > PATIENCE => return None,
            Err(_) => {}
        }
    };
    socket.connect(from).await.ok()?;
    let mut fetch = Fetch::new(&buffer[..length], window);
    let mut progress = Instant::now();
    socket.send(&fetch.ack()).await.ok()?;
    while !fetch.over {
        let answer = match timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await {
            Ok(length) => {
                let length = length.ok()?;
                progress = Instant::now();
                if buffer[..length].starts_with(&[0, 5]) {
                    return None;
                }
                fetch.take(&buffer[..length])
            }
            Err(_) if progress.elapsed() > PATIENCE => return None,
            Err(_) => true,
        };
        if answer {
            socket.send(&fetch.ack()).await.ok()?;
        }
    }
    Some(fetch.bytes)
}

/// A program people fetch with.
#[derive(Clone, Copy)]
enum Client {
    Hpa,
    Atftp,
    Curl,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Client::Hpa => "tftp (tftp-hpa)",
            Client::Atftp => "atftp",
            Client::Curl => "curl",
        }
    }

    /// Megabytes; none if it fails.
    fn fetch(self, server: SocketAddrV4, name: &str) -> f64 {
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        let mut command = match self {
            Client::Hpa => {
                let mut tftp = Command::new("tftp");
                tftp.args(["-m", "octet", &host, &port, "-c", "get", name, "/dev/null"]);
                tftp
            }
            Client::Atftp => {
                let mut atftp = Command::new("atftp");
                atftp.args(["--option", "blksize 1468", "-g", "-r", name, "-l", "/dev/null", &host, &port]);
                atftp
            }
            Client::Curl => {
                let mut curl = Command::new("curl");
                curl.args(["-s", "--tftp-blksize", "1468", "-o", "/dev/null"]);
                curl.arg(format!("tftp://{server}/{name}"));
                curl
            }
        };
        match command.output() {
            Ok(output) if output.status.success() => LOADER as f64 / 1e6,
            Ok(output) => {
                println!("  {server}: {} FAILED: {output:?}", self.name());
                0.0
            }
            Err(_) => {
                println!("  {} is NOT INSTALLED", self.name());
                0.0
            }
        }
    }
}
