//! Which transfers are under way, so that there are not too many and none twice.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Limits;

/// A client that has not answered for so long makes room if there is none: requests with forged addresses,
/// of which anybody can send any number, keep no machine out.
const UNANSWERED: Duration = Duration::from_millis(500);
/// So does one that has answered and then made no progress for so long. A client whose packets get lost
/// repeats its own after 5 s at most (U-Boot).
const STALLED: Duration = Duration::from_secs(6);

/// The same request so soon after progress of its transfer was sent before that progress: acknowledgements arrive at
/// another socket than requests and may be read first. A client that has really started anew asks again later.
const IN_STEP: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(super) struct Registry {
    limits: Limits,
    since: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    next_id: u64,
    total: usize,
    per_client: HashMap<IpAddr, usize>,
    by_peer: HashMap<SocketAddr, Entry>,
    /// Those that may not have answered yet, the oldest first.
    quiet: VecDeque<(Instant, SocketAddr, u64)>,
}

struct Entry {
    id: u64,
    request: Vec<u8>,
    answered: Arc<AtomicBool>,
    /// When the client made progress last, in milliseconds of the registry's life.
    progress: Arc<AtomicU64>,
    task: Option<AbortHandle>,
    /// Takes what the client sends, where all transfers share one port.
    inbox: Option<mpsc::Sender<Vec<u8>>>,
}

/// What to do with a request.
pub(super) enum Admission {
    Admitted(Slot),
    /// The same request from the same port, while the first one's answer is on its way or its transfer makes
    /// progress: firmware repeats it when the answer takes long, and gets lost between two transfers.
    Repeated,
    Full,
}

/// A place among the transfers, until dropped.
pub(super) struct Slot {
    registry: Registry,
    peer: SocketAddr,
    id: u64,
    answered: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Registry {
        Registry { limits, since: Instant::now(), shared: Arc::default() }
    }

    /// Another request from a port that is being served replaces the transfer: the client has
    /// started anew.
    pub(super) fn admit(&self, peer: SocketAddr, request: &[u8]) -> Admission {
        let (mut shared, now) = (self.lock(), Instant::now());
        let in_step = self.at(now).saturating_sub(IN_STEP.as_millis() as u64);
        if let Some(entry) = shared.by_peer.get(&peer)
            && entry.request == request
            && (!entry.answered.load(Ordering::Relaxed) || entry.progress.load(Ordering::Relaxed) >= in_step)
        {
            return Admission::Repeated;
        }
        let of_client = shared.per_client.get(&peer.ip()).copied().unwrap_or(0);
        let stalled = self.at(now).saturating_sub(STALLED.as_millis() as u64);
        let room = shared.total < self.limits.transfers || shared.make_room(now) || shared.end(stalled, None);
        let among_own = of_client < self.limits.transfers_per_client || shared.end(stalled, Some(peer.ip()));
        if !room || !among_own {
            return Admission::Full;
        }
        let id = shared.next_id;
        let answered = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(AtomicU64::new(self.at(now)));
        let entry = Entry {
            id,
            request: request.to_vec(),
            answered: Arc::clone(&answered),
            progress: Arc::clone(&progress),
            task: None,
            inbox: None,
        };
        shared.next_id += 1;
        shared.total += 1;
        shared.forget_the_answered();
        shared.quiet.push_back((now, peer, id));
        shared.per_client.insert(peer.ip(), of_client + 1);
        if let Some(Entry { task: Some(task), .. }) = shared.by_peer.insert(peer, entry) {
            task.abort();
        }
        Admission::Admitted(Slot { registry: self.clone(), peer, id, answered, progress })
    }

    /// What `peer` sends from now on goes to `inbox`.
    pub(super) fn listens(&self, peer: SocketAddr, id: u64, inbox: mpsc::Sender<Vec<u8>>) {
        if let Some(entry) = self.lock().by_peer.get_mut(&peer).filter(|entry| entry.id == id) {
            entry.inbox = Some(inbox);
        }
    }

    /// Hands a packet that is no request to the transfer it belongs to, if there is one. With it
    /// the client has taken the answer. What a transfer can't keep up with is lost.
    pub(super) fn deliver(&self, peer: SocketAddr, packet: Vec<u8>) {
        let mut shared = self.lock();
        let Some(entry) = shared.by_peer.get_mut(&peer) else { return };
        entry.answered.store(true, Ordering::Relaxed);
        // The client has ended the transfer, which may not have read that yet when the client begins anew.
        if packet.starts_with(&[0, 5]) {
            entry.request.clear();
        }
        if let Some(inbox) = &entry.inbox {
            let _ = inbox.try_send(packet);
        }
    }

    /// Remembers the task of an admitted transfer, which may have ended already.
    pub(super) fn started(&self, peer: SocketAddr, id: u64, task: AbortHandle) {
        if let Some(entry) = self.lock().by_peer.get_mut(&peer).filter(|entry| entry.id == id) {
            entry.task = Some(task);
        }
    }

