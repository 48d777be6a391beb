//! A flood of webhook calls over HTTP against the real daemon: genuine, forged, huge, slow, by the
//! thousand. It answers each rightly, fetches once at a time, stays small, and machines notice nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::forge::Forge;
use super::net::{Net, has, within};

const SECRET: &str = "It's a Secret to Everybody";
const API: &str = "127.0.0.1:12345";
/// How long the flood lasts, and the forge takes for one answer.
const FLOOD: Duration = Duration::from_secs(6);
const FETCH: Duration = Duration::from_millis(700);
/// Slow callers at once, of each kind.
const SLOW: usize = 150;

const MANIFEST: &str = "[subnet.lab]\ncidr = '10.0.10.0/24'\ndynamic = '10.0.10.100-10.0.10.199'\n\
                        [boot.local]\nkernel = 'files/vmlinuz'\n\
                        [deployment.harry]\nmac = '00:11:22:33:44:55'\naddress = '10.0.10.30'\nboot = 'local'\n";

fn settings(net: &Net, folder: &Path, port: u16) -> std::path::PathBuf {
    let root = folder.join("inventory");
    std::fs::create_dir_all(root.join("files")).unwrap();
    std::fs::write(root.join("lab.toml"), MANIFEST).unwrap();
    std::fs::write(root.join("files/vmlinuz"), "the kernel").unwrap();
    let secret = folder.join("hook.secret");
    std::fs::write(&secret, SECRET).unwrap();
    let config = detect(net, folder);
    let text = std::fs::read_to_string(&config).unwrap();
    let sources = format!(
        "[inventory.lab]\ndirectory = \"{}\"\n[inventory.forge]\ngit = \"http://127.0.0.1:{port}/x.git\"\n\
         poll = \"1h\"\nwebhook-secret = \"{}\"\n",
        root.display(),
        secret.display()
    );
    std::fs::write(&config, text + "\n" + &sources).unwrap();
    config
}

fn signature(body: &[u8]) -> String {
    let mut sum = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    sum.update(body);
    let hex: String = sum.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X-Hub-Signature-256: sha256={hex}")
}

/// One call; the status of its answer.
fn call(path: &str, header: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(API).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    status(&mut stream)
}

/// 0 where there is no answer.
fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = [0; 256];
    let length = stream.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// What a caller of each kind must be answered.
fn right_and_wrong() {
    let body = vec![b'x'; 100];
    let signed = signature(&body);
    let huge = vec![b'x'; (1 << 20) + 1];
    let most = vec![b'x'; 1 << 20];
    for (path, header, body, code) in [
        ("/hooks/forge", signed.as_str(), &body, 202),
        ("/hooks/forge", "X-Gitlab-Token: It's a Secret to Everybody", &body, 202),
        ("/hooks/forge", "X-Gitlab-Token: nobody's", &body, 401),
        ("/hooks/forge", signature(b"another").as_str(), &body, 401),
        ("/hooks/forge", "X-Nothing: 1", &body, 401),
        ("/hooks/lab", signed.as_str(), &body, 404),
        ("/hooks/nobody", signed.as_str(), &body, 404),
        ("/hooks/forge", signature(&most).as_str(), &most, 202),
        ("/hooks/forge", signature(&huge).as_str(), &huge, 413),
    ] {
        assert_eq!(call(path, header, body), code, "{path} {header} {}", body.len());
    }
    // The length of the body is not announced.
    let mut stream = TcpStream::connect(API).unwrap();
    let head =
        format!("POST /hooks/forge HTTP/1.1\r\nHost: x\r\n{signed}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
    let sent = (0..17).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert_eq!(status(&mut stream), 413, "after {sent} chunks");
}

/// Callers that send a byte from time to time, until they are shown the door.
fn slow(count: usize, start: &str, over: &AtomicBool) -> usize {
    let connect = |_| {
        let mut stream = TcpStream::connect(API).unwrap();
        stream.write_all(start.as_bytes()).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..count).map(connect).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !streams.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        streams.retain_mut(|stream| {
            let mut answer = [0; 512];
            stream.set_nonblocking(true).unwrap();
            match stream.read(&mut answer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    stream.write_all(b"x").is_ok()
                }
                _ => false,
            }
        });
    }
    over.store(true, SeqCst);
    streams.len()
}

fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/statm", daemon.pid())).unwrap();
    status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_flood_of_webhooks_is_one_fetch_at_a_time_and_nobody_notices() {
    if !has("busybox") || !has("curl") {
        return;
    }
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (forge, port) = Forge::start(&net, Some(FETCH));
    let config = settings(&net, folder.path(), port);
    let daemon = Daemon::with(&net, &config, &[]);
    net.client_ip(&["address", "add", "10.0.10.30/24", "dev", "cli"]);
    within(&net.server, right_and_wrong);

    let (before, asked_before, began) = (resident(&daemon), forge.asked.load(SeqCst), Instant::now());
    let (calls, gone) = (AtomicU64::new(0), [AtomicBool::new(false), AtomicBool::new(false)]);
    let flood = || began.elapsed() < FLOOD;
    let enter = |work: &dyn Fn()| {
        super::net::enter(&net.server);
        work();
    };
    let most = std::thread::scope(|scope| {
        for kind in 0..6 {
            let (calls, enter, flood) = (&calls, &enter, &flood);
            scope.spawn(move || {
                enter(&|| {
                    let body = vec![b'x'; if kind < 2 { 1 << 20 } else { 64 }];
                    let (header, code) = match kind {
                        0 | 2 => (signature(&body), 202),
                        1 | 3 => (signature(b"another"), 401),
                        4 => ("X-Nothing: 1".to_owned(), 401),
                        _ => (format!("X-Gitlab-Token: {SECRET}"), 202),
                    };
                    while flood() {
                        let status = call("/hooks/forge", &header, &body);
                        // Bodies wait for their turn behind the slow ones, and not for ever.
                        assert!(status == code || (status == 408 && kind < 4), "{kind}: {status}");
                        calls.fetch_add(1, SeqCst);
                    }
                });
            });
        }
        let bodies = format!(
            "POST /hooks/forge HTTP/1.1\r\nHost: x\r\n{}\r\nContent-Length: 1000000\r\n\r\n",
            signature(b"")
        );
        let heads = "POST /hooks/forge HTTP/1.1\r\nX-Slow: ".to_owned();
        for (start, over) in [bodies, heads].into_iter().zip(&gone) {
            let enter = &enter;
            scope.spawn(move || {
                enter(&|| assert_eq!(slow(SLOW, &start, over), 0, "slow ones are shown the door"))
            });
        }
        // Meanwhile machines boot.
        let (mut most, mut rounds) = (0, 0);
        while flood() || !gone.iter().all(|over| over.load(SeqCst)) {
            let asked = Instant::now();
            let script = net.client_output(&[
                "curl",
                "-s",
                "--max-time",
                "5",
                "http://10.0.10.1/ipxe/00-11-22-33-44-55.ipxe",
            ]);
            assert!(script.starts_with("#!ipxe"), "{script}");
            net.client_mac("00:11:22:33:44:55");
            let lease =
                net.client_output(&["sh", "-c", "busybox udhcpc -f -q -n -t 3 -i cli -s /bin/true 2>&1"]);
            assert!(lease.contains("lease of 10.0.10.30"), "{lease}");
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            most = most.max(resident(&daemon));
            rounds += 1;
        }
        assert!(rounds > 2, "{rounds} rounds");
        most
    });
    let (calls, lasted) = (calls.load(SeqCst), began.elapsed());
    let asked = forge.asked.load(SeqCst) - asked_before;
    println!("{calls} calls, {asked} fetches in {lasted:?}, {} KiB more", most.saturating_sub(before) >> 10);
    assert!(calls > 500, "{calls} calls");
    assert_eq!(forge.most.load(SeqCst), 1, "one fetch at a time");
    assert!(asked >= 2 && asked <= lasted.as_secs() + 2, "{asked} fetches in {lasted:?}");
    assert!(most < before + (64 << 20), "{} KiB more", (most - before) >> 10);

    // One more call is one more fetch.
    let rest = || format!("{} {}", forge.now.load(SeqCst), forge.asked.load(SeqCst));
    std::thread::sleep(FETCH * 2);
    eventually("the last fetch ends", rest, |text| text.starts_with("0 "));
    let asked = forge.asked.load(SeqCst);
    let body = b"{}";
    assert_eq!(within(&net.server, || call("/hooks/forge", &signature(body), body)), 202);
    eventually("it is fetched again", rest, |text| {
        *text == format!("1 {}", asked + 1) || *text == format!("0 {}", asked + 1)
    });
    let status = net.server_output(&[VOLDEMORTCTL, "get", "status"]);
    assert!(status.contains("Unreachable") && status.contains("Ready"), "{status}");
    assert_eq!(daemon.stop(), Some(0));
}
