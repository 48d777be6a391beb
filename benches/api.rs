//! The control API of a daemon with very many deployments: `cargo bench --bench api [-- COUNT] [lists|beside|watchers]`,
//! 100,000 deployments without a number.
//!
//! * `lists`: all machines by pages of 1,000, the first and the last page, sorted pages, one deployment by its name.
//! * `beside`: a DHCP storm alone and beside 2,000 reads and 500 durable writes a second (a token is created and
//!   revoked, both are in the audit log), in turns: first as much as DHCP can do, where all of them share the
//!   processors and what the API takes is missing; then half of that, where DHCP must not be slower for it.
//! * `watchers`: 10,000 clients watch events; what each takes of the daemon's memory, and how long an event needs to
//!   reach all of them.
//!
//! Needs root and iproute2, and a limit of open files of 20,000.

#[path = "dhcp/crowd.rs"]
mod crowd;
#[path = "common/inventory.rs"]
mod inventory;
#[expect(dead_code, reason = "another bench compares costs")]
#[path = "dhcp/network.rs"]
mod network;
#[expect(dead_code, reason = "another bench has other servers")]
#[path = "dhcp/peer.rs"]
mod peer;
#[expect(dead_code, reason = "another bench puts this load on as well")]
#[path = "dhcp/perfdhcp.rs"]
mod perfdhcp;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use network::{Figure, Network};
use peer::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PAGE: usize = 1_000;
/// Requests for one deployment.
const NAMES: usize = 3_000;
/// Turns of the storm, with and without a load.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(3);
/// Exchanges open at once.
const OPEN: usize = 2_048;
const READS: f64 = 2_000.0;
const WRITES: f64 = 500.0;
const WATCHERS: usize = 10_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(100_000);
    let named = |name: &str| words.iter().any(|word| word == name);
    let all = !["lists", "beside", "watchers"].into_iter().any(named);
    let network = Network::new();
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (daemon, socket) = start(&network, folder.path(), count);
    if all || named("lists") {
        lists(&socket, count);
    }
    if all || named("watchers") {
        watchers(&socket, daemon.child.id());
    }
    if all || named("beside") {
        beside(&network, &daemon, &socket, count);
    }
}

