//! `-o json` prints only JSON, errors included, whatever the command.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{Ran, voldemort};

fn parsed(ran: &Ran, line: &[&str]) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{line:?}: {error}\n{}", ran.out))
}

/// A copy of the example inventory, in a folder of its own.
fn inventory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory/.");
    let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    folder
}

#[test]
fn every_failure_is_one_object_with_an_error() {
    let folder = inventory();
    std::fs::create_dir(folder.path().join("wrong")).unwrap();
    std::fs::write(folder.path().join("wrong/a.toml"), "[subnet.x]\ncidr = 5\n").unwrap();
    let lines: [(&[&str], i32); 24] = [
        // Wrong usage, also of commands that have no such flag.
        (&["render", "-o", "json"], 64),
        (&["resolved", "-o", "json"], 64),
        (&["why", "-ojson"], 64),
        (&["plan", "--output=json", "--no-such-flag"], 64),
        (&["apply", "-o", "json", "--no-such-flag"], 64),
        (&["check", "--format", "json", "--no-such-flag"], 64),
        (&["check", "--format=jsonl", "--fix", "--watch"], 64),
        (&["init", "-o", "json"], 64),
        (&["no-such-command", "-o", "json"], 64),
        // No inventory, or a wrong one.
        (&["check", "nowhere", "--format", "json"], 1),
        (&["check", "nowhere", "-o", "json"], 1),
        (&["check", "--env", "nowhere", "--format", "jsonl"], 1),
        (&["render", "web-1", "nowhere", "-o", "json"], 1),
        (&["render", "web-1", "wrong", "-o", "json"], 1),
        (&["resolved", "web-1", "nowhere", "-o", "json"], 1),
        (&["resolved", "web-1", "wrong", "-o", "json"], 1),
        (&["why", "web-1", "nowhere", "-o", "json"], 1),
        (&["why", "web-1", "wrong", "-o", "json"], 1),
        (&["plan", "nowhere", "-o", "json"], 1),
        (&["plan", "--against", "HEAD", "-o", "json"], 1),
        (&["apply", "nowhere", "-o", "json"], 1),
        // No such thing in it.
        (&["render", "nobody", "-o", "json"], 1),
        (&["render", "web-1", "--file", "nothing", "-o", "json"], 1),
        (&["resolved", "nobody", "-o", "json"], 1),
    ];
    for (line, code) in lines {
        let ran = voldemort(folder.path(), line);
        assert_eq!(ran.code, code, "{line:?}: {}", ran.err);
        let error = parsed(&ran, line)["error"].as_str().map(str::to_owned);
        assert!(error.is_some_and(|error| !error.trim().is_empty()), "{line:?}: {}", ran.out);
        assert!(!ran.err.is_empty(), "{line:?}: people get a message, too");
    }
}

#[test]
fn what_is_rendered_is_told_with_its_name() {
    let folder = inventory();
    for (line, what, name) in [
        (&["render", "web-1", "-o", "json"][..], "file", "preseed.cfg"),
        (&["render", "web-1", "--script", "grub", "-o", "json"], "script", "grub"),
    ] {
        let ran = voldemort(folder.path(), line);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let found = parsed(&ran, line);
        assert_eq!((found["deployment"].as_str(), found[what].as_str()), (Some("web-1"), Some(name)));
        let plain = voldemort(folder.path(), &line[..line.len() - 2]);
        assert_eq!(found["text"].as_str(), Some(plain.out.as_str()), "the same text, byte for byte");
    }
}

#[test]
fn check_takes_the_flag_of_the_others() {
    let folder = inventory();
    let ran = voldemort(folder.path(), &["check", "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(parsed(&ran, &["check"])["summary"]["errors"], 0);
}

/// Answers the requests of one connection as a daemon of one machine, which nobody may switch.
fn answer(mut stream: UnixStream) {
    let machine = r#"{"name": "m1", "macs": [], "labels": {}, "state": "free", "deployment": null, "protected": false,
        "address": null, "arch": null, "last_seen": null, "origin": null}"#;
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut first, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.parse().unwrap();
            }
            match line.as_str() {
                "" => break,
                line if first.is_empty() => first = line.to_owned(),
                _ => {}
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        let (status, body) = match first.split(' ').next() {
            Some("head") => ("200 OK", String::new()),
            Some("get") => ("200 OK", format!("[{machine}]")),
            _ => ("409 Conflict", r#"{"title": "Conflict", "detail": "it can't be switched"}"#.to_owned()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }
}

#[test]
fn what_is_refused_or_not_agreed_to_is_one_document() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap())));
    let server = format!("unix:{}", socket.display());
    // Nobody is there to agree; of several machines there is a list.
    for (line, code, is_list) in [
        ("power on m1", 1, false),
        ("power on m*", 1, true),
        ("power off m1", 3, false),
        ("hold m* -m broken", 3, false),
        ("hold m1 -m broken", 1, false),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voldemortctl"));
        command.args(line.split(' ')).args(["-o", "json", "--server", &server]).stdin(Stdio::null());
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}: {err}");
        let found: Value =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line}: {error}\n{out}"));
        let is_right = if is_list { found == serde_json::json!([]) } else { found["error"].is_string() };
        assert!(is_right, "{line}: {out}");
        assert!(!err.is_empty(), "{line}: people get a message, too");
    }
}
