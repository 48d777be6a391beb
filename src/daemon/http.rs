//! The HTTP server of the boot port: written here, because file bytes go from the page cache to the socket
//! without being copied (sendfile), which the bodies of HTTP libraries cannot do.

mod connection;
mod connections;
mod input;
mod output;
mod stream;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::active_requests::ActiveRequests;
use super::tls::Acceptor;
use super::{Files, RequestHandler, Stop, bind_early, is_passing, now, stopped};
use crate::proto::http::Status;
use crate::proto::http::reply::{Context, problem};
use crate::proto::tree::{Asker, Transport};
use connection::Connection;
use connections::{Connections, Slot};
use stream::Stream;

/// How long replies under way may continue after the stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long a client that connects while the daemon stops may take for its request.
const LATE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted, and between two looks for one that can be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the memory of connections that have ended waits for the next one: to be woken for the end of each would
/// cost more.
const REAP: Duration = Duration::from_secs(1);
/// How many make room at a time: one in so many.
const SENT_AWAY: usize = 64;

/// How much one server takes on, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. Before more wait in the kernel's queue, those that have made no progress for
    /// longest are closed.
    pub connections: usize,
    /// Connections at once from one address. For more, one of them that makes no progress is closed; if all
    /// do, they are answered 503.
    pub connections_per_client: usize,
    /// Silence between two requests, before the connection is closed.
    pub idle: Duration,
    /// From a request's first byte to the end of its head, and again to the end of its body.
    pub reading: Duration,
    /// Without one byte of progress in writing. The whole reply may take hours: an image to a slow
    /// management controller does.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 8192,
            connections_per_client: 256,
            idle: Duration::from_secs(75),
            reading: Duration::from_secs(20),
            stalled: Duration::from_secs(120),
        }
    }
}

/// A bound server.
pub struct Server {
    listener: TcpListener,
    /// The one address that it listens at, if it is one.
    own: Option<IpAddr>,
    files: Files,
    limits: Limits,
    connections: Connections,
    tls: Option<Acceptor>,
    draining: Option<Stop>,
    active_requests: ActiveRequests,
}

/// What all connections have in common.
struct Shared<O> {
    handler: Arc<O>,
    files: Files,
    limits: Limits,
    stop: Stop,
    /// Counts the requests that are being answered.
    active_requests: ActiveRequests,
}

impl<O> Clone for Shared<O> {
    fn clone(&self) -> Shared<O> {
        let Shared { handler, files, limits, stop, active_requests } = self;
        Shared {
            handler: Arc::clone(handler),
            files: files.clone(),
            limits: *limits,
            stop: stop.clone(),
            active_requests: active_requests.clone(),
        }
    }
}

