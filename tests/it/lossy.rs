//! TFTP over a network that loses and reorders, to the clients people run and to firmware as it
//! behaves (GRUB, EDK2, iPXE): sessions on ports of their own, and all on one port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use voldemort::daemon::Files;
use voldemort::daemon::tftp::{Limits, Server};

use crate::kit::{Running, Shelf, bytes, has, loopback, memory};

const PATIENCE: Duration = Duration::from_secs(90);
/// In percent, each way.
const LOSS: u64 = 5;
const LATE: u64 = 5;

/// xorshift64: the same seed, the same weather.
struct Weather {
    dice: u64,
    held: Option<Vec<u8>>,
}

impl Weather {
    fn new(seed: u64) -> Weather {
        Weather { dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, held: None }
    }

    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 20) % 100
    }

    /// What comes out at the other end: nothing, the packet, or this one and an earlier one.
    fn pass(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        if self.roll() < LOSS {
            return Vec::new();
        }
        if self.held.is_none() && self.roll() < LATE {
            self.held = Some(packet.to_vec());
            return Vec::new();
        }
        [Some(packet.to_vec()), self.held.take()].into_iter().flatten().collect()
    }
}

/// A router with address translation between clients and server, in bad weather.
struct Relay {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    async fn to(server: SocketAddr) -> Relay {
        let socket = Arc::new(UdpSocket::bind(loopback(1)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut ways: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
            let mut tasks = JoinSet::new();
            let mut buffer = [0; 2000];
            loop {
                let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
                let seed = ways.len() as u64 + 1;
                let way = ways.entry(client).or_insert_with(|| {
                    let (way, packets) = mpsc::channel(1000);
                    tasks.spawn(carry(Arc::clone(&socket), client, server, packets, seed));
                    way
                });
                // What does not fit is lost, as on any other way.
                let _ = way.try_send(buffer[..length].to_vec());
            }
        });
        Relay { address, task: task.abort_handle() }
    }
}

/// One client's way to the server and back. A request goes to the port that listens, all else to
/// where the last answer came from.
async fn carry(
    to_client: Arc<UdpSocket>,
    client: SocketAddr,
    server: SocketAddr,
    mut packets: mpsc::Receiver<Vec<u8>>,
    seed: u64,
) {
    let upstream = UdpSocket::bind(loopback(1)).await.unwrap();
    let (mut there, mut back) = (Weather::new(seed), Weather::new(seed + 1000));
    let mut target = server;
    let mut buffer = [0; 2000];
    loop {
        tokio::select! {
            Some(packet) = packets.recv() => {
                for packet in there.pass(&packet) {
                    let to = if packet.starts_with(&[0, 1]) { server } else { target };
                    let _ = upstream.send_to(&packet, to).await;
                }
            }
            Ok((length, from)) = upstream.recv_from(&mut buffer) => {
                target = from;
                for packet in back.pass(&buffer[..length]) {
                    let _ = to_client.send_to(&packet, client).await;
                }
            }
        }
    }
}

fn serve(shelf: Arc<Shelf>, single_port: bool) -> Running {
    let server = Server::bind("0.0.0.0:0".parse().unwrap(), Files::new(), Limits::default()).unwrap();
    let server = server.single_port(single_port);
    let mut address = loopback(1);
    address.set_port(server.local_addr().unwrap().port());
    Running::new(address, shelf, |shelf, stopped| server.run(shelf, stopped))
}

/// How a boot program's TFTP client behaves.
#[derive(Clone, Copy)]
struct Firmware {
    name: &'static str,
    options: &'static str,
    block: usize,
    window: u64,
    /// Silence after which it repeats its last packet.
    repeat: Duration,
    /// Acknowledges once more what it has got already, and what comes too early.
    chatty: bool,
    /// Asks for the size first and ends that with error 8.
    probes: bool,
}

const FIRMWARE: [Firmware; 4] = [
    Firmware {
        name: "GRUB",
        options: "blksize\x001024\0tsize\x000\0",
        block: 1024,
        window: 1,
        repeat: Duration::from_millis(400),
        chatty: true,
        probes: false,
    },
    Firmware {
        name: "EDK2",
        options: "blksize\x001468\0windowsize\x004\0",
        block: 1468,
        window: 4,
        repeat: Duration::from_secs(4),
        chatty: true,
        probes: true,
    },
    Firmware {
        name: "iPXE",
        options: "blksize\x001432\0tsize\x000\0",
        block: 1432,
        window: 1,
        repeat: Duration::from_millis(250),
        chatty: true,
        probes: false,
    },
    Firmware {
        name: "BIOS ROM",
        options: "",
        block: 512,
        window: 1,
        repeat: Duration::from_secs(1),
        chatty: false,
        probes: false,
    },
];

