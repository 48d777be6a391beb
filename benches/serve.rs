//! Bytes over loopback, side by side with the servers people use: `cargo bench --bench serve`.
//!
//! Each figure is the median of rounds in which the servers take turns, measured at the same client;
//! only the ratios mean anything. A peer that is not installed is left out, loudly.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use voldemort::daemon::opener::Method;
use voldemort::daemon::{Files, Opened, Opener, http, tftp};
use voldemort::media::identity::of as identity;
use voldemort::model::{Content, Extent};
use voldemort::proto::tree::{Artifact, Asker, Refusal, RefusalReason};
use voldemort::table::Stage;

const ROUNDS: usize = 5;
const TFTP_FILE: u64 = 32 << 20;
const HTTP_FILE: u64 = 1 << 30;
const SMALL: usize = 4096;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    write_files(path);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (ours_tftp, ours_http) = start_ours(&runtime, path);

    let mut hpa = start_tftpd(path);
    for window in [1, 16] {
        compare(
            &format!("TFTP, one stream, block 1468, window {window} (MB/s)"),
            &mut || tftp_rate(ours_tftp, window),
            "tftpd-hpa",
            hpa.as_ref().map(|(_, address)| *address),
            &mut |address| tftp_rate(address, window),
        );
    }
    stop(hpa.as_mut().map(|(child, _)| child));

    let mut nginx = start_nginx(path);
    let peer = nginx.as_ref().map(|(_, address)| *address);
    compare("HTTP, 1 GiB (MB/s)", &mut || http_rate(ours_http), "nginx", peer, &mut |address| {
        http_rate(address)
    });
    let small = "HTTP, 4 KiB, 8 connections (requests/s)";
    compare(small, &mut || http_requests(ours_http), "nginx", peer, &mut |address| http_requests(address));
    stop(nginx.as_mut().map(|(child, _)| child));
}

/// Takes turns; prints both medians and the ratio.
fn compare(
    what: &str,
    ours: &mut dyn FnMut() -> f64,
    peer: &str,
    address: Option<SocketAddrV4>,
    theirs: &mut dyn FnMut(SocketAddrV4) -> f64,
) {
    let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_rates.push(ours());
        their_rates.extend(address.map(&mut *theirs));
    }
    let our_rate = median(&mut our_rates);
    match address {
        Some(_) => {
            let their_rate = median(&mut their_rates);
            let ratio = our_rate / their_rate;
            println!("{what}: ours {our_rate:.0}, {peer} {their_rate:.0}, ratio {ratio:.2}");
        }
        None => println!("{what}: ours {our_rate:.0}; {peer} is not installed: NO COMPARISON"),
    }
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn write_files(folder: &Path) {
    let block = [7u8; 1 << 20];
    for (name, length) in [("tftp", TFTP_FILE), ("http", HTTP_FILE)] {
        let mut file = std::fs::File::create(folder.join(name)).expect("a file");
        for _ in 0..length >> 20 {
            file.write_all(&block).expect("room on the disk");
        }
    }
    std::fs::write(folder.join("small"), &block[..SMALL]).expect("a file");
}

/// The files of the folder; `small` from memory, as a rendered script would be.
struct Folder {
    files: Vec<(&'static str, Content)>,
}

impl Opener for Folder {
    async fn open(&self, _asker: Asker, _method: Method, path: &str, _note: &str) -> Opened {
        match self.files.iter().find(|(name, _)| *name == path) {
            Some((_, content)) => Opened::Serve(Artifact {
                content: content.clone(),
                media_type: "application/octet-stream",
                etag: "tag".to_owned(),
                stage: Stage::File,
                mac: None,
                deployment: None,
                text: String::new(),
            }),
            None => Opened::Refuse(Refusal {
                reason: RefusalReason::NotFound,
                text: "no such file".to_owned(),
                mac: None,
                deployment: None,
            }),
        }
    }

    fn done(&self, _asker: Asker, _artifact: &Artifact, _sent: u64, _complete: bool) {}
}

fn on_disk(path: &Path) -> Content {
    let id = identity(&std::fs::metadata(path).expect("the file is there"));
    Content::File { path: path.into(), id, extents: Arc::new([Extent { offset: 0, length: id.size }]) }
}

fn start_ours(runtime: &tokio::runtime::Runtime, folder: &Path) -> (SocketAddrV4, SocketAddrV4) {
    let small = std::fs::read(folder.join("small")).expect("the file is there");
    let files = vec![
        ("tftp", on_disk(&folder.join("tftp"))),
        ("http", on_disk(&folder.join("http"))),
        ("small", Content::Bytes(small.into())),
    ];
    let opener = Arc::new(Folder { files });
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let _inside = runtime.enter();
    let tftp = tftp::Server::bind(any.into(), Files::new(), tftp::Limits::default()).expect("a port");
    let http = http::Server::bind(any.into(), Files::new(), http::Limits::default()).expect("a port");
    let tftp_port = tftp.local_addr().expect("bound").port();
    let http_port = http.local_addr().expect("bound").port();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    // Both run until the process ends.
    std::mem::forget(stop);
    runtime.spawn(tftp.run(Arc::clone(&opener), stopped.clone()));
    runtime.spawn(http.run(opener, stopped));
    let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    (at(tftp_port), at(http_port))
}

fn free_port() -> SocketAddrV4 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, socket.local_addr().expect("bound").port())
}

