//! A time limit for work that is mostly done at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// What `work` gives, unless it takes longer than `limit`. The clock is read and a timer is made only if the work
/// is not done when it is first looked at: a request for a small file has four such waits, and none of them waits.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context)));
    match first.await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(limit, work).await,
    }
}
