//! The HTTP server, byte by byte over loopback.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use voldemort::daemon::Files;
use voldemort::daemon::http::{Limits, Server};
use voldemort::daemon::request_handler::Method;

use crate::kit::{Running, Shelf, bytes, disk, has, loopback, memory};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn serve(shelf: Arc<Shelf>, limits: Limits) -> Running {
    let server = Server::bind(loopback(1).into(), Files::new(), limits).unwrap();
    let mut address = loopback(1);
    address.set_port(server.local_addr().unwrap().port());
    Running::new(address, shelf, |shelf, stopped| server.run(shelf, stopped))
}

pub(crate) fn shelf() -> Arc<Shelf> {
    Shelf::with(&[("boot/x.efi", memory(b"hello")), ("empty", memory(b""))])
}

/// A raw connection.
pub(crate) struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

pub(crate) struct Answer {
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&start))
    }
}

impl Client {
    pub(crate) async fn connect(server: &Running) -> Client {
        Client { stream: TcpStream::connect(server.address).await.unwrap(), buffer: Vec::new() }
    }

    /// Line ends become CR LF.
    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.replace('\n', "\r\n").as_bytes()).await.unwrap();
    }

    async fn more(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.buffer);
        timeout(PATIENCE, read).await.expect("an answer").unwrap()
    }

    pub(crate) async fn head(&mut self) -> Answer {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                let head = String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
                return Answer { head, body: Vec::new() };
            }
            assert_ne!(self.more().await, 0, "closed after {:?}", self.buffer.escape_ascii().to_string());
        }
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let length: usize = answer.field("Content-Length").unwrap().parse().unwrap();
        while self.buffer.len() < length {
            assert_ne!(self.more().await, 0, "closed inside a body");
        }
        let rest = self.buffer.split_off(length);
        answer.body = std::mem::replace(&mut self.buffer, rest);
        answer
    }

    pub(crate) async fn closed(&mut self) {
        assert_eq!(self.more().await, 0, "{:?}", self.buffer.escape_ascii().to_string());
    }

    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\nHost: x\n{headers}\n")).await;
        self.answer().await
    }
}

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let server = serve(shelf(), Limits::default());
    let mut client = Client::connect(&server).await;
    // OVMF: HEAD, then GET.
    client.send("HEAD //boot/x.efi HTTP/1.1\nHost: x\n\n").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.field("Content-Length")), ("HTTP/1.1 200 OK", Some("5")));
    for path in ["/boot/x.efi", "//boot\\x.efi", "http://x:80/boot/x.efi", "/boot%2fx.efi?a=b"] {
        let answer = client.get(path, "").await;
        assert_eq!((answer.status(), &*answer.body), ("HTTP/1.1 200 OK", &b"hello"[..]), "{path}");
    }
    let missing = client.get("/nothing", "").await;
    assert_eq!((missing.status(), &*missing.body), ("HTTP/1.1 404 Not Found", &b"no such name\n"[..]));
    for (path, status) in [
        ("/forbidden", "HTTP/1.1 403 Forbidden"),
        ("/gone", "HTTP/1.1 410 Gone"),
        ("/busy", "HTTP/1.1 503 Service Unavailable"),
        ("/empty", "HTTP/1.1 200 OK"),
    ] {
        assert_eq!(client.get(path, "").await.status(), status);
    }
    let last = client.get("/boot/x.efi", "Connection: close\n").await;
    assert_eq!(last.field("Connection"), Some("close"));
    client.closed().await;
    let ended = server.shelf.ended(6).await;
    assert_eq!(ended, [(5, true), (5, true), (5, true), (5, true), (0, true), (5, true)]);
    assert_eq!(server.shelf.asked()[4], (Method::Get, "boot/x.efi".into(), "a=b".into()));
    server.stop().await;
}

