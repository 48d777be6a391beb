//! Whole boots: DHCP by a relay, the boot program by TFTP, DHCP again as iPXE, script, kernel and
//! answer file by HTTP, the installer's report; over real sockets, each machine from its own address.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use voldemort::model::{Cpu, Firmware, Time};
use voldemort::proto::dhcp::{Link, Mode};
use voldemort::state::Stage;
use voldemort::walk;
use voldemort::walk::client::{Client, Kind, Lease, Reply, Sender};
use voldemort::walk::script::Script;

use super::lab::{self, DAEMON, RELAY, Server};
use super::{ROUNDS, median, tftp};

/// Bytes of the boot program, a stand-in: how fast those go is another figure.
pub(crate) const LOADER: usize = 16 << 10;
/// Boots under way at once.
const AT_ONCE: usize = 400;
const TARGET: f64 = 2_000.0;
/// Each boots once.
pub(crate) const MACHINES: u32 = 18_000;
const HTTP: SocketAddrV4 = SocketAddrV4::new(DAEMON, 80);

pub(crate) fn run(daemon: &Server) {
    println!("whole boots, {AT_ONCE} at once, boot program of {LOADER} bytes (target {TARGET}/s)");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let each = MACHINES / (2 * ROUNDS as u32);
    let mut first = 0;
    for firmware in [Firmware::Uefi, Firmware::Bios] {
        let mut figures = Vec::new();
        for _ in 0..ROUNDS {
            let machines = first..first + each;
            first += each;
            figures.push(daemon.measure(|| runtime.block_on(all(machines, firmware)) as f64));
        }
        let figure = median(&figures);
        let verdict = if figure.rate >= TARGET { "reached" } else { "NOT REACHED" };
        println!(
            "  {firmware:<6}{:>9.0} boots/s {:>9.1} us each {:>7.1} MB, {verdict}",
            figure.rate, figure.cost, figure.memory
        );
    }
}

/// Boots every machine once; how many came through.
async fn all(machines: std::ops::Range<u32>, firmware: Firmware) -> usize {
    let relay = Relay::open().await;
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut boots = JoinSet::new();
    for machine in machines {
        let place = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
        let relay = Arc::clone(&relay);
        boots.spawn(async move {
            let _place = place;
            install(&relay, machine, firmware).await
        });
    }
    let outcomes = boots.join_all().await;
    let failures: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    if let Some(one) = failures.first() {
        println!("  {} boots FAILED, the first: {one}", failures.len());
    }
    outcomes.len() - failures.len()
}

async fn install(relay: &Relay, machine: u32, firmware: Firmware) -> Result<(), String> {
    let answers = boot(relay, machine, firmware).await?;
    let text = String::from_utf8_lossy(&answers.1);
    let server = format!("http://{DAEMON}");
    let completed = walk::completion(&server, [text]).ok_or("the answers name no completion")?;
    let mut installer = Http::connect(machine).await?;
    installer.get("GET", &completed, "").await.map(drop)
}

/// A URL and its content.
pub(crate) type Fetched = (String, Vec<u8>);

/// Up to the point at which the installer has its answers, which it returns.
async fn boot(relay: &Relay, machine: u32, firmware: Firmware) -> Result<Fetched, String> {
    let (_, url) = start(relay, machine, firmware).await?;
    let mut installer = Http::connect(machine).await?;
    let answers = installer.get("GET", &url, "").await?;
    Ok((url, answers))
}

/// The script of a machine that is about to install, and the answers of each of those that do.
pub(crate) async fn texts(starting: u32, installing: &[u32]) -> Result<(Fetched, Vec<Fetched>), String> {
    let relay = Relay::open().await;
    let (script, _) = start(&relay, starting, Firmware::Uefi).await?;
    let mut answers = Vec::new();
    for machine in installing {
        answers.push(boot(&relay, *machine, Firmware::Uefi).await?);
    }
    Ok((script, answers))
}

/// Up to the point at which iPXE starts the kernel; the script, and where the answers are.
async fn start(relay: &Relay, machine: u32, firmware: Firmware) -> Result<(Fetched, String), String> {
    let lease = relay.configure(machine, firmware, Sender::Firmware).await?;
    let socket = UdpSocket::bind((lease.address, 0)).await.map_err(|error| error.to_string())?;
    let window = if firmware == Firmware::Bios { 1 } else { 4 };
    let loader = tftp::fetch(&socket, SocketAddrV4::new(DAEMON, 69), &lease.file, window).await;
    if loader != Some(LOADER as u64) {
        return Err(format!("{} by TFTP: {loader:?}", lease.file));
    }
    let lease = relay.configure(machine, firmware, Sender::Ipxe).await?;
    let mut ipxe = Http::connect(machine).await?;
    let script = ipxe.get("GET", &lease.file, "").await?;
    let text = String::from_utf8_lossy(&script);
    let Script::Network { files, cmdline } = Script::ipxe(&text, Stage::Script) else {
        return Err(format!("machine {machine} boots its own disk: {text}"));
    };
    for file in &files {
        ipxe.get("HEAD", file, "").await?;
        ipxe.get("GET", file, "Range: bytes=0-4095\r\n").await?;
    }
    let url = cmdline.split(' ').find_map(|word| word.strip_prefix("url="));
    let url = url.ok_or("the command line names no answers")?.to_owned();
    Ok(((lease.file, script), url))
}

