//! The rooms of `src/lib.rs` import only what the table there allows, and the pure ones touch nothing
//! outside their arguments. The table is read from that page: there is no second one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A row of the table in `src/lib.rs`.
#[derive(Debug)]
struct Room {
    name: String,
    is_pure: bool,
    may_import: BTreeSet<String>,
}

/// The table of rooms and the list of pure ones, as the documentation of the crate has them.
fn rooms() -> Vec<Room> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    read_rooms(&page)
}

fn read_rooms(page: &str) -> Vec<Room> {
    let words = |text: &str| -> BTreeSet<String> {
        text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    };
    let pure = page.split("The pure rooms (").nth(1).expect("the page lists the pure rooms");
    let pure = words(pure.split(')').next().unwrap());
    let mut rooms: Vec<Room> = Vec::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("//! | [`")) {
        let (name, rest) = row.split_once("`]").expect("the first column is a link");
        let column = rest.trim_end().trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let mut may_import = match column {
            "–" => BTreeSet::new(),
            "all above" => rooms.iter().map(|room| room.name.clone()).collect(),
            names => words(names),
        };
        if may_import.contains("desired") {
            may_import.extend(["media", "render"].map(String::from));
        }
        rooms.push(Room { name: name.to_owned(), is_pure: pure.contains(name), may_import });
    }
    rooms
}

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

/// Rooms named by `crate::room`, by `crate::{room::…, other}`, or by as many `super::` as lead from a file
/// `depth` modules below the crate's root (1: the room's own file) to that root.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let word =
        |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let climb = "super::".repeat(depth);
    for after in code.split("crate::").skip(1).chain(code.split(&climb).skip(1)) {
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

/// How many modules a file of `src` lies below the crate's root.
fn depth(path: &Path) -> usize {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    path.strip_prefix(src).unwrap().components().count()
}

#[test]
fn rooms_import_what_they_may() {
    let rooms = rooms();
    let mut wrong = Vec::new();
    for room in &rooms {
        for path in sources(&room.name) {
            let text = std::fs::read_to_string(&path).unwrap();
            for other in imports(&code(&text), depth(&path)) {
                let is_room = rooms.iter().any(|one| one.name == other);
                if is_room && other != room.name && !room.may_import.contains(&other) {
                    wrong.push(format!("{}: {} must not import {other}", path.display(), room.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table has each module of the crate, and names no other.
#[test]
fn the_table_is_whole() {
    let page = include_str!("../../src/lib.rs");
    let modules = page.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: BTreeSet<String> = modules.map(String::from).collect();
    let rooms = rooms();
    let listed: BTreeSet<String> = rooms.iter().map(|room| room.name.clone()).collect();
    assert_eq!(listed, modules);
    for room in &rooms {
        let unknown: Vec<&String> = room.may_import.difference(&modules).collect();
        assert!(unknown.is_empty(), "{} may import {unknown:?}, which are no rooms", room.name);
    }
    assert_eq!(rooms.iter().filter(|room| room.is_pure).count(), 10);
}

#[test]
fn pure_rooms_are_pure() {
    let mut wrong = Vec::new();
    for room in rooms().iter().filter(|room| room.is_pure) {
        for path in sources(&room.name) {
            let text = code(&std::fs::read_to_string(&path).unwrap());
            let outside = IMPURE.iter().filter(|name| names(&text, name));
            wrong
                .extend(outside.map(|name| format!("{}: {} must not use {name}", path.display(), room.name)));
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
    let found = imports("use crate::{daemon::Keeper, model::{Mac, Name}};\nlet x = crate::cli::run();", 2);
    assert_eq!(found, ["cli", "daemon", "model"].map(String::from).into());
    assert!(imports(&code("// crate::daemon\n#[cfg(test)]\nmod tests { use crate::cli; }"), 2).is_empty());
    let climbs = "use super::super::{daemon::Keeper, cli};\nuse super::model;";
    assert_eq!(imports(climbs, 2), ["cli", "daemon"].map(String::from).into());
    assert_eq!(imports("use super::daemon::Keeper;", 1), ["daemon"].map(String::from).into());
    assert!(imports(climbs, 3).is_empty());
    let table = "//! The pure rooms (a) …\n//! | [`a`] | x | – |\n//! | [`b`] | y | a |\n//! | [`c`] | z | all above |";
    let rooms = read_rooms(table);
    assert!(rooms[0].is_pure && !rooms[1].is_pure && !rooms[0].may_import.contains("b"));
    assert_eq!(rooms[2].may_import, ["a", "b"].map(String::from).into());
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

/// A thread whose handle is dropped may end the process (see `voldemort::thread`): who does not join one starts it there.
#[test]
fn threads_are_joined_by_somebody() {
    let join = ["src/thread.rs", "src/daemon/keeper.rs", "src/store/events.rs"];
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    for path in found.iter().filter(|path| !join.iter().any(|own| path.ends_with(own))) {
        let code = code(&std::fs::read_to_string(path).unwrap());
        let spawns = ["thread::spawn(", "thread::Builder"].iter().any(|word| code.contains(word));
        assert!(!spawns, "{} starts a thread by itself", path.display());
    }
}

/// A file that is not declared would be in no list, and never found.
#[test]
fn each_file_of_an_installer_is_in_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/installer");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let files: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().replace('_', "-")).collect();
    let kinds = voldemort::render::Kind::NAMES.iter().map(|name| (*name).to_owned());
    assert_eq!(files, kinds.collect());
}
