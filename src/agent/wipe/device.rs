//! What a disk can do, and what is known of it before it is opened.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::{ata, nvme};
use crate::api::agent::DiskFacts;

/// A machine with its disks.
pub(super) trait Bench: Sync {
    /// The disks that are there now.
    fn disks(&self) -> Vec<Seen>;

    /// Opens a disk for this program alone.
    ///
    /// # Errors
    /// Why it can't be opened, for a person.
    fn open(&self, disk: &Seen) -> Result<Box<dyn Device>, String>;

    /// Seconds since the Unix epoch.
    fn now(&self) -> u64;

    /// Waits.
    fn pause(&self, time: Duration);

    /// The release of the kernel that runs.
    fn kernel(&self) -> String;
}

/// A disk as it is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub facts: DiskFacts,
    /// The version of its own firmware.
    pub firmware: Option<String>,
    /// What uses it or a part of it: mounted, swapped to, or part of an array.
    pub used_by: Vec<String>,
    /// Its partitions, in bytes.
    pub partitions: Vec<Range<u64>>,
    /// For an NVMe disk: a text that its subsystem alone has, and the number of its namespace there.
    pub namespace: Option<(String, u32)>,
}

impl Seen {
    /// What people call it: `/dev/sda (serial S1)`.
    pub(super) fn name(&self) -> String {
        match &self.facts.serial {
            Some(serial) => format!("{} (serial {serial})", self.facts.path),
            None => self.facts.path.clone(),
        }
    }
}

/// Which commands of its own a disk takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commands {
    Nvme,
    Ata,
    /// None that wipes.
    None,
}

/// Why a disk did not carry out a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// NVMe: status code type and status code, as `SCT << 8 | SC`.
    #[error("status 0x{0:x}")]
    Nvme(u16),
    /// ATA: the status and error registers.
    #[error("status 0x{status:02x}, error 0x{error:02x}")]
    Ata { status: u8, error: u8 },
    /// It did not reach the disk.
    #[error("{0}")]
    Lost(String),
}

/// An open disk. Offsets and lengths are in bytes and multiples of its logical blocks.
pub(super) trait Device {
    fn bytes(&self) -> u64;

    /// The size of a logical block, in bytes.
    fn block(&self) -> u64;

    /// Reads from the disk itself, past all caches of the host.
    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()>;

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Has the kernel write zeros (`BLKZEROOUT`).
    fn zero(&mut self, at: u64, length: u64) -> io::Result<()>;

    /// Says that these blocks are not needed (`BLKDISCARD`), which guarantees nothing.
    fn discard(&mut self, at: u64, length: u64) -> io::Result<()>;

    /// Returns when what was written is on the disk.
    fn flush(&mut self) -> io::Result<()>;

    /// Has the kernel read the partition table again.
    fn reread(&mut self);

    fn commands(&self) -> Commands;

    /// Carries out an admin command; the result is its dword 0.
    fn nvme(&mut self, command: &nvme::Command, data: &mut [u8]) -> Result<u32, Refusal>;

    /// Carries out an ATA command.
    fn ata(&mut self, command: &ata::Command, data: &mut [u8]) -> Result<ata::Registers, Refusal>;
}
