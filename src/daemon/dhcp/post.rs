//! The way out: answers leave by whoever has time for them.
//!
//! The kernel carries a datagram to its receiver's queue on the sender's time, on a virtual cable all
//! the way: that is half of what an answer costs. So a thread of its own sends when there are many;
//! a few are sent at once, which is sooner.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::Exit;
use super::handful::{self, Letter, Way};
use super::sockets::Port;
use crate::daemon::raw::RawSender;

/// Answers that are worth waking another thread for.
const MANY: usize = 24;
/// Bundles that may wait for it.
const WAITING: usize = 4;

type Bundle = Vec<(Exit, Letter)>;

/// Where letters are handed in. The thread behind it ends when this is dropped.
pub(super) struct Post {
    desk: Arc<Desk>,
    bundles: SyncSender<Bundle>,
}

struct Desk {
    raw: Option<RawSender>,
    ports: Vec<Port>,
}

impl Post {
    pub(super) fn open(raw: Option<RawSender>, ports: Vec<Port>) -> io::Result<Post> {
        let desk = Arc::new(Desk { raw, ports });
        let (bundles, waiting) = sync_channel(WAITING);
        let courier = desk.clone();
        let deliver = move |waiting: Receiver<Bundle>| waiting.iter().for_each(|bundle| courier.send(bundle));
        std::thread::Builder::new().name("dhcp-post".into()).spawn(move || deliver(waiting))?;
        Ok(Post { desk, bundles })
    }

    /// Whether frames can be sent to hardware addresses.
    pub(super) fn has_frames(&self) -> bool {
        self.desk.raw.is_some()
    }

    pub(super) fn ports(&self) -> &[Port] {
        &self.desk.ports
    }

    pub(super) fn send(&self, bundle: Bundle) {
        if bundle.len() < MANY {
            return self.desk.send(bundle);
        }
        if let Err(TrySendError::Full(bundle) | TrySendError::Disconnected(bundle)) =
            self.bundles.try_send(bundle)
        {
            self.desk.send(bundle);
        }
    }
}

impl Desk {
    fn send(&self, bundle: Bundle) {
        let mut frames = Vec::new();
        let mut routed: Vec<Vec<Letter>> = self.ports.iter().map(|_| Vec::new()).collect();
        for (exit, letter) in bundle {
            match letter.way {
                Way::Frame { .. } => frames.push(letter),
                Way::Routed { .. } => routed[exit.port].push(letter),
            }
        }
        if let Some(raw) = &self.raw {
            handful::send(raw, &frames);
        }
        for (port, letters) in self.ports.iter().zip(&routed) {
            handful::send(&port.socket, letters);
        }
    }
}
