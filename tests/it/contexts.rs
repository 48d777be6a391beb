//! Contexts as a user has them: which daemon a command talks to, and which token it sends there.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// A server that answers everything with an empty list, and keeps what it was shown as tokens.
struct Server {
    address: String,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&shown);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut body = "[]";
                // Two requests on a connection: whether it is there, and what is asked.
                while let Some(Ok(line)) = lines.next() {
                    if let Some(token) = line.to_ascii_lowercase().strip_prefix("authorization: bearer ") {
                        kept.lock().unwrap().push(token.to_owned());
                    }
                    if line.starts_with("HEAD ") || line.starts_with("GET ") {
                        body = if line.starts_with("HEAD ") { "" } else { "[]" };
                    }
                    if line.is_empty() {
                        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
                    }
                }
            }
        });
        Server { address, shown }
    }

    /// The tokens since the last call.
    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.shown.lock().unwrap())
    }
}

fn ctl(home: &Path, words: &[&str], variables: &[(&str, &str)]) -> Output {
    run(env!("CARGO_BIN_EXE_voldemortctl"), home, words, variables)
}

fn run(program: &str, home: &Path, words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    for name in ["XDG_CONFIG_HOME", "VOLDEMORT_CONTEXT", "VOLDEMORT_SERVER", "VOLDEMORT_TOKEN"] {
        command.env_remove(name);
    }
    command.args(words).env("HOME", home).envs(variables.iter().copied()).current_dir(home);
    command.stdin(Stdio::null()).output().unwrap()
}

fn good(home: &Path, words: &[&str]) -> String {
    let output = ctl(home, words, &[]);
    assert!(output.status.success(), "{words:?}: {}", err(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A home with the contexts `a`, which is the current one, and `b`, each with a token of its own.
fn home(a: &Server, b: &Server) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, server) in [("a", a), ("b", b)] {
        std::fs::write(home.path().join(name), format!("vdm_{name}\n")).unwrap();
        good(home.path(), &["context", "set", name, "--server", &server.address, "--token-file", name]);
    }
    home
}

#[test]
fn a_token_goes_to_the_server_of_its_context_alone() {
    let (a, b) = (Server::new(), Server::new());
    let home = home(&a, &b);
    let ask = |words: &[&str], variables: &[(&str, &str)]| {
        let output = ctl(home.path(), &[&["get", "boots"], words].concat(), variables);
        (output.status.code(), a.shown(), b.shown())
    };
    let (to_a, to_b) = ((Some(0), vec!["vdm_a".into()], vec![]), (Some(0), vec![], vec!["vdm_b".into()]));
    assert_eq!(ask(&[], &[]), to_a, "the first one is the current one");
    assert_eq!(ask(&["--context", "b"], &[]), to_b);
    assert_eq!(ask(&[], &[("VOLDEMORT_CONTEXT", "b")]), to_b);
    assert_eq!(ask(&["--context", "a"], &[("VOLDEMORT_CONTEXT", "b")]), to_a, "the command line goes before");
    assert_eq!(ask(&["--context", "b"], &[("VOLDEMORT_SERVER", &a.address)]), to_b);
    assert_eq!(ask(&[], &[("VOLDEMORT_TOKEN", "vdm_x")]), to_a, "a context has its own");
    // An address that is given has no part of a context.
    for (words, variables) in [
        (&["--server", &b.address][..], &[][..]),
        (&["--server", &b.address, "--context", "a"], &[]),
        (&[], &[("VOLDEMORT_SERVER", &*b.address)]),
        (&[], &[("VOLDEMORT_SERVER", &*b.address), ("VOLDEMORT_CONTEXT", "a")]),
        (&["--server", &b.address], &[("VOLDEMORT_CONTEXT", "a")]),
    ] {
        assert_eq!(ask(words, variables), (Some(6), vec![], vec![]), "{words:?} {variables:?}");
    }
    assert_eq!(ask(&["--server", &b.address], &[("VOLDEMORT_TOKEN", "vdm_x")]).2, ["vdm_x"]);
    good(home.path(), &["context", "use", "b"]);
    assert_eq!(ask(&[], &[]), to_b);
    // `voldemort` has the same contexts.
    run(env!("CARGO_BIN_EXE_voldemort"), home.path(), &["why", "x", "--context", "a"], &[]);
    assert_eq!((a.shown(), b.shown()), (vec!["vdm_a".to_owned()], vec![]));
    // Another address has no part of what was of the one before.
    good(home.path(), &["context", "set", "a", "--server", &b.address]);
    assert_eq!(ask(&["--context", "a"], &[]), (Some(6), vec![], vec![]));
}

#[test]
fn they_are_listed_shown_and_removed_without_their_tokens() {
    let (a, b) = (Server::new(), Server::new());
    let home = home(&a, &b);
    let home = home.path();
    let file = home.join(".config/voldemort/contexts.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let path = home.join("b").display().to_string();
    std::fs::write(&file, text.replace(&format!("token-file = \"{path}\""), "token = \"vdm_b\"")).unwrap();
    let list = good(home, &["context", "list"]);
    assert!(list.contains("*  a ") && list.contains("   b ") && list.contains("stored"), "{list}");
    assert_eq!(good(home, &["context", "list", "-o", "name"]), "a\nb\n");
    assert!(good(home, &["context", "show"]).starts_with("name    a (current)\n"));
    let shown = good(home, &["context", "show", "b", "-o", "json"]);
    assert!(!(list + &shown).contains("vdm_"), "{shown}");
    let none = ctl(home, &["context", "use", "c"], &[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(err(&none).contains("there is no context `c`") && err(&none).contains("there is a, b"));
    good(home, &["context", "remove", "a"]);
    assert_eq!(ctl(home, &["context", "show"], &[]).status.code(), Some(1), "none is current");
    assert!(home.join("a").exists(), "a token file stays");
    assert_eq!(ctl(home, &["context", "set", "c"], &[]).status.code(), Some(64), "an address is needed");
}

#[test]
fn a_file_that_can_not_be_trusted_stops_every_command_but_those_with_an_address() {
    let (a, b) = (Server::new(), Server::new());
    let home = home(&a, &b);
    let file = home.path().join(".config/voldemort/contexts.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let refused = |wanted: &str| {
        let output = ctl(home.path(), &["get", "boots"], &[]);
        assert!(err(&output).contains(wanted) && output.status.code() != Some(0), "{}", err(&output));
        let token = [("VOLDEMORT_TOKEN", "vdm_x")];
        let named = ctl(home.path(), &["get", "boots", "--server", &a.address], &token);
        assert_eq!((named.status.code(), a.shown(), b.shown()), (Some(0), vec!["vdm_x".to_owned()], vec![]));
    };
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("chmod 600");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, format!("{text}x = \n")).unwrap();
    refused("contexts.toml:");
    std::fs::write(&file, text.replace("current = \"a\"", "current = \"gone\"")).unwrap();
    refused("there is no context `gone`");
    std::fs::write(&file, &text).unwrap();
    std::fs::remove_file(home.path().join("a")).unwrap();
    refused("context a: its token-file");
    if nix::unistd::getuid().is_root() {
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        refused("belongs to user 65534");
    }
}
