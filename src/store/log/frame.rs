//! The bytes of the log's files, and how frames are written. Numbers are little-endian.
//!
//! A file begins with `MAGIC`, what it is (1 byte), its number (8) and a digest of both (8). Frames follow, then
//! zeros, which are written ahead. A frame is
//!
//! | bytes | |
//! |---|---|
//! | 4 | length of its records |
//! | 4 | how many records |
//! | 8 | its sequence number, one more than the frame's before it |
//! | 8 | numbers below this may have been given to events |
//! | 8 | which kinds of record are in it, a bit each (`RecordKind::code`), or what the frame is besides |
//! | 8 | digest of those 32 bytes |
//! | … | the records |
//! | 8 | digest of the frame's before, of the digests of all records, and of those 32 bytes: the chain |
//! | 1 | a line end, so that the last byte of a whole frame is never a zero |
//!
//! and a record
//!
//! | bytes | |
//! |---|---|
//! | 8 | digest of the sequence number, the record's place in the frame and all that follows |
//! | 1 | kind |
//! | 1 | 0: put, 1: deleted, 2: its value was lost to damage |
//! | 2 | length of the key |
//! | 4 | length of the value |
//! | … | the key, the key once more, the value |
//!
//! The chain goes over digests alone, so that each byte is hashed once, and a flipped bit in a record leaves the
//! chain whole: it is known that nothing else is wrong. The key lies there twice so that damage to one of
//! the two still tells which record it was.
//!
//! A frame without records is left by a daemon that stopped in order, by one that tried the disk, and at the
//! beginning of each segment.
//!
//! Without the keys, which nobody on the network knows, a client could send a whole frame as its identifier. In a
//! last frame that was torn it would look like one behind damage.

use super::digest::{FileKeys, Keys, Sip, SipKey};
use crate::state::record::Record;

/// The first bytes of each file; they identify the version of the format.
pub const MAGIC: &[u8; 16] = b"voldemort log 1\n";
/// Where the first frame begins.
pub const FIRST: usize = MAGIC.len() + 1 + 8 + 8;
/// Length of what stands before a frame's records.
pub const HEAD: usize = 40;
/// What the head's own digest is of.
pub const FACTS: usize = 32;
/// Length of what stands behind a frame's records.
pub const TAIL: usize = 9;
/// Length of what stands before a record's key.
pub const RECORD: usize = 16;
/// Length of a record's digest.
pub const TAG: usize = 8;
pub const END: u8 = b'\n';

/// The last frame of a segment: another one follows. It is none of the chain.
pub const SEALED: u64 = 1 << 63;
/// The last frame of a snapshot. Its records are two numbers: the last sequence number that is in it, and the
/// chain there.
pub const WHOLE: u64 = 1 << 62;

/// What a file of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Snapshot,
    Segment,
}

impl FileKind {
    fn code(self) -> u8 {
        match self {
            FileKind::Snapshot => 1,
            FileKind::Segment => 2,
        }
    }

    pub fn of_code(code: u8) -> Option<FileKind> {
        [FileKind::Snapshot, FileKind::Segment].into_iter().find(|kind| kind.code() == code)
    }
}

/// What stands before the frames.
pub fn begin(keys: &Keys, kind: FileKind, number: u64) -> [u8; FIRST] {
    let mut bytes = [0; FIRST];
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16] = kind.code();
    bytes[17..25].copy_from_slice(&number.to_le_bytes());
    let digest = Sip::new(&keys.file).finish_with(&bytes[..25]);
    bytes[25..].copy_from_slice(&digest.to_le_bytes());
    bytes
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub length: u32,
    pub count: u32,
    pub sequence: u64,
    pub next_event: u64,
    pub kinds: u64,
}

impl Facts {
    fn bytes(&self) -> [u8; FACTS] {
        let mut bytes = [0; FACTS];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.next_event.to_le_bytes());
        bytes[24..].copy_from_slice(&self.kinds.to_le_bytes());
        bytes
    }

    pub fn of(head: &[u8; HEAD]) -> Facts {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[at + byte]));
        Facts { length: half(0), count: half(4), sequence: word(8), next_event: word(16), kinds: word(24) }
    }

    fn head(&self, keys: &FileKeys) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..FACTS].copy_from_slice(&self.bytes());
        let digest = head_digest(&keys.head, &head[..FACTS]);
        head[FACTS..].copy_from_slice(&digest.to_le_bytes());
        head
    }
}

pub fn head_digest(key: &SipKey, facts: &[u8]) -> u64 {
    Sip::new(key).finish_with(facts)
}

/// What the digests of all records of a frame begin with.
pub fn record_sip(key: &SipKey, sequence: u64) -> Sip {
    let mut sip = Sip::new(key);
    sip.add(sequence);
    sip
}

/// The digest of a record, of all behind the digest itself.
pub fn record_digest(mut sip: Sip, place: u32, rest: &[u8]) -> u64 {
    sip.add(place.into());
    sip.finish_with(rest)
}

/// A frame's digest in the making: of the one before, then of its records' digests, then of its own facts.
pub fn chain(keys: &FileKeys, before: u64) -> Sip {
    let mut sip = Sip::new(&keys.chain);
    sip.add(before);
    sip
}

