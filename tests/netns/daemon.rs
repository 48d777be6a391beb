//! The daemon as an operator starts it, in a namespace.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::net::Net;

pub(crate) const VOLDEMORT: &str = env!("CARGO_BIN_EXE_voldemort");
pub(crate) const VOLDEMORTCTL: &str = env!("CARGO_BIN_EXE_voldemortctl");
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    /// Its output before it was ready.
    pub said: Vec<String>,
    _rest: BufReader<std::process::ChildStdout>,
    /// The pipe that the log goes into; nobody reads it.
    _log: Option<std::process::ChildStderr>,
}

impl Daemon {
    /// Starts it in the server's namespace and waits until it serves.
    pub(crate) fn start(net: &Net, config: &Path, inventory: &str) -> Daemon {
        Daemon::with(net, config, &["--inventory", inventory])
    }

    /// The same with these further words, or none. Its machines have no systems yet.
    pub(crate) fn with(net: &Net, config: &Path, more: &[&str]) -> Daemon {
        Daemon::spawn(net, config, &[&["--new-site"], more].concat(), Stdio::null())
    }

    /// The same with every line of the log in a pipe that nobody reads.
    pub(crate) fn unread(net: &Net, config: &Path, inventory: &str) -> Daemon {
        Daemon::spawn(net, config, &["--new-site", "--inventory", inventory], Stdio::piped())
    }

    /// The same under a service manager that listens on `socket` (sd_notify(3)) and wants a sign of life
    /// within a second.
    pub(crate) fn managed(net: &Net, config: &Path, inventory: &str, socket: &Path) -> Daemon {
        let more = ["--new-site", "--inventory", inventory];
        let socket = format!("NOTIFY_SOCKET={}", socket.display());
        Daemon::spawn_in(net, config, &more, Stdio::null(), &["env", &socket, "WATCHDOG_USEC=1000000"])
    }

    /// The same, started by another program whose last words are the daemon's.
    pub(crate) fn behind(net: &Net, config: &Path, more: &[&str], before: &[&str]) -> Daemon {
        Daemon::spawn_in(net, config, more, Stdio::null(), before)
    }

    fn spawn(net: &Net, config: &Path, more: &[&str], log: Stdio) -> Daemon {
        Daemon::spawn_in(net, config, more, log, &[])
    }

    #[expect(clippy::zombie_processes, reason = "it is waited for when the daemon is dropped")]
    fn spawn_in(net: &Net, config: &Path, more: &[&str], log: Stdio, before: &[&str]) -> Daemon {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &net.server])
            .args(before)
            .args([VOLDEMORT, "start", "services", "--config"]);
        command.arg(config).args(more);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .env("VOLDEMORT_LOG", "voldemort=trace");
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (mut said, log) = (Vec::new(), child.stderr.take());
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                panic!("the daemon ended before it was ready: {said:?} {:?}", child.wait());
            }
            if line.trim() == "ready" {
                return Daemon { child, said, _rest: lines, _log: log };
            }
            said.push(line.trim().to_owned());
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// `kill -9`.
    pub(crate) fn murder(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// The exit code, when it has ended by itself or by an earlier signal.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let mut rest = String::new();
        let _ = self._rest.read_to_string(&mut rest);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `config detect` in the server's namespace, with a state directory of the test's own.
pub(crate) fn detect(net: &Net, folder: &Path) -> PathBuf {
    let text = net.server_output(&[VOLDEMORT, "config", "detect", "--interface", "srv"]);
    let state = folder.join("state");
    let ours = text.replace("/var/lib/voldemort", &state.display().to_string());
    assert_ne!(ours, text, "the settings name a state directory: {text}");
    let path = folder.join("voldemort.toml");
    std::fs::write(&path, ours).unwrap();
    path
}

/// Asks until the answer is right; the last one when patience ends.
pub(crate) fn eventually(
    what: &str,
    mut ask: impl FnMut() -> String,
    right: impl Fn(&str) -> bool,
) -> String {
    let start = Instant::now();
    loop {
        let answer = ask();
        if right(&answer) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {answer}");
        std::thread::yield_now();
    }
}
