//! Leases of IPv6 addresses. Key: the address (16 bytes). Value: hardware address (6), state (1), end in
//! milliseconds (8), DUID.

use std::net::Ipv6Addr;

use bytes::Bytes;

use super::bytes::{Reader, field};
use super::lease4::{code, state};
use super::{Kind, Record};

pub(super) struct Lease6;

impl Kind for Lease6 {
    const NAME: &'static str = "lease6";
    type Key = Ipv6Addr;
    type Value = crate::state::Lease6;

    fn write_key(key: &Ipv6Addr, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.octets());
    }

    fn read_key(bytes: &[u8]) -> Option<Ipv6Addr> {
        Some(<[u8; 16]>::try_from(bytes).ok()?.into())
    }

    fn write(value: &crate::state::Lease6, out: &mut Vec<u8>) {
        let crate::state::Lease6 { address: _, mac, duid, state, expires } = value;
        out.extend_from_slice(&mac.octets());
        out.push(code(*state));
        out.extend_from_slice(&expires.0.to_le_bytes());
        field(duid, out);
    }

    fn read(address: Ipv6Addr, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let (mac, state, expires) = (reader.mac()?, state(reader.byte()?)?, reader.time()?);
        let duid = Bytes::copy_from_slice(reader.field()?);
        Some(Record::Lease6(crate::state::Lease6 { address, mac, duid, state, expires }))
    }

    fn deletion(_: Ipv6Addr) -> Option<Record> {
        None
    }
}
