//! Snapshots: the newest record of each key, so that the segments before can go.

use std::io;

use super::digest::Keys;
use super::disk::Disk;
use super::frame::{self, Entry, FileKind, Position, TooLong, WHOLE};
use super::load::Image;
use super::read::Mode;
use super::{SNAPSHOT, segment};

/// The name under which a snapshot is written.
pub const DRAFT: &str = "records.snapshot.new";
/// Records that are written in one frame at most, and their bytes, about.
const FRAME: usize = 1024;
const FRAME_BYTES: usize = 256 << 10;

pub fn too_long(_: TooLong) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a record is longer than the log can hold")
}

/// Puts a snapshot in the place of an earlier one, whole and on disk when this returns. It stands for
/// everything up to `at`; the segment `number` follows it. Answers with its length.
pub fn write<D: Disk, E: Entry>(
    disk: &D,
    keys: &Keys,
    number: u64,
    at: Position,
    next_event: u64,
    entries: impl Iterator<Item = E>,
) -> io::Result<u64> {
    let own = keys.of_file(true, number);
    let file = disk.create(DRAFT)?;
    let mut bytes = frame::begin(keys, FileKind::Snapshot, number).to_vec();
    let (mut written, mut position) = (0, Position::default());
    let mut lot: Vec<E> = Vec::with_capacity(FRAME);
    let mut size = 0;
    let mut flush = |bytes: &mut Vec<u8>| -> io::Result<()> {
        disk.write(&file, bytes, written)?;
        written += bytes.len() as u64;
        bytes.clear();
        Ok(())
    };
    for entry in entries {
        size += entry.size();
        lot.push(entry);
        if lot.len() == FRAME || size >= FRAME_BYTES {
            position = frame::write(&mut bytes, &own, position, next_event, &lot).map_err(too_long)?;
            flush(&mut bytes)?;
            (lot, size) = (Vec::with_capacity(FRAME), 0);
        }
    }
    position = frame::write(&mut bytes, &own, position, next_event, &lot).map_err(too_long)?;
    frame::write_end(&mut bytes, &own, position, WHOLE, at);
    flush(&mut bytes)?;
    disk.sync(&file)?;
    disk.rename(DRAFT, SNAPSHOT)?;
    disk.sync_names()?;
    Ok(written)
}

/// Merges the snapshot and the segments before `number` into a new snapshot, verifying what is read. A crash
/// at any byte leaves the old one or the new one. Answers with the length of the new one.
pub fn merge<D: Disk>(disk: &D, keys: &Keys, number: u64) -> io::Result<u64> {
    let other = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let image = Image::read(disk).map_err(|error| other(&error))?;
    let loaded = image
        .load(keys, Some(number), Mode::Strict, &|name| disk.show(name))
        .map_err(|error| other(&error))?;
    if loaded.number + 1 != number {
        return Err(io::Error::other("segments of the log are missing"));
    }
    let (at, next_event) = (loaded.end.position, loaded.next_event);
    let length = write(disk, keys, number, at, next_event, loaded.laid.raws())?;
    for old in image.numbers().filter(|old| *old < number) {
        disk.remove(&segment(old))?;
    }
    Ok(length)
}