/// RFC 9110 section 9.3.2: a body would be taken for the head of the next answer.
#[tokio::test]
async fn the_agent_s_paths_answer_head_without_a_body() {
    let server = serve(shelf(), Limits::default());
    let mut client = Client::connect(&server).await;
    client.send("HEAD /agent/v1/order HTTP/1.1\nHost: x\n\n").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.field("Content-Length")), ("HTTP/1.1 404 Not Found", Some("2")));
    let next = client.get("/boot/x.efi", "").await;
    assert_eq!((next.status(), &*next.body), ("HTTP/1.1 200 OK", &b"hello"[..]));
    server.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = serve(shelf(), Limits::default());
    let mut client = Client::connect(&server).await;
    let get = "GET /boot/x.efi HTTP/1.1\nHost: x\n\n";
    client.send(&format!("{get}GET /no HTTP/1.1\nHost: x\n\n\n{get}{}", &get[..10])).await;
    assert_eq!(client.answer().await.body, b"hello");
    assert_eq!(client.answer().await.body, b"no such name\n");
    assert_eq!(client.answer().await.body, b"hello");
    client.send(&get[10..]).await;
    assert_eq!(client.answer().await.body, b"hello");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_has_said_everything_is_still_answered() {
    let server = serve(shelf(), Limits::default());
    let mut client = Client::connect(&server).await;
    client.send("GET /boot/x.efi HTTP/1.1\nHost: x\n\nGET /no HTTP/1.1\nHost: x\n\n").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.answer().await.body, b"hello");
    assert_eq!(client.answer().await.status(), "HTTP/1.1 404 Not Found");
    client.closed().await;
    server.stop().await;
}

#[tokio::test]
async fn old_clients_get_old_answers() {
    let server = serve(shelf(), Limits::default());
    let mut client = Client::connect(&server).await;
    client.send("GET /boot/x.efi HTTP/1.0\n\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.field("Connection")), ("HTTP/1.0 200 OK", Some("close")));
    client.closed().await;
    let mut client = Client::connect(&server).await;
    for _ in 0..2 {
        client.send("GET /boot/x.efi HTTP/1.0\nConnection: keep-alive\n\n").await;
        assert_eq!(client.answer().await.field("Connection"), Some("keep-alive"));
    }
    server.stop().await;
}

#[tokio::test]
async fn ranges_of_files_and_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let whole = bytes(300_000);
    std::fs::write(&image, &whole).unwrap();
    let content = disk(&image, &[(200_000, 100_000), (10, 50_000)]);
    let expected = [&whole[200_000..], &whole[10..50_010]].concat();
    let server = serve(Shelf::with(&[("disk", content), ("memory", memory(&expected))]), Limits::default());
    let mut client = Client::connect(&server).await;
    for path in ["/disk", "/memory"] {
        let all = client.get(path, "").await;
        assert!(all.body == expected && all.field("Accept-Ranges") == Some("bytes"), "{path}");
        for (range, start, end) in [
            ("0-0", 0, 1),
            ("99999-100000", 99_999, 100_001),
            ("149999-", 149_999, 150_000),
            ("-70000", 80_000, 150_000),
            ("5-999999999", 5, 150_000),
        ] {
            let part = client.get(path, &format!("Range: bytes={range}\n")).await;
            assert_eq!(part.status(), "HTTP/1.1 206 Partial Content");
            let place = format!("bytes {start}-{}/150000", end - 1);
            assert_eq!(part.field("Content-Range"), Some(place.as_str()));
            assert!(part.body == expected[start..end], "{path} {range}");
        }
        let outside = client.get(path, "Range: bytes=150000-\n").await;
        assert_eq!(outside.status(), "HTTP/1.1 416 Range Not Satisfiable");
        assert_eq!(outside.field("Content-Range"), Some("bytes */150000"));
        for headers in ["Range: bytes=0-5,5-6\n", "Range: bytes=0-1\nIf-Range: \"old\"\n"] {
            let all = client.get(path, headers).await;
            assert_eq!((all.status(), all.body.len()), ("HTTP/1.1 200 OK", 150_000));
        }
        let several = client.get(path, "Range: bytes=149990-,99999-100000,0-4\n").await;
        assert_eq!(several.status(), "HTTP/1.1 206 Partial Content");
        let stretches = [&expected[149_990..], &expected[99_999..100_001], &expected[..5]];
        let mark = several.field("Content-Type").unwrap().split_once("boundary=").unwrap().1;
        let mut body = Vec::<u8>::new();
        for (stretch, place) in stretches.into_iter().zip(["149990-149999", "99999-100000", "0-4"]) {
            let head = "Content-Type: application/octet-stream\r\nContent-Range: bytes";
            body.extend(format!("\r\n--{mark}\r\n{head} {place}/150000\r\n\r\n").as_bytes());
            body.extend(stretch);
        }
        body.extend(format!("\r\n--{mark}--\r\n").as_bytes());
        assert!(several.body == body, "{path}");
        client.send(&format!("GET {path} HTTP/1.1\nHost: x\nIf-None-Match: \"tag\"\n\n")).await;
        let same = client.head().await;
        assert_eq!(same.status(), "HTTP/1.1 304 Not Modified");
    }
    server.stop().await;
}

