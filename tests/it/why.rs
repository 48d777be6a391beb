//! `voldemort why`, with a daemon and without one.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::{Ran, voldemort};

const INVENTORY: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
[boot.b]
kernel = "k"
[machine.m1]
mac = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]
[machine.m2]
mac = "52:54:00:aa:00:03"
[deployment.web-1]
subnet = "lab"
boot = "b"
machine = "m1"
address = "10.0.10.21"
"#;

/// Nobody listens there.
const NOWHERE: [&str; 2] = ["--server", "127.0.0.1:1"];

fn inventory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), INVENTORY).unwrap();
    std::fs::write(folder.path().join("k"), "kernel").unwrap();
    folder
}

fn why(folder: &Path, arguments: &[&str]) -> Ran {
    voldemort(folder, &[&["why"], arguments].concat())
}

fn parsed(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

#[test]
fn without_a_daemon_the_inventory_answers() {
    let folder = inventory();
    let parent = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().to_str().unwrap();
    for (place, subject) in [
        (folder.path(), &["web-1"][..]),
        (folder.path(), &["52-54-00-AA-00-01"]),
        (parent.path(), &["web-1", elsewhere]),
    ] {
        let ran = why(place, &[subject, &NOWHERE].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        for part in ["web-1 on machine m1", "10.0.10.21", "a.toml:10:13", "no daemon answers at 127.0.0.1:1"]
        {
            assert!(ran.out.contains(part), "{part}: {}", ran.out);
        }
        let next = ran.out.lines().find(|line| line.contains("next boot")).unwrap_or_default();
        assert!(!next.contains("installs") || next.contains("unless it was installed before"), "{next}");
        let ran = why(place, &[subject, &NOWHERE, &["-o", "json"]].concat());
        assert_eq!((ran.code, &parsed(&ran)["deployment"]["name"]), (0, &json!("web-1")));
    }
}

#[test]
fn with_neither_the_failure_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let ran = why(folder.path(), &[&["web-1"], &NOWHERE[..]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (5, ""));
    assert!(ran.err.contains("127.0.0.1:1") && ran.err.contains("why web-1 DIR"), "{}", ran.err);
    let ran = why(folder.path(), &[&["web-1", "-o", "json"], &NOWHERE[..]].concat());
    assert_eq!(ran.code, 5);
    assert!(parsed(&ran)["error"].as_str().unwrap().contains("no daemon answers"));
}

#[test]
fn look_alikes_are_of_cards_that_are_in_no_manifest() {
    let folder = inventory();
    let alike = |subject: &str| -> Vec<String> {
        let ran = why(folder.path(), &[&[subject, "-o", "json"], &NOWHERE[..]].concat());
        let found = parsed(&ran)["look_alikes"].as_array().unwrap().clone();
        found.iter().map(|one| one["mac"].as_str().unwrap().to_owned()).collect()
    };
    // Cards of one rack are numbered in sequence: of those that are written none is a mistake.
    assert!(alike("web-1").is_empty() && alike("52:54:00:aa:00:01").is_empty());
    let strange = ["52:54:00:aa:00:01", "52:54:00:aa:00:02", "52:54:00:aa:00:03"];
    assert_eq!(alike("52:54:00:aa:00:0b"), strange);
}

/// Answers each request of one connection as a daemon does, HEAD without a body, and gives the address. A command
/// asks HEAD first: what closed the connection after one answer was gone before the second, at times.
fn daemon(body: Value) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut request = Vec::new();
        let mut part = [0; 4096];
        loop {
            match stream.read(&mut part) {
                Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
                _ => return,
            }
            // No request here has a body.
            if request.ends_with(b"\r\n\r\n") {
                let body = if request.starts_with(b"HEAD ") { "" } else { &body };
                request.clear();
                stream.write_all((head.clone() + body).as_bytes()).unwrap();
            }
        }
    });
    (address, serve)
}

#[test]
fn a_daemon_adds_what_happened_to_what_the_inventory_says() {
    let folder = inventory();
    let event = json!({
        "seq": 7, "at": "2026-01-01T00:00:00Z", "at_ms": 7, "stage": "offer", "mac": "52:54:00:aa:00:01",
        "address": null, "deployment": "web-1", "text": "10.0.10.21 offered",
    });
    let (address, serve) = daemon(json!({
        "subject": "web-1", "verdict": "it was offered an address", "machine": null, "deployment": null,
        "offers": [], "boot": [event], "look_alikes": [],
    }));
    let token = folder.path().join("token");
    std::fs::write(&token, "any\n").unwrap();
    let ran = why(folder.path(), &["web-1", ".", "--server", &address, "--token-file", "token"]);
    serve.join().unwrap();
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["a.toml:10:13", "last boot: it was offered an address", "10.0.10.21 offered"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}
