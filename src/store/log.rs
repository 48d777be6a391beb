//! Records on disk: one append-only log for all kinds, one frame and one `fdatasync` a batch.
//!
//! | file | holds |
//! |---|---|
//! | `records.snapshot` | the newest record of each key, up to where a segment begins |
//! | `records.N.log` | segment N: frames of what came after (`frame`) |
//!
//! When the segment that is written to is longer than the snapshot, the log goes on in the next one, and a thread merges
//! the snapshot and the segments before into a new snapshot, which takes the old one's place in one step; then
//! those segments go. The next segment was made ahead by such a thread, too: it lies there with its beginning and zeros,
//! and the first frame in it is an append like any other. So an append is never more than a write and a sync of one
//! open file. A crash at any byte leaves the old snapshot with all its segments or the
//! new one; the frames are chained over all of them, so that a file that is missing or an earlier one shows.

pub mod digest;
pub mod disk;
pub mod frame;
pub mod load;
pub mod read;
mod salvage;
pub mod snapshot;
mod turn;

use std::io;

use super::ledger::{Ledger, LedgerError};
use crate::state::record::Record;
use digest::{FileKeys, Keys};
use disk::Disk;
use frame::{Entry, FIRST, FileKind, Position};
use load::{Image, LoadError, Loaded};
use read::Mode;
use turn::{Past, Turn};

/// The snapshot's name in the state directory.
pub const SNAPSHOT: &str = "records.snapshot";
/// The name under which a segment is made.
const DRAFT: &str = "records.log.new";
/// What a merge or a rotation that did not come to its end leaves.
pub const DRAFTS: [&str; 2] = [DRAFT, snapshot::DRAFT];
/// Zeros written ahead of the frames, so that most commits don't change the file's length, which
/// costs the file system a second write.
const AHEAD: u64 = 32 << 10;
/// What must fit onto the disk, in bytes, before a failure to write is over.
const ROOM: usize = 1 << 20;
/// Larger buffers are given back.
const BUFFER: usize = 1 << 20;

/// The name of a segment.
pub fn segment(number: u64) -> String {
    format!("records.{number}.log")
}

/// The number of the segment that is called so.
pub fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("records.")?.strip_suffix(".log")?.parse().ok()?;
    (segment(number) == name).then_some(number)
}

/// An open log.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    keys: Keys,
    /// The segment that is written to.
    number: u64,
    file: D::File,
    own: FileKeys,
    position: Position,
    next_event: u64,
    /// Where the next frame goes.
    end: u64,
    /// How far zeros were written.
    zeroed: u64,
    /// The length at which the next segment is begun.
    full: u64,
    /// Whether something may lie behind the end that was not taken back yet.
    is_spoiled: bool,
    /// Work for the segments before and to come.
    turn: Turn<D>,
    buffer: Vec<u8>,
    /// How many bytes the largest frame holds that could not be written since `probe` succeeded.
    wanted: usize,
}

impl<D: Disk> Log<D> {
    /// Makes a log that holds these records, with the segment `number`; an earlier one of this directory is gone.
    /// Its frames are numbered from behind `sequence`.
    ///
    /// # Errors
    ///
    /// If the disk can't be written.
    pub fn create<E: Entry>(
        disk: &D,
        keys: &Keys,
        number: u64,
        sequence: u64,
        next_event: u64,
        entries: impl Iterator<Item = E>,
    ) -> io::Result<()> {
        let before = Position { sequence, chain: 0 };
        for name in disk.names()?.iter().filter(|name| number_of(name).is_some_and(|other| other >= number)) {
            disk.remove(name)?;
        }
        // Without the snapshot that it follows, a segment is nothing.
        begin_segment(disk, keys, number, before, next_event)?;
        snapshot::write(disk, keys, number, before, next_event, entries)?;
        for name in disk.names()?.iter().filter(|name| number_of(name).is_some_and(|other| other < number)) {
            disk.remove(name)?;
        }
        Ok(())
    }

