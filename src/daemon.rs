//! The rim: sockets, tasks, clock and shutdown around the pure rooms. No decision is taken here.

pub mod active_requests;
mod agent;
mod audit;
mod backend;
pub mod body;
mod certificate;
mod claims;
pub mod commands;
pub mod conflict;
pub mod control;
pub mod counters;
pub mod dhcp;
mod downloads;
pub mod edit;
pub mod effect;
mod fetch;
pub mod files;
mod firmware;
mod hooks;
pub mod host_addresses;
pub mod http;
pub mod ipv6;
pub mod keeper;
pub mod limits;
pub mod link;
pub mod log;
mod neighbour_table;
pub mod other_servers;
mod posted;
pub mod probe;
pub mod raw;
pub mod reads;
pub mod reconcile;
mod registrar;
pub mod request_handler;
pub mod requests;
pub mod secrets;
pub mod service;
mod service_manager;
mod signals;
mod socket;
pub mod start;
pub mod storage;
mod syslog;
pub mod tftp;
pub mod throttle;
mod time_limit;
pub mod timeline;
pub mod tls;
mod token;
mod token_uses;
mod webhook;
mod written;

use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use crate::model::Time;

pub use files::Files;
pub use request_handler::{Opened, RequestHandler};
pub use start::fallback_networks;

/// The stop signal of every task that serves: true, or the sender's end, means stop.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// Returns when it is time to stop.
pub async fn stopped(stop: &mut Stop) {
    // An error means that the sender is gone: the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Lets a socket be bound to an address that this host does not have yet, or that the kernel still checks
/// for duplicates: it serves as soon as the address is there, and again when it comes back. Restricts an
/// IPv6 socket to IPv6.
fn bind_early(socket: &impl AsFd, address: std::net::SocketAddr) -> std::io::Result<()> {
    if address.is_ipv6() {
        SockRef::from(socket).set_only_v6(true)?;
    }
    Ok(setsockopt(socket, sockopt::IpFreebind, &true)?)
}

/// Whether an error concerns one packet or one moment, not the socket: the interface went down or is not
/// there, its address is gone, the kernel has no memory. The caller continues.
pub fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        AddrNotAvailable, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        Interrupted, NetworkDown, NetworkUnreachable, OutOfMemory, TimedOut, WouldBlock,
    };
    let by_kind = matches!(
        error.kind(),
        AddrNotAvailable
            | ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | OutOfMemory
            | TimedOut
            | WouldBlock
    );
    let by_number = [libc::ENODEV, libc::ENXIO, libc::ENOBUFS, libc::EHOSTDOWN, libc::ENONET, libc::EPROTO];
    by_kind || error.raw_os_error().is_some_and(|number| by_number.contains(&number))
}

/// What is known of each route of the control API, without a running daemon.
pub(crate) fn api_routes() -> Vec<crate::api::route::Route> {
    backend::api_routes()
}

/// The clock of this host.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
