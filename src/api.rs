//! The control API: wire types, routes, and the client that the commands use.

pub mod client;
pub mod convert;
pub mod metrics;
pub mod routes;
pub mod types;

pub use client::Client;
pub use routes::{Backend, router};
