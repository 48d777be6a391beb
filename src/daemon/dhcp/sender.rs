//! Sends answers from the thread that has time for it.
//!
//! The kernel carries a datagram to its receiver's queue on the sender's time, on a virtual cable all the
//! way: that is half of what an answer costs. So a thread of its own sends when there are many; a few are
//! sent at once, which is sooner.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::Egress;
use super::datagrams::{self, Delivery, OutgoingAnswer};
use super::send_status::SendStatus;
use super::sockets::Port;
use super::wake::Wake;
use crate::daemon::raw::RawSender;
use crate::state::Event;

/// Answers that are worth waking another thread for.
const HANDOVER_MIN: usize = 24;
/// Batches that may wait for it.
const QUEUE_MAX: usize = 4;

type Batch = Vec<(Egress, OutgoingAnswer)>;

/// The queue of answers to be sent. The thread behind it ends when this is dropped.
pub(super) struct Sender {
    sockets: Arc<SendSockets>,
    batches: SyncSender<Batch>,
}

struct SendSockets {
    raw: Option<RawSender>,
    ports: Vec<Port>,
    status: Arc<SendStatus>,
}

impl Sender {
    /// The thread hands the events of what it sent to `wake`.
    pub(super) fn open(
        raw: Option<RawSender>,
        ports: Vec<Port>,
        wake: Arc<Wake>,
        status: Arc<SendStatus>,
    ) -> io::Result<Sender> {
        let sockets = Arc::new(SendSockets { raw, ports, status });
        let (batches, waiting) = sync_channel(QUEUE_MAX);
        let own = sockets.clone();
        let send_all = move |waiting: Receiver<Batch>| {
            for batch in waiting {
                wake.sent(own.send(batch));
            }
        };
        crate::thread::start("dhcp-send", move || send_all(waiting))?;
        Ok(Sender { sockets, batches })
    }

    /// Whether frames can be sent to hardware addresses.
    pub(super) fn has_frames(&self) -> bool {
        self.sockets.raw.is_some()
    }

    pub(super) fn ports(&self) -> &[Port] {
        &self.sockets.ports
    }

    /// Sends all of them, and returns what happened; `None` where the other thread will report it.
    pub(super) fn send(&self, batch: Batch) -> Option<Vec<Event>> {
        if batch.len() < HANDOVER_MIN {
            return Some(self.sockets.send(batch));
        }
        match self.batches.try_send(batch) {
            Ok(()) => None,
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                Some(self.sockets.send(batch))
            }
        }
    }
}

impl SendSockets {
    /// What happened: the events of answers that left, and others for those that could not be sent.
    fn send(&self, batch: Batch) -> Vec<Event> {
        let mut frames = Vec::new();
        let mut routed: Vec<Vec<OutgoingAnswer>> = self.ports.iter().map(|_| Vec::new()).collect();
        for (egress, answer) in batch {
            match answer.delivery {
                Delivery::Frame { .. } => frames.push(answer),
                Delivery::Routed { .. } => routed[egress.port].push(answer),
            }
        }
        let mut events = Vec::new();
        if let Some(raw) = &self.raw {
            datagrams::send(raw, frames, &self.status, &mut events);
        }
        for (port, answers) in self.ports.iter().zip(routed) {
            datagrams::send(&port.socket, answers, &self.status, &mut events);
        }
        events
    }
}
