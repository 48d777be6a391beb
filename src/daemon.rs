//! Sockets, tasks, clock and shutdown: thin loops around the pure rooms.

pub mod body;
pub mod clock;
pub mod files;
pub mod http;
pub mod limits;
pub mod opener;
pub mod tftp;

pub use files::Files;
pub use opener::{Opened, Opener};

/// Told to every task that serves: true, or the sender's end, means stop.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// Returns when it is time to stop.
pub async fn stopped(stop: &mut Stop) {
    // An error means that nobody is left who could say it: the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
