//! Threads that transfers run on, each transfer on one of them from beginning to end.
//!
//! A block is a few microseconds of work between two waits. Where any thread may take up any
//! transfer, waking a thread and moving the transfer costs more than that.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// More threads than this only take turns: what they wait for is one network card.
const WORKERS_MAX: usize = 4;

pub(super) struct Workers {
    workers: Vec<Worker>,
    next: usize,
}

struct Worker {
    handle: Handle,
    /// The thread ends when this is dropped.
    _open: oneshot::Sender<()>,
}

impl Workers {
    /// One for every two processors.
    pub(super) fn open() -> io::Result<Workers> {
        let count =
            available_parallelism().map_or(1, |processors| processors.get() / 2).clamp(1, WORKERS_MAX);
        let workers = (0..count).map(|_| Worker::open()).collect::<io::Result<_>>()?;
        Ok(Workers { workers, next: 0 })
    }

    /// The worker that has waited longest for a transfer.
    pub(super) fn next(&mut self) -> &Handle {
        self.next = (self.next + 1) % self.workers.len();
        &self.workers[self.next].handle
    }
}

impl Worker {
    fn open() -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel::<()>();
        let work = move || drop(runtime.block_on(closed));
        crate::thread::start("tftp", work)?;
        Ok(Worker { handle, _open: open })
    }
}
