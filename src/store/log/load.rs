//! Reading the whole log: the snapshot, then the segments that follow it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::digest::Keys;
use super::disk::Disk;
use super::frame::{FileKind, Flag, Position, Raw};
use super::read::{self, Damage, End, Mode, Sink};
use super::{SNAPSHOT, number_of, salvage, segment};

/// The bytes of the log's files.
#[derive(Debug, Default)]
pub struct Image {
    snapshot: Option<Vec<u8>>,
    segments: BTreeMap<u64, Vec<u8>>,
}

/// Why the log can't be used.
#[derive(Debug)]
pub enum LoadError {
    /// The system does not let a file be read.
    File { file: String, cause: io::Error },
    /// A file is not there, or is damaged.
    Lost { file: String, what: What },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Missing,
    Empty,
    Damaged(Damage),
    /// It ends before a frame that it had once.
    Short {
        last: u64,
        had: u64,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Missing => f.write_str("is missing"),
            What::Empty => f.write_str("is empty"),
            What::Damaged(damage) => write!(f, "{damage}"),
            What::Short { last, had } => {
                write!(f, "ends with frame {last} and had frame {had} once: the newest records are missing")
            }
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::File { file, cause } => write!(f, "{file}: {cause}"),
            LoadError::Lost { file, what } => write!(f, "{file} {what}"),
        }
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held<'a> {
    Value(&'a [u8]),
    Nothing,
    /// A value that does not fit its digest.
    Damaged,
}

/// What the log holds, by kind and key.
#[derive(Debug, Default)]
pub struct Laid<'a> {
    pub entries: BTreeMap<(u8, &'a [u8]), Held<'a>>,
}

impl<'a> Sink<'a> for Laid<'a> {
    fn take(&mut self, Raw { kind, flag, key, value }: Raw<'a>) {
        let held = match flag {
            Flag::Put => Held::Value(value),
            Flag::Deleted => Held::Nothing,
            Flag::Damaged => Held::Damaged,
        };
        self.entries.insert((kind, key), held);
    }

    fn damaged(&mut self, kind: u8, keys: &[&'a [u8]]) {
        self.entries.extend(keys.iter().map(|key| ((kind, *key), Held::Damaged)));
    }
}

impl<'a> Laid<'a> {
    /// All that is to be written anew, in order.
    pub fn raws(&self) -> impl Iterator<Item = Raw<'a>> {
        self.entries.iter().filter_map(|((kind, key), held)| match held {
            Held::Value(value) => Some(Raw { kind: *kind, flag: Flag::Put, key, value }),
            Held::Damaged => Some(Raw { kind: *kind, flag: Flag::Damaged, key, value: &[] }),
            Held::Nothing => None,
        })
    }
}

/// A log that could be read.
#[derive(Debug)]
pub struct Loaded<'a> {
    pub laid: Laid<'a>,
    /// How the segment that is written to ends, and its number.
    pub end: End,
    pub number: u64,
    /// The segment behind it, if one was made ahead in which no frame was finished.
    pub ahead: Option<u64>,
    pub next_event: u64,
    /// Length of the snapshot in bytes.
    pub snapshot: u64,
    /// Damaged places of the file's structure that could be corrected, with the file.
    pub mended: Vec<(String, usize)>,
    /// Segments that the snapshot replaces, which a crash kept from being removed.
    pub obsolete: Vec<u64>,
}

impl Loaded<'_> {
    /// Nothing, unless the log had frame `noted` once and ends before it.
    ///
    /// # Errors
    ///
    /// That the newest records are missing.
    pub fn reaches(&self, noted: u64) -> Result<(), LoadError> {
        let last = self.end.position.sequence;
        match last < noted {
            true => {
                Err(LoadError::Lost { file: segment(self.number), what: What::Short { last, had: noted } })
            }
            false => Ok(()),
        }
    }
}

