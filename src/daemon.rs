//! The rim: sockets, tasks, clock and shutdown around the pure rooms. No decision is taken here.

pub mod body;
pub mod conflict;
pub mod desk;
pub mod dhcp;
pub mod edit;
pub mod files;
mod hooks;
pub mod http;
mod hush;
pub mod keeper;
pub mod limits;
pub mod link;
pub mod load;
pub mod neighbours;
pub mod opener;
mod parts;
pub mod preview;
pub mod probe;
pub mod raw;
pub mod reconcile;
pub mod secrets;
pub mod start;
pub mod tally;
pub mod tftp;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Time;

pub use files::Files;
pub use opener::{Opened, Opener};

/// Told to every task that serves: true, or the sender's end, means stop.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// Returns when it is time to stop.
pub async fn stopped(stop: &mut Stop) {
    // An error means that nobody is left who could say it: the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The clock of this host.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
