//! `-o json` prints only JSON, errors included, whatever the command.

use std::path::Path;

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