/// A frame's digest, when those of all its records were added.
pub fn link(mut sip: Sip, facts: &Facts) -> u64 {
    sip.add(u64::from(facts.length) << 32 | u64::from(facts.count));
    sip.add(facts.sequence);
    sip.add(facts.next_event);
    sip.add(facts.kinds);
    sip.finish()
}

/// What a record says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Put,
    Deleted,
    /// There was a value, which can't be read.
    Damaged,
}

impl Flag {
    pub fn code(self) -> u8 {
        match self {
            Flag::Put => 0,
            Flag::Deleted => 1,
            Flag::Damaged => 2,
        }
    }

    pub fn of_code(code: u8) -> Option<Flag> {
        [Flag::Put, Flag::Deleted, Flag::Damaged].into_iter().find(|flag| flag.code() == code)
    }
}

/// A record in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    pub kind: u8,
    pub flag: Flag,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// What a frame is written of.
pub trait Entry {
    fn kind(&self) -> u8;
    fn key(&self, out: &mut Vec<u8>);
    /// Appends the value, and answers what becomes of the key.
    fn value(&self, out: &mut Vec<u8>) -> Flag;

    /// How many bytes the value has, about; 0 for one that is short in any case.
    fn size(&self) -> usize {
        0
    }
}

impl<E: Entry> Entry for &E {
    fn kind(&self) -> u8 {
        (*self).kind()
    }

    fn key(&self, out: &mut Vec<u8>) {
        (*self).key(out);
    }

    fn value(&self, out: &mut Vec<u8>) -> Flag {
        (*self).value(out)
    }

    fn size(&self) -> usize {
        (*self).size()
    }
}

impl Entry for Record {
    fn kind(&self) -> u8 {
        Record::kind(self).code()
    }

    fn key(&self, out: &mut Vec<u8>) {
        self.write_key(out);
    }

    fn value(&self, out: &mut Vec<u8>) -> Flag {
        if self.write_value(out) { Flag::Put } else { Flag::Deleted }
    }

    fn size(&self) -> usize {
        match self {
            Record::File(_, Some(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

impl Entry for Raw<'_> {
    fn kind(&self) -> u8 {
        self.kind
    }

    fn key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key);
    }

    fn value(&self, out: &mut Vec<u8>) -> Flag {
        out.extend_from_slice(self.value);
        self.flag
    }

    fn size(&self) -> usize {
        self.value.len()
    }
}

/// A record or a frame is longer than its length can say.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Where a chain of frames is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Of the last frame.
    pub sequence: u64,
    /// Its digest.
    pub chain: u64,
}

/// Appends a frame of these records to `out`; answers with where the chain is then.
pub fn write<E: Entry>(
    out: &mut Vec<u8>,
    keys: &FileKeys,
    before: Position,
    next_event: u64,
    entries: &[E],
) -> Result<Position, TooLong> {
    let begin = out.len();
    let sequence = before.sequence + 1;
    out.extend_from_slice(&[0; HEAD]);
    let (mut kinds, sip) = (0, record_sip(&keys.record, sequence));
    let mut digests = chain(keys, before.chain);
    for (place, entry) in entries.iter().enumerate() {
        kinds |= 1 << entry.kind();
        digests.add(write_record(out, sip, place as u32, entry)?);
    }
    let body = begin + HEAD;
    let length = u32::try_from(out.len() - body).map_err(|_| TooLong)?;
    let count = u32::try_from(entries.len()).map_err(|_| TooLong)?;
    let facts = Facts { length, count, sequence, next_event, kinds };
    out[begin..body].copy_from_slice(&facts.head(keys));
    let chain = link(digests, &facts);
    out.extend_from_slice(&chain.to_le_bytes());
    out.push(END);
    Ok(Position { sequence, chain })
}

/// Appends a record; answers with its digest.
fn write_record<E: Entry>(out: &mut Vec<u8>, sip: Sip, place: u32, entry: &E) -> Result<u64, TooLong> {
    let begin = out.len();
    out.extend_from_slice(&[0; RECORD]);
    entry.key(out);
    let name = begin + RECORD..out.len();
    let name_length = u16::try_from(name.len()).map_err(|_| TooLong)?;
    out.extend_from_within(name);
    let value = out.len();
    let flag = entry.value(out);
    let value_length = u32::try_from(out.len() - value).map_err(|_| TooLong)?;
    let head = &mut out[begin + TAG..begin + RECORD];
    head[0] = entry.kind();
    head[1] = flag.code();
    head[2..4].copy_from_slice(&name_length.to_le_bytes());
    head[4..].copy_from_slice(&value_length.to_le_bytes());
    let digest = record_digest(sip, place, &out[begin + TAG..]);
    out[begin..begin + TAG].copy_from_slice(&digest.to_le_bytes());
    Ok(digest)
}

/// Appends a frame that is none of the chain: the end of a segment (`SEALED`) or of a snapshot (`WHOLE`).
pub fn write_end(out: &mut Vec<u8>, keys: &FileKeys, before: Position, kinds: u64, at: Position) {
    let facts = Facts { length: 16, count: 0, sequence: before.sequence + 1, next_event: 0, kinds };
    out.extend_from_slice(&facts.head(keys));
    out.extend_from_slice(&at.sequence.to_le_bytes());
    out.extend_from_slice(&at.chain.to_le_bytes());
    let mut sip = chain(keys, before.chain);
    sip.add(at.sequence);
    sip.add(at.chain);
    out.extend_from_slice(&link(sip, &facts).to_le_bytes());
    out.push(END);
}
