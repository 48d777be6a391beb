//! Two network namespaces, the daemon in one of them, its inventory, and what servers cost.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use voldemort::model::Mac;

use super::peers;

/// Where the daemon is, and where the servers are that it is compared with.
pub(crate) const DAEMON: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const PEERS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// A router behind which the machines are; it relays their DHCP messages.
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// Sizes in bytes.
pub(crate) const STREAM: u64 = 32 << 20;
pub(crate) const LOADER: u64 = 1 << 20;
pub(crate) const IMAGE: u64 = 1 << 30;
pub(crate) const PACKAGE: u64 = 4 << 10;
pub(crate) const PACKAGES: usize = 1_000;

/// The machine that requests come from if no address is chosen.
pub(crate) const DEFAULT: u32 = 0;

pub(crate) fn address(machine: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 1, 0)) + machine)
}

pub(crate) fn mac(machine: u32) -> Mac {
    let [_, high, middle, low] = machine.to_be_bytes();
    format!("52:54:00:{high:02x}:{middle:02x}:{low:02x}").parse().expect("a hardware address")
}

/// The namespaces; gone when dropped. The bench itself lives in the clients'.
pub(crate) struct Lab {
    pub folder: tempfile::TempDir,
    server: String,
    client: String,
    /// The program, if it could be installed.
    pub atftpd: Option<PathBuf>,
}

impl Lab {
    /// Call it before any thread is started: they would stay outside.
    pub(crate) fn new() -> Lab {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("the folder is ours");
        // Packages come from outside of the namespaces.
        let atftpd = peers::atftpd(folder.path());
        let id = std::process::id();
        let (server, client) = (format!("serve-{id}-s"), format!("serve-{id}-c"));
        for line in [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add srv type veth peer cli netns {client}"),
            format!("-n {server} address add {DAEMON}/24 dev srv"),
            format!("-n {server} address add {PEERS}/24 dev srv"),
            format!("-n {server} link set srv up"),
            format!("-n {server} link set lo up"),
            format!("-n {server} route add 10.1.0.0/16 via 10.0.0.3"),
            format!("-n {client} address add 10.0.0.3/24 dev cli"),
            format!("-n {client} link set cli up"),
            format!("-n {client} link set lo up"),
            // Every machine's address is one of this namespace.
            format!("-n {client} route add local 10.1.0.0/16 dev lo"),
            format!("-n {client} route add {DAEMON} dev cli src {}", address(DEFAULT)),
        ] {
            ip(&line);
        }
        let own = fs::File::open(format!("/run/netns/{client}")).expect("the namespace exists");
        nix::sched::setns(own, nix::sched::CloneFlags::CLONE_NEWNET).expect("root may enter namespaces");
        voldemort::daemon::limits::raise_open_files().expect("root may raise its limits");
        Lab { folder, server, client, atftpd }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives programs of the user an address of their own to the daemon.
    pub(crate) fn user_has(&self, user: u32, machine: u32) {
        let Lab { client, .. } = self;
        ip(&format!("-n {client} rule add uidrange {user}-{user} lookup {user}"));
        ip(&format!("-n {client} route add {DAEMON} dev cli src {} table {user}", address(machine)));
    }

    /// Starts a program beside the daemon; `None` when it is not installed.
    pub(crate) fn spawn(&self, words: &[&str]) -> Option<Server> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.server]).args(words);
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let errors = log.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().ok()?;
        Some(Server { child })
    }

    /// Starts the daemon as an operator does and waits until it serves.
    pub(crate) fn daemon(&self) -> Server {
        let (config, state, inventory) =
            (self.path("voldemort.toml"), self.path("state"), self.path("data/inventory"));
        let settings = format!(
            "[network]\ninterface = \"srv\"\naddress = \"{DAEMON}\"\n[inventory]\ndirectory = {inventory:?}\n\
             [state]\ndirectory = {state:?}\n[http]\ntls = {{ port = 443 }}\n[firmware]\npaths = [{:?}]\n",
            self.path("firmware"),
        );
        fs::write(&config, settings).expect("the settings can be written");
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.server, env!("CARGO_BIN_EXE_voldemort"), "start", "services"])
            .args(["--new-site", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the daemon can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
        assert!(ready, "the daemon ended: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
        // Kept open: it would get an error for each line.
        thread::spawn(move || lines.for_each(drop));
        Server { child }
    }

    /// An image with large and small files, the same in a folder for the others, boot programs of
    /// `loader` bytes, deployments for so many machines; the daemon must be new to them.
    pub(crate) fn furnish(&self, loader: usize, machines: u32) {
        let (files, inventory, firmware) =
            (self.path("files"), self.path("data/inventory"), self.path("firmware"));
        for folder in [&files.join("pool"), &inventory, &firmware] {
            fs::create_dir_all(folder).expect("a folder");
        }
        for (name, length) in [("image", IMAGE), ("stream", STREAM), ("loader", LOADER), ("vmlinuz", 8 << 20)]
        {
            fill(&files.join(name), length);
        }
        for number in 0..PACKAGES {
            fill(&files.join(format!("pool/{number}.deb")), PACKAGE);
        }
        let made = Command::new("genisoimage")
            .args(["-quiet", "-allow-limited-size", "-R", "-o"])
            .arg(inventory.join("disc.iso"))
            .arg(&files)
            .status();
        assert!(made.is_ok_and(|status| status.success()), "genisoimage is installed and makes an image");
        for large in [files.join("image"), inventory.join("disc.iso")] {
            read_anew(&large);
        }
        for name in ["snponly.efi", "undionly.kpxe", "ipxe.efi"] {
            fill(&firmware.join(name), loader as u64);
        }
        manifests(&inventory, machines);
    }
}

impl Lab {
    /// Another inventory in the place of all that the daemon knew, with a kernel and an initrd in `files`.
    pub(crate) fn describe(&self, manifest: &str, settings: &str) {
        let inventory = self.path("data/inventory");
        fs::remove_dir_all(&inventory).ok();
        fs::remove_dir_all(self.path("state")).ok();
        fs::create_dir_all(inventory.join("files")).expect("a folder");
        fs::create_dir_all(self.path("firmware")).expect("a folder");
        fs::write(inventory.join("a.toml"), manifest).expect("a manifest can be written");
        fs::write(inventory.join("voldemort.toml"), settings).expect("a manifest can be written");
        for name in ["vmlinuz", "initrd.gz"] {
            fill(&inventory.join("files").join(name), 1 << 20);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.server));
        ip(&format!("netns delete {}", self.client));
    }
}

