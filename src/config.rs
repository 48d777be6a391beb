//! The daemon's own settings: what a commit must not be able to change. Parsing has no side
//! effects; nothing here asks whether a file, an interface or an address exists.

pub mod detect;
pub mod host;
mod read;
mod tree;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use crate::model::Mode;
use crate::model::{Cidr, Inventory, Name, Range};

/// The daemon's file, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub network: Network,
    /// Further networks, where `[[network]]` is written more than once.
    pub further: Vec<Network>,
    pub dhcp: Dhcp,
    pub http: Http,
    pub api: Api,
    pub inventory: Inventory,
    pub reconcile: Reconcile,
    /// Which of the inventory's environments is laid over it.
    pub environment: Option<Name>,
    pub firmware: Firmware,
    pub state: State,
    pub media: Media,
    pub secrets: Secrets,
}

/// `[network]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Where the machines are.
    pub interface: String,
    /// This host's address there.
    pub address: Ipv4Addr,
    /// What to be there, if that is not what `[dhcp]` says.
    pub mode: Option<Mode>,
    /// Used where the inventory declares no subnet for this interface.
    pub subnet: Option<Subnet>,
}

/// `[dhcp]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dhcp {
    pub mode: Mode,
}

/// `[http]`: the server for machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub port: u16,
}

/// `[api]`: the server for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    pub listen: Listen,
}

/// `[inventory] reconcile`: what becomes of a new revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reconcile {
    /// It is adopted, unless a safety rule holds it.
    #[default]
    Auto,
    /// It waits until somebody approves its plan.
    Manual,
}

/// `[firmware]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Firmware {
    /// Directories in which network boot programs are looked for, first match wins.
    pub paths: Vec<PathBuf>,
}

/// `[state]`.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Where leases, machines and caches are kept.
    pub directory: PathBuf,
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

/// `[api] listen`: loopback or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
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
            Listen::Unix(path) => write!(f, "{}", path.display()),
        }
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

    /// What to be on a network.
    pub fn mode(&self, network: &Network) -> Mode {
        network.mode.unwrap_or(self.dhcp.mode)
    }

    /// Follows another inventory than the file's: `--inventory DIR|GIT-URL`.
    pub fn follow(&mut self, inventory: &str) {
        self.inventory = Inventory::named(inventory);
    }

    fn anchor(&mut self, folder: &Path) {
        let Config {
            network: _,
            further: _,
            dhcp: _,
            http: _,
            api,
            inventory,
            reconcile: _,
            environment: _,
            firmware,
            state,
            media,
            secrets,
        } = self;
        let mut paths: Vec<&mut PathBuf> = firmware.paths.iter_mut().chain(&mut media.paths).collect();
        paths.push(&mut state.directory);
        paths.extend(&mut secrets.identity);
        if let Listen::Unix(path) = &mut api.listen {
            paths.push(path);
        }
        match inventory {
            Inventory::Directory(path) => paths.push(path),
            // A local repository; URLs and `host:path` are left alone.
            Inventory::Git(git) if git.url.starts_with("./") || git.url.starts_with("../") => {
                git.url = folder.join(&git.url).display().to_string();
            }
            Inventory::Git(_) | Inventory::Own => {}
        }
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}
