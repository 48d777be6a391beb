//! What the commands that connect to a daemon share.

use std::path::PathBuf;

use clap::Args;

use super::context::Contexts;
use super::live::{Names, names};
use super::{Exit, exit};
use crate::api::Client;
use crate::api::client::{Address, ClientError, Token, Trust};
use crate::api::resource::Tree;
use crate::config::runtime;
use crate::model::Selection;
use crate::model::folded::folded;
use crate::plan::Hold;

/// The daemon to connect to.
#[derive(Args, Clone, Debug)]
pub struct Remote {
    /// The daemon's control API: unix:PATH, host:port, or a port of this host; without it VOLDEMORT_SERVER, then
    /// the context, then the daemon's socket, then port 12345
    #[arg(long, global = true, value_name = "ADDRESS")]
    server: Option<String>,
    /// The daemon of this context (see `voldemortctl context`); without it VOLDEMORT_CONTEXT, then the current one
    #[arg(long, global = true, value_name = "NAME", add = names(Names::Contexts))]
    context: Option<String>,
    /// A file with the token for host:port; without it that of the context, then VOLDEMORT_TOKEN, then what a
    /// daemon of this user left on this host
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The daemon that the command line, the environment or a context names.
enum Chosen {
    /// An address.
    Server(String),
    /// A context: its name, its address, its own token if it has one, and which servers it trusts.
    Context { name: String, server: String, token: Option<String>, trust: Trust },
    /// None: the one of this host.
    Here,
}

impl Remote {
    /// What a command line says that is not finished.
    pub(super) fn of_line(line: &[String]) -> Remote {
        let of = |flag: &str| {
            let joined = |word: &String| word.strip_prefix(flag)?.strip_prefix('=').map(str::to_owned);
            let apart = |pair: &[String]| (pair[0] == flag).then(|| pair[1].clone());
            line.iter().find_map(joined).or_else(|| line.windows(2).find_map(apart))
        };
        let token_file = of("--token-file").map(PathBuf::from);
        Remote { server: of("--server"), context: of("--context"), token_file }
    }

    /// Runs one exchange with the daemon.
    pub fn block_on<T>(
        &self,
        talk: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| ClientError::Unreachable { address: self.place(), cause: error.to_string() })?;
        runtime.block_on(talk(Client::new(self.addresses()?)))
    }

    /// The daemon's address in messages.
    pub fn place(&self) -> String {
        match self.chosen() {
            Ok(Chosen::Server(server)) => server,
            Ok(Chosen::Context { name, server, .. }) => format!("{server} (context {name})"),
            Ok(Chosen::Here) | Err(_) => format!("{} and port {}", runtime::SOCKET, runtime::PORT),
        }
    }

    /// The command line goes before the environment, and that before the current context. An address that is
    /// given goes before a context that is given in the same way, which is then not even read.
    fn chosen(&self) -> Result<Chosen, ClientError> {
        if let Some(server) = &self.server {
            return Ok(Chosen::Server(server.clone()));
        }
        if self.context.is_none()
            && let Some(server) = set("VOLDEMORT_SERVER")
        {
            return Ok(Chosen::Server(server));
        }
        let named = self.context_name();
        let refused = |why: String| ClientError::Refused(why);
        let contexts = match &named {
            Some(_) => Contexts::open().map_err(refused)?,
            None => match Contexts::open_if_any().map_err(refused)? {
                Some(contexts) => contexts,
                None => return Ok(Chosen::Here),
            },
        };
        let Some(name) = named.or_else(|| contexts.current().map(str::to_owned)) else {
            return Ok(Chosen::Here);
        };
        let context = contexts.get(&name).map_err(refused)?;
        // The file that the command line names is the one that is used.
        let token = match self.token_file {
            Some(_) => None,
            None => contexts.token(&name, context).map_err(ClientError::NotAllowed)?,
        };
        let trust = contexts.trust(&name, context).map_err(ClientError::NotAllowed)?;
        Ok(Chosen::Context { server: context.server.clone(), name, token, trust })
    }

    /// The context that the command line or the environment names.
    pub fn context_name(&self) -> Option<String> {
        self.context.clone().or_else(|| set("VOLDEMORT_CONTEXT"))
    }

    /// The context that the command line alone names.
    pub fn given_context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The address that the command line names.
    pub fn given_server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// The token file that the command line names.
    pub fn given_token_file(&self) -> Option<&PathBuf> {
        self.token_file.as_ref()
    }