fn fill(path: &Path, length: u64) {
    let block: Vec<u8> = (0..1 << 16).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut file = fs::File::create(path).expect("a file");
    let mut left = length;
    while left > 0 {
        let now = left.min(block.len() as u64);
        file.write_all(&block[..now as usize]).expect("room on the disk");
        left -= now;
    }
}

/// Has the page cache hold a file as reading puts it there. What was just written lies in pieces as
/// large as each write was, and sending small pieces costs half as much again: the file of who
/// wrote with larger ones would win.
fn read_anew(path: &Path) {
    let mut file = fs::File::open(path).expect("it was written");
    file.sync_all().expect("a disk");
    let dropped = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    dropped.expect("the page cache lets go");
    std::io::copy(&mut file, &mut std::io::sink()).expect("it can be read");
}

fn manifests(root: &Path, machines: u32) {
    // The preseed file that comes with voldemort, filled up to 4 KiB.
    let late = "echo of the morning after the night before, in words enough to fill a line; ".repeat(8);
    let head = format!(
        "[subnet.lab]\ncidr = \"10.1.0.0/16\"\ngateway = \"{RELAY}\"\n\
         [boot.debian]\niso = {{ file = \"disc.iso\", prefix = \"debian\" }}\nkernel = \"vmlinuz\"\n\
         initrd = [\"loader\"]\ncmdline = [\"auto=true\", \"priority=critical\", \"url={{{{ answers_url }}}}\"]\n\
         [profile.base]\nboot = \"debian\"\ntemplate = \"preseed\"\nsubnet = \"lab\"\n\
         packages = [\"openssh-server\", \"nginx\", \"curl\"]\nvars = {{ extra = \"# {late}\" }}\n"
    );
    fs::write(root.join("base.toml"), head).expect("a manifest can be written");
    for first in (0..machines).step_by(100) {
        let mut text = String::new();
        for number in first..first + 100 {
            let (mac, address) = (mac(number), address(number));
            let _ = writeln!(
                text,
                "[deployment.m{number}]\nprofile = \"base\"\naddress = \"{address}\"\nmac = \"{mac}\""
            );
        }
        fs::write(root.join(format!("m{first}.toml")), text).expect("a manifest can be written");
    }
}

/// A running server, with the processes it starts. Ended when dropped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// SIGTERM, so that it takes its own children along.
    pub(crate) fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }

    /// Measures what `work` costs it; `work` returns how many units it had done.
    pub(crate) fn measure(&self, work: impl FnOnce() -> f64) -> Figure {
        let pid = self.child.id();
        let over = Arc::new(AtomicBool::new(false));
        let watch = {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut most = 0.0f64;
                while !over.load(Ordering::Relaxed) {
                    most = most.max(memory(pid));
                    thread::sleep(Duration::from_millis(200));
                }
                most.max(memory(pid))
            })
        };
        let (before, started) = (processor_time(pid), Instant::now());
        let units = work();
        let (took, cost) = (started.elapsed().as_secs_f64(), processor_time(pid) - before);
        over.store(true, Ordering::Relaxed);
        let memory = watch.join().expect("it only reads");
        Figure { rate: units / took, cost: cost * 1e6 / units.max(1.0), memory }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Units a second; microseconds of the server's processor time each; megabytes at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figure {
    pub rate: f64,
    pub cost: f64,
    pub memory: f64,
}

/// The process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(one) = all.get(at) {
        let path = format!("/proc/{one}/task/{one}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    all
}

/// Megabytes, what is shared divided among those who share it.
fn memory(pid: u32) -> f64 {
    let one = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    family(pid).into_iter().map(one).sum::<f64>() / 1024.0
}

/// Seconds, of the process, its children, and those of its children that have ended.
fn processor_time(pid: u32) -> f64 {
    let one = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        (11..=14).map(ticks).sum::<f64>() / 100.0
    };
    family(pid).into_iter().map(one).sum()
}

pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {arguments}");
}
