//! Who sent a command to the daemon, and what that caller may do.

use std::fmt;
use std::str::FromStr;

use super::words::words;

/// What a caller may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads, and makes plans that change nothing.
    Viewer,
    /// Does what a commit to the inventory can do, and pauses the daemon: verbs, apply, suspend, pin.
    Editor,
    /// Also consents to what a safety rule holds.
    Admin,
}

words! {
    /// Which token a caller holds.
    pub enum Token {
        /// The one that `voldemort start services` wrote.
        Start = "start",
        /// The one in the file that `[api] viewer-token` names.
        Viewer = "viewer",
    }
}

/// How the caller was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub by: By,
    pub role: Role,
}

impl Caller {
    pub const DAEMON: Caller = Caller { by: By::Daemon, role: Role::Admin };
    pub const MACHINE: Caller = Caller { by: By::Machine, role: Role::Viewer };
    pub const WEBHOOK: Caller = Caller { by: By::Webhook, role: Role::Viewer };
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Editor, Role::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Role, &'static str> {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or("the roles are viewer, editor and admin")
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            By::User(uid) => write!(f, "user {uid} ({})", self.role),
            By::Token(name) => write!(f, "token {name} ({})", self.role),
            By::Daemon => f.write_str("the daemon"),
            By::Machine => f.write_str("a machine"),
            By::Webhook => f.write_str("a webhook"),
        }
    }
}
