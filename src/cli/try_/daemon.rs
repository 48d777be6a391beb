//! The real daemon as a child process, and its events.

use std::fs::OpenOptions;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::machine::end_with_parent;
use super::network::INTERFACE;
use super::scratch::{Scratch, interrupted, named};
use crate::api::Client;
use crate::api::client::{Address, ClientError};
use crate::api::resource::{Event, Events, SourceStatus, Status};
use crate::model::SourceCondition;

/// The daemon's API, a socket in the scratch directory.
pub fn client(scratch: &Path) -> Client {
    Client::new(vec![Address::Socket { path: socket(scratch), network: None }])
}

fn socket(scratch: &Path) -> PathBuf {
    scratch.join("api.sock")
}

/// The settings of the daemon.
#[derive(Clone, Debug)]
pub struct Service {
    /// The program; this one.
    pub program: PathBuf,
    pub inventory: PathBuf,
    /// Laid over the inventory.
    pub environment: Option<String>,
    /// Further directories with images.
    pub media: Vec<PathBuf>,
    /// The key that opens the inventory's secrets.
    pub identity: Option<PathBuf>,
    pub address: Ipv4Addr,
    /// Where boot programs are looked for; the usual folders if there are none.
    pub firmware: Vec<PathBuf>,
}

/// A running daemon; it ends with this value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

/// Path of the daemon's log in the scratch directory.
pub fn log(scratch: &Scratch) -> PathBuf {
    scratch.join("daemon.log")
}

/// How long the daemon may take until it serves: it reads images first.
const READY: Duration = Duration::from_secs(60);
/// How long it may drain.
const DRAIN: Duration = Duration::from_secs(12);