#[tokio::test]
async fn images_beyond_four_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let file = std::fs::File::create(&image).unwrap();
    let place = 5 << 30;
    std::os::unix::fs::FileExt::write_all_at(&file, b"here", place).unwrap();
    let server = serve(Shelf::with(&[("x", disk(&image, &[(0, place + 4)]))]), Limits::default());
    let mut client = Client::connect(&server).await;
    let part = client.get("/x", &format!("Range: bytes={}-\n", place - 1)).await;
    assert_eq!(part.body, b"\0here");
    assert_eq!(part.field("Content-Range"), Some("bytes 5368709119-5368709123/5368709124"));
    client.send("HEAD /x HTTP/1.1\nHost: x\n\n").await;
    assert_eq!(client.head().await.field("Content-Length"), Some("5368709124"));
    server.stop().await;
}

#[tokio::test]
async fn reports_bring_a_note() {
    let server = serve(shelf(), Limits::default());
    let mut client = Client::connect(&server).await;
    let chunked = "4\nall \n4\ngood\n0\n\n";
    for (request, note) in [
        ("GET /completed?step=late%20x HTTP/1.1\nHost: x\n\n".to_owned(), "step=late x"),
        ("POST /completed?a=b HTTP/1.1\nHost: x\nContent-Length: 4\n\ngood".to_owned(), "a=b good"),
        (format!("POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n{chunked}"), "all good"),
        ("POST /completed HTTP/1.1\nHost: x\n\n".to_owned(), ""),
    ] {
        client.send(&request).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), &*answer.body), ("HTTP/1.1 200 OK", &b""[..]), "{request}");
        let (_, path, noted) = server.shelf.asked().pop().unwrap();
        assert_eq!((path.as_str(), noted.as_str()), ("completed", note));
    }
    client.send("POST /completed HTTP/1.1\nHost: x\nExpect: 100-continue\nContent-Length: 2\n\n").await;
    assert_eq!(client.head().await.head, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ok").await;
    assert_eq!(client.answer().await.status(), "HTTP/1.1 200 OK");
    // A report counts even if a whole log comes with it; the rest of the log is not read.
    client
        .send(&format!(
            "POST /completed HTTP/1.1\nHost: x\nContent-Length: 100000\n\n{}",
            "x".repeat(100_000)
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.field("Connection")), ("HTTP/1.1 200 OK", Some("close")));
    assert_eq!(server.shelf.asked().pop().unwrap().2, "x".repeat(512));
    client.closed().await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_is_told_so_and_the_connection_ends() {
    let server = serve(shelf(), Limits::default());
    for (text, status) in [
        ("\u{16}\u{3}\u{1}garbage", "HTTP/1.1 400 Bad Request"),
        ("GET /../etc/passwd HTTP/1.1\nHost: x\n\n", "HTTP/1.1 400 Bad Request"),
        ("GET /%00 HTTP/1.1\nHost: x\n\n", "HTTP/1.1 400 Bad Request"),
        ("PUT /x HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc", "HTTP/1.1 405 Method Not Allowed"),
        ("GET / HTTP/3.0\n\n", "HTTP/1.1 505 HTTP Version Not Supported"),
        ("POST /x HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nzz\n", "HTTP/1.1 400 Bad Request"),
    ] {
        let mut client = Client::connect(&server).await;
        client.send(text).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.field("Connection")), (status, Some("close")), "{text}");
        assert_eq!(answer.body.iter().filter(|byte| **byte == b'\n').count(), 1);
        client.closed().await;
    }
    let mut client = Client::connect(&server).await;
    client.send(&format!("GET / HTTP/1.1\nHost: x\nCookie: {}\n\n", "x".repeat(20_000))).await;
    assert_eq!(client.answer().await.status(), "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(server.shelf.asked(), []);
    server.stop().await;
}

