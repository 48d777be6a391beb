//! The flags of `voldemort check`, as a shell sees them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const WRONG: &str = "[machine.a]\nmac = \"52:54:00:aa:00:01\"\nprotect = \"yes\" # kept\n";

fn inventory(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), text).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.arg("check").args(arguments).current_dir(folder).stdin(Stdio::null());
    for variable in ["VOLDEMORT_OUTPUT_FORMAT", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(folder, arguments).envs(variables.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_flag_chooses_the_format_then_the_environment() {
    let folder = inventory(WRONG);
    let concise = "a.toml:3:11: error[V0012]";
    let jsonl = [("VOLDEMORT_OUTPUT_FORMAT", "jsonl")];
    let output = run(folder.path(), &[], &jsonl);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("{\"code\":\"V0012\""));
    assert!(stdout(&run(folder.path(), &["--format", "concise"], &jsonl)).starts_with(concise));
    let unknown = run(folder.path(), &[], &[("VOLDEMORT_OUTPUT_FORMAT", "pdf")]);
    assert_eq!((unknown.status.code(), stdout(&unknown).as_str()), (Some(64), ""));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("gitlab"), "the choices are listed");
    assert_eq!(run(folder.path(), &["--format", "pdf"], &[]).status.code(), Some(64));
    assert_eq!(run(folder.path(), &["--fix", "--watch"], &[]).status.code(), Some(64));
}

#[test]
fn simulated_boots_do_not_follow_what_a_program_reads() {
    let folder = inventory(
        "[subnet.lab]\ncidr = '10.0.10.0/24'\n[boot.b]\nkernel = 'linux'\n\
         [deployment.web-1]\nmac = '52:54:00:aa:00:01'\naddress = '10.0.10.20'\nboot = 'b'\n",
    );
    std::fs::write(folder.path().join("linux"), "the kernel").unwrap();
    let json = [("VOLDEMORT_OUTPUT_FORMAT", "json")];
    let boots = "== BIOS PXE";
    assert!(stdout(&run(folder.path(), &["-v"], &[])).contains(boots));
    for (arguments, variables) in [(&["-v"][..], &json[..]), (&["-v", "-o", "json"], &[])] {
        let output = run(folder.path(), arguments, variables);
        let text = stdout(&output);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{arguments:?}: {text}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--output-file"), "{arguments:?}");
    }
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("report.json");
    let output = run(folder.path(), &["-v", "--output-file", file.to_str().unwrap()], &json);
    assert!(stdout(&output).contains(boots) && file.is_file());
}

