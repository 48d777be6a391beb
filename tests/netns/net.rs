//! Two network namespaces joined by a cable.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// `server` has 10.0.10.1/24 on `srv`, `client` has the bare interface `cli`.
pub(crate) struct Net {
    pub server: String,
    pub client: String,
}

impl Net {
    /// `None`, with a loud word, where namespaces can't be made.
    pub(crate) fn new() -> Option<Net> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::Uid::effective().is_root() {
            return skipped("network namespaces need root");
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("vold-{}-{number}-{side}", std::process::id());
        let net = Net { server: name("s"), client: name("c") };
        if !ip(&["netns", "add", &net.server]) || !ip(&["netns", "add", &net.client]) {
            return skipped("`ip netns add` does not work here");
        }
        let Net { server, client } = &net;
        for arguments in [
            &["-n", server, "link", "add", "srv", "type", "veth", "peer", "cli", "netns", client][..],
            &["-n", server, "address", "add", "10.0.10.1/24", "dev", "srv"],
            &["-n", server, "link", "set", "srv", "up"],
            &["-n", server, "link", "set", "lo", "up"],
            &["-n", client, "link", "set", "lo", "up"],
            &["-n", client, "link", "set", "cli", "up"],
        ] {
            assert!(ip(arguments), "ip {arguments:?}");
        }
        Some(net)
    }

    pub(crate) fn client_mac(&self, mac: &str) {
        assert!(ip(&["-n", &self.client, "link", "set", "cli", "address", mac]));
    }

    pub(crate) fn client_ip(&self, arguments: &[&str]) {
        assert!(ip(&[&["-n", &self.client], arguments].concat()), "{arguments:?}");
    }

    pub(crate) fn server_ip(&self, arguments: &[&str]) {
        assert!(ip(&[&["-n", &self.server], arguments].concat()), "{arguments:?}");
    }

    /// The client's addresses, as `ip` prints them.
    pub(crate) fn client_addresses(&self) -> String {
        let output =
            Command::new("ip").args(["-n", &self.client, "-4", "-o", "address", "show", "cli"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// What a program in the client's namespace prints; empty if it fails.
    pub(crate) fn client_output(&self, program: &[&str]) -> String {
        self.output(&self.client, program)
    }

    pub(crate) fn server_output(&self, program: &[&str]) -> String {
        self.output(&self.server, program)
    }

    fn output(&self, namespace: &str, program: &[&str]) -> String {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).args(program).stdin(Stdio::null());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    /// Starts a program in the client's namespace.
    pub(crate) fn run(&self, program: &[&str]) -> Running {
        self.start(&self.client, program)
    }

    /// Starts a program in the server's namespace.
    pub(crate) fn run_beside(&self, program: &[&str]) -> Running {
        self.start(&self.server, program)
    }

    fn start(&self, namespace: &str, program: &[&str]) -> Running {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).args(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.server]);
        ip(&["netns", "delete", &self.client]);
    }
}

/// A child process that does not outlive its test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Moves this thread, and the sockets it will open, into a namespace.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
}

/// Runs something in a namespace, on a thread of its own.
pub(crate) fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace);
            work()
        });
        thread.join().unwrap()
    })
}

pub(crate) fn has(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        skipped::<()>(&format!("there is no {program} here"));
    }
    found
}

/// Says why a test does not run. In CI that is a failure.
pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
    None
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).status().is_ok_and(|status| status.success())
}
