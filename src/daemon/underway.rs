//! Counts what is being fetched, so that a stop can let it end.

use std::sync::Arc;

use tokio::sync::watch;

/// The number of requests under way; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Underway(Arc<watch::Sender<usize>>);

impl Underway {
    /// One more, until the guard is dropped.
    pub fn begin(&self) -> Guard {
        self.0.send_modify(|count| *count += 1);
        Guard(self.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Returns when there is none.
    pub async fn none(&self) {
        // The sender is here: it can't be gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One request that is under way.
#[derive(Debug)]
pub struct Guard(Underway);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
