//! Reading the files of the log: what is whole, what a crash cut short, what was damaged.
//!
//! # Torn or damaged
//!
//! A crash leaves a last write of which some sectors (512 bytes) did not arrive and read as zeros or lie behind the
//! end of the file, or of which only the beginning arrived. Such a write was never acknowledged and is dropped. A
//! last frame that is there from its head to its line end and does not fit was damaged later. Where the damage
//! itself is a run of zeros to the frame's end the two can't be told apart, and it counts as torn.
//!
//! # What one flipped bit costs
//!
//! In a record: that record, whose names are known. In what holds the records together (a file's beginning, a
//! frame's head, a chain): nothing, because there is one way to put it right that fits a digest. What goes
//! beyond that is `Damage`, and nothing of the file is believed without a person's word.

use std::fmt;
use std::ops::Range;

use super::digest::{FileKeys, Keys, Sip, with_a_bit_flipped};
use super::frame::{
    END, FACTS, FIRST, Facts, FileKind, Flag, HEAD, MAGIC, Position, RECORD, Raw, SEALED, TAG, TAIL, WHOLE,
    chain, head_digest, link, record_digest, record_sip,
};
use crate::state::record::RecordKind;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What is wrong with a file, beyond single records and a last frame that was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It does not begin as it should.
    Begin,
    /// It is another directory's, or has another's place.
    Foreign,
    /// Bytes that are no frame stand before frames.
    Bytes { from: usize, to: usize },
    /// The last frame is there to its end and does not fit its digest.
    Last { from: usize },
    /// The frame does not fit its digest, or its records can't be separated. The kinds that it held.
    Frame { from: usize, kinds: u64 },
    /// Frames are missing before this one, or it is an earlier one.
    Order { from: usize, expected: u64, found: u64 },
    /// A snapshot that does not say that it is whole.
    Unfinished,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Begin => {
                f.write_str("is damaged: it does not begin as a file of the log that this version can read")
            }
            Damage::Foreign => f.write_str("belongs to another state directory"),
            Damage::Bytes { from, to } => write!(f, "is damaged from byte {from} to {to}"),
            Damage::Last { from } => write!(f, "is damaged in its last frame, at byte {from}"),
            Damage::Frame { from, .. } => write!(f, "is damaged in the frame at byte {from}"),
            Damage::Order { from, expected, found } => {
                write!(f, "has frame {found} at byte {from} and lacks frame {expected}")
            }
            Damage::Unfinished => f.write_str("is damaged: it is cut short"),
        }
    }
}

/// What may be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Strict,
    /// Damaged frames that held nothing but leases of IPv4 addresses, whose loss a person agreed to.
    WithoutLeases,
}

/// What takes the records of a file, in their order.
pub trait Sink<'a> {
    fn take(&mut self, record: Raw<'a>);
    /// A record that does not fit its digest, and the keys it may have had.
    fn damaged(&mut self, kind: u8, keys: &[&'a [u8]]);
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Where the next frame goes.
    pub at: usize,
    pub position: Position,
    /// Numbers below this may have been given to events.
    pub next_event: u64,
    /// Bytes of a last write that was not finished; they were never acknowledged.
    pub torn: usize,
    /// Whether another segment follows.
    pub is_sealed: bool,
    /// The position that a snapshot includes.
    pub whole: Option<Position>,
    /// Places that hold the records together and had a bit flipped.
    pub mended: usize,
}

/// What a file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    pub kind: FileKind,
    pub number: u64,
    pub is_mended: bool,
}

/// Reads the beginning of a file.
pub fn begin(bytes: &[u8], keys: &Keys) -> Result<Begin, Damage> {
    let first: &[u8; FIRST] = bytes.first_chunk().ok_or(Damage::Begin)?;
    let fits = |bytes: &[u8; FIRST]| {
        bytes.starts_with(MAGIC)
            && Sip::new(&keys.file).finish_with(&bytes[..25]).to_le_bytes() == bytes[25..]
    };
    let is_mended = !fits(first);
    let other = || match first.starts_with(MAGIC) {
        true => Damage::Foreign,
        false => Damage::Begin,
    };
    let whole = if is_mended { with_a_bit_flipped(first, fits).ok_or_else(other)? } else { *first };
    let kind = FileKind::of_code(whole[16]).ok_or(Damage::Begin)?;
    let number = u64::from_le_bytes(std::array::from_fn(|byte| whole[17 + byte]));
    Ok(Begin { kind, number, is_mended })
}

/// The number that a file says it has, proven by no key.
pub fn unproven_number(bytes: &[u8]) -> Option<u64> {
    let number: &[u8; 8] = bytes.strip_prefix(MAGIC)?.get(1..)?.first_chunk()?;
    Some(u64::from_le_bytes(*number))
}

/// Goes through the frames of a file behind its beginning. `before` is where the chain was.
pub fn frames<'a>(
    bytes: &'a [u8],
    keys: &FileKeys,
    before: Position,
    mode: Mode,
    sink: &mut impl Sink<'a>,
) -> Result<End, Damage> {
    let end =
        End { at: FIRST, position: before, next_event: 0, torn: 0, is_sealed: false, whole: None, mended: 0 };
    let mut walk = Walk { bytes, keys, mode, end, doubt: None };
    while walk.step(sink)? {}
    match walk.doubt {
        Some((from, kinds)) if !walk.may_pass(kinds) => Err(Damage::Frame { from, kinds }),
        _ => Ok(walk.end),
    }
}