impl Firmware {
    async fn fetch(self, server: SocketAddr) -> Vec<u8> {
        let socket = UdpSocket::bind(loopback(1)).await.unwrap();
        if self.probes {
            self.probe(&socket, server).await;
        }
        let request = format!("\0\u{1}dir\\x\0octet\0{}", self.options);
        let mut last = request.into_bytes();
        let (mut file, mut blocks) = (Vec::new(), 0u64);
        socket.send_to(&last, server).await.unwrap();
        loop {
            let packet = self.next(&socket, server, &last).await;
            match packet.get(..2) {
                Some([0, 6]) if blocks == 0 => last = vec![0, 4, 0, 0],
                Some([0, 3]) if packet[2..4] == ((blocks + 1) as u16).to_be_bytes() => {
                    blocks += 1;
                    file.extend(&packet[4..]);
                    last = [&[0, 4], &packet[2..4]].concat();
                    let ended = packet.len() < 4 + self.block;
                    if !ended && !blocks.is_multiple_of(self.window) {
                        continue;
                    }
                    socket.send_to(&last, server).await.unwrap();
                    if ended {
                        return file;
                    }
                    continue;
                }
                Some([0, 3]) if self.chatty => {}
                _ => continue,
            }
            socket.send_to(&last, server).await.unwrap();
        }
    }

    async fn probe(self, socket: &UdpSocket, server: SocketAddr) {
        let request = b"\0\x01dir\\x\0octet\0tsize\x000\0blksize\x001468\0";
        socket.send_to(request, server).await.unwrap();
        let packet = self.next(socket, server, request).await;
        assert!(packet.starts_with(b"\0\x06"), "{}", packet.escape_ascii());
        socket.send_to(b"\0\x05\0\x08User aborted the transfer\0", server).await.unwrap();
    }

    async fn next(self, socket: &UdpSocket, server: SocketAddr, last: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 2000];
        for _ in 0..40 {
            match timeout_at(Instant::now() + self.repeat, socket.recv_from(&mut buffer)).await {
                Ok(received) => return buffer[..received.unwrap().0].to_vec(),
                Err(_) => drop(socket.send_to(last, server).await.unwrap()),
            }
        }
        panic!("{} has given up", self.name)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firmware_boots_over_a_bad_network() {
    let content = bytes(30_000);
    for single_port in [false, true] {
        let server = serve(Shelf::with(&[("dir/x", memory(&content))]), single_port);
        let relay = Relay::to(server.address.into()).await;
        let mut clients = JoinSet::new();
        for firmware in FIRMWARE {
            let (address, content) = (relay.address, content.clone());
            clients.spawn(async move {
                let fetched = tokio::time::timeout(PATIENCE, firmware.fetch(address)).await;
                let whole = fetched.expect(firmware.name) == content;
                assert!(whole, "{}: other bytes", firmware.name);
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_people_run_survive_a_bad_network() {
    let folder = tempfile::tempdir().unwrap();
    let content = bytes(30_000);
    let server = serve(Shelf::with(&[("dir/x", memory(&content))]), true);
    let relay = Relay::to(server.address.into()).await;
    let port = relay.address.port().to_string();
    let target = |name: &str| folder.path().join(name);
    let mut runs: Vec<(&str, Command)> = Vec::new();
    if has("curl") {
        let mut curl = Command::new("curl");
        curl.args(["-s", "--tftp-blksize", "1428", "-o"]).arg(target("curl"));
        curl.arg(format!("tftp://127.0.0.1:{port}//dir/x"));
        runs.push(("curl", curl));
    }
    if has("tftp") {
        let mut tftp = Command::new("tftp");
        tftp.args(["-m", "octet", "127.0.0.1", &port, "-c", "get", "/dir/x"]).arg(target("tftp"));
        runs.push(("tftp", tftp));
    }
    if has("atftp") {
        let mut atftp = Command::new("atftp");
        atftp.args(["--option", "blksize 1428", "--option", "windowsize 8", "-g", "-r", "/dir/x", "-l"]);
        atftp.arg(target("atftp")).args(["127.0.0.1", &port]);
        runs.push(("atftp", atftp));
    }
    let mut clients = JoinSet::new();
    for (name, mut command) in runs {
        let (got, content) = (target(name), content.clone());
        clients.spawn(async move {
            let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
            let output = output.expect(name).unwrap();
            let whole = std::fs::read(got).is_ok_and(|got| got == content);
            assert!(whole, "{name}: {output:?}");
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    server.stop().await;
}
