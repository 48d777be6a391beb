//! What must survive a crash: leases, installations, assignments, protections, the timeline.
//!
//! | file of the state directory | holds |
//! |---|---|
//! | `state.key` | that the directory was initialised, and its keys (`mark`) |
//! | `records.snapshot`, `records.N.log` | all records, one log for all kinds (`log`) |
//! | `state.last` | how far the log is: shows an earlier copy of it, and a copied directory (`last`) |
//! | `events.redb` | the timeline; nothing waits for it (`events`) |
//! | `audit/` | who changed what through the control API (`audit`) |
//! | `history/` | the last revisions (`history`) |
//! | `state.redb`, `records.redb`, `leases4.journal` | texts that earlier versions refuse (`former`) |
//!
//! A batch is on disk when `commit` returns. Absent, unreadable, damaged and old are four different
//! things, and none of them is new: a part that is missing, empty or damaged refuses the start (`open`), a single
//! record that does not fit its digest is not believed (`damage`), and what earlier versions wrote is upgraded.

pub mod audit;
pub mod backup;
#[cfg(test)]
mod batch;
mod damage;
mod database;
mod directory;
pub mod engine;
mod events;
pub mod faulty;
mod former;
pub mod history;
pub mod inspect;
mod last;
pub mod ledger;
pub mod log;
mod loss;
mod mark;
pub mod memory;
mod open;
mod record;
mod saved;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use damage::Damage;
pub use engine::{Committed, Engine};
pub use events::EVENTS_MAX;
#[cfg(test)]
pub(crate) use events::forget_events;
pub use history::History;
pub use ledger::{Ledger, LedgerError};
pub use loss::{Accept, Loss};
pub use saved::Saved;

use crate::state::Event;
use crate::state::record::Record;
use events::Events;
use last::Last;
use log::Log;
use log::disk::Files;

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
}

/// An open state directory.
#[derive(Debug)]
pub struct Store {
    log: Log<Files>,
    events: Events,
    last: Last,
    /// Numbers below this may have been given to events.
    next_event: u64,
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

    /// The same, but losses that a person accepted are no errors.
    pub fn open_accepting(
        directory: &Path,
        fresh: impl FnOnce() -> [u8; 48],
        accept: Accept,
    ) -> Result<(Store, Saved), StoreError> {
        open::open(directory, fresh(), accept)
    }

    /// Hands events to a thread that writes them within a second; the batch that they are of is stored.
    pub fn add_events(&mut self, events: &[(u64, Event)]) {
        if let Some((last, _)) = events.last() {
            self.next_event = self.next_event.max(last + 1);
            self.events.add(events.to_vec(), self.log.sequence());
        }
    }

    /// Counts the events that could not be written since the start.
    pub fn lost_events(&self) -> Arc<AtomicU64> {
        self.events.lost()
    }
}

impl Ledger for Store {
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError> {
        self.next_event = self.next_event.max(next_event);
        self.log.append(records, self.next_event)?;
        self.last.note(self.log.sequence());
        Ok(())
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        self.log.probe()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A log that ends before this frame will be missed then.
        self.events.add(Vec::new(), self.log.sequence());
    }
}

#[cfg(test)]
mod tests;
