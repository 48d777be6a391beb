//! The daemon's own settings: what a commit must not be able to change. Parsing has no side
//! effects; nothing here asks whether a file, an interface or an address exists.

pub mod detect;
pub mod host;
mod read;
mod tree;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::model::{Cidr, Range, Span};

/// The daemon's file, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub network: Network,
    pub dhcp: Mode,
    /// Port of the HTTP server for machines.
    pub http_port: u16,
    /// Where the control API listens.
    pub api: Listen,
    /// `None`: the daemon keeps an inventory of its own in its state directory.
    pub inventory: Option<Inventory>,
    /// Directories in which network boot programs are looked for, first match wins.
    pub firmware: Vec<PathBuf>,
    /// Where leases, machines and caches are kept.
    pub state: PathBuf,
    /// Further directories in which images are looked for.
    pub media: Vec<PathBuf>,
}

/// `[network]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub interface: String,
    /// Our address there; `None`: the interface's first IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Used where the inventory declares no subnet for this interface.
    pub subnet: Option<Subnet>,
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

/// `[dhcp] mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Leases addresses and says what to boot; steps back when another server answers.
    #[default]
    Server,
    /// Another server leases addresses, we only say what to boot.
    Proxy,
    /// Looks and never answers.
    Listen,
    Off,
}

/// `[api] listen`: loopback or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// `[inventory]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Inventory {
    Directory(PathBuf),
    Git(Git),
}

/// An inventory in a git repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Git {
    /// URL, or path of a repository on this host.
    pub url: String,
    pub reference: Reference,
    /// The folder of the repository that is the inventory; empty: all of it.
    pub path: String,
    /// How often it is asked for news.
    pub poll: Span,
}

/// Which commit is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The remote's default branch.
    Default,
    Branch(String),
    Tag(String),
    /// Forty hexadecimal digits.
    Commit(String),
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

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Server => "server",
            Mode::Proxy => "proxy",
            Mode::Listen => "listen",
            Mode::Off => "off",
        })
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
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let problem = Problem { at: None, message: error.to_string() };
            ConfigError { file: file.clone(), problems: vec![problem] }
        })?;
        let mut config = Config::parse(&text, &file)?;
        config.anchor(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    fn anchor(&mut self, folder: &Path) {
        let Config { network: _, dhcp: _, http_port: _, api, inventory, firmware, state, media } = self;
        let mut paths: Vec<&mut PathBuf> = firmware.iter_mut().chain(media).collect();
        paths.push(state);
        if let Listen::Unix(path) = api {
            paths.push(path);
        }
        match inventory {
            Some(Inventory::Directory(path)) => paths.push(path),
            // A local repository; URLs and `host:path` are left alone.
            Some(Inventory::Git(git)) if git.url.starts_with("./") || git.url.starts_with("../") => {
                git.url = folder.join(&git.url).display().to_string();
            }
            Some(Inventory::Git(_)) | None => {}
        }
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}
