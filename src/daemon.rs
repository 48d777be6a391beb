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
