//! `leases4.journal`, where leases of IPv4 addresses were before there was a log for all
//! records: `MAGIC`, 16 bytes of salt, its generation (8), the first 8 bytes of the SHA-256 of all three, then
//! frames. The generation was raised whenever a shorter journal took its place. Numbers are little-endian. Zeros
//! end it. A frame is
//!
//! | bytes | |
//! |---|---|
//! | 4 | length of its records |
//! | 8 | how many batches of other records were stored before it (`records::Head`) |
//! | 4 | the beginning of the SHA-256 of the salt and those twelve bytes |
//! | 8 | the beginning of the SHA-256 of the salt, those twelve bytes and the records |
//! | … | the records |
//! | 1 | a line end, so that the last byte of a whole frame is never a zero |
//!
//! A frame without records is left by a daemon that stopped in order, or by one that tried the disk.
//!
//! Without the salt, which nobody on the network knows, a client could send a whole frame as its
//! identifier. In a last frame that was torn it would look like one behind damage.
//!
//! A record is address (4), hardware address (6), state (1), end (8), then client identifier and
//! host name, each behind its length (2); a length of 65,535 says that there is none.
//!
//! # Torn or damaged
//!
//! A crash leaves a last write of which some sectors (512 bytes) did not arrive and read as zeros or lie behind the
//! end of the file, or of which only the beginning arrived. Such a write was never acknowledged and is dropped. A last frame that is there
//! from its head to its line end and does not fit its digest was damaged later. Where the damage itself
//! is a run of zeros to the frame's end the two look the same, and it counts as torn.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::model::{Mac, Time};
use crate::state::Lease;
use crate::state::lease::LeaseState;

/// The file's name in the state directory; in one of today a text is there that earlier versions refuse.
pub(crate) const FILE: &str = "leases4.journal";
/// The first bytes of a journal; they identify the version of the format.
const MAGIC: &[u8] = b"voldemort leases 2\n\0";

/// What makes the digests of a journal its own.
pub(crate) type Salt = [u8; 16];

/// Where the first frame begins.
const FIRST: usize = MAGIC.len() + size_of::<Salt>() + size_of::<u64>() + size_of::<Digest8>();
const HEAD: usize = 24;
/// Length and batch, which the head's own digest is of.
const FACTS: usize = 12;
const END: u8 = b'\n';
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// The length of a field that is not there.
pub(super) const NONE: u16 = u16::MAX;

/// What is wrong with a journal, beyond a last frame that was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// It does not begin as it should.
    Magic,
    /// It is another directory's.
    Foreign,
    /// Bytes that are no frame stand before frames.
    Bytes { from: usize, to: usize },
    /// The last frame is there to its end and does not fit its digest.
    Last { from: usize },
    /// It ended behind this place once.
    Cut { at: u64, was: u64 },
    /// A frame that is whole holds what is no lease.
    Record { from: usize },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Magic => f.write_str("this is no journal of leases that this version can read"),
            Damage::Foreign => f.write_str("it belongs to another state directory"),
            Damage::Bytes { from, to } => write!(f, "the bytes {from} to {to} are damaged"),
            Damage::Last { from } => write!(f, "the last frame, at byte {from}, is damaged"),
            Damage::Cut { at, was } => write!(f, "it ends at byte {at} and was {was} bytes long"),
            Damage::Record { from } => write!(f, "the frame at byte {from} holds something that is no lease"),
        }
    }
}

type Digest8 = [u8; 8];

/// What a whole journal holds besides its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Where the next frame goes.
    pub end: u64,
    pub generation: u64,
    /// The highest number of batches that a frame knows of.
    pub batch: u64,
    /// Bytes of a last write that was not finished; they were never acknowledged.
    pub torn: usize,
}

impl Summary {
    /// The same, unless the journal was longer once; `known` is a generation and an end.
    pub(crate) fn reaches(self, known: (u64, u64)) -> Result<Summary, Damage> {
        let is_shorter = self.generation == known.0 && self.end < known.1;
        match self.generation < known.0 || is_shorter {
            true => Err(Damage::Cut { at: self.end, was: known.1 }),
            false => Ok(self),
        }
    }
}