#[test]
fn reports_go_to_files_whole() {
    let folder = inventory(WRONG);
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("report.txt");
    std::fs::write(&file, "old\n".repeat(1000)).unwrap();
    let path = file.to_str().unwrap();
    let output =
        run(folder.path(), &["--format", "concise", "--output-file", path], &[("CLICOLOR_FORCE", "1")]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let report = std::fs::read_to_string(&file).unwrap();
    assert!(report.starts_with("a.toml:3:11: error[V0012]") && report.lines().count() == 1, "{report}");
    let nowhere = run(folder.path(), &["--output-file", "/nowhere/report"], &[]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere/report"));
}

#[test]
fn colour_is_asked_for_by_flag_then_by_environment() {
    let folder = inventory(WRONG);
    let coloured = |arguments: &[&str], variables: &[(&str, &str)]| {
        stdout(&run(folder.path(), arguments, variables)).contains('\u{1b}')
    };
    assert!(!coloured(&[], &[]), "a pipe is no terminal");
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn fixing_tells_what_it_did_and_checks_again() {
    let folder = inventory(WRONG);
    let output = run(folder.path(), &["--fix", "--format", "concise"], &[]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("a.toml:3:11: fixed V0012: `\"yes\"` is now `true`"), "{said}");
    assert!(said.contains("fixed 1 mistake in 1 file"), "{said}");
    let text = std::fs::read_to_string(folder.path().join("a.toml")).unwrap();
    assert_eq!(text, WRONG.replace("\"yes\"", "true"));
    let again = run(folder.path(), &["--fix"], &[]);
    assert!(!String::from_utf8_lossy(&again.stderr).contains("fixed"));
}

/// Every line a child says, on either stream.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let streams: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for stream in streams {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

fn wait_for(lines: &Receiver<String>, part: &str) {
    let mut seen = Vec::new();
    loop {
        match lines.recv_timeout(Duration::from_secs(60)) {
            Ok(line) if line.contains(part) => return,
            Ok(line) => seen.push(line),
            Err(error) => panic!("{error} while waiting for {part:?} after {seen:#?}"),
        }
    }
}

#[test]
fn watching_checks_again_until_interrupted() {
    let folder = inventory(WRONG);
    let mut watch = command(folder.path(), &["--watch", "--format", "concise"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = lines(&mut watch);
    wait_for(&said, "1 error in 1 of 1 file");
    let path = folder.path().join("a.toml");
    std::fs::write(&path, WRONG.replace("\"yes\"", "true")).unwrap();
    wait_for(&said, "0 errors in 1 file");
    std::fs::write(&path, WRONG.replace("\nmac", "\nmca")).unwrap();
    wait_for(&said, "error[V0011]");
    kill(Pid::from_raw(watch.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(130));
}

/// Also of a list that is too long for a revision to hold in memory.
#[test]
fn watching_notices_lists_of_image_names_alone() {
    let folder = inventory(
        "[subnet.lab]\ncidr = \"10.0.10.0/24\"\n[boot.live]\niso = { file = \"live.iso\" }\nkernel = \"vmlinuz\"\n\
         [deployment.a]\nmac = \"52:54:00:aa:00:01\"\naddress = \"10.0.10.21\"\nboot = \"live\"\n",
    );
    let list = folder.path().join("locks/live.iso.json");
    std::fs::create_dir(folder.path().join("locks")).unwrap();
    // In one step, as an editor does: half a list would be reported too.
    let write = |kernel: &str, padding: usize| {
        let more: String = (0..padding).map(|number| format!(", \"pool/{number:032}\": 1")).collect();
        let text = format!(
            "{{\"version\": 1, \"image\": \"live.iso\", \"label\": \"LIVE\", \"files\": {{\"{kernel}\": 9{more}}}}}"
        );
        let beside = folder.path().join(".new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &list).unwrap();
    };
    for padding in [0, 40_000] {
        write("vmlinuz", padding);
        let mut watch = command(folder.path(), &["--watch", "--format", "concise"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = lines(&mut watch);
        wait_for(&said, "0 errors in 1 file");
        write("linux", padding);
        wait_for(&said, "error[V0301]");
        write("vmlinuz", padding);
        wait_for(&said, "0 errors in 1 file");
        std::fs::remove_file(&list).unwrap();
        wait_for(&said, "note[V0302]");
        write("linux", padding);
        wait_for(&said, "error[V0301]");
        kill(Pid::from_raw(watch.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        assert_eq!(watch.wait().unwrap().code(), Some(130));
    }
}

#[test]
fn an_environment_is_named_or_all_are_checked() {
    let folder = inventory("[subnet.lab]\ncidr = \"10.0.10.0/24\"\n");
    let root = folder.path();
    std::fs::create_dir(root.join("environments")).unwrap();
    std::fs::write(root.join("environments/prod.toml"), "[subnet.lab]\ngateway = \"10.0.99.1\"\n").unwrap();
    std::fs::write(root.join("environments/staging.toml"), "[subnet.lab]\ndns = []\n").unwrap();
    let code = |arguments: &[&str]| command(root, arguments).output().unwrap().status.code();
    assert_eq!(code(&[]), Some(1));
    assert_eq!(code(&["--env", "prod"]), Some(1));
    assert_eq!(code(&["--env", "staging"]), Some(0));
    let output = command(root, &["--env", "stagng"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `staging`?"), "{output:?}");
}

#[test]
fn shells_take_the_completions() {
    for shell in ["bash", "zsh", "fish"] {
        for ctl in [&[][..], &["--ctl"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
            let output =
                command.args(["completions", shell]).args(ctl).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            // The script asks the program for words and names (tests/netns/several.rs).
            let program = if ctl.is_empty() { "voldemort" } else { "voldemortctl" };
            assert!(text.contains(program), "{shell} {ctl:?}");
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            match Command::new(shell).arg("-n").arg(file.path()).stdin(Stdio::null()).output() {
                Ok(read) => assert!(read.status.success(), "{shell}: {read:?}"),
                Err(_) => {
                    eprintln!("SKIPPED: `{shell}` is not installed: nobody looked whether it takes them")
                }
            }
        }
    }
}

#[test]
fn slips_on_the_command_line_are_told() {
    let folder = inventory(WRONG);
    let file = run(folder.path(), &["a.toml"], &[]);
    assert_eq!(file.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&file.stderr).contains("an inventory is a folder"), "{file:?}");
    let empty = run(tempfile::tempdir().unwrap().path(), &[], &[]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("there is no manifest"), "{empty:?}");
    for (code, near) in
        [("V0O11", "did you mean V0011?"), ("E0012", "did you mean V0012?"), ("zebra", "lists all")]
    {
        let mut explain = Command::new(env!("CARGO_BIN_EXE_voldemort"));
        let output = explain.args(["explain", code]).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains(near), "{output:?}");
    }
}
