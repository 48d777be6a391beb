//! Who sent a command to the daemon, and what that caller may do.

use std::fmt;
use std::str::FromStr;

use super::Name;
use super::words::words;

words! {
    /// What a caller may do; each role may do what those before it may.
    pub enum Role {
        /// Reads, and makes plans that change nothing.
        Viewer = "viewer",
        /// Also takes machines from pools, and gives back its own.
        Claimer = "claimer",
        /// Does what a commit to the inventory can do, and pauses the daemon: verbs, apply, suspend, pin. Where commits
        /// wait for an admin, its trees do too.
        Editor = "editor",
        /// Also consents to what a safety rule or manual reconciliation holds, and says who holds a token.
        Admin = "admin",
    }
}

/// Which token a caller holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// The one that `voldemort start services` wrote.
    Start,
    /// The one in the file that `[api] viewer-token` names.
    Viewer,
    /// One that was created by this name.
    Named(Name),
}

impl Token {
    /// Those that nobody creates; no other has the name of one.
    pub const OWN: [Token; 2] = [Token::Start, Token::Viewer];

    pub fn name(&self) -> &str {
        match self {
            Token::Start => "start",
            Token::Viewer => "viewer",
            Token::Named(name) => name.as_str(),
        }
    }

    /// The token of a name; `None` if no token can have it.
    pub fn of(name: &str) -> Option<Token> {
        let own = Token::OWN.into_iter().find(|token| token.name() == name);
        own.or_else(|| name.parse().ok().map(Token::Named))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the caller was identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The user of this host at the other end of a Unix socket.
    User(u32),
    /// The holder of a token.
    Token(Token),
    /// The sender of a webhook, by its secret.
    Webhook,
    /// The daemon itself: a timer, a look at the host, a revision of a source.
    Daemon,
    /// A machine, by what it sent over DHCP, TFTP or HTTP.
    Machine,
}

/// Travels with every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub by: By,
    pub role: Role,
}

impl Caller {
    pub const DAEMON: Caller = Caller { by: By::Daemon, role: Role::Admin };
    pub const MACHINE: Caller = Caller { by: By::Machine, role: Role::Viewer };
    pub const WEBHOOK: Caller = Caller { by: By::Webhook, role: Role::Viewer };
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Role, &'static str> {
        Role::named(text).ok_or("the roles are viewer, claimer, editor and admin")
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            By::User(uid) => write!(f, "user {uid} ({})", self.role),
            By::Token(name) => write!(f, "token {name} ({})", self.role),
            By::Daemon => f.write_str("the daemon"),
            By::Machine => f.write_str("a machine"),
            By::Webhook => f.write_str("a webhook"),
        }
    }
}