    /// Opens a log and hands what it holds to `take`.
    ///
    /// # Errors
    ///
    /// If a part is missing, empty or damaged, if `take` refuses it, or the system refuses to read or write it.
    /// Nothing is changed then.
    pub fn open<T>(
        disk: &D,
        keys: &Keys,
        take: impl FnOnce(&Loaded) -> Result<T, LoadError>,
    ) -> Result<(Log<D>, T), LoadError> {
        let image = Image::read(disk)?;
        let loaded = image.load(keys, None, Mode::Strict, &|name| disk.show(name))?;
        let name = segment(loaded.number);
        let wrong = |cause| LoadError::File { file: disk.show(&name), cause };
        let taken = take(&loaded)?;
        for name in DRAFTS {
            disk.remove(name).map_err(wrong)?;
        }
        for old in &loaded.obsolete {
            disk.remove(&segment(*old)).map_err(wrong)?;
        }
        if let Some(ahead) = loaded.ahead {
            // A first frame of it that was not finished must not be there when this segment goes on.
            disk.remove(&segment(ahead)).and_then(|()| disk.sync_names()).map_err(wrong)?;
        }
        let file = disk.open(&name).map_err(wrong)?;
        // Nothing of a torn frame may stay behind the frames to come.
        let end = loaded.end.at as u64;
        disk.cut(&file, end).map_err(wrong)?;
        // The last frame may be one of which the process before could not say that it is on disk: what is acknowledged
        // from here on must not go with the power.
        disk.sync(&file).map_err(wrong)?;
        let full = if loaded.mended.is_empty() { disk.shortest().max(loaded.snapshot) } else { 0 };
        let log = Log {
            disk: disk.clone(),
            keys: keys.clone(),
            number: loaded.number,
            file,
            own: keys.of_file(false, loaded.number),
            position: loaded.end.position,
            next_event: loaded.next_event,
            end,
            zeroed: end,
            full,
            is_spoiled: false,
            turn: Turn::default(),
            buffer: Vec::new(),
            wanted: 0,
        };
        Ok((log, taken))
    }

    /// Numbers below this may have been given to events.
    pub fn next_event(&self) -> u64 {
        self.next_event
    }

    /// The number of the last frame.
    pub fn sequence(&self) -> u64 {
        self.position.sequence
    }

    /// Appends a frame; when this returns it survives a power cut, after an error it is not there.
    pub fn append_entries<E: Entry>(&mut self, entries: &[E], next_event: u64) -> io::Result<()> {
        self.look_after_turn();
        let past = self.go_on();
        let next_event = next_event.max(self.next_event);
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        let written = frame::write(&mut bytes, &self.own, self.position, next_event, entries)
            .map_err(snapshot::too_long)
            .and_then(|position| self.write(&bytes).map(|()| position));
        let length = bytes.len();
        if bytes.capacity() <= BUFFER {
            self.buffer = bytes;
        }
        if let Some(past) = past {
            self.turn.keep(past);
        }
        let position = written.inspect_err(|_| self.wanted = self.wanted.max(length))?;
        (self.position, self.next_event) = (position, next_event);
        self.end += length as u64;
        let begun = match self.turn.past() {
            // It may be said to be followed when what follows is on disk.
            true => self.turn.merge(&self.disk, &self.keys, self.number),
            false if self.end + self.disk.shortest() / 2 > self.full => {
                self.turn.make(&self.disk, &self.keys, self.number + 1)
            }
            false => Ok(()),
        };
        if let Err(error) = begun {
            self.later(&error);
        }
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.is_spoiled {
            self.cut()?;
        }
        let written = self.disk.write(&self.file, frame, self.end).and_then(|()| {
            let end = self.end + frame.len() as u64;
            if end > self.zeroed {
                // Without room for zeros there is some for the frame.
                let ahead = self.disk.write(&self.file, &vec![0; AHEAD as usize], end);
                self.zeroed = end + if ahead.is_ok() { AHEAD } else { 0 };
            }
            self.disk.sync(&self.file)
        });
        written.inspect_err(|_| {
            self.is_spoiled = true;
            if let Err(error) = self.cut() {
                let file = self.disk.show(&segment(self.number));
                tracing::error!("{file}: an unfinished write can't be undone yet: {error}");
            }
        })
    }

