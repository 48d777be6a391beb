//! The journal of version 0.1: as in `journal`, but a frame is the length of its records (4 bytes), the
//! beginning of the SHA-256 of the salt, that and the records (8 bytes), and the records.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::journal::{Damage, Salt, digest, lease};
use crate::state::Lease;

const MAGIC: &[u8] = b"voldemort leases 1\n\0";
const FIRST: usize = MAGIC.len() + size_of::<Salt>() + 8;
const HEAD: usize = 12;

/// Applies the records of a journal to `leases`. A last frame that does not fit counts as torn: that
/// version left nothing by which it could be distinguished from a damaged one.
pub(super) fn replay(bytes: &[u8], leases: &mut BTreeMap<Ipv4Addr, Lease>) -> Result<(), Damage> {
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
    match (at..bytes.len()).find(|place| frame(&salt, &bytes[*place..]).is_some()) {
        Some(place) => Err(Damage::Bytes { from: at, to: place }),
        None => Ok(()),
    }
}

fn salt(bytes: &[u8]) -> Option<Salt> {
    let salt: Salt = bytes.get(MAGIC.len()..MAGIC.len() + size_of::<Salt>())?.try_into().ok()?;
    let begin = [MAGIC, &salt, &digest(&[MAGIC, &salt])].concat();
    bytes.starts_with(&begin).then_some(salt)
}

/// The records of the frame at the beginning of `bytes`, if it is whole.
fn frame<'a>(salt: &Salt, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let records = rest.get(..length).filter(|records| !records.is_empty())?;
    (digest(&[salt, &head[..4], records]) == head[4..]).then_some(records)
}
