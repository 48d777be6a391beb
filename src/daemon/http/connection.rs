//! One connection, request after request.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::connections::Slot;
use super::input::{Input, NoRequest, ReadBody};
use super::output::Pace;
use super::stream::Stream;
use super::{Limits, Shared, output};
use crate::api::agent;
use crate::daemon::body::Body;
use crate::daemon::request_handler::{AgentReply, AgentRequest, Opened, RequestHandler, Transfer};
use crate::daemon::time_limit::within;
use crate::daemon::{now, stopped};
use crate::proto::http::body::note;
use crate::proto::http::reply::{self, Context, Reply};
use crate::proto::http::{Request, Status};
use crate::proto::tree::{Artifact, Asker};

/// Longest wait for a name to get its meaning.
const MAX_OPENING: Duration = Duration::from_secs(30);

pub(super) struct Connection<O: RequestHandler> {
    stream: Stream,
    input: Input,
    asker: Asker,
    shared: Shared<O>,
    slot: Slot,
    /// A reply is under way.
    replying: bool,
}

impl<O: RequestHandler> Connection<O> {
    pub(super) fn new(stream: Stream, asker: Asker, shared: Shared<O>, slot: Slot) -> Connection<O> {
        Connection { stream, input: Input::new(), asker, shared, slot, replying: false }
    }

    /// Serves until the client or the server ends the connection.
    pub(super) async fn run(mut self) {
        match self.serve().await {
            Ok(true) => self.input.linger(&mut self.stream, &mut self.shared.stop).await,
            Ok(false) => {}
            Err(error) => {
                self.replying &= error.kind() == io::ErrorKind::TimedOut;
                debug!(client = %self.asker.address, %error, "HTTP: a connection broke");
            }
        }
    }

    /// True if the server ended it.
    async fn serve(&mut self) -> io::Result<bool> {
        loop {
            let (request, body) = match self.next().await {
                Ok(next) => next,
                Err(NoRequest::Over) => return Ok(false),
                Err(trouble) => return self.complain(trouble).await.map(|()| true),
            };
            if !self.answer(&request, &body).await? {
                return Ok(true);
            }
        }
    }

    async fn next(&mut self) -> Result<(Request, ReadBody), NoRequest> {
        let Shared { limits: Limits { idle, reading, .. }, stop, .. } = &mut self.shared;
        let (idle, reading) = (*idle, *reading);
        let request = self.input.request(&mut self.stream, idle, reading, stop).await?;
        let pace = Pace { patience: reading, slot: &self.slot };
        let body = self.input.body(&mut self.stream, &request, pace).await?;
        self.slot.busy();
        Ok((request, body))
    }

    async fn complain(&mut self, trouble: NoRequest) -> io::Result<()> {
        let now = now();
        let reply = match trouble {
            NoRequest::Bad(error) => reply::bad_request(&error, now),
            _ => reply::problem(Status::Timeout, "the request never ended", Context::unread(now)),
        };
        debug!(client = %self.asker.address, status = reply.status as u16, "HTTP: not a request");
        self.write(&reply).await
    }

    /// Whether another request may follow.
    async fn answer(&mut self, request: &Request, body: &ReadBody) -> io::Result<bool> {
        if request.path.starts_with(agent::ROOT) {
            return self.answer_agent(request, body).await;
        }
        let _counted = self.shared.active_requests.begin();
        let note = note(&request.query, &body.bytes);
        self.asker.partial = request.range.is_some();
        let opening = self.shared.handler.open(&mut self.asker, request.method, &request.path, &note);
        let opened = within(MAX_OPENING, opening).await;
        let context = Context::of(request, body.whole && !*self.shared.stop.borrow(), now());
        let reply = match opened {
            Ok(Opened::Serve(artifact)) => return self.deliver(request, artifact, context).await,
            Ok(Opened::Accepted) => reply::accepted(context),
            Ok(Opened::Refuse(refusal)) => {
                debug!(client = %self.asker.address, path = request.path, text = refusal.text, "HTTP: refused");
                reply::refuse(&refusal, context)
            }
            Err(_) => reply::problem(Status::Unavailable, "the server is busy: try again", context),
        };
        self.write(&reply).await?;
        Ok(reply.keep_alive)
    }

    /// Answers our agent on a machine. One that waits for an order does not keep the daemon from stopping.
    async fn answer_agent(&mut self, request: &Request, body: &ReadBody) -> io::Result<bool> {
        let asked = AgentRequest {
            method: request.method,
            path: &request.path[agent::ROOT.len()..],
            query: &request.query,
            token: request.authorization.as_deref().and_then(bearer),
            body: &body.bytes,
        };
        let mut stop = self.shared.stop.clone();
        let reply = tokio::select! {
            biased;
            reply = self.shared.handler.agent(&mut self.asker, asked), if body.whole => reply,
            () = stopped(&mut stop), if body.whole => AgentReply::problem(Status::Unavailable, "the daemon stops"),
            else => AgentReply::problem(Status::TooLarge, "the message is too long"),
        };
        let context = Context::of(request, body.whole && !*self.shared.stop.borrow(), now());
        let reply = reply::message(reply.status, reply.media_type(), &reply.json, context);
        self.write(&reply).await?;
        Ok(reply.keep_alive)
    }

    async fn deliver(&mut self, request: &Request, artifact: Artifact, context: Context) -> io::Result<bool> {
        let reply = reply::serve(request, &artifact, context);
        if reply.parts.is_empty() {
            self.write(&reply).await?;
            return Ok(reply.keep_alive);
        }
        let mut transfer = Transfer::new(Arc::clone(&self.shared.handler), self.asker, artifact);
        let body = match Body::open(&self.shared.files, &transfer.artifact().content).await {
            Ok(body) => body,
            Err(error) => {
                warn!(client = %self.asker.address, path = request.path, %error, "HTTP: a file is not served");
                transfer.failed = Some(error.to_string());
                let reply = reply::problem(Status::Unavailable, &error.to_string(), context);
                self.write(&reply).await?;
                return Ok(reply.keep_alive);
            }
        };
        self.replying = true;
        self.send_parts(&reply, &body, &mut transfer.sent).await?;
        self.replying = false;
        transfer.complete = true;
        Ok(reply.keep_alive)
    }

    /// The head, the parts and what is between them; `sent` counts bytes of the content.
    async fn send_parts(&mut self, reply: &Reply, body: &Body, sent: &mut u64) -> io::Result<()> {
        self.slot.progress();
        let pace = Pace { patience: self.shared.limits.stalled, slot: &self.slot };
        let mut head = Cow::from(&reply.head);
        for part in &reply.parts {
            if !part.head.is_empty() {
                head.to_mut().extend(part.head.as_bytes());
            }
            output::send(&mut self.stream, &head, body, part.stretch, pace, sent).await?;
            head = Cow::default();
        }
        output::write_all(&mut self.stream, reply.tail.as_bytes(), pace).await
    }

    async fn write(&mut self, reply: &Reply) -> io::Result<()> {
        self.slot.progress();
        let pace = Pace { patience: self.shared.limits.stalled, slot: &self.slot };
        self.replying = true;
        output::write_all(&mut self.stream, &reply.head, pace).await?;
        self.replying = false;
        Ok(())
    }
}

/// The token of RFC 6750.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl<O: RequestHandler> Drop for Connection<O> {
    /// What a client did not take of a reply that is given up does not stay in the kernel.
    fn drop(&mut self) {
        if self.replying {
            self.stream.reset_on_drop();
        }
    }
}
