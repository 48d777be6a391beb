//! Calls into file systems that may wait, on threads of their own and with a deadline.
//!
//! An unreachable file server leaves a call waiting for hours, and nothing can cancel it. A task that
//! serves machines therefore never makes such a call itself. The calls that wait for one device are bounded
//! in number, so that a device that does not answer takes neither the threads nor the time of the others.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::now;
use crate::model::Time;

/// How long a transfer waits for its file system. A disk that has to spin up takes 15 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// A call that takes longer is shown to people.
const SLOW: Duration = Duration::from_secs(5);
/// Calls into one device at a time.
const MOST_OF_DEVICE: usize = 16;
/// Calls at a time over all devices: half the threads that a runtime has for such work.
const MOST: usize = 256;

/// What waits for file systems; clones share it.
#[derive(Clone)]
pub struct Reads {
    patience: Duration,
    all: Arc<Semaphore>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    devices: HashMap<u64, Arc<Semaphore>>,
    next: u64,
    running: BTreeMap<u64, Call>,
}

/// A call that is under way, or waits for a thread.
#[derive(Clone)]
struct Call {
    device: u64,
    path: Arc<Path>,
    began: Instant,
    since: Time,
}

impl Default for Reads {
    fn default() -> Reads {
        Reads::with_patience(PATIENCE)
    }
}

impl Reads {
    /// The same with another deadline.
    pub fn with_patience(patience: Duration) -> Reads {
        Reads { patience, all: Arc::new(Semaphore::new(MOST)), inner: Arc::default() }
    }

    /// What `work` finds in the file at `path`, which lies on `device`.
    ///
    /// # Errors
    /// Those of `work`, and [`io::ErrorKind::TimedOut`] when the deadline is over; the call itself then goes
    /// on until its file system answers.
    pub async fn run<T: Send + 'static>(
        &self,
        device: u64,
        path: &Arc<Path>,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let room = self.room_on(device)?;
        let called = async {
            let mine = room.acquire_owned().await.map_err(io::Error::other)?;
            let shared = self.all.clone().acquire_owned().await.map_err(io::Error::other)?;
            let noted = self.begin(device, path, mine, shared);
            let done = tokio::task::spawn_blocking(move || {
                let done = work();
                drop(noted);
                done
            });
            done.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
        };
        tokio::time::timeout(self.patience, called).await.unwrap_or_else(|_| Err(late(self.patience)))
    }

    /// The file systems that do not answer, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let mut slow: BTreeMap<u64, (Call, usize)> = BTreeMap::new();
        for call in self.lock().running.values().filter(|call| call.began.elapsed() > SLOW) {
            let (oldest, count) = slow.entry(call.device).or_insert_with(|| (call.clone(), 0));
            *count += 1;
            if call.began < oldest.began {
                *oldest = call.clone();
            }
        }
        let sentence = |(call, count): (Call, usize)| {
            let calls = if count == 1 { "call waits" } else { "calls wait" };
            format!(
                "the file system of {} does not answer since {}: {count} {calls} for it, and transfers of its \
                 files end with an error; mount it anew, or bring its server back",
                call.path.display(),
                call.since
            )
        };
        slow.into_values().map(sentence).collect()
    }

    /// Room for calls into a device; none while everything it may have waits for too long already.
    fn room_on(&self, device: u64) -> io::Result<Arc<Semaphore>> {
        let mut inner = self.lock();
        let known = inner.devices.get(&device).cloned();
        let room = known.unwrap_or_else(|| {
            // Devices come and go; of those without a call nothing is remembered.
            inner.devices.retain(|_, room| Arc::strong_count(room) > 1);
            let room = Arc::new(Semaphore::new(MOST_OF_DEVICE));
            inner.devices.insert(device, room.clone());
            room
        });
        // A call that has its place and no thread yet is not among the running: many begin at once where a rack
        // powers on.
        let of_device = inner.running.values().filter(|call| call.device == device);
        let hanging = of_device.filter(|call| call.began.elapsed() > self.patience).count();
        if hanging < MOST_OF_DEVICE { Ok(room) } else { Err(late(self.patience)) }
    }

    fn begin(
        &self,
        device: u64,
        path: &Arc<Path>,
        mine: OwnedSemaphorePermit,
        shared: OwnedSemaphorePermit,
    ) -> Noted {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        let call = Call { device, path: path.clone(), began: Instant::now(), since: now() };
        inner.running.insert(number, call);
        Noted { reads: self.clone(), number, _permits: (mine, shared) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call on the list, until it returns.
struct Noted {
    reads: Reads,
    number: u64,
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.reads.lock().running.remove(&self.number);
    }
}

fn late(patience: Duration) -> io::Error {
    let text = format!("its file system has not answered for {} s", patience.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn a_device_that_does_not_answer_holds_up_no_other() {
        let reads = Reads::with_patience(Duration::from_millis(200));
        let path: Arc<Path> = Path::new("/mnt/away/image.iso").into();
        let (hold, held) = sync_channel::<()>(0);
        let held = Arc::new(Mutex::new(held));
        let hanging = || {
            let held = held.clone();
            reads.run(1, &path, move || {
                drop(held.lock().map(|held| held.recv()));
                Ok(())
            })
        };
        let calls = (0..MOST_OF_DEVICE + 8).map(|_| hanging());
        for ended in futures_of(calls).await {
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(reads.lock().running.len(), MOST_OF_DEVICE, "no more threads hang");
        let start = Instant::now();
        let error = hanging().await.unwrap_err();
        assert!(error.to_string().contains("has not answered for"), "{error}");
        assert!(start.elapsed() < Duration::from_millis(150), "it is known: nobody waits for it any more");
        assert_eq!(reads.run(2, &path, || Ok(7)).await.unwrap(), 7, "another device answers");
        drop(hold);
        let start = Instant::now();
        while reads.run(1, &path, || Ok(7)).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "it answers again");
        }
    }

    /// Calls that have a place and have not begun are no sign of a file system that does not answer.
    #[tokio::test]
    async fn calls_that_have_not_begun_are_not_late() {
        let (reads, path) = (Reads::default(), Path::new("/srv/snponly.efi").into());
        let room = reads.room_on(1).unwrap();
        let places = room.acquire_many_owned(MOST_OF_DEVICE as u32).await.unwrap();
        let waiting = reads.run(1, &path, || Ok(7));
        let freed = async { drop(places) };
        assert_eq!(tokio::join!(waiting, freed).0.unwrap(), 7);
    }

    /// All of them at the same time.
    async fn futures_of<F: Future<Output = io::Result<()>>>(
        calls: impl Iterator<Item = F>,
    ) -> Vec<io::Result<()>> {
        let mut calls: Vec<_> = calls.map(Box::pin).collect();
        let mut ended = Vec::new();
        std::future::poll_fn(|context| {
            calls.retain_mut(|call| match call.as_mut().poll(context) {
                std::task::Poll::Ready(done) => {
                    ended.push(done);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        ended
    }
}