/// On the way through a file.
struct Walk<'a, 'k> {
    bytes: &'a [u8],
    keys: &'k FileKeys,
    mode: Mode,
    end: End,
    /// A frame with a damaged record whose own digest could not be proven: the next frame proves it.
    doubt: Option<(usize, u64)>,
}

/// A frame whose place is known.
struct Frame<'a> {
    facts: Facts,
    records: Vec<Place>,
    body: &'a [u8],
    chain: u64,
    /// Whether its records' own digests fit, the chain aside.
    is_clean: bool,
    /// Whether the records end where the frame says.
    is_parted: bool,
    has_end: bool,
}

/// Where a record lies in its frame.
struct Place {
    range: Range<usize>,
    head: [u8; 8],
    fits: bool,
}

impl<'a> Walk<'a, '_> {
    /// Takes the next frame; whether there may be more.
    fn step(&mut self, sink: &mut impl Sink<'a>) -> Result<bool, Damage> {
        let at = self.end.at;
        let rest = &self.bytes[at..];
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        let Some((facts, is_mended)) = rest.first_chunk().and_then(|head| self.facts(head)) else {
            return self.no_frame(at);
        };
        let length = HEAD + facts.length as usize + TAIL;
        if rest.len() < length {
            return self.no_frame(at);
        }
        let expected = self.end.position.sequence + 1;
        if facts.sequence != expected {
            return Err(Damage::Order { from: at, expected, found: facts.sequence });
        }
        if facts.kinds & (SEALED | WHOLE) != 0 {
            return self.finish(at, &facts, is_mended);
        }
        let frame = self.parse(facts, &rest[HEAD..length]);
        let before = self.end.position.chain;
        let proven = self.prove(&frame, before);
        if (proven != Some(0) || !frame.is_clean || !frame.has_end)
            && self.next_head(at + 1).is_none()
            && is_torn(self.bytes, at, length, &frame)
        {
            self.end.torn = torn_length(rest);
            return Ok(false);
        }
        // The frame before is not what it said, if this one does not follow from it.
        if let Some((from, kinds)) = self.doubt.filter(|_| proven.is_none()) {
            return Err(Damage::Frame { from, kinds });
        }
        let damaged = Damage::Frame { from: at, kinds: facts.kinds };
        let may_pass = self.may_pass(facts.kinds);
        let is_unproven = !frame.is_parted || (proven.is_none() && frame.is_clean);
        if is_unproven && !may_pass {
            return Err(damaged);
        }
        // The next frame proves what this one's own digest does not.
        self.doubt = (is_unproven || proven.is_none()).then_some((at, facts.kinds));
        let mended = proven.unwrap_or(0);
        let chain = if mended > 0 { self.chain_of(&frame, before, false) } else { frame.chain };
        if self.give(&frame, sink).is_none() && !may_pass {
            return Err(damaged);
        }
        self.end.mended += mended + usize::from(is_mended) + usize::from(!frame.has_end);
        self.end.position = Position { sequence: facts.sequence, chain };
        self.end.next_event = self.end.next_event.max(facts.next_event);
        self.end.at = at + length;
        Ok(true)
    }

    /// Whether damage to a frame of these kinds is passed over.
    fn may_pass(&self, kinds: u64) -> bool {
        self.mode == Mode::WithoutLeases && kinds == 1 << RecordKind::Lease4.code()
    }

    /// What a head says, and whether a bit of it had to be put right.
    fn facts(&self, head: &[u8; HEAD]) -> Option<(Facts, bool)> {
        let fits =
            |head: &[u8; HEAD]| head_digest(&self.keys.head, &head[..FACTS]).to_le_bytes() == head[FACTS..];
        if fits(head) {
            return Some((Facts::of(head), false));
        }
        with_a_bit_flipped(head, fits).map(|head| (Facts::of(&head), true))
    }

    /// Where the next head stands, at or behind a place.
    fn next_head(&self, from: usize) -> Option<usize> {
        let is_head = |place: &usize| {
            let head: Option<&[u8; HEAD]> = self.bytes[*place..].first_chunk();
            head.is_some_and(|head| {
                head_digest(&self.keys.head, &head[..FACTS]).to_le_bytes() == head[FACTS..]
                    && Facts::of(head).sequence > self.end.position.sequence
            })
        };
        (from..self.bytes.len()).find(is_head)
    }

    /// What stands here is no whole frame.
    fn no_frame(&mut self, at: usize) -> Result<bool, Damage> {
        if let Some(to) = self.next_head(at + 1) {
            return Err(Damage::Bytes { from: at, to });
        }
        let rest = &self.bytes[at..];
        let is_head =
            rest.first_chunk().is_some_and(|head| self.facts(head).is_some_and(|(_, mended)| !mended));
        // Of a write of which only the beginning arrived, nothing stands behind what is no head.
        let behind = rest.get(HEAD..).unwrap_or_default();
        let is_begun = behind.iter().all(|byte| *byte == 0) && rest.len() != HEAD;
        match is_head || is_begun || rest.len() < HEAD || has_lost_sector(self.bytes, &(at..at + HEAD)) {
            true => {
                self.end.torn = torn_length(rest);
                Ok(false)
            }
            false => Err(Damage::Last { from: at }),
        }
    }

    /// A frame that ends a segment or a snapshot.
    fn finish(&mut self, at: usize, facts: &Facts, is_mended: bool) -> Result<bool, Damage> {
        let bytes = &self.bytes[at + HEAD..at + HEAD + facts.length as usize + TAIL];
        if facts.kinds & SEALED != 0 {
            // Its head is complete, and has a digest of its own.
            self.end.is_sealed = true;
            self.end.mended += usize::from(is_mended);
            return Ok(false);
        }
        let damaged = Damage::Frame { from: at, kinds: 0 };
        let word = |at: usize| {
            bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
        };
        let (Some(sequence), Some(own), Some(digest), 16) = (word(0), word(8), word(16), facts.length) else {
            return Err(damaged);
        };
        // One flipped bit in the two numbers or in their digest can be put right.
        let fits = |numbers: &[u8; 24]| {
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| numbers[at + byte]));
            let mut sip = chain(self.keys, self.end.position.chain);
            sip.add(word(0));
            sip.add(word(8));
            link(sip, facts) == word(16)
        };
        let mut numbers = [0; 24];
        for (at, number) in [sequence, own, digest].into_iter().enumerate() {
            numbers[at * 8..at * 8 + 8].copy_from_slice(&number.to_le_bytes());
        }
        let is_whole = fits(&numbers);
        let numbers = if is_whole { numbers } else { with_a_bit_flipped(&numbers, fits).ok_or(damaged)? };
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| numbers[at + byte]));
        self.doubt = None;
        self.end.mended += usize::from(is_mended) + usize::from(!is_whole);
        self.end.at = at + HEAD + facts.length as usize + TAIL;
        self.end.whole = Some(Position { sequence: word(0), chain: word(8) });
        Ok(false)
    }

    /// Finds the records of a frame. Where a record's own head was damaged, one flipped bit of it can be put
    /// right.
    fn parse(&self, facts: Facts, rest: &'a [u8]) -> Frame<'a> {
        let (body, tail) = rest.split_at(facts.length as usize);
        let mut records = Vec::with_capacity((facts.count as usize).min(body.len() / RECORD + 1));
        let (mut at, mut is_clean) = (0, true);
        for place in 0..facts.count {
            let Some(found) = self.place(body, at, facts.sequence, place) else { break };
            at = found.range.end;
            is_clean &= found.fits;
            records.push(found);
        }
        let is_parted = at == body.len() && records.len() == facts.count as usize;
        let mut digest = [0; 8];
        digest.copy_from_slice(&tail[..8]);
        let (chain, has_end) = (u64::from_le_bytes(digest), tail[8] == END);
        Frame { facts, records, body, chain, is_clean, is_parted, has_end }
    }

    fn place(&self, body: &[u8], at: usize, sequence: u64, place: u32) -> Option<Place> {
        let whole = body.get(at..)?;
        let tag: [u8; TAG] = *whole.first_chunk()?;
        let head: [u8; 8] = *whole.get(TAG..)?.first_chunk()?;
        let length = |head: &[u8; 8]| {
            let key = u16::from_le_bytes([head[2], head[3]]);
            let value = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            RECORD + 2 * usize::from(key) + value as usize
        };
        let fits = |head: &[u8; 8]| {
            let Some(record) = whole.get(RECORD..length(head)) else { return false };
            let mut sip = record_sip(&self.keys.record, sequence);
            sip.add(place.into());
            sip.add(u64::from_le_bytes(*head));
            sip.finish_with(record).to_le_bytes() == tag
        };
        if fits(&head) {
            return Some(Place { range: at..at + length(&head), head, fits: true });
        }
        let head = with_a_bit_flipped(&head, fits).unwrap_or(head);
        (length(&head) <= whole.len()).then(|| Place { range: at..at + length(&head), head, fits: false })
    }

    fn sip(&self, frame: &Frame) -> Sip {
        record_sip(&self.keys.record, frame.facts.sequence)
    }

    fn chain_of(&self, frame: &Frame, before: u64, as_computed: bool) -> u64 {
        let mut sip = chain(self.keys, before);
        for (place, record) in frame.records.iter().enumerate() {
            let bytes = &frame.body[record.range.clone()];
            let mut tag = [0; TAG];
            tag.copy_from_slice(&bytes[..TAG]);
            let stored = u64::from_le_bytes(tag);
            let own = match record.fits || !as_computed {
                true => stored,
                false => record_digest(self.sip(frame), place as u32, &bytes[TAG..]),
            };
            sip.add(own);
        }
        link(sip, &frame.facts)
    }

    /// Whether a frame is the one that was written here, its damaged records aside: how many bits of the
    /// chain itself had to be corrected. `None` if that can't be determined.
    fn prove(&self, frame: &Frame, before: u64) -> Option<usize> {
        let stored = self.chain_of(frame, before, false);
        let is_computed = || !frame.is_clean && self.chain_of(frame, before, true) == frame.chain;
        match (stored ^ frame.chain).count_ones() {
            0 => Some(0),
            1 if frame.is_clean => Some(1),
            _ => is_computed().then_some(0),
        }
    }

    fn give(&self, frame: &Frame<'a>, sink: &mut impl Sink<'a>) -> Option<()> {
        for (place, record) in frame.records.iter().enumerate() {
            let bytes = &frame.body[record.range.clone()];
            let length = usize::from(u16::from_le_bytes([record.head[2], record.head[3]]));
            let (key, rest) = bytes[RECORD..].split_at(length);
            let (copy, value) = rest.split_at(length);
            let kind = record.head[0];
            match Flag::of_code(record.head[1]) {
                Some(Flag::Damaged) if record.fits => sink.damaged(kind, &[key]),
                Some(flag) if record.fits => sink.take(Raw { kind, flag, key, value }),
                // Of an unknown kind it is unknown what was lost.
                _ if RecordKind::of_code(kind).is_none() => return None,
                _ if key == copy => sink.damaged(kind, &[key]),
                _ => {
                    let fits = |name: &[u8]| {
                        let rest = [&record.head, name, name, value].concat();
                        let digest = record_digest(self.sip(frame), place as u32, &rest);
                        digest.to_le_bytes() == bytes[..TAG]
                    };
                    match [key, copy].into_iter().find(|name| fits(name)) {
                        Some(name) => sink.damaged(kind, &[name]),
                        None => sink.damaged(kind, &[key, copy]),
                    }
                }
            }
        }
        Some(())
    }
}

