//! The daemon's sockets against real clients, in network namespaces of their own. Needs root;
//! says so and passes where there is none.

mod agent;
mod asker;
mod audit;
#[allow(dead_code, reason = "shared with the tests of the drivers")]
#[path = "../it/bmc.rs"]
mod bmc;
mod bytes;
mod callers;
mod claims;
mod daemon;
mod dhcp;
mod doctor;
mod document;
mod effects;
mod ends;
mod fleet;
mod flood;
mod forge;
mod full;
mod fuse;
mod ipv6;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/lab.rs"]
mod lab;
mod log;
mod machine;
mod media;
mod members;
#[allow(dead_code, reason = "shared with the tests of the decisions")]
#[path = "../dhcp/message.rs"]
mod message;
mod metadata;
mod mount;
mod neighbours;
mod net;
mod operations;
mod power;
mod relay;
mod resources;
mod restart;
mod secure;
mod services;
mod several;
mod spine;
mod state;
mod storm;
mod streams;
mod syslog;
mod tokens;
mod verbs;
mod webhooks;
mod words;
