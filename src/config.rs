//! The daemon's own settings, which a commit must not be able to change. Parsing has no side effects;
//! nothing here checks whether a file, an interface or an address exists.

mod api;
pub mod detect;
pub mod host;
mod inventory;
mod listen;
mod power;
pub mod read;
pub mod runtime;
mod syslog;
mod tree;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

pub use listen::Listen;
pub use syslog::SyslogListen;
pub use webhook::{WantedEvents, Webhook, WebhookUrl};

pub use crate::model::Mode;
use crate::model::{Access, Cidr, Cpu, Git, Inventory, Name, PowerProgram, Range, Role, Span, Verify};

/// The parsed file of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub network: Network,
    /// Further networks, where `[[network]]` is written more than once.
    pub further: Vec<Network>,
    pub dhcp: Dhcp,
    pub tftp: Tftp,
    pub http: Http,
    pub api: Api,
    /// Where manifests come from; at least one, in the order of their names.
    pub sources: Vec<Source>,
    /// Which of the inventory's environments is laid over it.
    pub environment: Option<Name>,
    pub firmware: Firmware,
    pub state: State,
    pub media: Media,
    pub secrets: Secrets,
    /// Where events are sent.
    pub webhooks: Vec<Webhook>,
    /// Where the logs of machines are taken; nowhere if empty.
    pub syslog: Vec<SyslogListen>,
    /// The programs that switch machines, by the names that manifests call them.
    pub power: BTreeMap<Name, PowerProgram>,
}

/// `[network]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The interface of the network that the machines are on.
    pub interface: String,
    /// This host's address there.
    pub address: Ipv4Addr,
    /// The mode on this network, if it differs from that in `[dhcp]`.
    pub mode: Option<Mode>,
    /// Used where the inventory declares no subnet for this interface.
    pub subnet: Option<Subnet>,
}

/// `[dhcp]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dhcp {
    pub mode: Mode,
}

/// `[tftp]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tftp {
    /// Everything is sent from port 69, for networks where only one port gets through.
    pub single_port: bool,
}

/// `[http]`: the server for machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub port: u16,
    /// HTTPS is served beside plain HTTP, never instead of it.
    pub tls: Option<Tls>,
}

/// `[http] tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub port: u16,
    /// PEM files of a certificate and its key; without them the daemon has a certificate authority of its
    /// own.
    pub given: Option<(PathBuf, PathBuf)>,
}

/// `[api]`: the server for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// At least one; those of the default where the file names none.
    pub listen: Vec<Listen>,
    /// What members of the group [`runtime::GROUP`] may do through the Unix socket.
    pub group_role: Role,
    /// A file with a token for programs that only read, such as Prometheus.
    pub viewer_token: Option<PathBuf>,
    /// What clients call this host besides its addresses and its own name: in lower case, for the certificate
    /// that the daemon makes, and for the `Host` of requests.
    pub names: Vec<String>,
    /// PEM files of a certificate and its key, which are shown beyond loopback; without them the daemon's own
    /// authority makes one.
    pub given: Option<(PathBuf, PathBuf)>,
}

impl Api {
    /// Whether this is the default, written or not. The daemon starts without its socket where that can't
    /// be made.
    pub fn is_default(&self) -> bool {
        self.listen == Listen::defaults()
    }
}

/// `reconcile` of a source: how a new revision is adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reconcile {
    /// It is adopted, unless a safety rule holds it.
    #[default]
    Auto,
    /// It waits until a person approves its plan.
    Manual,
}

/// `[inventory]`, or one `[inventory.NAME]` of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: Name,
    pub inventory: Inventory,
    /// How often a directory is read although no change was reported.
    pub poll: Option<Span>,
    /// A file with the secret of the webhook `POST /hooks/NAME`; without it there is none.
    pub webhook: Option<PathBuf>,
    pub reconcile: Reconcile,
    /// `write` as the file has it; see [`Source::writes`].
    pub write: Option<Write>,
}

/// Where the verbs of `voldemortctl` put what they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nowhere: the person gets a patch.
    Off,
    /// Into the directory, or onto the branch that is followed.
    Direct,
    /// Onto a new branch, for a review.
    Branch,
}

/// `[firmware]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Firmware {
    /// Directories in which network boot programs are looked for, first match wins.
    pub paths: Vec<PathBuf>,
    /// Static releases of this program, which run as agents on machines with other processors, or where this one is
    /// not static.
    pub agents: BTreeMap<Cpu, PathBuf>,
}

/// `[state]`.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Where leases, machines and caches are kept.
    pub directory: PathBuf,
    /// Whether the machines of this site have no systems yet: set by the command line alone.
    pub new_site: bool,
}

/// `[media]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// Further directories in which images are looked for.
    pub paths: Vec<PathBuf>,
}

