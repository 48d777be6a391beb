//! The connections, and which one is closed to make room: the one that has made no progress for longest,
//! whatever it waits for. Progress is a whole request, or bytes of a reply that the client took; one more
//! byte of a request's head is none, or a thousand clients could hold a server with a byte a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

/// A connection that was opened, or made progress, so recently is not closed.
const GRACE: Duration = Duration::from_millis(500);
/// A connection whose client waits for the server is not closed.
const BUSY: u64 = u64::MAX;

/// All connections of one server.
#[derive(Clone)]
pub(super) struct Connections {
    since: Instant,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    by_id: HashMap<u64, Entry>,
    per_client: HashMap<IpAddr, usize>,
}

struct Entry {
    address: IpAddr,
    progress: Arc<AtomicU64>,
    task: Option<AbortHandle>,
}

/// One of an address's connections, until dropped.
pub(super) struct Slot {
    connections: Connections,
    id: u64,
    address: IpAddr,
    /// When there was progress last, in milliseconds of the server's life.
    progress: Arc<AtomicU64>,
}

impl Connections {
    pub(super) fn new() -> Connections {
        Connections { since: Instant::now(), table: Arc::default() }
    }

    /// A slot for a client of `address`, which has no more than `limit`: one of its own may have to make
    /// room. `None` if none can.
    pub(super) fn admit(&self, address: IpAddr, limit: usize) -> Option<Slot> {
        let now = self.now();
        let mut table = self.lock();
        let count = table.per_client.get(&address).copied().unwrap_or(0);
        if count >= limit && table.close_stalled(now, 1, Some(address)) == 0 {
            return None;
        }
        let (id, progress) = (table.next, Arc::new(AtomicU64::new(now)));
        table.next += 1;
        table.per_client.insert(address, count + 1);
        table.by_id.insert(id, Entry { address, progress: Arc::clone(&progress), task: None });
        Some(Slot { connections: self.clone(), id, address, progress })
    }

    /// Remembers the task of an admitted client, which may have ended already.
    pub(super) fn started(&self, id: u64, task: AbortHandle) {
        if let Some(entry) = self.lock().by_id.get_mut(&id) {
            entry.task = Some(task);
        }
    }

    /// Ends the connections that have made no progress for longest, up to `count`.
    pub(super) fn make_room(&self, count: usize) {
        let now = self.now();
        self.lock().close_stalled(now, count, None);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn close_stalled(&mut self, now: u64, count: usize, of: Option<IpAddr>) -> usize {
        let latest = now.saturating_sub(GRACE.as_millis() as u64);
        let mut late: Vec<(u64, u64)> = self
            .by_id
            .iter()
            .filter(|(_, entry)| entry.task.is_some() && of.is_none_or(|of| of == entry.address))
            .map(|(id, entry)| (entry.progress.load(Ordering::Relaxed), *id))
            .filter(|(progress, _)| *progress < latest)
            .collect();
        if late.len() > count {
            late.select_nth_unstable(count);
            late.truncate(count);
        }
        for (_, id) in &late {
            // Its slot is free when the task has ended.
            let task = self.by_id.get_mut(id).and_then(|entry| entry.task.take());
            task.inspect(AbortHandle::abort);
        }
        late.len()
    }
}

impl Slot {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The client has made progress.
    pub(super) fn progress(&self) {
        self.progress.store(self.connections.now(), Ordering::Relaxed);
    }

    /// The client waits for the server, until there is progress again.
    pub(super) fn busy(&self) {
        self.progress.store(BUSY, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        table.by_id.remove(&self.id);
        match table.per_client.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                table.per_client.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A task that waits for ever, as a connection does.
    fn connected(connections: &Connections, last: u8, limit: usize) -> Option<(AbortHandle, Arc<Slot>)> {
        let slot = Arc::new(connections.admit(client(last), limit)?);
        let kept = Arc::clone(&slot);
        let task = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(kept);
        });
        connections.started(slot.id(), task.abort_handle());
        Some((task.abort_handle(), slot))
    }

    fn since(slot: &Slot, ago: u64) {
        slot.progress.store(slot.connections.now().saturating_sub(ago), Ordering::Relaxed);
    }

    #[tokio::test]
    async fn the_longest_without_progress_make_room() {
        let mut connections = Connections::new();
        connections.since -= Duration::from_secs(100);
        let all: Vec<_> = (0..6).map(|last| connected(&connections, last, 9).unwrap()).collect();
        for (at, ago) in [(0, 0), (1, 9000), (2, 400), (3, 700), (4, 8000)] {
            since(&all[at].1, ago);
        }
        all[5].1.busy();
        connections.make_room(2);
        tokio::task::yield_now().await;
        let ended: Vec<bool> = all.iter().map(|(task, _)| task.is_finished()).collect();
        assert_eq!(ended, [false, true, false, false, true, false]);
        connections.make_room(9);
        tokio::task::yield_now().await;
        let ended: Vec<bool> = all.iter().map(|(task, _)| task.is_finished()).collect();
        assert_eq!(ended, [false, true, false, true, true, false], "not the busy, not the recent");
    }

    #[tokio::test]
    async fn an_address_makes_room_for_itself() {
        let mut connections = Connections::new();
        connections.since -= Duration::from_secs(100);
        let first = connected(&connections, 1, 2).unwrap();
        let second = connected(&connections, 1, 2).unwrap();
        let other = connected(&connections, 2, 2).unwrap();
        since(&other.1, 9000);
        assert!(connected(&connections, 1, 2).is_none(), "both have just come");
        since(&second.1, 1000);
        let third = connected(&connections, 1, 2);
        tokio::task::yield_now().await;
        assert!(
            third.is_some() && second.0.is_finished() && !first.0.is_finished() && !other.0.is_finished()
        );
        drop((first, second, third));
        let left = connections.lock().per_client.clone();
        assert_eq!(left.len(), 2, "the tasks hold theirs");
    }
}
