//! The TFTP server against the clients people run, and one of our own that misbehaves on purpose.

mod async_tftp;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::time::timeout;
use voldemort::daemon::Files;
use voldemort::daemon::tftp::{Limits, Server};

use crate::kit::{Running, Shelf, alone, bytes, disk, has, loopback, memory, resident};

const PATIENCE: Duration = Duration::from_secs(20);

fn serve(shelf: Arc<Shelf>, limits: Limits) -> Running {
    serve_at(shelf, limits, false)
}

pub(crate) fn serve_at(shelf: Arc<Shelf>, limits: Limits, single_port: bool) -> Running {
    let server = Server::bind("0.0.0.0:0".parse().unwrap(), Files::new(), limits).unwrap();
    let server = server.single_port(single_port);
    let mut address = loopback(1);
    address.set_port(server.local_addr().unwrap().port());
    Running::new(address, shelf, |shelf, stopped| server.run(shelf, stopped))
}

/// A receiver after RFC 7440.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    /// The transfer's address, once known.
    transfer: Option<SocketAddr>,
}

impl Client {
    async fn ask(server: impl Into<SocketAddr>, name: &str, options: &str) -> Client {
        let socket = UdpSocket::bind(loopback(1)).await.unwrap();
        let mut client = Client { socket, server: server.into(), transfer: None };
        client.request(name, options).await;
        client
    }

    async fn request(&mut self, name: &str, options: &str) {
        let options = options.replace(['=', ' '], "\0");
        let end = if options.is_empty() { "" } else { "\0" };
        let packet = format!("\0\u{1}{name}\0octet\0{options}{end}");
        self.socket.send_to(packet.as_bytes(), self.server).await.unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 2000];
        let received = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await.expect("an answer");
        let (length, from) = received.unwrap();
        assert_eq!(*self.transfer.get_or_insert(from), from);
        buffer.truncate(length);
        buffer
    }

    async fn ack(&self, number: u16) {
        self.send(&[&[0, 4][..], &number.to_be_bytes()].concat()).await;
    }

    async fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.transfer.unwrap()).await.unwrap();
    }

    /// Takes the rest of the file; the options were read already.
    async fn take(&mut self, block: usize, window: u64) -> Vec<u8> {
        let mut file = Vec::new();
        let mut blocks = 0u64;
        loop {
            let packet = self.receive().await;
            assert_eq!(packet[..2], [0, 3], "{:?}", packet.escape_ascii().to_string());
            if packet[2..4] != ((blocks + 1) as u16).to_be_bytes() {
                self.ack(blocks as u16).await;
                continue;
            }
            blocks += 1;
            file.extend_from_slice(&packet[4..]);
            let last = packet.len() < 4 + block;
            if last || blocks.is_multiple_of(window) {
                self.ack(blocks as u16).await;
            }
            if last {
                return file;
            }
        }
    }
}

fn text(packet: &[u8]) -> String {
    packet.escape_ascii().to_string()
}

/// What the first `count` transfers were reported as.
async fn ended(shelf: &Shelf, count: usize) -> Vec<(u64, bool)> {
    timeout(PATIENCE, shelf.ended(count)).await.expect("reports")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_option_is_answered_and_every_size_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let whole = bytes(3_000_000);
    std::fs::write(&image, &whole).unwrap();
    let content = [
        ("empty", memory(b"")),
        ("one", memory(b"x")),
        ("full", memory(&whole[..1468 * 64])),
        ("parts", disk(&image, &[(2_000_000, 700_001), (5, 100_000)])),
    ];
    let parts = [&whole[2_000_000..2_700_001], &whole[5..100_005]].concat();
    let server = serve(Shelf::with(&content), Limits::default());
    let expected = [("empty", &[][..]), ("one", b"x"), ("full", &whole[..1468 * 64]), ("parts", &parts)];
    for (name, bytes) in expected {
        for (block, window) in [(1468, 1), (1468, 4), (1468, 64), (512, 16), (1000, 64)] {
            let options = format!("blksize={block} windowsize={window} tsize=0");
            let mut client = Client::ask(server.address, name, &options).await;
            let size = bytes.len();
            let offer = format!("\0\u{6}blksize\0{block}\0windowsize\0{window}\0tsize\0{size}\0");
            assert_eq!(text(&client.receive().await), text(offer.as_bytes()));
            client.ack(0).await;
            assert!(client.take(block, window).await == bytes, "{name} {block} {window}");
        }
    }
    let ended = ended(&server.shelf, 20).await;
    assert!(ended.iter().all(|(_, complete)| *complete), "{ended:?}");
    server.stop().await;
}

