//! A ledger in memory: for the simulation, for simulated boots, and as the reference for other ledgers.

use std::collections::BTreeMap;

use super::Saved;
use super::ledger::{Ledger, LedgerError};
use super::log::load::{Held, Laid};
use crate::state::record::Record;

/// Records in their bytes, by kind and key. A copy of it is a backup.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    records: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    next_event: u64,
}

impl Memory {
    /// What it holds, read from its bytes as from a disk.
    pub fn saved(&self) -> Saved {
        let held = self.records.iter().map(|((kind, key), value)| ((*kind, &key[..]), Held::Value(value)));
        let mut saved = Saved::of(&Laid { entries: held.collect() });
        saved.next_event = self.next_event;
        saved.judge();
        saved
    }
}

impl Ledger for Memory {
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError> {
        self.next_event = self.next_event.max(next_event);
        for record in records {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            record.write_key(&mut key);
            let has_value = record.write_value(&mut value);
            let at = (record.kind().code(), key);
            if has_value {
                self.records.insert(at, value);
            } else {
                self.records.remove(&at);
            }
        }
        Ok(())
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }
}
