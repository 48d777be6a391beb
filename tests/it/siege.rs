//! The byte servers against hostile or careless clients: what these can use is bounded, and no other client
//! has to wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use voldemort::daemon::http::Limits;
use voldemort::daemon::tftp;

use crate::http::{Client, connect_from, connect_with, serve, shelf};
use crate::kit::{Shelf, alone, bytes, disk, loopback, memory, resident};
use crate::tftp::serve_at;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_requests_in_one_go_are_answered_in_order() {
    let content = bytes(3000);
    let server = serve(Shelf::with(&[("x", memory(&content))]), Limits::default());
    let mut client = Client::connect(&server).await;
    let one = |at: usize| format!("GET /x HTTP/1.1\nHost: x\nRange: bytes={at}-{at}\n\n");
    client.send(&(0..500).map(one).collect::<String>()).await;
    for at in 0..500 {
        assert_eq!(client.answer().await.body, &content[at..=at], "{at}");
    }
    server.stop().await;
}

#[tokio::test]
async fn heads_say_what_a_get_would() {
    let server = serve(shelf(), Limits::default());
    let mut client = Client::connect(&server).await;
    for path in ["/boot/x.efi", "/empty", "/nothing", "/forbidden", "/gone", "/busy", "/completed"] {
        let get = client.get(path, "").await;
        client.send(&format!("HEAD {path} HTTP/1.1\nHost: x\n\n")).await;
        let head = client.head().await;
        for field in ["Content-Length", "Content-Type", "Etag", "Retry-After", "Connection"] {
            assert_eq!(head.field(field), get.field(field), "{path} {field}");
        }
        assert_eq!(head.status(), get.status(), "{path}");
    }
    // Nothing of a body has come: the next answer begins where it should.
    assert_eq!(client.get("/boot/x.efi", "").await.body, b"hello");
    server.stop().await;
}

#[tokio::test]
async fn what_two_readers_could_read_in_two_ways_is_read_in_none() {
    let server = serve(shelf(), Limits::default());
    for request in [
        "POST /completed HTTP/1.1\nHost: x\nContent-Length: 4\nContent-Length: 0\n\nGET /boot/x.efi HTTP/1.1\nHost: x\n\n",
        "POST /completed HTTP/1.1\nHost: x\nContent-Length: 0\nTransfer-Encoding: chunked\n\n0\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n",
        "GET /boot/x.efi HTTP/1.1\nHost: x\nX: a\n folded: b\n\n",
        "GET /boot/x.efi HTTP/1.1\nHost: x\nX: \0\n\n",
        "GET /boot/%2e%2e/%2E./etc/passwd HTTP/1.1\nHost: x\n\n",
        "GET /boot%5c..%5cx HTTP/1.1\nHost: x\n\n",
        "GET /boot/x.efi HTTP/1.1\n\n",
        "GET /boot/x.efi HTTP/1.1\nHost: x\nHost: y\n\n",
        "GET /boot/x.efi HTTP/1.0\nHost: x y\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: \u{a0}chunked\n\n0\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\u{2003}\n\n0\n\n",
        "POST /completed HTTP/1.1\nHost: x\nContent-Length: \u{a0}0\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n\u{a0}0\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\u{b}\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0 \n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0;a\rb\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0;a=\"\u{0}\"\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\nX: a\rb\n\n",
        "POST /completed HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n0\n X: folded\n\n",
    ] {
        let mut client = Client::connect(&server).await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), "HTTP/1.1 400 Bad Request", "{request:?}");
        client.closed().await;
    }
    assert_eq!(server.shelf.asked(), []);
    // Escapes are undone once, and only once.
    let mut client = Client::connect(&server).await;
    assert_eq!(client.get("/%252e%252e/x", "").await.status(), "HTTP/1.1 404 Not Found");
    server.stop().await;
}

