//! The control API: its resources, routes, and the client that the commands use.

pub mod access;
pub mod agent;
pub mod audit;
pub mod body;
pub mod busy;
pub mod certificate;
pub mod client;
pub mod consent;
mod feed;
pub mod health;
pub mod hook;
pub mod idempotency;
pub mod if_match;
mod list;
mod masked;
pub mod metrics;
pub mod openapi;
pub mod operation;
pub mod problem;
pub mod quota;
pub mod resource;
pub mod route;
pub mod routes;
pub mod streams;
pub mod word;

pub use client::Client;
pub use if_match::IfMatch;
pub use routes::{Backend, Hooked, router};
pub use word::Word;