impl Server {
    /// Listens at `address`. Needs a tokio runtime.
    pub fn bind(address: SocketAddr, files: Files, limits: Limits) -> io::Result<Server> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Connections have what the socket has that they come in by.
        socket.set_nodelay(true)?;
        bind_early(&socket, address)?;
        socket.bind(address)?;
        Ok(Server {
            listener: socket.listen(BACKLOG)?,
            own: Some(address.ip()).filter(|own| !own.is_unspecified()),
            files,
            limits,
            connections: Connections::new(),
            tls: None,
            draining: None,
            active_requests: ActiveRequests::default(),
        })
    }

    /// Speaks TLS on every connection, with the settings that `tls` has at that time.
    pub fn secure(mut self, tls: Acceptor) -> Server {
        self.tls = Some(tls);
        self
    }

    /// From when `draining` turns true, idle and half-open connections are closed, and new ones are still
    /// served, until the server is stopped. Its requests are counted.
    pub fn draining(mut self, draining: Stop, active_requests: ActiveRequests) -> Server {
        self.draining = Some(draining);
        self.active_requests = active_requests;
        self
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true (or its sender is gone): then idle connections are closed and
    /// replies under way may end for a while.
    pub async fn run<O: RequestHandler>(self, handler: Arc<O>, mut stop: Stop) -> io::Result<()> {
        let (mut tasks, mut reap) = (JoinSet::new(), interval(REAP));
        let draining = self.draining.clone().unwrap_or_else(|| stop.clone());
        let shared = Shared {
            handler,
            files: self.files.clone(),
            limits: self.limits,
            stop: draining.clone(),
            active_requests: self.active_requests.clone(),
        };
        reap.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while tasks.try_join_next().is_some() {}
            let room = tasks.len() < self.limits.connections;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(_) = tasks.join_next(), if !room => {}
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(slot) = self.admit(&stream, peer) {
                            let mut shared = shared.clone();
                            if *draining.borrow() {
                                shared.stop = stop.clone();
                                shared.limits.idle = LATE;
                                shared.limits.reading = LATE;
                            }
                            let id = slot.id();
                            let own = self.own.or_else(|| Some(stream.local_addr().ok()?.ip()));
                            let asker = Asker::connected(peer, own, Transport::Http);
                            let tls = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls()));
                            let serving = serve(stream, asker, tls, shared, slot);
                            self.connections.started(id, tasks.spawn(serving));
                        }
                        if tasks.len() >= self.limits.connections {
                            self.connections.make_room(self.few());
                        }
                    }
                    Err(error) if is_lasting(&error) => return Err(error),
                    Err(error) => {
                        warn!(%error, "HTTP: a connection could not be accepted");
                        // Where the host has no descriptors left, a connection that goes nowhere has one.
                        self.connections.make_room(self.few());
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // All had just connected when there was no room.
                () = tokio::time::sleep(ACCEPT_PAUSE), if !room => self.connections.make_room(self.few()),
                _ = reap.tick(), if !tasks.is_empty() => {}
            }
        }
        drop(self.listener);
        let ended = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            warn!(connections = tasks.len(), "HTTP: replies cut off by the stop");
            tasks.shutdown().await;
        }
        Ok(())
    }

    fn few(&self) -> usize {
        (self.limits.connections / SENT_AWAY).max(1)
    }

    fn admit(&self, stream: &TcpStream, peer: SocketAddr) -> Option<Slot> {
        let slot = self.connections.admit(peer.ip(), self.limits.connections_per_client);
        if slot.is_none() {
            warn!(%peer, "HTTP: too many connections from one address");
            // Under TLS the client could not read it.
            if self.tls.is_none() {
                turn_away(stream);
            }
        }
        slot
    }
}

/// Whether an error says that the listening socket itself is of no use any more.
fn is_lasting(error: &io::Error) -> bool {
    let crowded = [libc::EMFILE, libc::ENFILE, libc::EPERM];
    !is_passing(error) && error.raw_os_error().is_none_or(|number| !crowded.contains(&number))
}

async fn serve<O: RequestHandler>(
    stream: TcpStream,
    asker: Asker,
    tls: Option<TlsAcceptor>,
    shared: Shared<O>,
    slot: Slot,
) {
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => match timeout(shared.limits.reading, tls.accept(stream)).await {
            Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
            Ok(Err(error)) => return debug!(client = %asker.address, %error, "HTTPS: no agreement"),
            Err(_) => {
                return debug!(client = %asker.address, "HTTPS: the client never finished its greeting");
            }
        },
    };
    Connection::new(stream, asker, shared, slot).run().await;
}

/// Says why, without waiting for anything.
fn turn_away(stream: &TcpStream) {
    let context = Context::unread(now());
    let reply = problem(Status::Unavailable, "too many connections from this address", context);
    if let Err(error) = SockRef::from(stream).send(&reply.head) {
        debug!(%error, "HTTP: a refusal could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small replies are not to wait for acknowledgements; that each connection has to be set so would cost a call.
    #[tokio::test]
    async fn connections_do_not_delay_small_replies() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), Files::new(), Limits::default()).unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let (connection, _) = server.listener.accept().await.unwrap();
        assert!(connection.nodelay().unwrap() && !client.nodelay().unwrap());
    }
}
