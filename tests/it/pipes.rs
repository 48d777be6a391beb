//! Commands whose reader goes: `… | head -1` ends them quietly, with the code that they have anyhow; a full disk is
//! a failure.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;

const VOLDEMORT: &str = env!("CARGO_BIN_EXE_voldemort");
const VOLDEMORTCTL: &str = env!("CARGO_BIN_EXE_voldemortctl");
const MANIFEST: &str = "[subnet.lab]\ncidr = '10.0.10.0/24'\n[boot.b]\nkernel = 'linux'\n\
    [deployment.web-1]\nmac = '52:54:00:aa:00:01'\naddress = '10.0.10.20'\nboot = 'b'\n";

/// What a command reads and how it ends with a stdout and a stderr.
fn run(folder: &Path, words: &[&str], out: Stdio, err: Stdio) -> Output {
    let program = if words[0] == "voldemort" { VOLDEMORT } else { VOLDEMORTCTL };
    let mut command = Command::new(program);
    command.args(&words[1..]).current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command.stdin(Stdio::null()).stdout(out).stderr(err).output().unwrap()
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// With the same words, whatever becomes of what it prints. `prints` are those that succeed and print.
fn check(folder: &Path, words: &[&str], prints: bool) {
    let whole = run(folder, words, Stdio::piped(), Stdio::piped());
    let code = whole.status.code();
    assert_eq!(code == Some(0), prints, "{words:?}: {}", String::from_utf8_lossy(&whole.stderr));
    assert!(!prints || !whole.stdout.is_empty(), "{words:?} prints nothing");
    for (out, err) in [(closed(), Stdio::piped()), (Stdio::piped(), closed()), (closed(), closed())] {
        let cut = run(folder, words, out, err);
        let said = String::from_utf8_lossy(&cut.stderr).into_owned();
        assert_eq!(cut.status.code(), code, "{words:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{words:?}: {said}");
    }
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let full = run(folder, words, full.into(), Stdio::piped());
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(!said.contains("panicked"), "{words:?}: {said}");
    if prints {
        assert_eq!(full.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("can't write to stdout: No space left"), "{words:?}: {said}");
    }
}

/// The paths of all commands below one.
fn below(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
    found.push(path.to_vec());
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        below(inner, &[path, &[inner.get_name().to_owned()]].concat(), found);
    }
}

#[test]
fn a_reader_that_goes_ends_a_command_quietly_and_a_full_disk_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("lab.toml"), MANIFEST).unwrap();
    std::fs::write(here.join("linux"), "the kernel").unwrap();
    for line in [
        "voldemort plan --against empty",
        "voldemort plan --against empty -o json",
        "voldemort plan --against empty -o markdown",
        "voldemort render web-1",
        "voldemort resolved web-1",
        "voldemort resolved web-1 -o json",
        "voldemort why web-1 . --server 127.0.0.1:1",
        "voldemort why web-1 . --server 127.0.0.1:1 -o json",
        "voldemort explain V0011",
        "voldemort explain",
        "voldemort completions bash",
        "voldemort completions zsh --ctl",
        "voldemort schema",
        "voldemort secret keygen",
        "voldemortctl context list",
        "voldemortctl context list -o json",
    ] {
        check(here, &line.split(' ').collect::<Vec<_>>(), true);
    }
    for line in [
        "voldemort check --format concise",
        "voldemortctl get boots --server 127.0.0.1:1",
        "voldemortctl get boots --server 127.0.0.1:1 -o json",
        "voldemortctl events --server 127.0.0.1:1 -o jsonl",
        "voldemortctl context show -o json",
        "voldemort nonsense",
        "voldemortctl get nonsense -o json",
    ] {
        std::fs::write(here.join("lab.toml"), format!("{MANIFEST}x = 1\n")).unwrap();
        check(here, &line.split(' ').collect::<Vec<_>>(), false);
    }
}

#[test]
fn so_does_the_help_of_every_command() {
    let mut all = Vec::new();
    for command in [voldemort::cli::Arguments::command(), voldemort::cli::ctl::Ctl::command()] {
        below(&command, &[command.get_name().to_owned()], &mut all);
    }
    assert!(all.len() > 60, "{}", all.len());
    let folder = tempfile::tempdir().unwrap();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for path in all {
        let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let cut = run(folder.path(), &words, closed(), Stdio::piped());
        let said = String::from_utf8_lossy(&cut.stderr).into_owned();
        assert_eq!((cut.status.code(), said.as_str()), (Some(0), ""), "{words:?}");
        let full = run(folder.path(), &words, full().into(), Stdio::piped());
        assert_eq!(full.status.code(), Some(1), "{words:?}");
    }
}