/// Lays the records of a journal with this salt over `leases`.
pub(crate) fn replay(
    bytes: &[u8],
    salt: &Salt,
    leases: &mut BTreeMap<Ipv4Addr, Lease>,
) -> Result<Summary, Damage> {
    let generation = match head_of(bytes) {
        None => return Err(Damage::Magic),
        Some((other, _)) if other != *salt => return Err(Damage::Foreign),
        Some((_, generation)) => generation,
    };
    let (mut at, mut batch) = (FIRST, 0);
    while let Some(frame) = frame(salt, &bytes[at..]) {
        frame.lay(leases).ok_or(Damage::Record { from: at })?;
        batch = batch.max(frame.batch);
        at += frame.length();
    }
    // A write that was cut short is the last thing in a journal.
    if let Some(place) = (at..bytes.len()).find(|place| frame(salt, &bytes[*place..]).is_some()) {
        return Err(Damage::Bytes { from: at, to: place });
    }
    let torn = bytes[at..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if torn > 0 && !is_torn(salt, bytes, at) {
        return Err(Damage::Last { from: at });
    }
    Ok(Summary { end: at as u64, generation, batch, torn })
}

/// All leases in frames that are whole, whatever stands between them; the salt need not be known.
pub(crate) fn salvage(bytes: &[u8], leases: &mut BTreeMap<Ipv4Addr, Lease>) {
    let Some((salt, _)) = head_of(bytes) else { return };
    let mut at = FIRST;
    while at < bytes.len() {
        match frame(&salt, &bytes[at..]) {
            Some(frame) => {
                let _ = frame.lay(leases);
                at += frame.length();
            }
            None => at += 1,
        }
    }
}

/// What stands before the frames.
fn begin(salt: &Salt, generation: u64) -> Vec<u8> {
    let generation = generation.to_le_bytes();
    [MAGIC, salt, &generation, &digest(&[MAGIC, salt, &generation])].concat()
}

fn head_of(bytes: &[u8]) -> Option<(Salt, u64)> {
    let (salt, rest) = bytes.get(MAGIC.len()..)?.split_at_checked(size_of::<Salt>())?;
    let salt: Salt = salt.try_into().ok()?;
    let generation = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?);
    bytes.starts_with(&begin(&salt, generation)).then_some((salt, generation))
}

/// Whether the frame at `at`, which does not fit its digest, was left so by a crash.
fn is_torn(salt: &Salt, bytes: &[u8], at: usize) -> bool {
    let is_lost = |from: usize, to: usize| {
        let cuts = (from..to).filter(|place| *place == from || place % SECTOR == 0);
        to > bytes.len()
            || cuts.into_iter().any(|begin| {
                let end = to.min((begin / SECTOR + 1) * SECTOR);
                bytes[begin..end].iter().all(|byte| *byte == 0)
            })
    };
    let rest = &bytes[at..];
    let length =
        rest.get(..4).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    let is_head = rest.len() >= HEAD && digest(&[salt, &rest[..FACTS]])[..4] == rest[FACTS..FACTS + 4];
    if is_head {
        let end = at + HEAD + length + 1;
        return is_lost(at, end) || bytes[end - 1] == 0;
    }
    // Of a write of which only the beginning arrived, nothing stands behind what is no head.
    let behind = rest.get(HEAD..).unwrap_or_default();
    behind.iter().all(|byte| *byte == 0) || is_lost(at, at + HEAD)
}

/// A whole frame.
struct Frame<'a> {
    batch: u64,
    records: &'a [u8],
}

impl Frame<'_> {
    fn length(&self) -> usize {
        HEAD + self.records.len() + 1
    }

    /// `None` if something in it is no lease.
    fn lay(&self, leases: &mut BTreeMap<Ipv4Addr, Lease>) -> Option<()> {
        let mut rest = self.records;
        while !rest.is_empty() {
            let lease = lease(&mut rest)?;
            leases.insert(lease.address, lease);
        }
        Some(())
    }
}

/// The frame at the beginning of `bytes`, if it is whole.
fn frame<'a>(salt: &Salt, bytes: &'a [u8]) -> Option<Frame<'a>> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let records = rest.get(..length)?;
    if rest.get(length) != Some(&END) || digest(&[salt, &head[..FACTS]])[..4] != head[FACTS..FACTS + 4] {
        return None;
    }
    let batch = u64::from_le_bytes(head[4..FACTS].try_into().ok()?);
    (digest(&[salt, &head[..FACTS], records]) == head[FACTS + 4..]).then_some(Frame { batch, records })
}

pub(super) fn digest(parts: &[&[u8]]) -> Digest8 {
    let whole = parts.iter().fold(Sha256::new(), |sum, part| sum.chain_update(part)).finalize();
    let mut short = [0; 8];
    short.copy_from_slice(&whole[..8]);
    short
}

pub(super) fn lease(bytes: &mut &[u8]) -> Option<Lease> {
    let address: [u8; 4] = take(bytes, 4)?.try_into().ok()?;
    let mac: [u8; 6] = take(bytes, 6)?.try_into().ok()?;
    let state = match take(bytes, 1)?[0] {
        0 => LeaseState::Offered,
        1 => LeaseState::Bound,
        2 => LeaseState::Released,
        3 => LeaseState::Declined,
        _ => return None,
    };
    let expires = Time(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?));
    let client_id = take_field(bytes)?.map(Bytes::copy_from_slice);
    let hostname = match take_field(bytes)? {
        Some(name) => Some(std::str::from_utf8(name).ok()?.to_owned()),
        None => None,
    };
    Some(Lease { address: address.into(), mac: Mac::new(mac).ok()?, client_id, hostname, state, expires })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (value, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(value)
}

fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match u16::from_le_bytes(take(bytes, 2)?.try_into().ok()?) {
        NONE => Some(None),
        length => Some(Some(take(bytes, usize::from(length))?)),
    }
}

#[cfg(test)]
mod tests;
