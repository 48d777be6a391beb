//! Plays a firmware against the protocol rooms, over a table of its own: what `check` says about
//! a boot is what the daemon will do, because the same code answers.

mod client;
mod course;

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::desired::{Desired, Subnet};
use crate::model::{Cpu, Firmware, Name};
use crate::table::{Secrets, Server, Stage, Table};

pub use course::walk;

/// One boot from power-on to the second boot from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Walk {
    pub deployment: Name,
    pub firmware: Firmware,
    pub steps: Vec<Step>,
    pub end: End,
    /// The answer files that were fetched, by name.
    pub answers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub stage: Stage,
    pub text: String,
}

/// How a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Installed, and the second boot went to the disk.
    Installed,
    /// The machine runs from the network; a second boot would do the same.
    NetworkBoots,
    /// No machine is free for it yet.
    Unassigned,
    /// A file of the boot is not at hand here, so its content can't be known.
    NotAtHand(String),
    Stopped(String),
}

/// The firmwares that a machine of this processor may have.
pub fn firmwares(cpu: Cpu) -> &'static [Firmware] {
    match cpu {
        Cpu::X86_64 => &Firmware::ALL,
        Cpu::I386 | Cpu::Arm | Cpu::Aarch64 | Cpu::Riscv64 | Cpu::Loongarch64 => {
            &[Firmware::Uefi, Firmware::UefiHttp]
        }
    }
}

/// A table as a daemon on `subnet` would have it on its first day, its secrets stood in for.
pub fn rehearsal(desired: Arc<Desired>, subnet: &Subnet) -> Table {
    let taken = |address: &Ipv4Addr| desired.fixed_at(*address).is_some();
    let hosts = subnet.cidr.hosts();
    let address = subnet.gateway.into_iter().chain(hosts.iter()).find(|address| !taken(address));
    let table = Table::new(Server::stand_in(address.unwrap_or(hosts.first)));
    Table { secrets: Arc::new(Secrets::stand_in()), ..table }.adopt(desired)
}
