//! The bytes of a journal: `MAGIC`, 16 bytes of salt, the first 8 bytes of the SHA-256 of both, then
//! frames. A frame is the length of its records (4 bytes), the first 8 bytes of the SHA-256 of the
//! salt, that and the records, then the records. Numbers are little-endian. Zeros end it.
//!
//! Without the salt, which nobody on the network knows, a client could send a whole frame as its
//! identifier. In a last frame that was torn it would look like one behind damage.
//!
//! A record is address (4), hardware address (6), state (1), end (8), then client identifier and
//! host name, each behind its length (2); a length of 65,535 says that there is none.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::model::{Mac, Time};
use crate::table::Lease;
use crate::table::lease::LeaseState;

/// Begins a journal; tells other versions of the format apart.
pub const MAGIC: &[u8] = b"voldemort leases 1\n\0";

/// What makes the digests of a journal its own.
pub type Salt = [u8; 16];

/// Where the first frame begins.
const FIRST: usize = MAGIC.len() + size_of::<Salt>() + size_of::<Digest8>();
const HEAD: usize = 12;
/// The length of a field that is not there.
const NONE: u16 = u16::MAX;

/// What is wrong with a journal, beyond a last frame that was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It does not begin as it should.
    Magic,
    /// Bytes that are no frame stand before frames.
    Bytes { from: usize, to: usize },
    /// A frame that is whole holds what is no lease.
    Record { from: usize },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Magic => f.write_str("this is no journal of leases that this version can read"),
            Damage::Bytes { from, to } => write!(f, "the bytes {from} to {to} are damaged"),
            Damage::Record { from } => write!(f, "the frame at byte {from} holds something that is no lease"),
        }
    }
}

type Digest8 = [u8; 8];

/// What stands before the frames.
pub fn begin(salt: &Salt) -> Vec<u8> {
    [MAGIC, salt, &digest(&[MAGIC, salt])].concat()
}

/// A frame of these leases.
pub fn write(salt: &Salt, leases: &[Lease]) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    for lease in leases {
        record(&mut bytes, lease);
    }
    let length = (bytes.len() - HEAD) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let digest = digest(&[salt, &bytes[..4], &bytes[HEAD..]]);
    bytes[4..HEAD].copy_from_slice(&digest);
    bytes
}

/// Lays the records of a journal over `leases`; its salt, and where the next frame goes.
pub fn replay(bytes: &[u8], leases: &mut BTreeMap<Ipv4Addr, Lease>) -> Result<(Salt, u64), Damage> {
    let salt = salt(bytes).ok_or(Damage::Magic)?;
    let mut at = FIRST;
    while let Some(records) = frame(&salt, &bytes[at..]) {
        let mut rest = records;
        while !rest.is_empty() {
            let lease = lease(&mut rest).ok_or(Damage::Record { from: at })?;
            leases.insert(lease.address, lease);
        }
        at += HEAD + records.len();
    }
    // A write that was cut short is the last thing in a journal.
    match (at..bytes.len()).find(|place| frame(&salt, &bytes[*place..]).is_some()) {
        Some(place) => Err(Damage::Bytes { from: at, to: place }),
        None => Ok((salt, at as u64)),
    }
}

fn salt(bytes: &[u8]) -> Option<Salt> {
    let salt: Salt = bytes.get(MAGIC.len()..MAGIC.len() + size_of::<Salt>())?.try_into().ok()?;
    bytes.starts_with(&begin(&salt)).then_some(salt)
}

/// The records of the frame at the beginning of `bytes`, if it is whole.
fn frame<'a>(salt: &Salt, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let records = rest.get(..length).filter(|records| !records.is_empty())?;
    (digest(&[salt, &head[..4], records]) == head[4..]).then_some(records)
}

fn digest(parts: &[&[u8]]) -> Digest8 {
    let whole = parts.iter().fold(Sha256::new(), |sum, part| sum.chain_update(part)).finalize();
    let mut short = [0; 8];
    short.copy_from_slice(&whole[..8]);
    short
}

fn record(bytes: &mut Vec<u8>, lease: &Lease) {
    let Lease { address, mac, client_id, hostname, state, expires } = lease;
    bytes.extend_from_slice(&address.octets());
    bytes.extend_from_slice(&mac.octets());
    bytes.push(match state {
        LeaseState::Offered => 0,
        LeaseState::Bound => 1,
        LeaseState::Released => 2,
        LeaseState::Declined => 3,
    });
    bytes.extend_from_slice(&expires.0.to_le_bytes());
    field(bytes, client_id.as_deref());
    field(bytes, hostname.as_deref().map(str::as_bytes));
}

/// What is longer than any DHCP message can bring is cut.
fn field(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(NONE, |value| value.len().min(usize::from(NONE) - 1) as u16);
    bytes.extend_from_slice(&length.to_le_bytes());
    if let Some(value) = value {
        bytes.extend_from_slice(&value[..usize::from(length)]);
    }
}

fn lease(bytes: &mut &[u8]) -> Option<Lease> {
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