#[tokio::test]
async fn thousands_of_ranges_cost_no_more_than_the_whole() {
    let content = bytes(100_000);
    let server = serve(Shelf::with(&[("x", memory(&content))]), Limits::default());
    let mut client = Client::connect(&server).await;
    let many: Vec<String> = (0..3000).map(|at| format!("{at}-")).collect();
    let tails = ["0-,".repeat(2000), "9-1,".repeat(1000), "-0,".repeat(1000)];
    for ranges in tails.iter().map(String::as_str).chain([&*many.join(",")]) {
        let answer = client.get("/x", &format!("Range: bytes={ranges}\n")).await;
        let whole = answer.status() == "HTTP/1.1 200 OK" && answer.body == content;
        assert!(whole || answer.status() == "HTTP/1.1 431 Request Header Fields Too Large", "{ranges:.20}");
        if !whole {
            client = Client::connect(&server).await;
        }
    }
    for (range, status) in [
        ("18446744073709551615-", "HTTP/1.1 416 Range Not Satisfiable"),
        ("-0", "HTTP/1.1 416 Range Not Satisfiable"),
        ("5-2", "HTTP/1.1 200 OK"),
        ("0-18446744073709551616", "HTTP/1.1 206 Partial Content"),
    ] {
        assert_eq!(client.get("/x", &format!("Range: bytes={range}\n")).await.status(), status, "{range}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_read_a_byte_at_a_time_cost_little_and_hold_up_nobody() {
    if !alone("siege::those_who_read_a_byte_at_a_time_cost_little_and_hold_up_nobody") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(1 << 30).unwrap();
    let content = [("big", disk(&image, &[(0, 1 << 30)])), ("x", memory(b"hello"))];
    let limits = Limits { stalled: Duration::from_secs(2), ..Limits::default() };
    let server = serve(Shelf::with(&content), limits);
    let before = resident();
    let mut slow = Vec::new();
    for number in 0..400u16 {
        let mut client = connect_from(10 + (number % 4) as u8, &server).await;
        client.send("GET /big HTTP/1.1\nHost: x\n\n").await;
        slow.push(client);
    }
    for round in 0..3 {
        for client in &mut slow {
            let mut byte = [0];
            timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut client.stream, &mut byte))
                .await
                .unwrap()
                .unwrap();
        }
        let mut client = connect_from(200, &server).await;
        assert_eq!(client.get("/x", "").await.body, b"hello", "{round}");
    }
    let used = resident().saturating_sub(before);
    assert!(used < 64 << 20, "{} MB for 400 slow readers", used >> 20);
    // Who takes nothing at all is given up.
    let ended = timeout(PATIENCE, server.shelf.ended(403)).await.unwrap();
    assert_eq!(ended.iter().filter(|(_, complete)| !complete).count(), 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_are_taken_and_the_next_one_served() {
    if !alone("siege::ten_thousand_connections_are_taken_and_the_next_one_served") {
        return;
    }
    let files = voldemort::daemon::limits::raise_open_files().unwrap();
    if files < 21_000 {
        return eprintln!("SKIPPED: this process may hold only {files} files");
    }
    let server = serve(shelf(), Limits::default());
    let before = resident();
    let mut open = Vec::new();
    for number in 0..10_000u16 {
        open.push(connect_from(10 + (number % 50) as u8, &server).await);
    }
    let mut client = connect_from(200, &server).await;
    assert_eq!(client.get("/boot/x.efi", "").await.body, b"hello");
    let last = open.last_mut().unwrap();
    assert_eq!(last.get("/boot/x.efi", "").await.body, b"hello");
    let used = resident().saturating_sub(before);
    assert!(used < 150 << 20, "{} MB for both ends of 10,000 connections", used >> 20);
    server.stop().await;
}

/// More connections than the server takes, each with a reply that is never read, or a head that never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_thousand_that_never_go_on_keep_nobody_out() {
    if !alone("siege::eight_thousand_that_never_go_on_keep_nobody_out") {
        return;
    }
    const MANY: u64 = 8300;
    let files = voldemort::daemon::limits::raise_open_files().unwrap();
    if files < 2 * MANY + 200 {
        return eprintln!("SKIPPED: this process may hold only {files} files");
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    for text in ["GET /long HTTP/1.1\nHost: x\n\n", "GET /long HTTP/1.1\nHost: x\n"] {
        let names = [("x", memory(b"hello")), ("long", disk(&image, &[(0, 64 << 20)]))];
        let server = serve(Shelf::with(&names), Limits::default());
        let mut hung = Vec::new();
        for number in 0..MANY {
            // Small buffers, so that the host's kernel has room for all of them.
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut client = connect_with(socket, 10 + (number % 60) as u8, &server).await;
            client.send(text).await;
            hung.push(client);
        }
        for fresh in [10, 200] {
            let start = std::time::Instant::now();
            let mut client = connect_from(fresh, &server).await;
            assert_eq!(client.get("/x", "").await.body, b"hello", "{text:?}");
            assert!(start.elapsed() < Duration::from_secs(1), "{text:?}: {:?}", start.elapsed());
        }
        drop(hung);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_the_name_of_others_keep_no_machine_out() {
    let content = bytes(3000);
    for single_port in [false, true] {
        let limits = tftp::Limits { transfers: 50, ..tftp::Limits::default() };
        let server = serve_at(Shelf::with(&[("x", memory(&content))]), limits, single_port);
        // They receive the answers and send nothing, as hosts behind a filter do.
        let mut silent = Vec::new();
        for number in 0..200u8 {
            let socket = UdpSocket::bind(loopback(20 + number % 40)).await.unwrap();
            socket.send_to(b"\0\x01x\0octet\0tsize\x000\0", server.address).await.unwrap();
            silent.push(socket);
        }
        let machine = Arc::new(UdpSocket::bind(loopback(200)).await.unwrap());
        let mut buffer = [0; 2000];
        let served = async {
            loop {
                machine.send_to(b"\0\x01x\0octet\0blksize\x001000\0", server.address).await.unwrap();
                let wait = Duration::from_millis(250);
                if let Ok(received) = timeout(wait, machine.recv_from(&mut buffer)).await {
                    return received.unwrap();
                }
            }
        };
        // Sooner than those who were first are given up.
        let (length, from) = timeout(Duration::from_secs(10), served).await.expect("an answer");
        assert_eq!(&buffer[..length], b"\0\x06blksize\x001000\0");
        machine.send_to(&[0, 4, 0, 0], from).await.unwrap();
        let (length, _) = timeout(PATIENCE, machine.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(buffer[..length], [&[0, 3, 0, 1], &content[..1000]].concat());
        machine.send_to(&[0, 4, 0, 1], from).await.unwrap();
        let (length, _) = timeout(PATIENCE, machine.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(buffer[..4], [0, 3, 0, 2], "{length}");
        machine.send_to(b"\0\x05\0\0enough\0", from).await.unwrap();
        let ended = timeout(PATIENCE, server.shelf.ended(1)).await.expect("a report");
        assert_eq!(ended, [(1000, false)], "only the machine is reported");
        server.stop().await;
    }
}