/// `[secrets]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secrets {
    /// A file with the private keys of age that decrypt the inventory's secrets. Only its path is
    /// kept here.
    pub identity: Option<PathBuf>,
}

/// `[network.subnet]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    pub cidr: Cidr,
    pub gateway: Option<Ipv4Addr>,
    pub dns: Vec<Ipv4Addr>,
    /// Addresses for unknown machines; without it they get no answer.
    pub dynamic: Option<Range>,
    pub domain: Option<String>,
}

/// Every mistake in a daemon file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub file: String,
    pub problems: Vec<Problem>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line and column counted from 1; unknown for JSON that parses.
    pub at: Option<(usize, usize)>,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { at, message }) in self.problems.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", self.file)?;
            if let Some((line, column)) = at {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Source {
    /// A source with the default settings.
    fn of(name: Name, inventory: Inventory) -> Source {
        Source { name, inventory, poll: None, webhook: None, reconcile: Reconcile::Auto, write: None }
    }

    /// The setting of the file; by default a directory and the daemon's own repository are written to, and
    /// any other repository is not.
    pub fn writes(&self) -> Write {
        self.write.unwrap_or(match &self.inventory {
            Inventory::Git(_) => Write::Off,
            Inventory::Directory(_) | Inventory::Own => Write::Direct,
        })
    }
}

impl Config {
    /// Reads TOML or JSON, by its content; `file` is the name for messages.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
        read::config(text).map_err(|problems| ConfigError { file: file.to_owned(), problems })
    }

    /// Reads the file at `path`. Relative paths in it start at its own directory.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let problem = Problem { at: None, message: error.to_string() };
            ConfigError { file: file.clone(), problems: vec![problem] }
        })?;
        let mut config = Config::parse(&text, &file)?;
        config.anchor(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Every network that is served, the first of the file first.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        std::iter::once(&self.network).chain(&self.further)
    }

    /// The daemon's mode on a network.
    pub fn mode(&self, network: &Network) -> Mode {
        network.mode.unwrap_or(self.dhcp.mode)
    }

    /// Follows another inventory than the file's: `--inventory DIR|GIT-URL`. The file's tokens and keys
    /// belong to the file's repositories and are not used.
    pub fn follow(&mut self, inventory: &str) {
        let name = inventory::ONLY.parse().expect("this is a name");
        let inventory = Inventory::named(inventory);
        let manual = self.sources.iter().any(|source| source.reconcile == Reconcile::Manual);
        let reconcile = if manual { Reconcile::Manual } else { Reconcile::Auto };
        let write = self.sources.first().and_then(|source| source.write);
        self.sources = vec![Source { reconcile, write, ..Source::of(name, inventory) }];
    }

    fn anchor(&mut self, folder: &Path) {
        let Config {
            network: _,
            further: _,
            dhcp: _,
            tftp: _,
            http,
            api,
            sources,
            environment: _,
            firmware,
            state,
            media,
            secrets,
            webhooks,
            syslog: _,
            power,
        } = self;
        let mut paths: Vec<&mut PathBuf> =
            firmware.paths.iter_mut().chain(firmware.agents.values_mut()).chain(&mut media.paths).collect();
        paths.push(&mut state.directory);
        if let Some(Tls { given: Some((certificate, key)), .. }) = &mut http.tls {
            paths.extend([certificate, key]);
        }
        paths.extend(power.values_mut().map(|program| &mut program.program));
        paths.extend(&mut secrets.identity);
        paths.extend(&mut api.viewer_token);
        paths.extend(
            webhooks.iter_mut().flat_map(|webhook| webhook.ca.iter_mut().chain([&mut webhook.secret])),
        );
        if let Some((certificate, key)) = &mut api.given {
            paths.extend([certificate, key]);
        }
        for listen in &mut api.listen {
            if let Listen::Unix(path) = listen {
                paths.push(path);
            }
        }
        for Source { name: _, inventory, poll: _, webhook, reconcile: _, write: _ } in sources {
            paths.extend(webhook);
            match inventory {
                Inventory::Directory(path) => paths.push(path),
                Inventory::Git(git) => paths.extend(anchor_git(git, folder)),
                Inventory::Own => {}
            }
        }
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}

/// Makes the path of a local repository absolute, leaves URLs and `host:path` as they are, and returns the
/// other paths.
fn anchor_git<'g>(git: &'g mut Git, folder: &Path) -> Vec<&'g mut PathBuf> {
    if git.url.starts_with("./") || git.url.starts_with("../") {
        git.url = folder.join(&git.url).display().to_string();
    }
    let Access { token, ca, key, known_hosts, insecure: _ } = &mut git.access;
    let mut paths: Vec<&mut PathBuf> = [token, ca, key, known_hosts].into_iter().flatten().collect();
    if let Some(Verify { signed: _, signers, keyring }) = &mut git.verify {
        paths.extend([signers, keyring].into_iter().flatten());
    }
    paths
}
