//! What a network boot of a machine is answered.

use super::{Known, Work};
use crate::model::words::words;

words! {
    /// What a network boot of a machine is answered.
    pub enum Boot {
        /// Its own disk.
        Disk = "its own disk",
        /// Its tenancy's installer.
        Installer = "the installer",
        /// Its tenancy's kernel.
        Kernel = "the tenancy's kernel",
        /// Our agent, in memory.
        Agent = "our agent",
    }
}

/// The answer for a machine by its work, whether a person holds it, and whether unknown machines are to be looked at.
pub fn answer(known: Known, work: Work, is_held: bool, discovers: bool) -> Boot {
    match work {
        // What was fenced stays so; an agent whose machine is held, or whose order failed, waits.
        Work::Fencing | Work::Wiping | Work::Verifying => Boot::Agent,
        Work::Installing if is_held => Boot::Disk,
        Work::Installing => Boot::Installer,
        Work::NetworkBoot => Boot::Kernel,
        Work::None if known == Known::Seen && discovers && !is_held => Boot::Agent,
        Work::None => Boot::Disk,
    }
}