impl Daemon {
    /// Starts the daemon and waits until it serves. Its state is in the scratch directory: a second daemon
    /// there continues with the state of the first one.
    pub fn start(service: &Service, scratch: &Scratch) -> io::Result<Daemon> {
        let settings = scratch.join("voldemort.toml");
        let text = toml::to_string(&settings_of(service, scratch.path())).map_err(io::Error::other)?;
        std::fs::write(&settings, text).map_err(|error| named(&settings, error))?;
        let path = log(scratch);
        let output =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|error| named(&path, error))?;
        let said = output.metadata()?.len();
        let mut command = Command::new(&service.program);
        command.args(["start", "services", "--new-site", "--config"]).arg(&settings);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        end_with_parent(&mut command, None);
        let mut daemon = Daemon { child: command.spawn().map_err(|error| named(&service.program, error))? };
        daemon.wait_until_ready(&path, said)?;
        Ok(daemon)
    }

    /// Waits until the inventory is served.
    ///
    /// # Errors
    /// The daemon refuses it, for the reasons that it gives; or it ends, or takes too long.
    pub fn wait_until_adopted(&mut self, scratch: &Path) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = client(scratch);
        let started = Instant::now();
        while started.elapsed() < READY && !interrupted() {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the daemon ended ({status})")));
            }
            match runtime
                .block_on(client.get::<Status>("/v1/status"))
                .ok()
                .map(|status| judged(&status.source))
            {
                Some(Some(result)) => return result.map_err(io::Error::other),
                Some(None) | None => std::thread::sleep(Duration::from_millis(30)),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the daemon did not serve the inventory in time"))
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// kill -9, as a power cut would.
    pub fn crash(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn wait_until_ready(&mut self, log: &Path, from: u64) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < READY && !interrupted() {
            if says_ready(log, from) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the daemon ended at once ({status})")));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the daemon did not become ready in time"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.is_alive() {
            return;
        }
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let started = Instant::now();
        while self.is_alive() && started.elapsed() < DRAIN {
            std::thread::sleep(Duration::from_millis(30));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the daemon serves its inventory, or why it never will; `None` while it is not decided.
fn judged(source: &SourceStatus) -> Option<Result<(), String>> {
    use SourceCondition::{Cached, Held, Invalid, Loading, NotStored, Pinned, Ready};
    use SourceCondition::{Rejected, Suspended, Unreachable, Untrusted, Waiting};
    match source.condition.known()? {
        Ready => Some(Ok(())),
        Loading | Cached | Waiting => None,
        Held | Rejected | Suspended | Pinned | Invalid | Untrusted | Unreachable | NotStored => {
            Some(Err(format!("the daemon does not serve the inventory: {}", source.reason)))
        }
    }
}

/// Whether the log has the line `ready` after its first `from` bytes.
fn says_ready(log: &Path, from: u64) -> bool {
    let text = std::fs::read(log).unwrap_or_default();
    let fresh = text.get(from as usize..).unwrap_or_default();
    fresh.split(|byte| *byte == b'\n').any(|line| line == b"ready")
}

/// The daemon's file (the design page's section 3).
fn settings_of(service: &Service, scratch: &Path) -> serde_json::Value {
    let mut inventory = json!({ "directory": service.inventory });
    if let Some(name) = &service.environment {
        inventory["environment"] = json!(name);
    }
    let mut settings = json!({
        "network": { "interface": INTERFACE, "address": service.address },
        "dhcp": { "mode": "server" },
        "http": { "port": 80 },
        "api": { "listen": format!("unix:{}", socket(scratch).display()) },
        "inventory": inventory,
        "media": { "paths": service.media },
        "state": { "directory": scratch.join("state") },
    });
    if let Some(identity) = &service.identity {
        settings["secrets"] = json!({ "identity": identity });
    }
    if !service.firmware.is_empty() {
        settings["firmware"] = json!({ "paths": service.firmware });
    }
    settings
}

/// The daemon's events from the first on, as they come; a daemon that is not reachable for a moment is
/// asked again. Ends when the receiver goes.
pub fn follow_events(scratch: &Path) -> io::Result<Receiver<Event>> {
    let client = client(scratch);
    let (sender, receiver) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    crate::thread::start("events", move || runtime.block_on(forward(&client, &sender)))?;
    Ok(receiver)
}

async fn forward(client: &Client, sender: &Sender<Event>) {
    let mut after = 0;
    loop {
        // Each request waits only shortly, because a stopping daemon answers it before it ends.
        match client.get::<Events>(&format!("/v1/events?after={after}&wait=1")).await {
            Ok(Events { events, next, .. }) => {
                for event in events {
                    if sender.send(event).is_err() {
                        return;
                    }
                }
                after = next;
            }
            Err(ClientError::Gone(_)) => after = 0,
            // The daemon starts, restarts or is gone; the boot's own time limit ends this.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_daemon_can_read_its_settings() {
        let service = Service {
            program: "voldemort".into(),
            inventory: "/srv/in \"ventory\"".into(),
            environment: Some("prod".into()),
            media: vec!["/srv/media".into()],
            identity: Some("/etc/voldemort/age.key".into()),
            address: Ipv4Addr::new(10, 0, 10, 1),
            firmware: vec!["/usr/lib/shim".into()],
        };
        let text = toml::to_string(&settings_of(&service, Path::new("/tmp/x"))).unwrap();
        let config = Config::parse(&text, "voldemort.toml").unwrap();
        assert_eq!(config.network.interface, INTERFACE);
        assert_eq!(config.network.address, service.address);
        assert_eq!(config.state.directory, Path::new("/tmp/x/state"));
        assert_eq!(config.media.paths, service.media);
        assert_eq!(config.firmware.paths, service.firmware);
        assert_eq!(config.secrets.identity, service.identity);
        assert_eq!(config.environment.unwrap().as_str(), "prod");
    }

    #[test]
    fn an_earlier_daemons_ready_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "HTTP …\nready\n").unwrap();
        assert!(says_ready(&path, 0));
        assert!(!says_ready(&path, std::fs::metadata(&path).unwrap().len()));
    }
}
