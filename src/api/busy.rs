//! Chooses the connection of the API that is closed when there are too many: the one that has made no
//! progress for longest, and never one whose client waits for the daemon. A request whose body still comes,
//! and one that only waits for events, hold a connection but no work: otherwise a viewer could keep all
//! others out with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// What the times of all connections are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The daemon works on a request.
const WORKING: u64 = u64::MAX;
/// Its client watches what happens: such connections are counted by themselves.
const STREAM: u64 = u64::MAX - 1;

/// One connection: when it made progress last.
#[derive(Clone, Debug)]
pub struct Busy(Arc<AtomicU64>);

impl Default for Busy {
    fn default() -> Busy {
        Busy(Arc::new(AtomicU64::new(now())))
    }
}

impl Busy {
    /// When the client made progress last, in milliseconds; `None` while it waits for the daemon, or watches.
    pub fn idle_since(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|since| *since < STREAM)
    }

    /// Whether the client has made no progress for so long.
    pub fn is_idle_for(&self, time: Duration) -> bool {
        self.idle_since().is_some_and(|since| u128::from(now().saturating_sub(since)) >= time.as_millis())
    }

    /// Whether its client watches what happens.
    pub fn is_stream(&self) -> bool {
        self.0.load(Ordering::Relaxed) == STREAM
    }

    /// Its client watches what happens until the value returned is dropped.
    pub fn stream(&self) -> Streaming {
        self.0.store(STREAM, Ordering::Relaxed);
        Streaming(self.clone())
    }

    /// A part of a body has come.
    pub fn progress(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }

    /// The daemon works for this connection until the value returned is dropped.
    pub fn begin(&self) -> UnderWay {
        self.0.store(WORKING, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// The same the other way round: within work, the daemon waits for the client, or for events.
    pub fn pause(&self) -> Pause {
        self.progress();
        Pause(self.clone())
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub struct UnderWay(Busy);

impl Drop for UnderWay {
    fn drop(&mut self) {
        // A stream goes on when its request is answered.
        let _ = self.0.0.compare_exchange(WORKING, now(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A client that watches.
#[derive(Debug)]
pub struct Streaming(Busy);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.progress();
    }
}

/// A wait within one.
#[derive(Debug)]
pub struct Pause(Busy);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.0.store(WORKING, Ordering::Relaxed);
    }
}

fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(STREAM - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_of_ours_keeps_a_place() {
        let busy = Busy::default();
        assert!(busy.idle_since().is_some());
        let under_way = busy.begin();
        assert_eq!(busy.idle_since(), None);
        let pause = busy.pause();
        assert!(busy.idle_since().is_some());
        drop(pause);
        assert_eq!(busy.idle_since(), None);
        drop(under_way);
        assert!(busy.idle_since().is_some());
    }

    #[test]
    fn a_stream_outlives_the_work_on_its_request() {
        let busy = Busy::default();
        let under_way = busy.begin();
        let stream = busy.stream();
        drop(under_way);
        assert!(busy.is_stream() && busy.idle_since().is_none());
        drop(stream);
        assert!(!busy.is_stream() && busy.idle_since().is_some());
    }
}
