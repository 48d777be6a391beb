//! Writing a directory anew with what can still be read of it, which a person agreed to. A start that does this and is
//! cut short, by a full disk or a power cut, must lose nothing: whatever decides that the new files count comes last.

use super::{NewEntry, Opening};
use crate::state::record::Record;
use crate::store::events::{self, Events};
use crate::store::former::v01;
use crate::store::former::{self, FormerFile};
use crate::store::log::disk::Disk;
use crate::store::log::frame::Entry;
use crate::store::mark::{self, Mark, Phase};
use crate::store::{StoreError, directory, last, log};

/// What must fit onto the disk before, in bytes: beside the records, and for each of them beside its value.
const ROOM: usize = 1 << 20;
const RECORD: usize = 512;

impl Opening<'_> {
    /// Puts these records in the place of all that is there, which a person accepted: another lineage, with doubtful
    /// installations. The new key is written when the log under it is whole. Before that the start is refused as
    /// before: one that is cut short loses nothing, and is repeated.
    pub(super) fn start_over(&mut self, entries: &[NewEntry], next_event: u64) -> Result<Mark, StoreError> {
        self.has_room(entries)?;
        self.keep_log_aside()?;
        let others =
            former::places(self.directory).into_iter().filter(|(_, place)| *place == FormerFile::Other);
        for name in others.map(|(name, _)| name).chain([v01::OLD, v01::JOURNAL, mark::FILE]) {
            directory::keep_aside(&self.directory.join(name)).map_err(|error| self.failed(error))?;
        }
        let mut mark = Mark::new(Phase::Tidying, &self.fresh);
        self.write_log(&mark, self.image()?.last() + 1, 0, next_event, entries)?;
        self.forget_events()?;
        mark.write(self.directory).map_err(|error| self.failed(error))?;
        self.tidy(&mut mark)?;
        self.forget_former().map_err(|error| self.failed(error))?;
        Ok(mark)
    }

    /// Writes the log anew with what is left of it, which a person accepted: another lineage, with doubtful
    /// installations. The records are proven by the same key, so that until the new log is whole the old one counts,
    /// which is refused as before: a start that is cut short loses nothing, and is repeated.
    pub(super) fn renew(
        &mut self,
        mark: &mut Mark,
        number: u64,
        sequence: u64,
        next_event: u64,
        entries: &[NewEntry],
    ) -> Result<(), StoreError> {
        self.has_room(entries)?;
        self.keep_log_aside()?;
        directory::keep_aside(&mark::path(self.directory)).map_err(|error| self.failed(error))?;
        self.begin_lineage(mark)?;
        self.write_log(mark, number, sequence, next_event, entries)?;
        self.forget_events()
    }

    /// Fails where a log of these entries finds no room: a full disk is what damages a log in the first place.
    fn has_room(&self, entries: &[NewEntry]) -> Result<(), StoreError> {
        let bytes: usize = entries.iter().map(|entry| RECORD + entry.size()).sum();
        self.disk.has_room(ROOM + bytes).map_err(|error| self.failed(error))
    }

    /// The timeline, and the last frame that was noted, are of a log that is gone.
    fn forget_events(&self) -> Result<(), StoreError> {
        directory::aside(&self.directory.join(events::FILE)).map_err(|error| self.failed(error))?;
        directory::remove(&self.directory.join(last::FILE)).map_err(|error| self.failed(error))?;
        Events::create(self.directory, &[]).map_err(|error| self.unusable(events::FILE, &error))
    }

    /// Gives the files of the log second names, before they are written anew.
    pub(super) fn keep_log_aside(&mut self) -> Result<(), StoreError> {
        let numbers = self.image()?.numbers().map(log::segment).collect::<Vec<_>>();
        for name in numbers.iter().map(String::as_str).chain([log::SNAPSHOT]) {
            directory::keep_aside(&self.directory.join(name)).map_err(|error| self.failed(error))?;
        }
        self.remarks.push(format!(
            "the files of before are kept in {} under names that end with .lost-1 or a later number",
            self.directory.display()
        ));
        Ok(())
    }

    /// Starts over with no more than the leases that earlier versions left.
    pub(super) fn start_over_with_leases(&mut self, next_event: u64) -> Result<Mark, StoreError> {
        let leases = self.salvaged_leases()?.into_iter().map(Record::Lease4);
        let records = leases.chain([Record::Restored(true)]);
        let entries: Vec<NewEntry> = records.map(NewEntry::Record).collect();
        self.start_over(&entries, next_event)
    }

    /// Builds before 0.2.0 wrote the key of a directory that is being made before what could be read of the one before, whose
    /// files it had put aside.
    pub(super) fn refuse_remains(&self) -> Result<(), StoreError> {
        let names = self.disk.names().map_err(|error| self.failed(error))?;
        let is_kept = |name: &&String| name.starts_with("records.") && name.contains(".lost-");
        let Some(kept) = names.iter().find(is_kept) else { return Ok(()) };
        let shown = self.directory.display();
        Err(StoreError::Unusable(format!(
            "{shown} holds {kept}: a start that agreed to a loss was cut short before it had written what could still \
             be read. Give the files whose names end with .lost-1 their names back, move {} away, and start once with \
             `--accept-loss key`; or put a backup back (`voldemort state restore`)",
            mark::path(self.directory).display()
        )))
    }
}
