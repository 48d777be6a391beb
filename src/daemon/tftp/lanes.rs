//! Threads that transfers run on, each transfer on one of them from beginning to end.
//!
//! A block is a few microseconds of work between two waits. Where any thread may take up any
//! transfer, waking a thread and moving the transfer costs more than that.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// More threads than this only take turns: what they wait for is one network card.
const MOST: usize = 4;

pub(super) struct Lanes {
    lanes: Vec<Lane>,
    next: usize,
}

struct Lane {
    handle: Handle,
    /// The thread ends when this is dropped.
    _open: oneshot::Sender<()>,
}

impl Lanes {
    /// One for every two processors.
    pub(super) fn open() -> io::Result<Lanes> {
        let count = available_parallelism().map_or(1, |processors| processors.get() / 2).clamp(1, MOST);
        let lanes = (0..count).map(|_| Lane::open()).collect::<io::Result<_>>()?;
        Ok(Lanes { lanes, next: 0 })
    }

    /// The lane that has waited longest for a transfer.
    pub(super) fn next(&mut self) -> &Handle {
        self.next = (self.next + 1) % self.lanes.len();
        &self.lanes[self.next].handle
    }
}

impl Lane {
    fn open() -> io::Result<Lane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel::<()>();
        let work = move || drop(runtime.block_on(closed));
        std::thread::Builder::new().name("tftp".into()).spawn(work)?;
        Ok(Lane { handle, _open: open })
    }
}
