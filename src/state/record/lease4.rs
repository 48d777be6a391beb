//! Leases of IPv4 addresses. Key: the address (4 bytes). Value: hardware address (6), state (1), end in
//! milliseconds (8), client identifier (optional), host name (optional).

use std::net::Ipv4Addr;

use bytes::Bytes;

use super::bytes::{Reader, optional};
use super::{Kind, Record};
use crate::state::Lease;
use crate::state::lease::LeaseState;

pub(super) struct Lease4;

impl Kind for Lease4 {
    const NAME: &'static str = "lease4";
    type Key = Ipv4Addr;
    type Value = Lease;

    fn write_key(key: &Ipv4Addr, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.octets());
    }

    fn read_key(bytes: &[u8]) -> Option<Ipv4Addr> {
        Some(<[u8; 4]>::try_from(bytes).ok()?.into())
    }

    fn write(value: &Lease, out: &mut Vec<u8>) {
        let Lease { address: _, mac, client_id, hostname, state, expires } = value;
        // In one piece: leases come by the thousand.
        let mut fixed = [0; 15];
        fixed[..6].copy_from_slice(&mac.octets());
        fixed[6] = code(*state);
        fixed[7..].copy_from_slice(&expires.0.to_le_bytes());
        out.extend_from_slice(&fixed);
        optional(client_id.as_deref(), out);
        optional(hostname.as_deref().map(str::as_bytes), out);
    }

    fn read(address: Ipv4Addr, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let (mac, state, expires) = (reader.mac()?, state(reader.byte()?)?, reader.time()?);
        let client_id = reader.optional()?.map(Bytes::copy_from_slice);
        let hostname = reader.optional_text()?.map(str::to_owned);
        Some(Record::Lease4(Lease { address, mac, client_id, hostname, state, expires }))
    }

    fn deletion(_: Ipv4Addr) -> Option<Record> {
        None
    }
}

/// The byte of a lease's state.
pub(super) fn code(state: LeaseState) -> u8 {
    match state {
        LeaseState::Offered => 0,
        LeaseState::Bound => 1,
        LeaseState::Released => 2,
        LeaseState::Declined => 3,
    }
}

/// The state of a lease's byte.
pub(super) fn state(code: u8) -> Option<LeaseState> {
    match code {
        0 => Some(LeaseState::Offered),
        1 => Some(LeaseState::Bound),
        2 => Some(LeaseState::Released),
        3 => Some(LeaseState::Declined),
        _ => None,
    }
}
