//! The rim: sockets, clocks and tasks around the pure rooms.

pub mod dhcp;
pub mod link;
pub mod probe;
pub mod raw;
