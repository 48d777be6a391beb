//! What touches the machine: mounts, modules, interfaces, the screen, restarts.

mod blank;
mod cards;
mod console;
mod ipmi;
mod load;
mod machine;
pub(super) mod modprobe;
mod neighbours;
mod network;
mod packets;
pub(super) mod power;
pub(super) mod start;
