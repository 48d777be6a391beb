//! The rim: sockets, tasks, clock and shutdown around the pure rooms. No decision is taken here.

pub mod dhcp;
pub mod keeper;
pub mod link;
pub mod load;
pub mod opener;
pub mod probe;
pub mod raw;
pub mod reconcile;
pub mod start;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Time;

/// The clock of this host.
pub fn now() -> Time {
    Time(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}
