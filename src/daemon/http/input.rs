//! Reading requests from a connection.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::output::{self, Pace};
use super::stream::Stream;
use crate::api::agent;
use crate::daemon::{Stop, stopped};
use crate::proto::http::{BadRequest, BodyReader, Request};

/// How much of a request's body is read, in bytes. Installers report with a few words; a log that
/// is longer is not read to its end.
const MAX_BODY: usize = 64 * 1024;
/// Room made for each read, in bytes.
const READ: usize = 4096;
/// Most bytes and longest time spent on what a client still sends after the last reply.
const MAX_LINGER: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// What has come in and was not used yet.
pub(super) struct Input {
    buffer: BytesMut,
    /// The client has sent everything it will ever send.
    ended: bool,
}

/// Why there is no next request.
pub(super) enum NoRequest {
    /// The client is gone, or sends nothing more, or the server stops.
    Over,
    /// It began a request and never finished it.
    Slow,
    Bad(BadRequest),
}

impl From<BadRequest> for NoRequest {
    fn from(error: BadRequest) -> NoRequest {
        NoRequest::Bad(error)
    }
}

/// A request's body.
pub(super) struct ReadBody {
    pub bytes: Vec<u8>,
    /// False if there was more of it than is read.
    pub whole: bool,
}

impl Input {
    pub(super) fn new() -> Input {
        Input { buffer: BytesMut::new(), ended: false }
    }

    /// Waits up to `idle` for the next request, and up to `reading` for the rest of its head.
    pub(super) async fn request(
        &mut self,
        stream: &mut Stream,
        idle: Duration,
        reading: Duration,
        stop: &mut Stop,
    ) -> Result<Request, NoRequest> {
        if self.buffer.is_empty() {
            self.wait(stream, Instant::now() + idle, stop).await?;
        }
        // Most requests are here whole, and then the clock is not read.
        let mut deadline = None;
        loop {
            if let Some((request, length)) = Request::parse(&self.buffer)? {
                self.buffer.advance(length);
                return Ok(request);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + reading);
            tokio::select! {
                biased;
                read = self.more(stream, deadline) => read.map_err(no_more)?,
                // A request that is not complete by now goes to the next daemon.
                () = stopped(stop) => return Err(NoRequest::Over),
            }
        }
    }

    /// Until something comes.
    async fn wait(
        &mut self,
        stream: &mut Stream,
        deadline: Instant,
        stop: &mut Stop,
    ) -> Result<(), NoRequest> {
        tokio::select! {
            biased;
            read = self.more(stream, deadline) => read.map_err(|_| NoRequest::Over),
            () = stopped(stop) => Err(NoRequest::Over),
        }
    }

    /// The body of `request`, whose head was read last.
    pub(super) async fn body(
        &mut self,
        stream: &mut Stream,
        request: &Request,
        pace: Pace<'_>,
    ) -> Result<ReadBody, NoRequest> {
        let most = if request.path.starts_with(agent::ROOT) { agent::BODY_MAX } else { MAX_BODY };
        let mut reader = BodyReader::new(request.framing, most);
        let mut deadline = None;
        if request.expects_continue && !reader.is_done() && self.buffer.is_empty() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            output::write_all(stream, go_on, pace).await.map_err(|_| NoRequest::Over)?;
        }
        loop {
            let used = reader.feed(&self.buffer)?;
            self.buffer.advance(used);
            if reader.is_done() || reader.is_full() {
                return Ok(ReadBody { bytes: reader.kept().to_vec(), whole: reader.is_done() });
            }
            let deadline = *deadline.get_or_insert_with(|| {
                pace.slot.progress();
                Instant::now() + pace.patience
            });
            self.more(stream, deadline).await.map_err(no_more)?;
        }
    }

    /// Lets the last reply arrive: closing with unread bytes in the socket would reset the
    /// connection, and the client would lose the reply with it.
    pub(super) async fn linger(&mut self, stream: &mut Stream, stop: &mut Stop) {
        let deadline = Instant::now() + LINGER;
        let mut left = MAX_LINGER;
        // The client may be gone already, and then there is nothing to be gentle about.
        let closed = timeout_at(deadline, stream.shutdown()).await;
        let mut open = matches!(closed, Ok(Ok(()))) && !self.ended;
        while open && left > 0 {
            self.buffer.clear();
            tokio::select! {
                biased;
                () = stopped(stop) => return,
                read = self.more(stream, deadline) => open = read.is_ok(),
            }
            left = left.saturating_sub(self.buffer.len());
        }
    }

    /// Reads at least one byte more.
    async fn more(&mut self, stream: &mut Stream, deadline: Instant) -> io::Result<()> {
        self.buffer.reserve(READ);
        let read = timeout_at(deadline, stream.read_buf(&mut self.buffer)).await;
        match read.map_err(|_| io::ErrorKind::TimedOut)?? {
            0 => {
                self.ended = true;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            _ => Ok(()),
        }
    }
}

fn no_more(error: io::Error) -> NoRequest {
    if error.kind() == io::ErrorKind::TimedOut { NoRequest::Slow } else { NoRequest::Over }
}
