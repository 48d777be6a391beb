//! The TFTP server: one socket that listens, one task and one socket for each transfer.

mod listener;
mod registry;
mod transfer;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{Files, Opener, Stop, stopped};
use crate::proto::tftp::{ErrorCode, Packet, PacketError};
use listener::{Listener, Received};
use registry::{Admission, Registry};
use transfer::Transferring;
use wire::Wire;

/// How long transfers under way may go on after the stop.
const DRAIN: Duration = Duration::from_secs(5);

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
    listener: Listener,
    registry: Registry,
    files: Files,
}

impl Server {
    /// Listens at `address`; with the unspecified address, replies still come from the one each
    /// request was sent to. Needs a tokio runtime.
    pub fn bind(address: SocketAddr, files: Files, limits: Limits) -> io::Result<Server> {
        let registry = Registry::new(limits);
        Ok(Server { listener: Listener::bind(address)?, registry, files })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true (or its sender is gone), then lets transfers end for a while.
    pub async fn run<O: Opener>(self, opener: Arc<O>, mut stop: Stop) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                received = self.listener.receive() => match received {
                    Ok(received) => self.start(received, &opener, &mut tasks),
                    Err(error) => warn!(%error, "TFTP: a request could not be received"),
                },
            }
        }
        let ended = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            warn!(transfers = tasks.len(), "TFTP: transfers cut off by the stop");
            tasks.shutdown().await;
        }
        Ok(())
    }

    fn start<O: Opener>(&self, received: Received, opener: &Arc<O>, tasks: &mut JoinSet<()>) {
        let Received { datagram, peer, local } = received;
        let refusal = match Packet::parse(&datagram) {
            Ok(Packet::Read(_)) => None,
            Ok(Packet::Write) => Some((ErrorCode::Access, "nothing can be written here".to_owned())),
            Err(error @ PacketError::Mode) => Some((ErrorCode::Illegal, error.to_string())),
            other => return debug!(%peer, ?other, "TFTP: not a request"),
        };
        let slot = match self.registry.admit(peer, &datagram) {
            Admission::Admitted(slot) => slot,
            Admission::Repeated => return debug!(%peer, "TFTP: a request repeated while it is served"),
            Admission::Full => return warn!(%peer, "TFTP: unanswered, too many transfers"),
        };
        let wire = match Wire::open(local, peer) {
            Ok(wire) => wire,
            Err(error) => return warn!(%peer, %error, "TFTP: no socket for a transfer"),
        };
        if let Some((code, text)) = refusal {
            debug!(%peer, text, "TFTP: refused");
            return wire.refuse(code, &text);
        }
        let id = slot.id();
        let transferring = Transferring { opener: Arc::clone(opener), files: self.files.clone(), wire, slot };
        let task = tasks.spawn(transferring.run(datagram));
        self.registry.started(peer, id, task);
    }
}