#[tokio::test]
async fn slow_and_idle_clients_are_not_waited_for() {
    let short = Duration::from_millis(50);
    let server = serve(shelf(), Limits { idle: short, ..Limits::default() });
    let mut idle = Client::connect(&server).await;
    idle.closed().await;
    server.stop().await;
    let server = serve(shelf(), Limits { reading: short, ..Limits::default() });
    for text in ["GET /boot/x", "POST /completed HTTP/1.1\nHost: x\nContent-Length: 5\n\nabc"] {
        let mut slow = Client::connect(&server).await;
        slow.send(text).await;
        assert_eq!(slow.answer().await.status(), "HTTP/1.1 408 Request Timeout");
        slow.closed().await;
    }
    assert_eq!(server.shelf.asked(), []);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(1 << 30).unwrap();
    let limits = Limits { stalled: Duration::from_millis(50), ..Limits::default() };
    let server = serve(Shelf::with(&[("x", disk(&image, &[(0, 1 << 30)]))]), limits);
    let mut client = Client::connect(&server).await;
    client.send("GET /x HTTP/1.1\nHost: x\n\n").await;
    let (sent, complete) = timeout(PATIENCE, server.shelf.ended(1)).await.unwrap()[0];
    assert!(sent < 1 << 30 && !complete, "{sent}");
    server.stop().await;
}

