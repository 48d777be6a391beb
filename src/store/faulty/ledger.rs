//! The log on a disk that fails, as a state directory has it: with a note of how far it was written beside it, and
//! opened with the loss of whatever is not whole, as by somebody who agrees to it.

use std::io;

use super::super::damage::Fix;
use super::super::ledger::{Ledger, LedgerError};
use super::super::log::Log;
use super::super::log::digest::Keys;
use super::super::log::disk::Disk;
use super::super::log::load::{Image, LoadError};
use super::super::open::salvaged;
use super::super::{Damage, Saved};
use super::Faulty;
use crate::state::record::Record;

const KEY: [u8; 32] = [7; 32];
/// Holds the number of the last frame, as `state.last` does: written with each batch and never synced.
const LAST: &str = "last";

/// An open log on such a disk.
#[derive(Debug)]
pub struct FaultyLog {
    log: Log<Faulty>,
    disk: Faulty,
    last: <Faulty as Disk>::File,
}

/// How a log was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Whole,
    /// It is whole and ends earlier than it did once.
    Short,
    /// Parts of it are lost: what could be read of the rest was written anew.
    Lost,
}

impl FaultyLog {
    /// Opens the log, or makes it on an empty disk.
    ///
    /// # Errors
    ///
    /// If the disk can't be read or written.
    pub fn open(disk: &Faulty) -> io::Result<(FaultyLog, Saved, Found)> {
        let keys = Keys::new(&KEY);
        if Image::read(disk).map_err(io_error)?.is_empty() {
            Log::create::<Record>(disk, &keys, 1, 0, 1, std::iter::empty())?;
        }
        let noted =
            disk.read(LAST).ok().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let (mut log, mut saved, mut found) =
            match Log::open(disk, &keys, |loaded| Ok(Saved::of(&loaded.laid))) {
                Ok((log, saved)) => (log, saved, Found::Whole),
                Err(LoadError::File { cause, .. }) => return Err(cause),
                Err(LoadError::Lost { .. }) => {
                    let (log, saved) = salvage(disk, &keys)?;
                    (log, saved, Found::Lost)
                }
            };
        saved.judge();
        let cures: Vec<Fix> = saved.damaged.iter().flat_map(Damage::cure).collect();
        if !cures.is_empty() {
            log.append_entries(&cures, 0)?;
        }
        if found == Found::Whole && noted > log.sequence() {
            found = Found::Short;
            saved.restored = true;
            let mut records = vec![Record::Restored(true)];
            records.extend(saved.cancel_effects());
            log.append(&records, 0).map_err(|LedgerError(error)| error)?;
        }
        saved.next_event = log.next_event();
        let last = disk.create(LAST)?;
        let mut opened = FaultyLog { log, disk: disk.clone(), last };
        opened.note();
        Ok((opened, saved, found))
    }

    /// The number of the last frame.
    pub fn sequence(&self) -> u64 {
        self.log.sequence()
    }

    fn note(&mut self) {
        // As for the daemon, it is no failure of the batch if this can't be written.
        let _ = self.disk.write(&self.last, &self.log.sequence().to_le_bytes(), 0);
    }
}

impl Ledger for FaultyLog {
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError> {
        self.log.append(records, next_event)?;
        self.note();
        Ok(())
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        self.log.probe()
    }
}

/// Writes anew what can be read of a log.
fn salvage(disk: &Faulty, keys: &Keys) -> io::Result<(Log<Faulty>, Saved)> {
    let image = Image::read(disk).map_err(io_error)?;
    let (laid, sequence, next_event) = image.salvage(Some(keys));
    Log::create(disk, keys, image.last() + 1, sequence, next_event, salvaged(&laid).iter())?;
    Log::open(disk, keys, |loaded| Ok(Saved::of(&loaded.laid))).map_err(io_error)
}

fn io_error(error: LoadError) -> io::Error {
    io::Error::other(error.to_string())
}
