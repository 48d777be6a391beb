//! What the TFTP and HTTP servers need of the daemon: what a requested name stands for.

use std::future::Future;
use std::sync::Arc;

pub use crate::proto::http::Method;
use crate::proto::http::Status;
use crate::proto::tree::{Artifact, Asker, Refusal};

/// Answers requests for names.
pub trait RequestHandler: Send + Sync + 'static {
    /// Resolves a name, doing whatever must be durable first. `path` is clean (see
    /// [`crate::proto::path`]); `note` is what the caller added in query and body, printable. `asker` keeps
    /// what is found out about it, for further requests of the same connection.
    fn open(
        &self,
        asker: &mut Asker,
        method: Method,
        path: &str,
        note: &str,
    ) -> impl Future<Output = Opened> + Send;

    /// Answers our agent on a machine. It may take as long as the agent wants to wait for an order.
    fn agent(&self, asker: &mut Asker, request: AgentRequest<'_>) -> impl Future<Output = AgentReply> + Send {
        let _ = (asker, request);
        std::future::ready(AgentReply { status: Status::NotFound, json: "{}".to_owned() })
    }

    /// Called at the end of a transfer, for the timeline. `sent` is in bytes; `complete` means that
    /// everything asked for went out (a range counts as asked). Questions about size or freshness
    /// alone (HEAD, 304, a TFTP size probe) are no transfers.
    fn done(&self, asker: Asker, artifact: &Artifact, sent: u64, complete: bool);

    /// Called instead where nothing was sent because the daemon itself can't, for this reason.
    fn failed(&self, asker: Asker, artifact: &Artifact, _why: &str) {
        self.done(asker, artifact, 0, false);
    }
}

/// A request of our agent on a machine.
#[derive(Clone, Copy, Debug)]
pub struct AgentRequest<'a> {
    pub method: Method,
    /// The path below the agent's root.
    pub path: &'a str,
    pub query: &'a str,
    /// What stands behind `Authorization: Bearer`.
    pub token: Option<&'a str>,
    pub body: &'a [u8],
}

/// The answer: JSON, a problem, or nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentReply {
    pub status: Status,
    pub json: String,
}

impl AgentReply {
    pub fn json(value: &impl serde::Serialize) -> AgentReply {
        let json = serde_json::to_string(value).expect("messages are texts, numbers and lists");
        AgentReply { status: Status::Ok, json }
    }

    /// Nothing to say.
    pub fn done() -> AgentReply {
        AgentReply { status: Status::NoContent, json: String::new() }
    }

    /// `detail` is for the console of the machine.
    pub fn problem(status: Status, detail: impl Into<String>) -> AgentReply {
        let problem = serde_json::json!({ "status": status as u16, "detail": detail.into() });
        AgentReply { status, json: problem.to_string() }
    }

    pub fn media_type(&self) -> &'static str {
        if self.status == Status::Ok { "application/json" } else { "application/problem+json" }
    }
}

/// What a name means now.
#[derive(Clone, Debug)]
pub enum Opened {
    Serve(Artifact),
    /// A report was stored: 200, empty body.
    Accepted,
    Refuse(Refusal),
}

/// Reports the end of a transfer when dropped, so that a cancelled task reports too.
pub struct Transfer<O: RequestHandler> {
    handler: Arc<O>,
    asker: Asker,
    artifact: Artifact,
    pub sent: u64,
    pub complete: bool,
    /// Why the daemon sends nothing, if it can't.
    pub failed: Option<String>,
    /// False for questions about the size alone.
    pub counts: bool,
}

impl<O: RequestHandler> Transfer<O> {
    pub fn new(handler: Arc<O>, asker: Asker, artifact: Artifact) -> Transfer<O> {
        Transfer { handler, asker, artifact, sent: 0, complete: false, failed: None, counts: true }
    }

    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }
}

impl<O: RequestHandler> Drop for Transfer<O> {
    fn drop(&mut self) {
        match &self.failed {
            Some(why) => self.handler.failed(self.asker, &self.artifact, why),
            None if self.counts => self.handler.done(self.asker, &self.artifact, self.sent, self.complete),
            None => {}
        }
    }
}
