//! The program on a machine that is to be described, wiped or kept waiting: process 1 of a system that lives in
//! memory and was started over the network (docs/agent.md).
//!
//! The daemon packs its own binary and a kernel's modules into an initrd. The kernel starts the binary as `/init`,
//! which finds the machine's devices, gets an address, says to the daemon what the machine is, and carries out
//! signed orders one at a time. Nothing on a disk is changed without such an order.
//!
//! What is decided lies apart from what touches the machine: [`command_line`], [`modules::index`], [`net::client`],
//! [`facts`] (readers that take a root directory) and [`session`] are tested without one. [`rim`] holds mounts,
//! loading of modules, interfaces and restarts. Nothing here uses tokio.

pub mod command_line;
pub mod facts;
pub mod http;
pub mod ipmi;
pub mod modules;
pub mod net;
mod rim;
pub mod session;
pub mod wipe;
mod work;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// The name by which the kernel calls for a module (modprobe(8), `/proc/sys/kernel/modprobe`).
const MODPROBE: &str = "modprobe";

/// Carries out what the program was called for where that is not the daemon or one of its commands: `modprobe`,
/// by the name it was called with, or the agent, as process 1 of a machine that was started for it. `None`: neither.
pub fn main(program: Option<&OsStr>, arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    let name = program.map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new(MODPROBE)) {
        return Some(rim::modprobe::main(arguments));
    }
    // A container's process 1 is the daemon: it has no ramfs for its root, or another command line.
    if std::process::id() == 1 && rim::start::is_ours() {
        return Some(rim::start::main());
    }
    None
}
