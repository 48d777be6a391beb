//! The rooms of the house import only what DESIGN.md allows, and the pure ones touch nothing
//! outside their arguments.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room, whether it is pure, and the rooms it may import. Whoever may import `desired` may name
/// the media and templates that its values are made of.
const ROOMS: &[(&str, bool, &[&str])] = &[
    ("model", true, &[]),
    ("manifest", true, &["model"]),
    ("edit", true, &["model", "manifest", "render"]),
    ("render", true, &["model"]),
    ("secret", false, &["model"]),
    ("media", false, &["model"]),
    ("desired", true, &["model", "manifest", "render", "secret", "media"]),
    ("state", true, &["model", "desired", "media", "render"]),
    ("plan", true, &["model", "desired", "media", "render", "state"]),
    ("proto", true, &["model", "desired", "media", "render", "state"]),
    ("walk", true, &["model", "desired", "media", "render", "state", "proto"]),
    (
        "inventory",
        false,
        &["model", "manifest", "render", "media", "desired", "state", "plan", "proto", "walk"],
    ),
    ("source", false, &["model"]),
    ("store", false, &["model", "state"]),
    ("power", false, &["model"]),
    ("api", false, &["model", "edit", "secret", "desired", "state", "plan"]),
    ("config", false, &["model"]),
];

/// What a pure room must not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env::",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::process",
    "std::thread",
    "tokio::",
    "SystemTime::now",
    "Instant::now",
    "rand::",
    "getrandom",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Code without comments, and without test modules at the end of a file.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = product.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Rooms named by `crate::room` and `crate::{room::…, other}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    for after in code.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            rooms.insert(word(after));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    rooms.insert(word(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        rooms.insert(word(item.trim()));
    }
    rooms.remove("");
    rooms
}

fn sources(room: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src.join(room), &mut found);
    found.push(src.join(format!("{room}.rs")));
    found.retain(|path| path.is_file() && !path.ends_with("tests.rs"));
    found.sort();
    found
}

#[test]
fn rooms_import_what_they_may() {
    let mut wrong = Vec::new();
    for (room, _, allowed) in ROOMS {
        for path in sources(room) {
            let text = std::fs::read_to_string(&path).unwrap();
            for other in imports(&code(&text)) {
                let known =
                    ROOMS.iter().any(|(name, ..)| *name == other) || ["daemon", "cli"].contains(&&*other);
                if known && other != *room && !allowed.contains(&&*other) {
                    wrong.push(format!("{}: {room} must not import {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_are_pure() {
    let mut wrong = Vec::new();
    for (room, ..) in ROOMS.iter().filter(|(_, pure, _)| *pure) {
        for path in sources(room) {
            let text = code(&std::fs::read_to_string(&path).unwrap());
            let outside = IMPURE.iter().filter(|name| names(&text, name));
            wrong.extend(outside.map(|name| format!("{}: {room} must not use {name}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether code names a path, also as `use std::{fs, …}`.
fn names(code: &str, path: &str) -> bool {
    let whole = |(at, _): (usize, &str)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    if code.match_indices(path).any(whole) {
        return true;
    }
    let Some(item) = path.strip_prefix("std::") else { return false };
    let item = item.split("::").next().unwrap();
    item != "net"
        && code.split("use std::{").skip(1).any(|group| {
            let group = group.split(';').next().unwrap();
            group.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == item)
        })
}

#[test]
fn planted_violations_are_found() {
    let found = imports("use crate::{daemon::Keeper, model::{Mac, Name}};\nlet x = crate::cli::run();");
    assert_eq!(found, ["cli", "daemon", "model"].map(String::from).into());
    assert!(imports(&code("// crate::daemon\n#[cfg(test)]\nmod tests { use crate::cli; }")).is_empty());
    assert!(names("use std::{fmt, fs};", "std::fs"));
    assert!(names("let now = std::time::Instant::now();", "Instant::now"));
    assert!(!names("operand::x", "rand::"));
}

/// `print!` panics where the reader of a pipe has seen enough: commands print by `cli::exit`.
#[test]
fn commands_survive_a_closed_pipe() {
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli"), &mut found);
    for path in found {
        let code = code(&std::fs::read_to_string(&path).unwrap());
        let prints = ["print!(", "println!(", "dbg!("].iter().any(|word| code.contains(word));
        assert!(!prints, "{} prints by itself", path.display());
    }
}