#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let limits = Limits { connections_per_client: 2, ..Limits::default() };
    let server = serve(shelf(), limits);
    let mut first = Client::connect(&server).await;
    let mut second = Client::connect(&server).await;
    assert_eq!(first.get("/boot/x.efi", "").await.body, b"hello");
    assert_eq!(second.get("/boot/x.efi", "").await.body, b"hello");
    // No other client from there, until one of them has made no progress for a while: it makes room.
    let start = std::time::Instant::now();
    loop {
        let mut third = Client::connect(&server).await;
        let answer = third.get("/boot/x.efi", "").await;
        if answer.status() == "HTTP/1.1 200 OK" {
            break;
        }
        assert_eq!(answer.status(), "HTTP/1.1 503 Service Unavailable");
        assert!(start.elapsed() < PATIENCE, "no room is made");
    }
    first.closed().await;
    assert_eq!(second.get("/boot/x.efi", "").await.body, b"hello");
    server.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_refused_before_and_cut_off_within() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let server = serve(Shelf::with(&[("x", disk(&image, &[(0, 64 << 20)]))]), Limits::default());
    let mut within = Client::connect(&server).await;
    within.send("GET /x HTTP/1.1\nHost: x\n\n").await;
    let head = within.head().await;
    assert_eq!(head.status(), "HTTP/1.1 200 OK");
    std::fs::write(&image, vec![1; (64 << 20) + 1]).unwrap();
    let mut received = within.buffer.len();
    while within.more().await > 0 {
        received += within.buffer.len();
        within.buffer.clear();
    }
    assert!(received < 64 << 20, "all of a changed file was sent");
    let mut before = Client::connect(&server).await;
    let refused = before.get("/x", "").await;
    assert_eq!(refused.status(), "HTTP/1.1 503 Service Unavailable");
    assert!(String::from_utf8(refused.body).unwrap().contains("has changed since it was indexed"));
    let ended = server.shelf.ended(2).await;
    assert!(!ended[0].1 && ended[1] == (0, false), "{ended:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_stop_lets_replies_end_and_closes_idle_connections() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let server = serve(Shelf::with(&[("x", disk(&image, &[(0, 32 << 20)]))]), Limits::default());
    let mut idle = Client::connect(&server).await;
    idle.send("HEAD /x HTTP/1.1\nHost: x\n\n").await;
    idle.head().await;
    let mut busy = Client::connect(&server).await;
    busy.send("GET /x HTTP/1.1\nHost: x\n\n").await;
    let head = busy.head().await;
    server.begin_stop();
    idle.closed().await;
    assert_eq!(head.field("Content-Length"), Some("33554432"));
    while busy.buffer.len() < 32 << 20 {
        assert_ne!(busy.more().await, 0, "cut off at {}", busy.buffer.len());
    }
    busy.closed().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_agrees() {
    if !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let whole = bytes(20_000_000);
    std::fs::write(&image, &whole).unwrap();
    let server = serve(Shelf::with(&[("x y", disk(&image, &[(7, 19_999_000)]))]), Limits::default());
    let url = format!("http://{}/x%20y", server.address);
    let all = Command::new("curl").args(["-sf", &url]).output().await.unwrap();
    assert!(all.status.success() && all.stdout == whole[7..19_999_007]);
    let part = Command::new("curl").args(["-sf", "-r", "1000000-1999999", &url]).output().await.unwrap();
    assert!(part.stdout == whole[1_000_007..2_000_007]);
    let post = ["-sf", "-w", "%{http_code}", "-H", "Expect: 100-continue", "-d", "done"];
    let url = format!("http://{}/completed", server.address);
    let post = Command::new("curl").args(post).arg(&url).output().await.unwrap();
    assert_eq!(post.stdout, b"200");
    assert_eq!(server.shelf.asked().pop().unwrap(), (Method::Post, "completed".into(), "done".into()));
    server.stop().await;
}

/// A connection from another address of this host.
pub(crate) async fn connect_from(last: u8, server: &Running) -> Client {
    connect_with(tokio::net::TcpSocket::new_v4().unwrap(), last, server).await
}

pub(crate) async fn connect_with(socket: tokio::net::TcpSocket, last: u8, server: &Running) -> Client {
    socket.bind(loopback(last).into()).unwrap();
    Client { stream: socket.connect(server.address.into()).await.unwrap(), buffer: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_that_say_nothing_keep_nobody_out() {
    voldemort::daemon::limits::raise_open_files().unwrap();
    let limits = Limits { connections: 500, connections_per_client: 100, ..Limits::default() };
    let server = serve(shelf(), limits);
    let mut idle = Vec::new();
    for number in 0..2000u16 {
        idle.push(connect_from(10 + (number % 20) as u8, &server).await);
    }
    let mut client = connect_from(200, &server).await;
    assert_eq!(client.get("/boot/x.efi", "").await.body, b"hello");
    // Those that were idle longest made room; the last ones are still served.
    idle[0].closed().await;
    let last = idle.last_mut().unwrap();
    assert_eq!(last.get("/boot/x.efi", "").await.body, b"hello");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_dribble_their_requests_keep_nobody_out_for_long() {
    let limits = Limits { connections: 50, reading: Duration::from_secs(20), ..Limits::default() };
    let server = serve(shelf(), limits);
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut client = Client::connect(&server).await;
        client.send("GET /boot/x.efi HT").await;
        slow.push(client);
    }
    let mut client = Client::connect(&server).await;
    assert_eq!(client.get("/boot/x.efi", "").await.body, b"hello");
    slow[0].closed().await;
    server.stop().await;
}

/// Clients that ask and never read, that never end their request, or say nothing at all, from many addresses
/// and from one: who comes next is served within a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_no_progress_makes_room_whatever_it_waits_for() {
    voldemort::daemon::limits::raise_open_files().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let head = "GET /long HTTP/1.1\nHost: x\n";
    let body = "POST /completed HTTP/1.1\nHost: x\nContent-Length: 9\n\nx";
    for (what, text) in [
        ("never read", format!("{head}\n")),
        ("half heads", head.to_owned()),
        ("half bodies", body.to_owned()),
    ] {
        for addresses in [20_u16, 1] {
            let limits = Limits { connections: 300, connections_per_client: 100, ..Limits::default() };
            let names = [("boot/x.efi", memory(b"hello")), ("long", disk(&image, &[(0, 64 << 20)]))];
            let server = serve(Shelf::with(&names), limits);
            let mut hung = Vec::new();
            for number in 0..400 {
                let mut client = connect_from(10 + (number % addresses) as u8, &server).await;
                client.send(&text).await;
                hung.push(client);
            }
            // The neighbour of those who hang, and somebody else.
            for fresh in [10, 200] {
                let start = std::time::Instant::now();
                loop {
                    let mut client = connect_from(fresh, &server).await;
                    let answer = client.get("/boot/x.efi", "").await;
                    if answer.status() == "HTTP/1.1 200 OK" {
                        break;
                    }
                    assert!(start.elapsed() < PATIENCE, "{what} {addresses}: {}", answer.status());
                }
                assert!(
                    start.elapsed() < Duration::from_secs(2),
                    "{what} {addresses}: {:?}",
                    start.elapsed()
                );
            }
            server.stop().await;
        }
    }
}

/// What curl prints for `path`, trusting `root`.
async fn curl(root: &std::path::Path, arguments: &[&str], url: String) -> std::process::Output {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "--cacert"]).arg(root).args(arguments).arg(url);
    curl.output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_serves_the_same_bytes_to_who_trusts_us() {
    use voldemort::daemon::tls::{Authority, Rooted};
    if !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let whole = bytes(3_000_000);
    std::fs::write(&image, &whole).unwrap();
    let content = disk(&image, &[(1_000_000, 2_000_000), (7, 900_000)]);
    let expected = [&whole[1_000_000..], &whole[7..900_007]].concat();
    let shelf = Shelf::with(&[("disk", content), ("memory", memory(b"hello"))]);
    let authority = Authority::open(folder.path()).unwrap();
    let limits = Limits { reading: Duration::from_secs(1), ..Limits::default() };
    let bound = Server::bind(loopback(1).into(), Files::new(), limits).unwrap();
    let config = authority.sign((*loopback(1).ip()).into()).unwrap();
    let shown = Arc::new(std::sync::Mutex::new(config));
    let showing = shown.clone();
    let bound = bound.secure(Arc::new(move || showing.lock().unwrap().clone()));
    let mut address = loopback(1);
    address.set_port(bound.local_addr().unwrap().port());
    let opener = Arc::new(Rooted::new(Arc::clone(&shelf), Some(&authority)));
    let server = Running::new(address, shelf, |_, stopped| bound.run(opener, stopped));
    let root = folder.path().join("tls/authority.pem");
    let url = |path: &str| format!("https://{address}/{path}");

    let all = curl(&root, &[], url("disk")).await;
    assert!(all.stdout == expected, "{}", String::from_utf8_lossy(&all.stderr));
    let part = curl(&root, &["-r", "1999999-2000000", "--tlsv1.3"], url("disk")).await;
    assert_eq!(part.stdout, expected[1_999_999..2_000_001]);
    let old = curl(&root, &["--tls-max", "1.2", "--http1.0"], url("memory")).await;
    assert_eq!(old.stdout, b"hello", "{}", String::from_utf8_lossy(&old.stderr));
    let twice = curl(&root, &[&url("memory")], url("memory")).await;
    assert_eq!(twice.stdout, b"hellohello");
    let pem = curl(&root, &[], url("ca.pem")).await;
    assert_eq!(pem.stdout, std::fs::read(&root).unwrap());
    let strangers = folder.path().join("strangers");
    let another = Authority::open(&strangers).unwrap();
    let refused = curl(&strangers.join("tls/authority.pem"), &[], url("memory")).await;
    assert_eq!(refused.status.code(), Some(60), "curl's code for a certificate it does not trust");
    // Another certificate is shown from the next connection on.
    *shown.lock().unwrap() = another.sign((*loopback(1).ip()).into()).unwrap();
    let changed = curl(&strangers.join("tls/authority.pem"), &[], url("memory")).await;
    assert_eq!(changed.stdout, b"hello", "{}", String::from_utf8_lossy(&changed.stderr));
    // One that never greets is not waited for.
    Client::connect(&server).await.closed().await;
    server.stop().await;
}
