//! The rim: sockets, tasks, clock and shutdown around the pure rooms. No decision is taken here.

mod backend;
pub mod body;
pub mod conflict;
pub mod control;
pub mod desk;
pub mod dhcp;
mod downloads;
pub mod edit;
pub mod files;
mod firmware;
mod hooks;
pub mod host;
pub mod http;
mod hush;
pub mod ipv6;
pub mod keeper;
pub mod limits;
pub mod link;
pub mod load;
pub mod log;
mod neighbour_table;
pub mod neighbours;
pub mod opener;
mod parts;
pub mod power;
pub mod preview;
pub mod probe;
pub mod raw;
pub mod reconcile;
pub mod secrets;
mod signals;
mod socket;
pub mod start;
pub mod tally;
pub mod tftp;
pub mod tls;
mod token;

use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

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

/// Lets an IPv6 socket be bound while the kernel still asks whether anybody else has its address,
/// and keeps it to IPv6.
fn bind_early(socket: &impl AsFd) -> std::io::Result<()> {
    SockRef::from(socket).set_only_v6(true)?;
    Ok(setsockopt(socket, sockopt::IpFreebind, &true)?)
}

/// The clock of this host.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
