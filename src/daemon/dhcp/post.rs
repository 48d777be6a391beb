//! Sends answers from the thread that has time for it.
//!
//! The kernel carries a datagram to its receiver's queue on the sender's time, on a virtual cable all the
//! way: that is half of what an answer costs. So a thread of its own sends when there are many; a few are
//! sent at once, which is sooner.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::Exit;
use super::handful::{self, Letter, Way};
use super::leaving::Leaving;
use super::sockets::Port;
use super::wake::Wake;
use crate::daemon::raw::RawSender;
use crate::state::Event;

/// Answers that are worth waking another thread for.
const MANY: usize = 24;
/// Bundles that may wait for it.
const WAITING: usize = 4;

type Bundle = Vec<(Exit, Letter)>;

/// The queue of answers to be sent. The thread behind it ends when this is dropped.
pub(super) struct Post {
    desk: Arc<Desk>,
    bundles: SyncSender<Bundle>,
}

struct Desk {
    raw: Option<RawSender>,
    ports: Vec<Port>,
    leaving: Arc<Leaving>,
}

impl Post {
    /// What became of answers that were sent by the other thread is put where `wake` finds it.
    pub(super) fn open(
        raw: Option<RawSender>,
        ports: Vec<Port>,
        wake: Arc<Wake>,
        leaving: Arc<Leaving>,
    ) -> io::Result<Post> {
        let desk = Arc::new(Desk { raw, ports, leaving });
        let (bundles, waiting) = sync_channel(WAITING);
        let courier = desk.clone();
        let deliver = move |waiting: Receiver<Bundle>| {
            for bundle in waiting {
                wake.sent(courier.send(bundle));
            }
        };
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

    /// Sends all of them, and returns what happened; `None` where the other thread will say it.
    pub(super) fn send(&self, bundle: Bundle) -> Option<Vec<Event>> {
        if bundle.len() < MANY {
            return Some(self.desk.send(bundle));
        }
        match self.bundles.try_send(bundle) {
            Ok(()) => None,
            Err(TrySendError::Full(bundle) | TrySendError::Disconnected(bundle)) => {
                Some(self.desk.send(bundle))
            }
        }
    }
}

impl Desk {
    /// What happened: the events of answers that left, and others for those that could not be sent.
    fn send(&self, bundle: Bundle) -> Vec<Event> {
        let mut frames = Vec::new();
        let mut routed: Vec<Vec<Letter>> = self.ports.iter().map(|_| Vec::new()).collect();
        for (exit, letter) in bundle {
            match letter.way {
                Way::Frame { .. } => frames.push(letter),
                Way::Routed { .. } => routed[exit.port].push(letter),
            }
        }
        let mut events = Vec::new();
        if let Some(raw) = &self.raw {
            handful::send(raw, frames, &self.leaving, &mut events);
        }
        for (port, letters) in self.ports.iter().zip(routed) {
            handful::send(&port.socket, letters, &self.leaving, &mut events);
        }
        events
    }
}
