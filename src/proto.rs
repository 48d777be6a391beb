//! Protocol decisions over a state: bytes and the time come in, values go out. No sockets here.

pub mod converse;
pub mod dhcp;
pub mod dhcp6;
pub mod http;
pub mod path;
pub mod syslog;
pub mod tftp;
pub mod tree;

pub use tree::{Answer, Artifact, Asker, Refusal};
