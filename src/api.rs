//! The control API: wire types, routes, and the client that the commands use.

pub mod client;
pub mod convert;
pub mod hook;
pub mod metrics;
pub mod routes;
pub mod types;
pub mod why;

pub use client::Client;
pub use routes::{Backend, Hooked, router};
