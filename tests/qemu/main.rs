//! Boots the example inventory's machine with real firmware in QEMU, on private networks.
//!
//! Needs the packages that `tests/run` installs, and root for the tests that kill the daemon.
//! What is missing is named; with `CI=true` that is a failure. Two tests run machines at a time.

mod agent;
mod arm64;
mod beside;
mod circle;
mod crash;
mod firmware;
mod ia32;
mod install;
mod ipv6;
mod kit;
mod lab;
mod learned;
mod product;
mod wipe;