/// The bytes of an unfinished write.
fn torn_length(rest: &[u8]) -> usize {
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Whether a range of the file reaches over a sector, or over the part of one behind the range's begin, that is zero
/// throughout, or behind the file's end.
fn has_lost_sector(bytes: &[u8], range: &Range<usize>) -> bool {
    let cuts = (range.start..range.end).filter(|place| *place == range.start || place % SECTOR == 0);
    range.end > bytes.len()
        || cuts.into_iter().any(|begin| {
            let end = range.end.min((begin / SECTOR + 1) * SECTOR);
            bytes[begin..end].iter().all(|byte| *byte == 0)
        })
}

/// Whether the frame at `at`, which does not fit, was left so by a crash: what does not fit in it reaches over a
/// lost sector.
fn is_torn(bytes: &[u8], at: usize, length: usize, frame: &Frame) -> bool {
    let end = at + length;
    // The last byte of a whole frame is never a zero.
    if bytes[end - 1] == 0 {
        return true;
    }
    let body = at + HEAD;
    let known = frame.records.last().map_or(body, |record| body + record.range.end);
    let unfit = frame.records.iter().filter(|record| !record.fits);
    let mut unfit: Vec<Range<usize>> =
        unfit.map(|record| body + record.range.start..body + record.range.end).collect();
    if !frame.is_parted {
        unfit.push(known.min(end)..end);
    }
    if unfit.is_empty() {
        unfit.push(end - TAIL..end);
    }
    // A sector that is lost begins before the record that it takes with it.
    unfit.iter().any(|range| {
        let first = (range.start / SECTOR * SECTOR).max(at);
        let sectors = (first..range.end).filter(|place| *place == first || place % SECTOR == 0);
        sectors.into_iter().any(|begin| {
            let stop = ((begin / SECTOR + 1) * SECTOR).min(end);
            has_lost_sector(bytes, &(begin..stop))
        })
    })
}