/// Where the machines' DHCP messages go through.
pub(crate) struct Relay {
    socket: UdpSocket,
    link: Link,
    waiting: Mutex<HashMap<[u8; 4], oneshot::Sender<Bytes>>>,
}

impl Relay {
    pub(crate) async fn open() -> Arc<Relay> {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        socket.set_recv_buffer_size(4 << 20).expect("an option");
        socket.set_nonblocking(true).expect("an option");
        socket.bind(&SocketAddrV4::new(RELAY, 67).into()).expect("port 67 is free here");
        let link = Link {
            server: DAEMON,
            cidr: "10.1.0.0/16".parse().expect("a network"),
            mode: Mode::Server,
            port: 67,
            source: SocketAddrV4::new(RELAY, 67),
            broadcast: false,
        };
        let socket = UdpSocket::from_std(socket.into()).expect("a socket");
        let relay = Arc::new(Relay { socket, link, waiting: Mutex::default() });
        let listening = Arc::downgrade(&relay);
        tokio::spawn(async move {
            let mut buffer = [0; 2000];
            while let Some(relay) = listening.upgrade() {
                let received = timeout(Duration::from_millis(500), relay.socket.recv(&mut buffer)).await;
                let Ok(Ok(length)) = received else { continue };
                let id = buffer[..length].get(4..8).and_then(|id| <[u8; 4]>::try_from(id).ok());
                let Some(id) = id else { continue };
                let waits: Option<oneshot::Sender<Bytes>> =
                    relay.waiting.lock().expect("no panic").remove(&id);
                if let Some(waits) = waits {
                    let _ = waits.send(Bytes::copy_from_slice(&buffer[..length]));
                }
            }
        });
        relay
    }

    /// DISCOVER to ACK.
    pub(crate) async fn configure(
        &self,
        machine: u32,
        firmware: Firmware,
        sender: Sender,
    ) -> Result<Lease, String> {
        let client =
            Client { mac: lab::mac(machine), cpu: Cpu::X86_64, firmware, link: &self.link, now: Time(0) };
        let round = if sender == Sender::Ipxe { 2 } else { 0 };
        let discover = client.message(sender, Kind::Discover, None);
        let offer = self.ask(machine * 4 + round, discover).await?;
        let request = client.message(sender, Kind::Request, Some(offer.address()));
        let ack = self.ask(machine * 4 + round + 1, request).await?;
        Ok(Lease { address: ack.address().into(), file: ack.boot_file() })
    }

    /// Passes a message on and waits for its answer, as often as firmware would.
    async fn ask(&self, id: u32, mut message: Vec<u8>) -> Result<Reply, String> {
        let id = id.to_be_bytes();
        message[4..8].copy_from_slice(&id);
        message[24..28].copy_from_slice(&RELAY.octets());
        for _ in 0..5 {
            let (waits, answer) = oneshot::channel();
            self.waiting.lock().expect("no panic").insert(id, waits);
            let sent = self.socket.send_to(&message, SocketAddrV4::new(DAEMON, 67)).await;
            sent.map_err(|error| error.to_string())?;
            if let Ok(Ok(bytes)) = timeout(Duration::from_secs(2), answer).await {
                return Ok(Reply::of(bytes));
            }
        }
        Err("DHCP was not answered".to_owned())
    }
}

/// One connection of a machine.
pub(crate) struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Http {
    async fn connect(machine: u32) -> Result<Http, String> {
        Http::connect_from(lab::address(machine)).await
    }

    pub(crate) async fn connect_from(from: Ipv4Addr) -> Result<Http, String> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddrV4::new(from, 0).into())?;
            let stream = socket.connect(HTTP.into()).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = connect.await.map_err(|error| format!("HTTP: {error}"))?;
        Ok(Http { stream, buffer: Vec::with_capacity(8192) })
    }

    /// The body of the answer. What is to be sent itself stands behind the headers and an empty line.
    pub(crate) async fn get(&mut self, method: &str, url: &str, headers: &str) -> Result<Vec<u8>, String> {
        let path = url.strip_prefix(&format!("http://{DAEMON}")).unwrap_or(url);
        let end = if headers.contains("\r\n\r\n") { "" } else { "\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {DAEMON}\r\n{headers}{end}");
        let answered = timeout(Duration::from_secs(30), self.exchange(&request, method == "HEAD")).await;
        let answer = answered.map_err(|_| "no answer within half a minute".to_owned());
        answer
            .and_then(|answer| answer.map_err(|error| error.to_string()))
            .map_err(|error| format!("{path}: {error}"))
    }

    async fn exchange(&mut self, request: &str, head_only: bool) -> std::io::Result<Vec<u8>> {
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let end = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 2") {
            return Err(std::io::Error::other(head));
        }
        let length =
            head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        let length = if head_only || head.starts_with("HTTP/1.1 204") {
            0
        } else {
            length.ok_or(std::io::ErrorKind::InvalidData)?
        };
        while self.buffer.len() < end + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.split_off(end))
    }
}
