//! What wakes the DHCP thread: datagrams, leases that were made, the end.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Busy, Granted, Waiting};
use crate::state::Event;

type Settled = (Vec<Waiting>, Result<Granted, Busy>);

pub(super) struct Wake {
    event: EventFd,
    settled: Mutex<Vec<Settled>>,
    /// What became of answers that another thread sent, a batch each.
    sent: Mutex<Vec<Vec<Event>>>,
    /// Rounds of the thread, which show that it runs.
    rounds: AtomicU64,
    stop: AtomicBool,
}

impl Wake {
    pub(super) fn new() -> io::Result<Wake> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let (settled, sent) = (Mutex::default(), Mutex::default());
        Ok(Wake { event, settled, sent, rounds: AtomicU64::new(0), stop: AtomicBool::new(false) })
    }

    /// Waits until there is something to do, or `patience` is over: which of the sockets can be read.
    /// `None`: the end.
    pub(super) fn wait(
        &self,
        sockets: &[impl AsFd],
        patience: Option<Duration>,
    ) -> io::Result<Option<Vec<usize>>> {
        let own = PollFd::new(self.event.as_fd(), PollFlags::POLLIN);
        let sockets = sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        let mut all: Vec<PollFd> = std::iter::once(own).chain(sockets).collect();
        let timeout = patience.and_then(|patience| PollTimeout::try_from(patience).ok());
        match poll(&mut all, timeout.unwrap_or(PollTimeout::NONE)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let is_ready = |one: &PollFd| one.any().unwrap_or(false);
        if is_ready(&all[0]) {
            let _ = self.event.read();
        }
        if self.stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        let ready = all[1..].iter().enumerate().filter(|(_, one)| is_ready(one));
        Ok(Some(ready.map(|(at, _)| at).collect()))
    }

    /// Messages whose leases were made, or could not be.
    pub(super) fn settled(&self) -> Vec<Settled> {
        std::mem::take(&mut *self.lock())
    }

    pub(super) fn settle(&self, waiting: Vec<Waiting>, outcome: Result<Granted, Busy>) {
        let mut settled = self.lock();
        settled.push((waiting, outcome));
        // Who sees the first one sees them all.
        let first = settled.len() == 1;
        drop(settled);
        if first {
            self.notify();
        }
    }

    /// Hands over what happened by a batch of answers that was sent beside the thread, which looks by itself.
    pub(super) fn sent(&self, events: Vec<Event>) {
        self.lock_sent().push(events);
    }

    /// What was handed over since the last call, for each batch.
    pub(super) fn take_sent(&self) -> Vec<Vec<Event>> {
        std::mem::take(&mut *self.lock_sent())
    }

    fn lock_sent(&self) -> MutexGuard<'_, Vec<Vec<Event>>> {
        self.sent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Has the thread make a round, and counts those it has made.
    pub(super) fn tick(&self) -> u64 {
        self.notify();
        self.rounds.load(Ordering::Relaxed)
    }

    /// Ends the thread when the guard is dropped.
    pub(super) fn stop_when_dropped(self: Arc<Wake>) -> StopWhenDropped {
        StopWhenDropped(self)
    }

    fn notify(&self) {
        // It can only fail when it was written to so often that the thread must wake anyway.
        let _ = self.event.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Settled>> {
        self.settled.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Ends the DHCP thread at the end of its scope.
pub(super) struct StopWhenDropped(Arc<Wake>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.notify();
    }
}
