//! Counts what is being fetched, so that a stop can let it end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The number of requests under way; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ActiveRequests(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    count: AtomicUsize,
    /// The count became 0.
    none: Notify,
}

impl ActiveRequests {
    /// One more, until the guard is dropped.
    pub fn begin(&self) -> Guard {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Guard(self.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Returns when there is none.
    pub async fn none(&self) {
        loop {
            let mut none = pin!(self.0.none.notified());
            // Notified also if the last one ends between the look at the count and the wait.
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}

/// One request that is under way.
#[derive(Debug)]
pub struct Guard(ActiveRequests);

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_wait_ends_with_the_last_request() {
        let active = ActiveRequests::default();
        active.none().await;
        let (first, second) = (active.begin(), active.begin());
        let waiting = tokio::spawn({
            let active = active.clone();
            async move { active.none().await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && active.count() == 1);
        drop(second);
        waiting.await.unwrap();
    }
}
