//! What must survive a crash: leases, installations, assignments, protections, the timeline.
//!
//! | file of the state directory | holds |
//! |---|---|
//! | `state.key` | that the directory was initialised, and its keys (`mark`) |
//! | `records.redb` | all records but the next two, each under a keyed digest (`records`, `seal`) |
//! | `leases4.journal` | leases of IPv4 addresses, which come by the thousand a second (`journal`) |
//! | `events.redb` | the timeline; nothing waits for it (`events`) |
//! | `history/` | the last revisions (`history`) |
//! | `state.last` | how far the first two are: shows earlier copies of them, and a copied directory (`last`) |
//! | `state.redb` | a text that version 0.1 refuses: it must not take this directory for a new one |
//!
//! A batch is on disk when `commit` returns. Absent, unreadable, damaged and old are four different
//! things, and none of them is new: a part that is missing or empty refuses the start (`open`), a single
//! record that does not fit its digest is not believed (`saved`), and what version 0.1 wrote is upgraded.

pub mod backup;
mod batch;
mod directory;
pub mod engine;
mod events;
mod former;
pub mod history;
pub mod inspect;
pub mod journal;
mod last;
mod mark;
mod open;
pub mod record;
mod records;
mod saved;
mod seal;
pub mod upgrade;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use crate::state::Kept;
pub use engine::{Committed, Engine};
pub use events::EVENTS_MAX;
pub use history::History;
pub use open::{Accept, Loss};
pub use saved::{Damage, Saved};

use crate::state::{Event, Record};
use batch::{Batch, Lists};
use events::Events;
use journal::Journal;
use last::{Extent, Last};
use records::Records;

/// The state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the state directory {path} can't be used: {cause}")]
    Directory { path: PathBuf, cause: std::io::Error },
    #[error("another daemon uses the state directory {path}")]
    Busy { path: PathBuf },
    /// Something that was there is not, or not as it was written.
    #[error(
        "{what}. Starting without it would take machines and addresses for new. Put a backup back \
         (`voldemort state restore`), or agree to the loss: `voldemort start services --accept-loss {loss}`{then}",
        then = loss.then()
    )]
    Lost { what: String, loss: Loss },
    #[error("{0}")]
    Unusable(String),
    #[error("the state can't be written: {0}")]
    Write(String),
}

/// Where the records of a state last.
pub trait Ledger {
    /// Makes a batch durable; when this returns, all but the events in it survive a power cut.
    ///
    /// # Errors
    ///
    /// If it can't be written: then nothing of it is there.
    fn append(&mut self, records: &[Record], events: &[(u64, Event)]) -> Result<(), StoreError>;
}

impl Ledger for Store {
    fn append(&mut self, records: &[Record], events: &[(u64, Event)]) -> Result<(), StoreError> {
        self.commit(records, events)
    }
}

/// What must fit into the state directory, in bytes, before a failure to write is over.
const ROOM: usize = 1 << 20;

/// An open state directory.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    records: Records,
    journal: Journal,
    events: Events,
    last: Last,
    /// The revision whose files are stored.
    kept: Option<Kept>,
    /// How many bytes the largest batch holds that could not be written since `probe` succeeded.
    wanted: usize,
    /// One daemon at a time; `None` where the file system has no locks.
    _lock: Option<nix::fcntl::Flock<File>>,
}

impl Store {
    /// Opens or makes the state in `directory`. `fresh` supplies random bytes for a new one.
    ///
    /// # Errors
    ///
    /// If the directory was initialised and a part of it is missing, empty or damaged; if the system
    /// refuses to read or write it; if another daemon has it open.
    pub fn open(directory: &Path, fresh: impl FnOnce() -> [u8; 48]) -> Result<(Store, Saved), StoreError> {
        Store::open_accepting(directory, fresh, Accept::default())
    }

    /// The same, but losses that somebody agreed to are no errors.
    pub fn open_accepting(
        directory: &Path,
        fresh: impl FnOnce() -> [u8; 48],
        accept: Accept,
    ) -> Result<(Store, Saved), StoreError> {
        open::open(directory, fresh(), accept)
    }

    /// Writes a batch; when this returns, all but the events in it survive a power cut. After an error
    /// nothing of it is written. Events are handed to a thread that writes them within a second.
    pub fn commit(&mut self, records: &[Record], events: &[(u64, Event)]) -> Result<(), StoreError> {
        self.commit_batch(&Batch::of(records, events))
    }

    fn commit_batch(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // What a failed batch appended is taken back: the journal was there before it in any case.
        let journal = self.journal.position();
        let appended = match batch.leases.is_empty() {
            true => None,
            false => {
                let appended = self.journal.append(self.records.batch(), &batch.leases);
                Some(appended.map_err(|error| StoreError::Write(error.to_string()))?)
            }
        };
        if batch.has_records()
            && let Err(error) = self.write(batch, journal)
        {
            if let Some(begin) = appended {
                self.journal.take_back(begin);
            }
            return Err(StoreError::Write(error.to_string()));
        }
        if !batch.only_events() {
            self.note();
        }
        self.events.add(batch.events.clone());
        Ok(())
    }

    /// Notes outside of them how far records and leases are.
    fn note(&mut self) {
        self.last.note(Extent { batch: self.records.batch(), journal: self.journal.position() });
    }

    fn write(&mut self, batch: &Batch, journal: (u64, u64)) -> Result<(), redb::Error> {
        let changes = batch.changes(self.kept.as_ref());
        let size = changes.iter().filter_map(|change| change.value.as_ref()).map(Vec::len).sum();
        let events = batch.events.last().map(|(number, _)| number + 1);
        let written = self.records.write(&changes, |head| {
            head.serial = batch.serial.unwrap_or(head.serial);
            head.restored = batch.restored.unwrap_or(head.restored);
            head.journal = journal;
            head.events = events.unwrap_or(head.events).max(head.events);
        });
        written.inspect_err(|_| self.wanted = self.wanted.max(size))?;
        if let Some(kept) = &batch.kept {
            self.kept = Some(Kept::clone(kept));
        }
        Ok(())
    }

    /// Tries whether batches can be written again, after one that could not. A last page with some room
    /// left takes a small record and proves nothing: there must be room for what failed, and for more.
    ///
    /// # Errors
    ///
    /// If they still can't.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        let wrong = |error: &dyn std::fmt::Display| StoreError::Write(error.to_string());
        directory::has_room(&self.directory, ROOM + 2 * self.wanted).map_err(|error| wrong(&error))?;
        self.records.write(&[], |_| {}).map_err(|error| wrong(&error))?;
        self.journal.append(self.records.batch(), &[]).map_err(|error| wrong(&error))?;
        self.note();
        self.wanted = 0;
        Ok(())
    }

    /// Notes where the journal of leases ends: a shorter one will be missed then.
    fn close(&mut self) {
        let journal = self.journal.position();
        match self.records.write(&[], |head| head.journal = journal) {
            Ok(()) => self.note(),
            Err(error) => tracing::warn!("the end of the state can't be noted: {error}"),
        }
    }

    /// How many events could not be written since the start.
    pub fn lost_events(&self) -> u64 {
        self.events.lost()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