    /// Takes back what lies behind the end.
    fn cut(&mut self) -> io::Result<()> {
        self.disk.cut(&self.file, self.end)?;
        self.disk.sync(&self.file)?;
        (self.zeroed, self.is_spoiled) = (self.end, false);
        Ok(())
    }

    /// Turns to the next segment if this one is full and the next one was made; the one before.
    fn go_on(&mut self) -> Option<Past<D>> {
        // What was not taken back yet must not lie there when others follow.
        let (file, zeroed) = self.turn.next_if(self.end > self.full && !self.is_spoiled)?;
        let number = self.number + 1;
        let own = std::mem::replace(&mut self.own, self.keys.of_file(false, number));
        let file = std::mem::replace(&mut self.file, file);
        let past = Past { number: self.number, file, own, position: self.position, end: self.end };
        self.number = number;
        (self.end, self.zeroed, self.is_spoiled) = (FIRST as u64, zeroed, false);
        self.full = u64::MAX;
        Some(past)
    }

    fn look_after_turn(&mut self) {
        match self.turn.look() {
            Some(Ok(Some(length))) => self.full = self.disk.shortest().max(length),
            Some(Ok(None)) | None => {}
            Some(Err(error)) => self.later(&error),
        }
    }

    /// A log that can't be made shorter still works; it is tried again when it has grown as much once more.
    fn later(&mut self, error: &io::Error) {
        tracing::warn!("{} can't be made anew: {error}; the log stays long", self.disk.show(SNAPSHOT));
        self.full = self.end + self.disk.shortest();
    }
}

impl<D: Disk> Ledger for Log<D> {
    fn append(&mut self, records: &[Record], next_event: u64) -> Result<(), LedgerError> {
        Ok(self.append_entries(records, next_event)?)
    }

    fn probe(&mut self) -> Result<(), LedgerError> {
        self.disk.has_room(ROOM + 2 * self.wanted)?;
        self.append_entries::<Record>(&[], 0)?;
        self.wanted = 0;
        Ok(())
    }
}

impl<D: Disk> Drop for Log<D> {
    fn drop(&mut self) {
        // Whoever opens the log next must be the only one who writes to the directory.
        self.turn.wait();
        // No merge begins any more, nor is there a next segment.
        self.turn = Turn::default();
        // A frame behind the last record: damage to that is then told from a write that was torn.
        self.full = u64::MAX;
        if self.append_entries::<Record>(&[], 0).is_ok() {
            let _ = self.disk.cut(&self.file, self.end);
        }
        // One that was made ahead. If it stays it is in nobody's way.
        let _ = self.disk.remove(&segment(self.number + 1));
    }
}

/// Makes a segment with its first frame, whole and on disk when this returns.
fn begin_segment<D: Disk>(
    disk: &D,
    keys: &Keys,
    number: u64,
    before: Position,
    next_event: u64,
) -> io::Result<()> {
    let own = keys.of_file(false, number);
    let mut bytes = frame::begin(keys, FileKind::Segment, number).to_vec();
    frame::write::<Record>(&mut bytes, &own, before, next_event, &[]).map_err(snapshot::too_long)?;
    put_segment(disk, number, &bytes).map(drop)
}

/// Makes a segment of these bytes, whole and on disk when this returns.
fn put_segment<D: Disk>(disk: &D, number: u64, bytes: &[u8]) -> io::Result<D::File> {
    let file = disk.create(DRAFT)?;
    disk.write(&file, bytes, 0)?;
    disk.sync(&file)?;
    disk.rename(DRAFT, &segment(number))?;
    disk.sync_names()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
