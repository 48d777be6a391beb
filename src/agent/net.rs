//! The agent's way to its daemon: addresses by DHCP on all cards (kernels of Debian have no `ip=dhcp`), the
//! card that booted first.

pub mod choice;
pub mod client;
pub mod message;

pub use client::{Client, Heard};
pub use message::Lease;
