//! The agent's conversation with its daemon: what each answer of `crate::api::agent` means for it.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::http::{Answer, NoAnswer, Request, Server};
use crate::api::agent::{CommandLine, Facts, Hello, Log, Order, OrderError, Report, SignedOrder, Welcome};

/// How long answers may take, beside what an order is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait that the daemon may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Carries requests: HTTP, or a test.
pub trait Wire {
    fn ask(&self, request: Request<'_>) -> Result<Answer, NoAnswer>;
}

impl Wire for Server {
    fn ask(&self, request: Request<'_>) -> Result<Answer, NoAnswer> {
        Server::ask(self, request)
    }
}

/// Why the daemon did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It may answer the next time.
    #[error("the daemon is not reached: {0}")]
    NotReached(String),
    /// It wants to be asked again after this time.
    #[error("the daemon has no time now: {0}")]
    Busy(String, Duration),
    /// The token or session opens nothing.
    #[error("the daemon does not know this start of the machine: {0}")]
    Unknown(String),
    /// What was said does not fit how things stand.
    #[error("{0}")]
    Conflict(String),
    /// The epoch of this start is over.
    #[error("this start of the machine is out of date: {0}")]
    Over(String),
    /// It does not read what it was sent.
    #[error("the daemon does not take the message: {0}")]
    Unreadable(String),
}

/// One start of the agent, in conversation with one daemon.
pub struct Session<W> {
    wire: W,
    start: CommandLine,
    boot_id: String,
    /// What the daemon gave for the token.
    session: Option<String>,
}

impl<W: Wire> Session<W> {
    /// `boot_id` is the kernel's name for this start.
    pub fn new(wire: W, start: CommandLine, boot_id: String) -> Session<W> {
        Session { wire, start, boot_id, session: None }
    }

    /// Shows the machine. The token is used where there is no session yet, or none that the daemon takes.
    pub fn hello(&mut self, card: String, facts: &Facts) -> Result<Welcome, Refusal> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = Hello { version, boot_id: self.boot_id.clone(), card, facts: facts.clone() };
        let body = json(&hello);
        let ask = |bearer: &str| self.ask("POST", "/agent/v1/hello", bearer, &body, PATIENCE);
        let answer = match self.session.as_deref().map(ask) {
            None | Some(Err(Refusal::Unknown(_))) => ask(&self.start.token)?,
            Some(other) => other?,
        };
        let welcome: Welcome = read(&answer)?;
        self.session = Some(welcome.session.clone());
        Ok(welcome)
    }

    /// Waits for an order, for about this many seconds. `Ok(None)`: none for now.
    pub fn order(&mut self, wait: u64) -> Result<Option<Result<Order, OrderError>>, Refusal> {
        let path = format!("/agent/v1/order?wait={wait}");
        let answer = self.as_session("GET", &path, b"", PATIENCE + Duration::from_secs(wait))?;
        if answer.status == 204 {
            return Ok(None);
        }
        let signed: SignedOrder = read(&answer)?;
        Ok(Some(signed.open(&self.start.key, &self.boot_id)))
    }

    /// Says how an order stands.
    pub fn report(&mut self, report: &Report) -> Result<(), Refusal> {
        self.as_session("POST", "/agent/v1/report", &json(report), PATIENCE).map(drop)
    }

    /// Sends lines of the console.
    pub fn log(&mut self, log: &Log) -> Result<(), Refusal> {
        self.as_session("POST", "/agent/v1/log", &json(log), PATIENCE).map(drop)
    }

    fn as_session(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        patience: Duration,
    ) -> Result<Answer, Refusal> {
        let session = self.session.clone();
        let session = session.ok_or_else(|| Refusal::Unknown("it was not greeted yet".into()))?;
        let result = self.ask(method, path, &session, body, patience);
        if matches!(result, Err(Refusal::Unknown(_))) {
            // The next hello is by the token.
            self.session = None;
        }
        result
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        bearer: &str,
        body: &[u8],
        patience: Duration,
    ) -> Result<Answer, Refusal> {
        let request = Request { method, path, bearer, body, patience };
        let answer = self.wire.ask(request).map_err(|error| Refusal::NotReached(error.to_string()))?;
        match answer.status {
            200..300 => Ok(answer),
            401 => Err(Refusal::Unknown(detail(&answer))),
            409 => Err(Refusal::Conflict(detail(&answer))),
            410 => Err(Refusal::Over(detail(&answer))),
            408 | 429 | 500..600 => {
                let wait = answer.retry_after.unwrap_or(Duration::from_secs(2));
                Err(Refusal::Busy(detail(&answer), wait.min(LONGEST_WAIT)))
            }
            _ => Err(Refusal::Unreadable(detail(&answer))),
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Refusal> {
    let fault = |error| Refusal::NotReached(format!("its answer can't be read: {error}"));
    serde_json::from_slice(&answer.body).map_err(fault)
}

/// The sentence of a refusal (RFC 9457), else its number.
fn detail(answer: &Answer) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    detail.map_or_else(|| format!("HTTP status {}", answer.status), String::from)
}
