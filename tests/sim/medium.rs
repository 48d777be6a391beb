//! What the daemon's records lie on, and what is left of it when the daemon dies.

use voldemort::state::Record;
use voldemort::store::faulty::{Faults, Faulty, FaultyLog, Found};
use voldemort::store::memory::Memory;
use voldemort::store::{Ledger, LedgerError, Saved};

/// What outlives a process.
#[derive(Clone, Debug)]
pub(crate) enum Medium {
    Memory(Memory),
    /// The log as the daemon writes it, on a disk that fails.
    Disk(Faulty),
}

/// A medium that a process has open.
#[derive(Debug)]
pub(crate) enum Open {
    Memory { memory: Memory, is_full: bool },
    Disk { disk: Faulty, log: Box<FaultyLog> },
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The kernel goes on, and writes what it was given.
    Killed,
    /// Nothing is left that was not synced, but by chance.
    PowerCut,
}

impl Medium {
    pub(crate) fn memory() -> Medium {
        Medium::Memory(Memory::default())
    }

    /// A disk on which segments are short enough to be merged now and then.
    pub(crate) fn disk(seed: u64) -> Medium {
        Medium::Disk(Faulty::new(seed).with_segments(24 << 10))
    }

    /// The one or the other, so that a test that runs over many covers both.
    pub(crate) fn either(number: usize) -> Medium {
        if number.is_multiple_of(2) { Medium::memory() } else { Medium::disk(number as u64) }
    }

    /// What a start finds; an error if the disk does not let it start.
    pub(crate) fn open(&self) -> std::io::Result<(Open, Saved, Found)> {
        match self {
            Medium::Memory(memory) => {
                let saved = memory.saved();
                Ok((Open::Memory { memory: memory.clone(), is_full: false }, saved, Found::Whole))
            }
            Medium::Disk(disk) => {
                let (log, saved, found) = FaultyLog::open(disk)?;
                Ok((Open::Disk { disk: disk.clone(), log: Box::new(log) }, saved, found))
            }
        }
    }

    /// What goes wrong with it from now on.
    pub(crate) fn set(&mut self, faults: Faults) {
        if let Medium::Disk(disk) = self {
            disk.set(faults);
        }
    }
}

impl Open {
    /// What is left; `chance` decides what of it was not synced.
    pub(crate) fn after(self, end: End, chance: u64) -> Medium {
        match self {
            Open::Memory { memory, .. } => Medium::Memory(memory),
            // The log goes on with the old disk: what it does when it is dropped is of no effect.
            Open::Disk { disk, .. } => Medium::Disk(match end {
                End::Killed => disk.after_kill(),
                End::PowerCut => disk.after_power_cut(chance),
            }),
        }
    }

    pub(crate) fn set(&mut self, faults: Faults) {
        match self {
            Open::Memory { is_full, .. } => *is_full = faults.room.is_some() || faults.steps.is_some(),
            Open::Disk { disk, .. } => disk.set(faults),
        }
    }

    /// How long the writes took so far, in milliseconds.
    pub(crate) fn waited(&self) -> u64 {
        match self {
            Open::Memory { .. } => 0,
            Open::Disk { disk, .. } => disk.waited(),
        }
    }

    /// A backup.
    pub(crate) fn backup(&self) -> Medium {
        match self {
            Open::Memory { memory, .. } => Medium::Memory(memory.clone()),
            Open::Disk { disk, .. } => Medium::Disk(disk.after_kill()),
        }
    }
}

impl Ledger for Open {
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError> {
        match self {
            Open::Memory { is_full: true, .. } => Err(LedgerError(std::io::ErrorKind::StorageFull.into())),
            Open::Memory { memory, .. } => memory.append(records, next_event),
            Open::Disk { log, .. } => log.append(records, next_event),
        }
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        match self {
            Open::Memory { is_full: true, .. } => Err(LedgerError(std::io::ErrorKind::StorageFull.into())),
            Open::Memory { .. } => Ok(()),
            Open::Disk { log, .. } => log.probe(),
        }
    }
}
