//! What keeps records: the log on disk, memory, and a log on a disk that fails, for tests and the simulation.
//! One battery of tests runs over all.

use std::io;

use crate::state::record::Record;

/// Why records could not be stored, or can't be now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(#[from] pub io::Error);

/// Something that keeps records.
pub trait Ledger {
    /// Stores records together; when this returns they survive a power cut. After an error nothing of them is
    /// there. Numbers of events below `next_event` are never given again.
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError>;

    /// Tries whether records can be stored again, after some that could not. A last page with some room left
    /// takes a small record and proves nothing: there must be room for what failed, and for more.
    fn probe(&mut self) -> Result<(), LedgerError>;
}