fn start_tftpd(folder: &Path) -> Option<(Child, SocketAddrV4)> {
    let address = free_port();
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).ok()?;
    let mut command = Command::new("in.tftpd");
    command.args(["--foreground", "--user", "nobody", "--address", &address.to_string(), "--secure"]);
    let child = command.arg(folder).stderr(Stdio::null()).spawn().ok()?;
    answered(|| !tftp_request(address, "nothing", 1).1.is_empty()).then_some((child, address))
}

fn start_nginx(folder: &Path) -> Option<(Child, SocketAddrV4)> {
    let address = free_port();
    let root = folder.display();
    let settings = format!(
        "daemon off; worker_processes 2; error_log stderr crit; pid {root}/pid; user root;\n\
         events {{ worker_connections 512; }}\n\
         http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000;\n\
         open_file_cache max=100; client_body_temp_path {root}/t1; proxy_temp_path {root}/t2;\n\
         fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;\n\
         server {{ listen {address}; root {root}; }} }}\n"
    );
    std::fs::write(folder.join("nginx.conf"), settings).ok()?;
    let child = Command::new("nginx").arg("-c").arg(folder.join("nginx.conf")).spawn().ok()?;
    answered(|| TcpStream::connect(address).is_ok()).then_some((child, address))
}

/// Waits until a peer has come up.
fn answered(mut asks: impl FnMut() -> bool) -> bool {
    (0..50).any(|_| {
        let up = asks();
        if !up {
            thread::sleep(Duration::from_millis(50));
        }
        up
    })
}

fn stop(child: Option<&mut Child>) {
    if let Some(child) = child {
        // SIGTERM, so that it takes its own children along.
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = child.wait();
    }
}

/// Asks; returns the socket, connected to the transfer's port, and the first answer.
fn tftp_request(server: SocketAddrV4, name: &str, window: u16) -> (UdpSocket, Vec<u8>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    let mut request = format!("\0\u{1}{name}\0octet\0blksize\x001468\0");
    if window > 1 {
        request += &format!("windowsize\0{window}\0");
    }
    socket.send_to(request.as_bytes(), server).expect("sent");
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

/// MB/s of one transfer. A server that does not know windows gets none.
fn tftp_rate(server: SocketAddrV4, window: u16) -> f64 {
    let started = Instant::now();
    let (socket, offer) = tftp_request(server, "tftp", window);
    let granted = offer.windows(10).any(|bytes| bytes == b"windowsize");
    let window = if granted { u64::from(window) } else { 1 };
    let (mut blocks, mut bytes) = (0u64, 0u64);
    let mut buffer = [0; 2000];
    let ack = |blocks: u64| {
        let [high, low] = (blocks as u16).to_be_bytes();
        let _ = socket.send(&[0, 4, high, low]);
    };
    ack(0);
    loop {
        let length = socket.recv(&mut buffer).unwrap_or(0);
        if length < 4 || buffer[2..4] != ((blocks + 1) as u16).to_be_bytes() {
            ack(blocks);
            continue;
        }
        blocks += 1;
        bytes += length as u64 - 4;
        let last = length < 4 + 1468;
        if last || blocks.is_multiple_of(window) {
            ack(blocks);
        }
        if last {
            assert_eq!(bytes, TFTP_FILE);
            return bytes as f64 / 1e6 / started.elapsed().as_secs_f64();
        }
    }
}

/// Reads one reply; returns the bytes of its body.
fn read_reply(stream: &mut TcpStream, buffer: &mut [u8]) -> u64 {
    let mut filled = 0;
    let end = loop {
        filled += stream.read(&mut buffer[filled..]).expect("an answer");
        if let Some(end) = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: u64 = length.expect("a length").parse().expect("a number");
    let mut received = (filled - end) as u64;
    while received < length {
        received += stream.read(buffer).expect("more") as u64;
    }
    length
}

fn http_rate(server: SocketAddrV4) -> f64 {
    let started = Instant::now();
    let mut stream = TcpStream::connect(server).expect("connected");
    stream.write_all(b"GET /http HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let bytes = read_reply(&mut stream, &mut vec![0; 1 << 18]);
    assert_eq!(bytes, HTTP_FILE);
    bytes as f64 / 1e6 / started.elapsed().as_secs_f64()
}

fn http_requests(server: SocketAddrV4) -> f64 {
    const EACH: usize = 5000;
    const CONNECTIONS: usize = 8;
    let started = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(server).expect("connected");
                let mut buffer = vec![0; 2 * SMALL];
                for _ in 0..EACH {
                    stream.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
                    assert_eq!(read_reply(&mut stream, &mut buffer), SMALL as u64);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no client fails");
    }
    (EACH * CONNECTIONS) as f64 / started.elapsed().as_secs_f64()
}