#[tokio::test]
async fn without_options_the_first_answer_is_block_one() {
    let server = serve(Shelf::with(&[("boot/x", memory(b"hello"))]), Limits::default());
    let mut client = Client::ask(server.address, "\\boot//x", "").await;
    assert_eq!(text(&client.receive().await), "\\x00\\x03\\x00\\x01hello");
    client.ack(1).await;
    assert_eq!(ended(&server.shelf, 1).await, [(5, true)]);
    assert_eq!(server.shelf.asked()[0].1, "boot/x");
    server.stop().await;
}

#[tokio::test]
async fn refusals_come_at_once_from_the_transfer_port() {
    let server = serve(Shelf::with(&[]), Limits::default());
    for (name, expected) in [
        ("nothing", "\\x00\\x05\\x00\\x01no such name\\x00"),
        ("forbidden", "\\x00\\x05\\x00\\x02not for you\\x00"),
        ("gone", "\\x00\\x05\\x00\\x02it was there once\\x00"),
        ("busy", "\\x00\\x05\\x00\\x00too much to do\\x00"),
        ("../etc/passwd", "\\x00\\x05\\x00\\x01the name climbs out of the tree (..)\\x00"),
    ] {
        let mut client = Client::ask(server.address, name, "tsize=0").await;
        assert_eq!(text(&client.receive().await), expected);
        assert_ne!(client.transfer, Some(server.address.into()));
    }
    for (packet, expected) in [
        (&b"\0\x02x\0octet\0"[..], "\\x00\\x05\\x00\\x02nothing can be written here\\x00"),
        (b"\0\x01x\0mail\0", "\\x00\\x05\\x00\\x04the transfer mode is neither octet nor netascii\\x00"),
    ] {
        let mut client = Client::ask(server.address, "nothing", "").await;
        client.receive().await;
        client.transfer = None;
        client.socket.send_to(packet, server.address).await.unwrap();
        assert_eq!(text(&client.receive().await), expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn replies_come_from_the_address_that_was_asked() {
    let server = serve(Shelf::with(&[("x", memory(b"hello"))]), Limits::default());
    let mut address = loopback(77);
    address.set_port(server.address.port());
    let mut client = Client::ask(address, "x", "").await;
    client.receive().await;
    assert_eq!(client.transfer.unwrap().ip(), Ipv4Addr::new(127, 0, 0, 77));
    client.ack(1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_stranger_is_told_so_and_the_transfer_goes_on() {
    let content = bytes(5000);
    let server = serve(Shelf::with(&[("x", memory(&content))]), Limits::default());
    let mut client = Client::ask(server.address, "x", "blksize=1000").await;
    client.receive().await;
    let stranger = UdpSocket::bind(loopback(1)).await.unwrap();
    stranger.send_to(&[0, 4, 0, 0], client.transfer.unwrap()).await.unwrap();
    let mut buffer = [0; 100];
    let (length, _) = timeout(PATIENCE, stranger.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(text(&buffer[..length]), "\\x00\\x05\\x00\\x05unknown transfer\\x00");
    // A stranger that is gone before it gets this must not end the transfer either.
    stranger.send_to(&[0, 4, 0, 0], client.transfer.unwrap()).await.unwrap();
    drop(stranger);
    client.ack(0).await;
    assert!(client.take(1000, 1).await == content);
    server.stop().await;
}

#[tokio::test]
async fn probes_and_aborts_end_at_once() {
    let content = bytes(5000);
    let server = serve(Shelf::with(&[("x", memory(&content))]), Limits::default());
    let mut probe = Client::ask(server.address, "x", "tsize=0 blksize=1468").await;
    probe.receive().await;
    probe.send(b"\0\x05\0\x08User aborted the transfer\0").await;
    let mut aborted = Client::ask(server.address, "x", "blksize=1000").await;
    aborted.receive().await;
    aborted.ack(0).await;
    aborted.receive().await;
    aborted.ack(1).await;
    aborted.receive().await;
    aborted.send(b"\0\x05\0\x03disk full\0").await;
    assert_eq!(ended(&server.shelf, 1).await, [(1000, false)]);
    // A client that goes away silently: its port is closed, and the kernel reports it.
    let mut gone = Client::ask(server.address, "x", "blksize=1000").await;
    gone.receive().await;
    gone.ack(0).await;
    drop(gone);
    assert_eq!(ended(&server.shelf, 2).await[1], (0, false));
    server.stop().await;
}

#[tokio::test]
async fn a_repeated_request_gets_one_transfer_and_a_new_one_another() {
    let content = bytes(3000);
    let server = serve(Shelf::with(&[("x", memory(&content)), ("y", memory(b"y"))]), Limits::default());
    let mut client = Client::ask(server.address, "x", "blksize=1000").await;
    client.request("x", "blksize=1000").await;
    client.receive().await;
    client.ack(0).await;
    assert!(client.take(1000, 1).await == content);
    assert_eq!(server.shelf.asked().len(), 1);
    client.transfer = None;
    client.request("y", "").await;
    assert_eq!(client.take(512, 1).await, b"y");
    server.stop().await;
}

#[tokio::test]
async fn a_lost_window_start_is_repeated() {
    let content = bytes(100_000);
    for single_port in [false, true] {
        let server = serve_at(Shelf::with(&[("x", memory(&content))]), Limits::default(), single_port);
        let mut client = Client::ask(server.address, "x", "blksize=1000 windowsize=8").await;
        client.receive().await;
        client.ack(0).await;
        client.receive().await;
        // As if block 1 had not come: the rest is answered with "I have none".
        for number in 2..9u16 {
            assert_eq!(client.receive().await[2..4], number.to_be_bytes());
        }
        client.ack(0).await;
        assert!(client.take(1000, 8).await == content);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_file_that_changed_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::write(&image, b"one").unwrap();
    let server = serve(Shelf::with(&[("x", disk(&image, &[(0, 3)]))]), Limits::default());
    std::fs::write(&image, b"other").unwrap();
    let mut client = Client::ask(server.address, "x", "").await;
    let answer = text(&client.receive().await);
    assert!(answer.starts_with("\\x00\\x05\\x00\\x00") && answer.contains("has changed since"), "{answer}");
    assert_eq!(ended(&server.shelf, 1).await, [(0, false)]);
    server.stop().await;
}

/// Too long to be held in memory: it is read for several blocks at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_file_goes_block_by_block_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let whole = bytes(5_000_000);
    std::fs::write(&image, &whole).unwrap();
    let parts = [(4_000_000, 999_999), (7, 2_600_000), (4_000_000, 1)];
    let content: Vec<u8> = parts
        .iter()
        .flat_map(|(from, length)| &whole[*from as usize..][..*length as usize])
        .copied()
        .collect();
    let server = serve(Shelf::with(&[("x", disk(&image, &parts))]), Limits::default());
    for (block, window) in [(1468, 1), (512, 1), (1400, 1), (1468, 3)] {
        let options = format!("blksize={block} windowsize={window}");
        let mut client = Client::ask(server.address, "x", &options).await;
        client.receive().await;
        client.ack(0).await;
        assert!(client.take(block, window).await == content, "{block} {window}");
    }
    let mut client = Client::ask(server.address, "x", "blksize=1468").await;
    client.receive().await;
    client.ack(0).await;
    client.receive().await;
    std::fs::write(&image, vec![0; whole.len()]).unwrap();
    for number in 1.. {
        client.ack(number).await;
        let answer = client.receive().await;
        if answer.starts_with(&[0, 5]) {
            assert!(text(&answer).contains("has changed since"), "{}", text(&answer));
            break;
        }
        let from = usize::from(number) * 1468;
        assert!(from < 2 << 20, "nothing is sent of a stretch that was not looked at");
    }
    server.stop().await;
}

#[tokio::test]
async fn text_is_translated_for_old_switches() {
    let server = serve(Shelf::with(&[("x", memory(b"a\nb"))]), Limits::default());
    let mut client = Client::ask(server.address, "nothing", "").await;
    client.receive().await;
    client.transfer = None;
    client.socket.send_to(b"\0\x01x\0NETASCII\0tsize\x000\0", server.address).await.unwrap();
    assert_eq!(text(&client.receive().await), "\\x00\\x03\\x00\\x01a\\r\\nb");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_people_run_agree() {
    let folder = tempfile::tempdir().unwrap();
    let content = bytes(4_000_001);
    let server = serve(Shelf::with(&[("dir/file", memory(&content))]), Limits::default());
    let port = server.address.port();
    if has("curl") {
        let url = format!("tftp://127.0.0.1:{port}//dir/file");
        for size in ["512", "1468", "65464"] {
            let mut curl = Command::new("curl");
            let output = curl.args(["-s", "--tftp-blksize", size, &url]).output().await.unwrap();
            assert!(output.status.success() && output.stdout == content, "curl {size}: {}", output.status);
        }
        let missing =
            Command::new("curl").arg(format!("tftp://127.0.0.1:{port}//no")).output().await.unwrap();
        assert_eq!(missing.status.code(), Some(68), "curl's code for a missing file");
    }
    if has("tftp") {
        let target = folder.path().join("got");
        let port = port.to_string();
        let run = |mode: &'static str| {
            let mut command = Command::new("tftp");
            command.args(["-m", mode, "127.0.0.1", &port, "-c", "get", "/dir/file"]).arg(&target);
            command
        };
        assert!(run("octet").status().await.unwrap().success());
        assert!(std::fs::read(&target).unwrap() == content);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_machines_at_once() {
    if !alone("tftp::a_thousand_machines_at_once") {
        return;
    }
    voldemort::daemon::limits::raise_open_files().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let content = Arc::new(bytes(1 << 20));
    std::fs::write(&image, &*content).unwrap();
    let limits = Limits { transfers: 1000, transfers_per_client: 1000 };
    let server = serve(Shelf::with(&[("x", disk(&image, &[(0, 1 << 20)]))]), limits);
    let before = resident();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let (address, content) = (server.address, Arc::clone(&content));
        let window = [1, 4, 16, 64][number % 4];
        clients.spawn(async move {
            let options = format!("blksize=1468 windowsize={window}");
            let mut client = Client::ask(address, "x", &options).await;
            // A thousand requests at once are more than a busy host's socket may hold: ask again, as firmware does.
            while timeout(Duration::from_secs(3), client.socket.readable()).await.is_err() {
                client.request("x", &options).await;
            }
            client.receive().await;
            client.ack(0).await;
            let mut at = 0;
            // Compared on the way: a thousand copies of the file would be the test's memory.
            let mut blocks = 0u64;
            loop {
                let packet = client.receive().await;
                if packet[2..4] != ((blocks + 1) as u16).to_be_bytes() {
                    client.ack(blocks as u16).await;
                    continue;
                }
                blocks += 1;
                assert!(packet[4..] == content[at..at + packet.len() - 4]);
                at += packet.len() - 4;
                let last = packet.len() < 4 + 1468;
                if last || blocks.is_multiple_of(window) {
                    client.ack(blocks as u16).await;
                }
                if last {
                    return at;
                }
            }
        });
    }
    while let Some(length) = clients.join_next().await {
        assert_eq!(length.unwrap(), 1 << 20);
    }
    let used = resident().saturating_sub(before);
    assert!(used < 150 << 20, "{} MB for server and clients together", used >> 20);
    let ended = ended(&server.shelf, 1000).await;
    assert!(ended.iter().all(|report| *report == (1 << 20, true)));
    server.stop().await;
}

#[tokio::test]
async fn beyond_the_limit_nobody_is_answered_until_there_is_room() {
    let content = bytes(3000);
    let limits = Limits { transfers: 10, transfers_per_client: 1 };
    let server = serve(Shelf::with(&[("x", memory(&content))]), limits);
    let mut first = Client::ask(server.address, "x", "blksize=1000").await;
    first.receive().await;
    let mut second = Client::ask(server.address, "x", "blksize=1000").await;
    first.ack(0).await;
    assert!(first.take(1000, 1).await == content);
    ended(&server.shelf, 1).await;
    assert_eq!(server.shelf.asked().len(), 1);
    second.request("x", "blksize=1000").await;
    second.receive().await;
    second.ack(0).await;
    assert!(second.take(1000, 1).await == content);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_port_serves_many_at_once() {
    let content = bytes(300_000);
    let server = serve_at(Shelf::with(&[("x", memory(&content))]), Limits::default(), true);
    let mut address = loopback(77);
    address.set_port(server.address.port());
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..48 {
        let (content, window) = (content.clone(), [1, 4, 64][number % 3]);
        clients.spawn(async move {
            let mut client = Client::ask(address, "x", &format!("blksize=1468 windowsize={window}")).await;
            client.receive().await;
            assert_eq!(client.transfer, Some(address.into()), "another port or address");
            client.ack(0).await;
            assert!(client.take(1468, window).await == content);
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let ended = ended(&server.shelf, 48).await;
    assert!(ended.iter().all(|report| *report == (300_000, true)), "{ended:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_single_port_takes_probes_refusals_and_new_requests() {
    let content = bytes(3000);
    let server = serve_at(Shelf::with(&[("x", memory(&content))]), Limits::default(), true);
    // EDK2: size first, abort, then the file, all from one port.
    let mut client = Client::ask(server.address, "x", "tsize=0 blksize=1468").await;
    assert!(text(&client.receive().await).contains("tsize\\x003000"));
    client.send(b"\0\x05\0\x08User aborted the transfer\0").await;
    client.request("x", "tsize=0 blksize=1468").await;
    client.receive().await;
    client.ack(0).await;
    assert!(client.take(1468, 1).await == content);
    client.request("nothing", "").await;
    assert_eq!(text(&client.receive().await), "\\x00\\x05\\x00\\x01no such name\\x00");
    client.send(b"\0\x02x\0octet\0").await;
    assert!(text(&client.receive().await).contains("nothing can be written here"));
    // Acknowledgements from an unknown port are not answered, so the next answer is to the request.
    client.ack(9).await;
    client.request("x", "blksize=1468").await;
    assert!(text(&client.receive().await).starts_with("\\x00\\x06"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_more_blocks_than_numbers_arrive() {
    let content = bytes(8 * 70_000 + 3);
    for single_port in [false, true] {
        let server = serve_at(Shelf::with(&[("x", memory(&content))]), Limits::default(), single_port);
        let mut client = Client::ask(server.address, "x", "blksize=8 windowsize=64").await;
        client.receive().await;
        client.ack(0).await;
        assert!(client.take(8, 64).await == content);
        assert_eq!(ended(&server.shelf, 1).await, [(content.len() as u64, true)]);
        server.stop().await;
    }
}