    fn at(&self, now: Instant) -> u64 {
        now.duration_since(self.since).as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Ends the transfer that has waited longest for a first answer, if that is long.
    fn make_room(&mut self, now: Instant) -> bool {
        self.forget_the_answered();
        if self.quiet.front().is_none_or(|(since, ..)| now < *since + UNANSWERED) {
            return false;
        }
        let Some((_, peer, _)) = self.quiet.pop_front() else { return false };
        let task = self.by_peer.get(&peer).and_then(|entry| entry.task.as_ref());
        task.inspect(|task| task.abort()).is_some()
    }

    /// Ends the transfer without progress for longest, if that was before `stalled`; of one client only, if one
    /// is given.
    fn end(&mut self, stalled: u64, of: Option<IpAddr>) -> bool {
        let of_them = self.by_peer.iter_mut().filter(|(peer, _)| of.is_none_or(|of| of == peer.ip()));
        let running = of_them.filter(|(_, entry)| entry.task.is_some());
        let progress = |entry: &Entry| entry.progress.load(Ordering::Relaxed);
        let oldest = running.map(|(_, entry)| entry).min_by_key(|entry| progress(entry));
        let Some(entry) = oldest.filter(|entry| progress(entry) < stalled) else { return false };
        entry.task.take().inspect(AbortHandle::abort).is_some()
    }

    /// The first of the queue is then under way and has not answered.
    fn forget_the_answered(&mut self) {
        while let Some((_, peer, id)) = self.quiet.front() {
            let entry = self.by_peer.get(peer).filter(|entry| entry.id == *id);
            if entry.is_some_and(|entry| !entry.answered.load(Ordering::Relaxed)) {
                return;
            }
            self.quiet.pop_front();
        }
    }
}

impl Slot {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The client made progress.
    pub(super) fn progress(&self, now: Instant) {
        self.progress.store(self.registry.at(now), Ordering::Relaxed);
    }

    /// The client has taken the answer: from now on the same request is a new one.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut shared = self.registry.lock();
        shared.total -= 1;
        let of_client = shared.per_client.get(&self.peer.ip()).copied().unwrap_or(0);
        if of_client > 1 {
            shared.per_client.insert(self.peer.ip(), of_client - 1);
        } else {
            shared.per_client.remove(&self.peer.ip());
        }
        if shared.by_peer.get(&self.peer).is_some_and(|entry| entry.id == self.id) {
            shared.by_peer.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    fn slot(admission: Admission) -> Slot {
        match admission {
            Admission::Admitted(slot) => slot,
            Admission::Repeated => panic!("repeated"),
            Admission::Full => panic!("full"),
        }
    }

    #[test]
    fn limits_hold_and_are_given_back() {
        let registry = Registry::new(Limits { transfers: 3, transfers_per_client: 2 });
        let first = slot(registry.admit(peer(1, 1), b"a"));
        let second = slot(registry.admit(peer(1, 2), b"a"));
        assert!(matches!(registry.admit(peer(1, 3), b"a"), Admission::Full));
        let third = slot(registry.admit(peer(2, 1), b"a"));
        assert!(matches!(registry.admit(peer(3, 1), b"a"), Admission::Full));
        drop(first);
        let fourth = slot(registry.admit(peer(1, 3), b"a"));
        drop((second, third, fourth));
        let shared = registry.lock();
        assert_eq!((shared.total, shared.per_client.len(), shared.by_peer.len()), (0, 0, 0));
    }

    /// Clients that answer once and fall silent hold no place that another needs.
    #[tokio::test]
    async fn who_makes_no_progress_makes_room() {
        let mut registry = Registry::new(Limits { transfers: 3, transfers_per_client: 2 });
        registry.since -= Duration::from_secs(100);
        let waits = || tokio::spawn(std::future::pending::<()>());
        let mut slots = Vec::new();
        for (host, port, ago) in [(1, 1, 7000), (1, 2, 9000), (2, 1, 1000)] {
            let slot = slot(registry.admit(peer(host, port), b"a"));
            slot.answered();
            slot.progress.fetch_sub(ago, Ordering::Relaxed);
            let task = waits();
            registry.started(peer(host, port), slot.id(), task.abort_handle());
            slots.push((slot, task));
        }
        let _fourth = slot(registry.admit(peer(3, 1), b"a"));
        let _fifth = slot(registry.admit(peer(4, 1), b"a"));
        assert!(matches!(registry.admit(peer(5, 1), b"a"), Admission::Full), "the others go on");
        tokio::task::yield_now().await;
        let ended: Vec<bool> = slots.iter().map(|(_, task)| task.is_finished()).collect();
        assert_eq!(ended, [true, true, false]);
    }

    /// EDK2 learns the size first, aborts, and requests the file at once from the same port.
    #[test]
    fn a_request_after_an_abort_is_a_new_one() {
        let registry = Registry::new(Limits::default());
        let _first = slot(registry.admit(peer(1, 1), b"a"));
        registry.deliver(peer(1, 1), vec![0, 4, 0, 0]);
        assert!(matches!(registry.admit(peer(1, 1), b"a"), Admission::Repeated));
        registry.deliver(peer(1, 1), b"\0\x05\0\x08over\0".to_vec());
        assert!(matches!(registry.admit(peer(1, 1), b"a"), Admission::Admitted(_)));
    }

    #[test]
    fn a_repeated_request_starts_no_second_transfer() {
        let mut registry = Registry::new(Limits::default());
        registry.since -= Duration::from_secs(100);
        let first = slot(registry.admit(peer(1, 1), b"a"));
        assert!(matches!(registry.admit(peer(1, 1), b"a"), Admission::Repeated));
        let other = slot(registry.admit(peer(1, 1), b"b"));
        drop(first);
        assert!(matches!(registry.admit(peer(1, 1), b"b"), Admission::Repeated));
        // It was sent before the acknowledgement that was read first.
        other.answered();
        other.progress(Instant::now());
        assert!(matches!(registry.admit(peer(1, 1), b"b"), Admission::Repeated));
        // The client was switched off and on.
        other.progress.fetch_sub(600, Ordering::Relaxed);
        assert!(matches!(registry.admit(peer(1, 1), b"b"), Admission::Admitted(_)));
    }
}