/// A daemon over an inventory of so many deployments, and its socket.
fn start(network: &Network, folder: &Path, count: usize) -> (Running, PathBuf) {
    let (root, socket) = (folder.join("inventory"), folder.join("api.sock"));
    inventory::generate(&root, count / 100, count).expect("the inventory can be written");
    let base = std::fs::read_to_string(root.join("base.toml")).expect("it was written");
    let base =
        base.replacen("\n\n[boot", "\nlease = \"1h\"\ndynamic = \"10.64.0.0-10.79.255.255\"\n\n[boot", 1);
    // Without its secret nothing has to be decrypted.
    let base = base.replace("{ secret = \"root-password\" }", "\"!\"");
    std::fs::write(root.join("base.toml"), base).expect("a manifest can be written");
    std::fs::create_dir(folder.join("state")).expect("a directory can be made");
    let settings = format!(
        "[network]\ninterface = \"srv\"\naddress = \"10.0.0.1\"\n[inventory]\ndirectory = {root:?}\n\
         [state]\ndirectory = {:?}\n[api]\nlisten = [\"unix:{}\"]\n",
        folder.join("state"),
        socket.display()
    );
    let config = folder.join("voldemort.toml");
    std::fs::write(&config, settings).expect("the settings can be written");
    let log = std::fs::File::create(folder.join("log")).expect("a log can be made");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &network.server, env!("CARGO_BIN_EXE_voldemort"), "start", "services"]);
    command.args(["--new-site", "--config"]).arg(config);
    command.stdout(log.try_clone().expect("a file can be shared")).stderr(log).stdin(Stdio::null());
    let mut daemon = Running { child: command.spawn().expect("the daemon starts") };
    let started = Instant::now();
    loop {
        let ended = daemon.child.try_wait().expect("it can be asked for");
        let is_late = started.elapsed() > Duration::from_secs(180);
        if ended.is_some() || is_late {
            panic!("no daemon: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        }
        if UnixStream::connect(&socket).is_ok()
            && Client::new(&socket).get("/v1/machines?limit=1").1.len() > 10
        {
            return (daemon, socket);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A connection of the API.
struct Client(BufReader<UnixStream>);

impl Client {
    fn new(socket: &Path) -> Client {
        Client(BufReader::new(UnixStream::connect(socket).expect("the daemon listens")))
    }

    fn get(&mut self, path: &str) -> (Option<String>, Vec<u8>) {
        self.ask("GET", path, "")
    }

    /// The path of the next page, and the body.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> (Option<String>, Vec<u8>) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(head.as_bytes()).expect("the daemon reads");
        let (mut next, mut length, mut line) = (None, 0, String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line).expect("the daemon answers");
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length is a number");
            }
            if lower.starts_with("link:") {
                next = line.split(['<', '>']).nth(1).map(str::to_owned);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the daemon sends all of it");
        (next, body)
    }

    fn timed(&mut self, path: &str) -> (Duration, Option<String>, usize) {
        let started = Instant::now();
        let (next, body) = self.get(path);
        (started.elapsed(), next, body.len())
    }
}

fn lists(socket: &Path, count: usize) {
    let mut client = Client::new(socket);
    for kind in ["machines", "deployments"] {
        let (mut pages, mut bytes, mut path) = (Vec::new(), 0, Some(format!("/v1/{kind}?limit={PAGE}")));
        let started = Instant::now();
        while let Some(next) = path {
            let (took, following, length) = client.timed(&next);
            pages.push(took);
            bytes += length;
            path = following;
        }
        let (first, last) = (pages[0], pages[pages.len() - 1]);
        println!(
            "all {count} {kind} by pages of {PAGE}: {:.2?}, {} MB; a page: p50 {:.2?}, p99 {:.2?}, first {first:.2?}, last \
             {last:.2?}",
            started.elapsed(),
            bytes >> 20,
            at(&pages, 0.5),
            at(&pages, 0.99)
        );
        for query in ["sort=-address", "sort=-address&fields=name", "label=rack=r1", "name=*99"] {
            let took: Vec<Duration> =
                (0..5).map(|_| client.timed(&format!("/v1/{kind}?limit={PAGE}&{query}")).0).collect();
            println!("a page of {kind} with {query}: {:.2?}", inventory::median(took));
        }
        println!("all {count} {kind} in one answer: {:.2?}", client.timed(&format!("/v1/{kind}")).0);
    }
    let mut took = Vec::new();
    for number in 0..NAMES {
        let name = number.wrapping_mul(7_919) % count;
        took.push(client.timed(&format!("/v1/deployments/d-{name}")).0);
    }
    println!(
        "one deployment by its name: p50 {:.2?}, p99 {:.2?}; target < 5 ms",
        at(&took, 0.5),
        at(&took, 0.99)
    );
}

fn at(took: &[Duration], share: f64) -> Duration {
    let mut took = took.to_vec();
    took.sort();
    took[((took.len() as f64 * share) as usize).min(took.len() - 1)]
}

/// The storm alone and beside the load, in turns; the ratio is that of the sums.
fn beside(network: &Network, daemon: &Running, socket: &Path, count: usize) {
    let storm = || crowd::run(network, daemon, Some(20_000), OPEN, TURN);
    let warm = storm();
    println!("DHCP, at first: {:.0} exchanges/s", warm.rate);
    let (mut alone, mut loaded, mut reads, mut writes) = (0.0, 0.0, Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let bare: Figure = storm();
        let load = Load::start(socket, count);
        let together = storm();
        let (read, written) = load.end();
        println!(
            "turn {turn}: DHCP {:.0}/s alone, {:.0}/s beside {read:.0} reads/s and {written:.0} writes/s ({:.3})",
            bare.rate,
            together.rate,
            together.rate / bare.rate
        );
        alone += bare.rate;
        loaded += together.rate;
        reads.push(read);
        writes.push(written);
    }
    let least = |rates: &[f64]| rates.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "DHCP at its limit beside the API against DHCP alone: {:.3}; with {READS} reads/s (least: {:.0}) and {WRITES} \
         durable writes/s (least: {:.0})",
        loaded / alone,
        least(&reads),
        least(&writes)
    );
    below_the_limit(network, socket, count, alone / TURNS as f64 / 2.0);
}

/// A storm of so many exchanges a second, whatever the server does, alone and beside the load, in turns.
fn below_the_limit(network: &Network, socket: &Path, count: usize, rate: f64) {
    let mut served = [0.0, 0.0];
    let (mut reads, mut writes) = (f64::INFINITY, f64::INFINITY);
    for turn in 0..TURNS as u32 {
        let bare = crowd::paced(network, Some(20_000), 2 * turn, rate, TURN);
        let load = Load::start(socket, count);
        let together = crowd::paced(network, Some(20_000), 2 * turn + 1, rate, TURN);
        let (read, written) = load.end();
        println!(
            "turn {turn}: DHCP at {rate:.0}/s alone {bare}; beside {read:.0} reads/s and {written:.0} writes/s {together}"
        );
        served = [served[0] + 1.0 - bare.lost, served[1] + 1.0 - together.lost];
        (reads, writes) = (reads.min(read), writes.min(written));
    }
    println!(
        "DHCP at half of its limit beside the API against DHCP alone: {:.3}; target >= 0.9, with {READS} reads/s (least: \
         {reads:.0}) and {WRITES} durable writes/s (least: {writes:.0})",
        served[1] / served[0]
    );
}

/// Clients that read and write, evenly over time.
struct Load {
    stop: Arc<AtomicBool>,
    counts: [Arc<AtomicU64>; 2],
    threads: Vec<std::thread::JoinHandle<()>>,
    started: Instant,
}

impl Load {
    fn start(socket: &Path, count: usize) -> Load {
        let (stop, counts) =
            (Arc::new(AtomicBool::new(false)), [const { AtomicU64::new(0) }; 2].map(Arc::new));
        let mut threads = Vec::new();
        for (kind, clients, rate) in [(0, 8, READS), (1, 32, WRITES)] {
            for client in 0..clients {
                let (stop, done, socket) = (stop.clone(), Arc::clone(&counts[kind]), socket.to_owned());
                let pause = Duration::from_secs_f64(f64::from(clients) / rate);
                threads.push(std::thread::spawn(move || {
                    let mut connection = Client::new(&socket);
                    let started = Instant::now();
                    for number in 0u32.. {
                        // What was created is revoked, so that the next turn finds it gone.
                        if stop.load(Ordering::Relaxed) && (kind == 0 || number.is_multiple_of(2)) {
                            return;
                        }
                        if kind == 0 {
                            read(&mut connection, number, count);
                        } else {
                            write(&mut connection, client, number);
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep((pause * (number + 1)).saturating_sub(started.elapsed()));
                    }
                }));
            }
        }
        Load { stop, counts, threads, started: Instant::now() }
    }

    /// Reads and writes a second.
    fn end(self) -> (f64, f64) {
        let seconds = self.started.elapsed().as_secs_f64();
        let [reads, writes] = self.counts.map(|count| count.load(Ordering::Relaxed) as f64 / seconds);
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client does not panic"));
        (reads, writes)
    }
}

/// Most ask for one deployment, some for a short page.
fn read(client: &mut Client, number: u32, count: usize) {
    let name = (number as usize).wrapping_mul(7_919) % count;
    let path = match number % 10 {
        0 => format!("/v1/machines?limit=20&continue=%5B%22%22%2C%22d-{name}%22%5D"),
        _ => format!("/v1/deployments/d-{name}"),
    };
    assert!(client.get(&path).1.len() > 2, "{path}");
}

/// A token is created, and revoked the next time.
fn write(client: &mut Client, own: u32, number: u32) {
    let name = format!("bench-{own}-{}", number / 2);
    let (_, body) = match number % 2 {
        0 => client.ask("POST", "/v1/tokens", &format!("{{\"name\":\"{name}\",\"role\":\"viewer\"}}")),
        _ => client.ask("DELETE", &format!("/v1/tokens/{name}"), ""),
    };
    assert!(!String::from_utf8_lossy(&body).contains("\"status\":"), "{}", String::from_utf8_lossy(&body));
}

fn watchers(socket: &Path, daemon: u32) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let before = resident(daemon);
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let seen = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..WATCHERS {
            let stream = watcher(socket).await;
            tasks.spawn(watch(stream, seen.clone()));
        }
        println!("{WATCHERS} watchers came within {:.2?}", started.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let each = resident(daemon).saturating_sub(before) as f64 / WATCHERS as f64 / 1024.0;
        println!("a watcher takes {each:.1} KB of the daemon's memory");
        let mut client = Client::new(socket);
        let mut took = Vec::new();
        for number in 0..10 {
            let wanted = seen.load(Ordering::Relaxed) + WATCHERS as u64;
            let started = Instant::now();
            write(&mut client, 99, number);
            while seen.load(Ordering::Relaxed) < wanted && started.elapsed() < Duration::from_secs(30) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let saw = seen.load(Ordering::Relaxed) + WATCHERS as u64 - wanted;
            assert!(saw >= WATCHERS as u64, "{saw} of {WATCHERS} saw it: has the daemon files enough?");
            took.push(started.elapsed());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        println!(
            "an event reaches all {WATCHERS}: p50 {:.0?}, slowest {:.0?} (events of 50 ms travel together)",
            at(&took, 0.5),
            at(&took, 1.0)
        );
    });
}

async fn watcher(socket: &Path) -> tokio::net::UnixStream {
    let mut stream = loop {
        // The queue of connections that wait to be accepted is full now and then.
        match tokio::net::UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let head = "GET /v1/events?stage=daemon HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("the daemon reads");
    stream
}

/// Counts the events about tokens that come.
async fn watch(mut stream: tokio::net::UnixStream, seen: Arc<AtomicU64>) {
    let mut buffer = vec![0; 2048];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let found = buffer[..length].windows(8).filter(|part| part == b"bench-99").count();
        seen.fetch_add(found as u64, Ordering::Relaxed);
    }
}

/// What a process has in memory, in bytes.
fn resident(process: u32) -> u64 {
    // `ip netns exec` becomes the daemon: it has this number itself.
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() << 10
}