    fn addresses(&self) -> Result<Vec<Address>, ClientError> {
        let (server, own, trust) = match self.chosen()? {
            Chosen::Server(server) => (server, None, Trust::Usual),
            Chosen::Context { server, token, trust, name: _ } => (server, token, trust),
            Chosen::Here => {
                let given = self.given_token()?;
                let socket = Address::Socket { path: runtime::SOCKET.into(), network: runtime::network() };
                let tcp = tcp(format!("127.0.0.1:{}", runtime::PORT), given.clone(), Trust::Usual);
                // With a token the address must be one that takes a token.
                return Ok(if given.is_some() { vec![tcp] } else { vec![socket, tcp] });
            }
        };
        let bare = server.strip_prefix("unix:").unwrap_or(&server);
        if bare.starts_with('/') {
            return Ok(vec![Address::Socket { path: bare.into(), network: None }]);
        }
        let (bare, trust) = match (bare.strip_prefix("https://"), trust) {
            (Some(bare), Trust::Usual) => (bare, Trust::Host),
            (Some(bare), trust) => (bare, trust),
            (None, trust) => (bare.strip_prefix("http://").unwrap_or(bare), trust),
        };
        let bare = bare.trim_end_matches('/');
        let address = match bare.parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) if bare.contains(':') => bare.to_owned(),
            Err(_) => {
                return Err(ClientError::Refused(format!(
                    "`{server}` is no address of a daemon: write it as HOST:PORT (the usual port is {}), unix:PATH, or \
                     a port of this host",
                    runtime::PORT
                )));
            }
        };
        let given = match own {
            Some(token) => Some(token),
            None => self.given_token()?,
        };
        Ok(vec![tcp(address, given, trust)])
    }

    /// The token that the command line or the environment names.
    pub fn given_token(&self) -> Result<Option<String>, ClientError> {
        let Some(file) = &self.token_file else { return Ok(set("VOLDEMORT_TOKEN")) };
        let text = std::fs::read_to_string(file)
            .map_err(|error| ClientError::NotAllowed(format!("--token-file {}: {error}", file.display())))?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// A variable of the environment that has a text.
fn set(name: &str) -> Option<String> {
    let text = std::env::var(name).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn tcp(address: String, given: Option<String>, trust: Trust) -> Address {
    let token = given.map_or(Token::Left(left_token), |token| Token::Given(sendable(token)));
    Address::Tcp { address, token, trust }
}

/// A token is sent in a header, so it must be a text that a header can hold.
fn sendable(token: String) -> Result<String, String> {
    match token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true if !token.is_empty() => Ok(token),
        _ => Err("this is no token: a token is one word of ASCII letters and digits".into()),
    }
}

/// The token that a daemon of this user, or of root, left for a port of this host.
fn left_token(address: &str) -> Result<String, String> {
    let name = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).map(runtime::token_name);
    let Some(name) = name else { return Err(format!("`{address}` names no port")) };
    let user = nix::unistd::getuid().as_raw();
    let mut denied = None;
    for directory in runtime::directories() {
        if !runtime::is_trusted(&directory, user) {
            continue;
        }
        let file = directory.join(&name);
        match std::fs::read_to_string(&file) {
            Ok(text) => return sendable(text.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => denied = Some(file),
            Err(_) => {}
        }
    }
    let ways = "use --token-file FILE, VOLDEMORT_TOKEN, or the user that the daemon runs as (`sudo`)";
    Err(match denied {
        Some(file) => format!("{} is for another user: {ways}", file.display()),
        None => format!("no daemon of this user left one on this host: {ways}"),
    })
}

/// Which part of an inventory a command is about.
#[derive(Args, Clone, Debug)]
pub struct Part {
    /// Only this deployment or machine, by name or pattern (web-*); may be given several times
    #[arg(long, value_name = "NAME", add = names(Names::Subjects))]
    target: Vec<String>,
    /// All but this deployment or machine, by name or pattern; may be given several times
    #[arg(long, value_name = "NAME", add = names(Names::Subjects))]
    exclude: Vec<String>,
}

impl Part {
    pub fn is_whole(&self) -> bool {
        self.target.is_empty() && self.exclude.is_empty()
    }

    pub fn selection(&self) -> Selection {
        Selection { only: self.target.clone(), except: self.exclude.clone() }
    }

    pub fn of(&self, tree: Tree) -> Tree {
        Tree { selection: self.selection(), ..tree }
    }
}

/// Prints what went wrong, on stdout as JSON if JSON was asked for, and gives the exit code.
pub fn failed(error: &ClientError, json: bool) -> Exit {
    let failed = exit::failed(&error.to_string(), json);
    match error {
        ClientError::Unreachable { .. }
        | ClientError::Broken { .. }
        | ClientError::Nonsense { .. }
        | ClientError::Unavailable(_) => Exit::Unreachable,
        ClientError::NotAllowed(_) => Exit::NotAllowed,
        ClientError::Refused(_) | ClientError::Gone(_) => failed,
    }
}

pub fn nonsense(json: bool) -> Exit {
    exit::failed("the daemon sent an unexpected answer; does it have another version?", json);
    Exit::Unreachable
}

pub fn hold_text(hold: &Hold) -> String {
    if hold.names.is_empty() {
        return format!("held: {}\n  {}", hold.reason, hold.cure);
    }
    let names = folded(hold.names.iter().map(String::as_str));
    format!("held: {}\n  {names}\n  {}", hold.reason, hold.cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_port_is_not_taken_for_a_port() {
        let addresses = |server: &str| {
            let remote = Remote::of_line(&[format!("--server={server}")]);
            let found = remote.addresses().map_err(|error| error.to_string())?;
            Ok::<_, String>(found.iter().map(Address::to_string).collect::<Vec<_>>())
        };
        for (server, expected) in [
            ("12345", "127.0.0.1:12345"),
            ("boot:7", "boot:7"),
            ("https://boot:7/", "boot:7"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
        ] {
            assert_eq!(addresses(server), Ok(vec![expected.to_owned()]), "{server}");
        }
        for server in ["boot", "https://boot", "123456", ""] {
            let why = addresses(server).unwrap_err();
            assert!(why.contains("is no address of a daemon") && why.contains("HOST:PORT"), "{why}");
        }
    }
}
