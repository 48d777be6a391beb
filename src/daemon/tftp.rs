//! The TFTP server: one socket that listens, one task and one socket for each transfer, on few
//! threads. In single-port mode the transfers share the socket that listens.
//!
//! The crate async-tftp (0.4.2) is not used here, for reasons that were measured: it answers from another
//! address than was asked on a host that has several, and firmware drops that; it ignores a client's ERROR and
//! repeats up to 100 times at 3 s, while PXE ROMs abort on purpose to learn a size; it limits neither transfers
//! nor the memory of a window; and it sends one block for each system call, at a quarter to half of
//! tftpd-hpa's rate. It stays as a peer: `tests/it/tftp/async_tftp.rs` compares options and bytes, and
//! `cargo bench --bench serve -- stream storm` the rates.

mod listener;
mod registry;
mod transfer;
mod wire;
mod workers;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::active_requests::ActiveRequests;
use super::{Files, RequestHandler, Stop, is_passing, stopped};
use crate::proto::tftp::{ErrorCode, Packet, PacketError};
use listener::{Listener, Received};
use registry::{Admission, Registry};
use transfer::Transferring;
use wire::Wire;
use workers::Workers;

/// How long transfers under way may continue after the stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the memory of transfers that have ended waits for the next one: to be woken for the end of each would
/// cost more.
const REAP: Duration = Duration::from_secs(1);
/// Packets of one client that wait for its transfer, in single-port mode. A client sends one for
/// each window and waits.
const INBOX: usize = 16;

/// How much one server takes on. Requests beyond are left unanswered: firmware asks again, while an
/// error would end its boot.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Transfers at once.
    pub transfers: usize,
    /// Transfers at once to one address. More than one machine may sit behind it.
    pub transfers_per_client: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { transfers: 4096, transfers_per_client: 64 }
    }
}

/// A bound server.
pub struct Server {
    listener: Arc<Listener>,
    registry: Registry,
    files: Files,
    single_port: bool,
    active_requests: ActiveRequests,
}

impl Server {
    /// Listens at `address`; with the unspecified address, replies still come from the one each
    /// request was sent to. Needs a tokio runtime.
    pub fn bind(address: SocketAddr, files: Files, limits: Limits) -> io::Result<Server> {
        let registry = Registry::new(limits);
        let listener = Arc::new(Listener::bind(address)?);
        Ok(Server {
            listener,
            registry,
            files,
            single_port: false,
            active_requests: ActiveRequests::default(),
        })
    }

    /// Sends everything from the port that listens, instead of a new one for each transfer: for
    /// clients behind address translation, and daemons in containers of which one port is published.
    pub fn single_port(mut self, yes: bool) -> Server {
        self.single_port = yes;
        self
    }

    /// Counts its transfers there too.
    pub fn counted(mut self, active_requests: ActiveRequests) -> Server {
        self.active_requests = active_requests;
        self
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true (or its sender is gone), then lets transfers end for a while.
    pub async fn run<O: RequestHandler>(self, handler: Arc<O>, mut stop: Stop) -> io::Result<()> {
        let (mut tasks, mut workers) = (JoinSet::new(), Workers::open()?);
        let mut reap = interval(REAP);
        reap.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                received = self.listener.receive() => match received {
                    Ok(received) => self.start(received, &handler, &mut tasks, workers.next()),
                    Err(error) if is_passing(&error) => debug!(%error, "TFTP: a request could not be received"),
                    // The packet lacks its destination address.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                    Err(error) => return Err(error),
                },
                _ = reap.tick(), if !tasks.is_empty() => {}
            }
        }
        let ended = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            warn!(transfers = tasks.len(), "TFTP: transfers cut off by the stop");
            tasks.shutdown().await;
        }
        Ok(())
    }

    fn start<O: RequestHandler>(
        &self,
        received: Received,
        handler: &Arc<O>,
        tasks: &mut JoinSet<()>,
        worker: &Handle,
    ) {
        let Received { datagram, peer, local } = received;
        let refusal = match Packet::parse(&datagram) {
            Ok(Packet::Read(_)) => None,
            Ok(Packet::Write) => Some((ErrorCode::Access, "nothing can be written here".to_owned())),
            Err(error @ PacketError::Mode) => Some((ErrorCode::Illegal, error.to_string())),
            Ok(Packet::Ack(_) | Packet::Error { .. }) if self.single_port => {
                // A packet of no transfer gets no answer: most clients have just ended theirs.
                return self.registry.deliver(peer, datagram);
            }
            other => return debug!(%peer, ?other, "TFTP: not a request"),
        };
        let slot = match self.registry.admit(peer, &datagram) {
            Admission::Admitted(slot) => slot,
            Admission::Repeated => return debug!(%peer, "TFTP: a request repeated while it is served"),
            Admission::Full => return warn!(%peer, "TFTP: unanswered, too many transfers"),
        };
        // Its socket is to wake the thread that it runs on.
        let _on_worker = worker.enter();
        let wire = match self.wire(local, peer, slot.id()) {
            Ok(wire) => wire,
            Err(error) => return warn!(%peer, %error, "TFTP: no socket for a transfer"),
        };
        if let Some((code, text)) = refusal {
            debug!(%peer, text, "TFTP: refused");
            return wire.refuse(code, &text);
        }
        let id = slot.id();
        let transferring =
            Transferring { handler: Arc::clone(handler), files: self.files.clone(), wire, slot };
        let counted = self.active_requests.begin();
        let transfer = async move {
            transferring.run(datagram).await;
            drop(counted);
        };
        let task = tasks.spawn_on(transfer, worker);
        self.registry.started(peer, id, task);
    }

    fn wire(&self, local: IpAddr, peer: SocketAddr, id: u64) -> io::Result<Wire> {
        if !self.single_port {
            return Wire::open(local, peer);
        }
        let (inbox, packets) = mpsc::channel(INBOX);
        self.registry.listens(peer, id, inbox);
        Ok(Wire::share(Arc::clone(&self.listener), packets, local, peer))
    }
}
