//! The HTTP server of the boot port: our own, because file bytes go from the page cache to the
//! socket without being copied (sendfile), which the bodies of HTTP libraries cannot do.

mod connection;
mod input;
mod output;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{Files, Opener, Stop, bind_early, now, stopped};
use crate::proto::http::Status;
use crate::proto::http::reply::{Context, problem};
use crate::proto::tree::{Asker, Transport};
use connection::Connection;

/// How long replies under way may go on after the stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// Rest after the host could not give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much one server takes on, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. More wait in the kernel's queue.
    pub connections: usize,
    /// Connections at once from one address. More are answered 503.
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
    files: Files,
    limits: Limits,
    clients: Clients,
}

impl Server {
    /// Listens at `address`. Needs a tokio runtime.
    pub fn bind(address: SocketAddr, files: Files, limits: Limits) -> io::Result<Server> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            bind_early(&socket)?;
        }
        socket.bind(address)?;
        Ok(Server { listener: socket.listen(BACKLOG)?, files, limits, clients: Clients::default() })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true (or its sender is gone): then idle connections are closed and
    /// replies under way may end for a while.
    pub async fn run<O: Opener>(self, opener: Arc<O>, mut stop: Stop) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        let for_connections = stop.clone();
        loop {
            let room = tasks.len() < self.limits.connections;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(connection) = self.admit(stream, peer, &opener, &for_connections) {
                            tasks.spawn(connection.run());
                        }
                    }
                    Err(error) => {
                        warn!(%error, "HTTP: a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
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

    fn admit<O: Opener>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        opener: &Arc<O>,
        stop: &Stop,
    ) -> Option<Connection<O>> {
        let Some(place) = self.clients.admit(peer.ip(), self.limits.connections_per_client) else {
            warn!(%peer, "HTTP: too many connections from one address");
            turn_away(&stream);
            return None;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "HTTP: small replies may be late");
        }
        let own = stream.local_addr().ok().map(|own| own.ip());
        let asker = Asker::new(peer.ip(), own, Transport::Http);
        let (opener, files, stop) = (Arc::clone(opener), self.files.clone(), stop.clone());
        Some(Connection::new(stream, asker, opener, files, self.limits, stop, place))
    }
}

/// Says why, without waiting for anything.
fn turn_away(stream: &TcpStream) {
    let context = Context::unread(now());
    let reply = problem(Status::Unavailable, "too many connections from this address", context);
    if let Err(error) = SockRef::from(stream).send(&reply.head) {
        debug!(%error, "HTTP: a refusal could not be sent");
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of an address's connections, until dropped.
struct Place {
    clients: Clients,
    address: IpAddr,
}

impl Clients {
    fn admit(&self, address: IpAddr, limit: usize) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { clients: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.address);
            }
        }
    }
}
