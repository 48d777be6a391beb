//! Reads and switches the power of machines through their management controllers. One file per driver. When to ask,
//! what to send, and what has to be stored before, is the caller's business; so is one request at a time to a
//! controller ([`Tools::turn`]).

mod child;
mod command;
mod driver;
mod endpoint;
mod ipmi;
mod redfish;
mod talk;
mod tools;
mod trust;
mod wol;

use std::sync::Arc;
use std::time::Duration;

pub use driver::{Answer, Broadcast, Driver, Failure, Question, Sending, driver};
pub use endpoint::Endpoint;
pub use tools::Tools;
pub use trust::Trust;

use crate::model::{Name, PowerKind, PowerState, PowerStep};

/// How much a controller may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For one reading, however many requests it takes. Controllers are slow: ten seconds for one answer
    /// are usual.
    pub whole: Duration,
    /// Largest answer, in bytes.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connect: Duration::from_secs(10), whole: Duration::from_secs(30), body: 1 << 20 }
    }
}

/// The user and password for a controller.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: Box<str>,
    password: Box<str>,
}

impl Login {
    /// From `user:password`; the user has no colon, the password may.
    pub fn parse(text: &str) -> Option<Login> {
        let (user, password) = text.trim_end_matches(['\r', '\n']).split_once(':')?;
        let right = !user.is_empty() && !text.trim_end().contains(['\r', '\n']);
        right.then(|| Login { user: user.into(), password: password.into() })
    }

    /// A password without a user: that of SecureOn.
    pub fn word(text: &str) -> Login {
        Login { user: "".into(), password: text.trim_end_matches(['\r', '\n']).into() }
    }
}

/// Why a machine's power is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0} can't report the power state")]
    NotReported(PowerKind),
    #[error("{0} can't do {1}")]
    Unable(PowerKind, PowerStep),
    #[error("`power` has no `url`")]
    NoUrl,
    #[error("{0} is no address of a controller: a host, or host:port")]
    BadAddress(Arc<str>),
    #[error("`power` names no `command`")]
    NoCommand,
    #[error("the daemon's file has no [power.command.{0}]")]
    UnknownCommand(Name),
    #[error("the secret is no SecureOn password: six bytes, written as in 01:02:03:04:05:06")]
    BadSecureOn,
    #[error("no packet could be sent: {0}")]
    NotSent(String),
    #[error("ipmitool is not installed: install the package ipmitool on the daemon's host")]
    NoIpmitool,
    #[error("{0} accepts none of the cipher suites 17 and 3")]
    NoCipher(Arc<str>),
    #[error("{0} does not answer to IPMI")]
    Silent(Arc<str>),
    #[error("{0} refuses a session: the user or password is probably wrong")]
    NoSession(Arc<str>),
    #[error("{endpoint}: ipmitool says: {why}")]
    Refused { endpoint: Arc<str>, why: String },
    #[error("{program} failed: {why}")]
    Program { program: String, why: String },
    #[error("{program} did not end within {seconds} s")]
    SlowProgram { program: String, seconds: u64 },
    #[error("{program} can't do {word}")]
    ProgramUnable { program: String, word: Arc<str> },
    #[error("{program} says {words:?} instead of a power state")]
    OddWords { program: String, words: String },
    #[error("the url {0} {1}")]
    BadUrl(Arc<str>, &'static str),
    #[error("the password would be sent unencrypted: use https, or remove `credentials`")]
    Unprotected,
    #[error("the secret {0} {1}")]
    BadLogin(Name, &'static str),
    #[error("{endpoint} does not answer within {seconds} s")]
    Absent { endpoint: Endpoint, seconds: u64 },
    #[error("{endpoint}: {why}")]
    Connect { endpoint: Endpoint, why: String },
    #[error(
        "{endpoint}: its certificate is not signed by a certificate authority that this host trusts ({why}); \
         if it is the controller's own, write fingerprint = \"{seen}\" into `power`"
    )]
    Untrusted { endpoint: Endpoint, why: String, seen: Arc<str> },
    #[error("{endpoint}: its certificate has the fingerprint {seen}, which is not the one in `fingerprint`")]
    OtherCertificate { endpoint: Endpoint, seen: Arc<str> },
    #[error("{endpoint} did not finish its answer within {seconds} s")]
    Slow { endpoint: Endpoint, seconds: u64 },
    #[error("the controller requires a login (401): name a secret with user:password as `credentials`")]
    NoLogin,
    #[error("the controller refuses this user or password (401)")]
    WrongLogin,
    #[error("the controller's user may not read {0} (403)")]
    Forbidden(Arc<str>),
    #[error("the controller has no {0} (404): does it support Redfish?")]
    Missing(Arc<str>),
    #[error("the controller redirects {from} to {to}: redirects are not followed, write the final url")]
    Redirected { from: Arc<str>, to: String },
    #[error("the controller answered {status} for {path}")]
    Status { status: u16, path: Arc<str> },
    #[error("the answer for {path} is larger than {most} bytes")]
    TooLarge { path: Arc<str>, most: usize },
    #[error("the answer for {path} broke off: {why}")]
    BrokeOff { path: Arc<str>, why: String },
    #[error("the answer for {path} is not JSON but {kind}")]
    NotJson { path: Arc<str>, kind: String },
    #[error("the answer for {path} is not valid Redfish: {why}")]
    Odd { path: Arc<str>, why: String },
    #[error("the controller refuses {what}: {why}")]
    NotAccepted { what: &'static str, why: String },
    #[error("the controller can't do {what}: it can do {able}")]
    NotAble { what: &'static str, able: String },
    #[error("the controller accepted a boot from the network and shows {seen} instead")]
    NotTaken { seen: String },
    #[error("the controller has no system")]
    NoSystem,
    #[error("the controller has {count} systems: name one in the url, as in {first}")]
    ManySystems { count: usize, first: String },
}

impl Fault {
    /// Whether asking again before somebody corrects the login may lock the user out.
    pub fn is_login(&self) -> bool {
        matches!(self, Fault::WrongLogin | Fault::Forbidden(_) | Fault::NoSession(_))
    }

    /// Whether trying again can't help before somebody changes a file.
    pub fn is_final(&self) -> bool {
        matches!(self, Fault::Unable(..) | Fault::ProgramUnable { .. } | Fault::NotAble { .. })
    }
}

/// A reading, and what makes the next one cheaper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub state: PowerState,
    /// Path of the system's resource, where there is such a thing.
    pub system: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_user_and_password() {
        let parts =
            |text: &str| Login::parse(text).map(|login| (login.user.to_string(), login.password.to_string()));
        assert_eq!(parts("root:calvin\n"), Some(("root".into(), "calvin".into())));
        assert_eq!(parts("root:a:b "), Some(("root".into(), "a:b ".into())));
        assert_eq!(parts("root:"), Some(("root".into(), String::new())));
        for wrong in ["", "calvin", ":calvin", "root\ncalvin:x", "root:calvin\nadmin:x\n"] {
            assert_eq!(parts(wrong), None, "{wrong:?}");
        }
    }
}
