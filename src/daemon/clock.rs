//! The one place where the servers read the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Time;

/// Now; the epoch itself if the host's clock stands before it.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