impl Image {
    pub fn read<D: Disk>(disk: &D) -> Result<Image, LoadError> {
        let wrong = |file: &str, cause| LoadError::File { file: disk.show(file), cause };
        let read = |name: &str| match disk.read(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(name, error)),
        };
        let names = disk.names().map_err(|error| wrong("", error))?;
        let snapshot = read(SNAPSHOT)?;
        let mut segments = BTreeMap::new();
        for number in names.iter().filter_map(|name| number_of(name)) {
            segments.extend(read(&segment(number))?.map(|bytes| (number, bytes)));
        }
        Ok(Image { snapshot, segments })
    }

    /// Whether there is anything of a log.
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.segments.is_empty()
    }

    /// Lays the segments over the snapshot, all of them or those before `until`.
    pub fn load(
        &self,
        keys: &Keys,
        until: Option<u64>,
        mode: Mode,
        show: &dyn Fn(&str) -> String,
    ) -> Result<Loaded<'_>, LoadError> {
        let mut laid = Laid::default();
        let lost = |name: &str, what: What| LoadError::Lost { file: show(name), what };
        let damaged = |name: &str| {
            let file = show(name);
            move |damage| LoadError::Lost { file, what: What::Damaged(damage) }
        };
        let mut mended = Vec::new();
        let bytes = file(self.snapshot.as_ref()).map_err(|what| lost(SNAPSHOT, what))?;
        let begin = read::begin(bytes, keys).map_err(damaged(SNAPSHOT))?;
        if begin.kind != FileKind::Snapshot {
            return Err(damaged(SNAPSHOT)(Damage::Foreign));
        }
        let own = keys.of_file(true, begin.number);
        let end =
            read::frames(bytes, &own, Position::default(), mode, &mut laid).map_err(damaged(SNAPSHOT))?;
        let mut position = end.whole.ok_or(Damage::Unfinished).map_err(damaged(SNAPSHOT))?;
        mended.push((show(SNAPSHOT), end.mended + usize::from(begin.is_mended)));
        let first = begin.number;
        let (mut number, mut next_event) = (first, end.next_event);
        let mut last: Option<End> = None;
        loop {
            let name = segment(number);
            let bytes = file(self.segments.get(&number)).map_err(|what| lost(&name, what))?;
            let begin = read::begin(bytes, keys).map_err(damaged(&name))?;
            if (begin.kind, begin.number) != (FileKind::Segment, number) {
                return Err(damaged(&name)(Damage::Foreign));
            }
            let own = keys.of_file(false, number);
            let end = read::frames(bytes, &own, position, mode, &mut laid).map_err(damaged(&name))?;
            let is_followed = end.is_sealed || self.segments.range(number + 1..).next().is_some();
            let (end, number_then, ahead) = match last.take() {
                _ if end.position != position => (end, number, None),
                // One that says that it is followed was so by a frame.
                Some(before) if !before.is_sealed && !is_followed => {
                    (End { torn: before.torn + end.torn, ..before }, number - 1, Some(number))
                }
                _ => return Err(damaged(&name)(Damage::Unfinished)),
            };
            if ahead.is_none() {
                mended.push((show(&name), end.mended + usize::from(begin.is_mended)));
            }
            position = end.position;
            next_event = next_event.max(end.next_event);
            if !is_followed || until == Some(number + 1) {
                mended.retain(|(_, count)| *count > 0);
                let obsolete = self.segments.range(..first).map(|(number, _)| *number).collect();
                let snapshot = self.snapshot.as_ref().map_or(0, |bytes| bytes.len() as u64);
                let number = number_then;
                return Ok(Loaded { laid, end, number, ahead, next_event, snapshot, mended, obsolete });
            }
            last = Some(end);
            number += 1;
        }
    }

    /// Everything that can still be read, the later over the earlier; without keys whatever is written as a
    /// record. With the highest sequence number, and the number below which numbers may have been given to events.
    pub fn salvage(&self, keys: Option<&Keys>) -> (Laid<'_>, u64, u64) {
        let mut laid = Laid::default();
        let (mut sequence, mut next_event) = (0, 0);
        // Segments that the snapshot replaces are older than it.
        let number = |bytes: &Vec<u8>| match keys {
            Some(keys) => read::begin(bytes, keys).ok().map(|begin| begin.number),
            None => read::unproven_number(bytes),
        };
        let first = self.snapshot.as_ref().and_then(number).unwrap_or(0);
        let snapshot = self.snapshot.iter().map(|bytes| (None, bytes));
        let segments = self.segments.range(first..).map(|(number, bytes)| (Some(*number), bytes));
        for (number, bytes) in snapshot.chain(segments) {
            let own = keys.map(|keys| match number {
                Some(number) => keys.of_file(false, number),
                None => keys.of_file(true, first),
            });
            let (own_sequence, own_next) = salvage::salvage(bytes, own.as_ref(), &mut laid);
            (sequence, next_event) = (own_sequence.max(sequence), own_next.max(next_event));
        }
        (laid, sequence, next_event)
    }

    /// The numbers of the segments.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.segments.keys().copied()
    }

    /// A number above those of all segments that are there, and of the one that the snapshot says it is followed by.
    pub fn free_number(&self, keys: &Keys) -> u64 {
        let begin = self.snapshot.as_ref().and_then(|bytes| read::begin(bytes, keys).ok());
        self.last().max(begin.map_or(0, |begin| begin.number)) + 1
    }

    /// The number of the last segment; 0 without any.
    pub fn last(&self) -> u64 {
        self.segments.keys().next_back().copied().unwrap_or(0)
    }
}

fn file(bytes: Option<&Vec<u8>>) -> Result<&[u8], What> {
    match bytes {
        None => Err(What::Missing),
        Some(bytes) if bytes.is_empty() => Err(What::Empty),
        Some(bytes) => Ok(bytes),
    }
}
